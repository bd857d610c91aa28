package spool

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smstest"
)

// gammuPeer is a real gammu-smsd with the dummy phone of its own: a directory.
type gammuPeer struct {
	t   *testing.T
	opt Options
	dir string

	mu sync.Mutex
	n  int
}

func gammuConf(t *testing.T, opt *Options, inbox string) (conf string) {
	t.Helper()
	dir := filepath.Dir(opt.Outgoing)
	for _, folder := range []string{"sms/1", "sms/2", "sms/3", "sms/4", "sms/5", "fs"} {
		if err := os.MkdirAll(filepath.Join(dir, "phone", folder), 0o770); err != nil {
			t.Fatal(err)
		}
	}
	conf = filepath.Join(dir, "smsdrc")
	text := fmt.Sprintf(`[gammu]
model = dummy
connection = none
port = %s/phone
gammuloc = /dev/null
[smsd]
service = files
inboxpath = %s/
outboxpath = %s/
sentsmspath = %s/
errorsmspath = %s/
inboxformat = %s
logfile = %s/smsd.log
debuglevel = 1
commtimeout = 1
receivefrequency = 1
checkbattery = 0
checksignal = 0
multiparttimeout = 5
`, dir, opt.Incoming, opt.Outgoing, filepath.Join(dir, "sent"), filepath.Join(dir, "failed"), inbox, dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return conf
}

func newGammu(t *testing.T, opt *Options, inbox string) *gammuPeer {
	t.Helper()
	path := program(t, "gammu-smsd", "gammu-smsd")
	opt.Settle = time.Second // it writes the parts of a long text one after the other
	conf := gammuConf(t, opt, inbox)
	dir := filepath.Dir(opt.Outgoing)
	run(t, filepath.Join(dir, "gammu.out"), "/usr/bin/env", "LC_ALL=C", path, "-c", conf)
	return &gammuPeer{t: t, opt: *opt, dir: dir}
}

// Do knows one order: the dummy phone takes everything.
func (p *gammuPeer) Do(o smstest.Order) {
	if o.Fate == smstest.Refuse {
		gone(p.t, p.opt)
	}
}

// Taken are the files that gammu-smsd has sent.
func (p *gammuPeer) Taken() (taken []sms.Message) {
	entries, _ := os.ReadDir(filepath.Join(p.dir, "sent"))
	type file struct {
		at int64
		m  sms.Message
	}
	var all []file
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(p.dir, "sent", e.Name()))
		info, err2 := e.Info()
		if err != nil || err2 != nil {
			continue
		}
		body, number, _, err := backup(b)
		if err != nil {
			p.t.Error(err)
		}
		all = append(all, file{changed(info).UnixNano(), sms.Message{To: number, Body: body}})
	}
	slices.SortFunc(all, func(a, b file) int { return int(a.at - b.at) })
	for _, f := range all {
		taken = append(taken, f.m)
	}
	return taken
}

// Reply lays a text into the phone, in parts if it is long.
func (p *gammuPeer) Reply(_ context.Context, m sms.Inbound) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, content := gammuFile(sms.Message{ID: m.ID, To: m.From, Body: m.Body}, false)
	text := strings.NewReplacer("PDU = Submit", "PDU = Deliver", "State = UnSent", "State = UnRead").Replace(string(content))
	for part := range strings.SplitSeq(text, "\n\n") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		p.n++
		part = "[SMSBackup000]" + part[len("[SMSBackup000]"):] + "\n"
		name := filepath.Join(p.dir, "phone/sms/1", fmt.Sprint(p.n))
		if err := os.WriteFile(name+".new", []byte(part), 0o660); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
	}
	return nil
}

// The suite of all transports, on a real gammu-smsd.
func TestGammuSuite(t *testing.T) {
	t.Parallel()
	program(t, "gammu-smsd", "gammu-smsd")
	smstest.Run(t, smstest.Harness{
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			opt := folders(t, Gammu)
			opt.Sent, opt.Failed = "", "" // sent and failed is all that this kind tells: see TestGammuFates
			p := newGammu(t, &opt, "detail")
			return open(t, opt), p
		},
		Refusals: []sms.Class{sms.Misconfigured},
		Again:    smstest.ByItself, // the file stays where it is
	})
}

// Each way in which gammu-smsd writes what it receives.
func TestGammuInbox(t *testing.T) {
	for _, format := range []string{"unicode", "standard"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			opt := folders(t, Gammu)
			p := newGammu(t, &opt, format)
			in := &box{}
			begin(t, open(t, opt), in)
			words := []string{"Grüße 5€", "STOP", strings.Repeat("long answer ", 25) + "end"}
			if format == "standard" {
				words = words[1:] // the locale of this one is C
			}
			for i, body := range words {
				if err := p.Reply(t.Context(), sms.Inbound{ID: fmt.Sprint("mo", i), From: to, Body: body}); err != nil {
					t.Fatal(err)
				}
				wait(t, body, func() bool { in.mu.Lock(); defer in.mu.Unlock(); return len(in.inbound) == i+1 })
				if got := in.inbound[i]; got.Body != body || got.From != to || got.To != opt.Number || got.ID == "" {
					t.Errorf("got %+v, want %q", got, body)
				}
			}
			wait(t, "what was taken is removed", func() bool { left, _ := os.ReadDir(opt.Incoming); return len(left) == 0 })
		})
	}
}

// What was sent and what could not be is told, once, and a repeat is not sent.
func TestGammuFates(t *testing.T) {
	t.Parallel()
	opt := folders(t, Gammu)
	newGammu(t, &opt, "detail")
	in := &box{}
	tr := open(t, opt)
	stop := begin(t, tr, in)
	if _, err := tr.Submit(t.Context(), text("job-1", "hello")); err != nil {
		t.Fatal(err)
	}
	wait(t, "sent", func() bool {
		return in.last() == sms.DeliveryReceipt{ProviderID: "job-1", MessageID: "job-1", Delivery: sms.EnRoute, Code: "sent", At: in.last().At}
	})
	stop()
	tr = open(t, opt)
	begin(t, tr, in)
	if _, err := tr.Submit(t.Context(), text("job-1", "hello")); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(opt.Outgoing); len(left) != 0 {
		t.Errorf("handed over twice: %v", left)
	}
	// gammu-smsd lays what it gives up into the error directory under its name.
	if _, err := tr.Submit(t.Context(), text("job-2", "hello")); err != nil {
		t.Fatal(err)
	}
	wait(t, "sent too", func() bool { return in.last().MessageID == "job-2" })
	files, _ := filepath.Glob(filepath.Join(opt.Sent, "*_job-2.smsbackup"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	if err := os.Rename(files[0], filepath.Join(opt.Failed, filepath.Base(files[0]))); err != nil {
		t.Fatal(err)
	}
	wait(t, "failed", func() bool { r := in.last(); return r.Delivery == sms.Undelivered && r.Class == sms.Rejected })
}

// What we write is what gammu's own program writes for the same text.
func TestGammuFile(t *testing.T) {
	path := program(t, "gammu-smsd-inject", "gammu-smsd")
	opt := folders(t, Gammu)
	conf := gammuConf(t, &opt, "detail")
	for _, body := range []string{"plain", "5€ [ok] Grüße", "Don’t 😀", strings.Repeat("0123456789", 20), strings.Repeat("до свидания ", 9)} {
		args := []string{"-c", conf, "TEXT", to, "-len", "1000", "-report", "-text", body}
		if _, encoding := gsm7.Segments(body); encoding != "GSM-7" {
			args = append(args, "-unicode")
		}
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		files, _ := filepath.Glob(filepath.Join(opt.Outgoing, "OUT*"))
		if len(files) != 1 {
			t.Fatal(files)
		}
		theirs, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(files[0])
		_, ours := gammuFile(text("a", body), true)
		if got, want := keys(string(ours)), keys(string(theirs)); !slices.Equal(got, want) {
			t.Errorf("%q: ours\n%s\ntheirs\n%s", body, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		words, number, _, err := backup(theirs)
		if err != nil || words != body || number != to {
			t.Errorf("%q: theirs reads as %q to %s: %v", body, words, number, err)
		}
	}
}

// keys are the lines of a backup file that decide what is sent: not the times,
// names and the reference in the header.
func keys(s string) (out []string) {
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		for _, k := range []string{"[", "PDU", "Number", "UDH", "Text", "Coding", "Length", "Class"} {
			if strings.HasPrefix(line, k) && !strings.HasPrefix(line, "NameU") {
				if k == "UDH" {
					line = line[:len("UDH = 050003")] + "xx" + line[len("UDH = 050003xx"):]
				}
				out = append(out, line)
			}
		}
	}
	return out
}

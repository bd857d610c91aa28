package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"textback/sms"
)

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o660); err != nil {
		t.Fatal(err)
	}
}

func placedFiles(t *testing.T, opt Options) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(opt.Outgoing)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Wherever a process ends in the middle of Submit, the next one hands the text
// over once, or knows that it was.
func TestCrash(t *testing.T) {
	const id = "job-1"
	for name, c := range map[string]struct {
		before func(opt Options)
		want   int // files that the repeat puts into their place
	}{
		"before anything": {func(Options) {}, 1},
		"while writing aside": {func(opt Options) {
			put(t, filepath.Join(opt.Outgoing, aside(id)), "To: 12")
		}, 1},
		"before it is noted": {func(opt Options) {
			put(t, filepath.Join(opt.Outgoing, aside(id)), string(smstoolsFile(text(id, "x"), false)))
			put(t, opt.StateFile, `{"id":"job-1","sta`)
		}, 1},
		"before it is in its place": {func(opt Options) {
			put(t, filepath.Join(opt.Outgoing, aside(id)), string(smstoolsFile(text(id, "x"), false)))
			put(t, opt.StateFile, `{"id":"job-1","state":"placed","at":"`+time.Now().UTC().Format(time.RFC3339)+`"}`+"\n")
		}, 1},
		"after that": {func(opt Options) {
			put(t, opt.StateFile, `{"id":"job-1","state":"placed","at":"`+time.Now().UTC().Format(time.RFC3339)+`"}`) // its end was lost
		}, 0},
		"after it was sent": {func(opt Options) {
			put(t, opt.StateFile, `{"id":"job-1","state":"sent","at":"`+time.Now().UTC().Format(time.RFC3339)+`"}`+"\n")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			opt := folders(t, Smstools)
			c.before(opt)
			tr := open(t, opt)
			stop := begin(t, tr, &box{})
			for range 2 {
				if r, err := tr.Submit(t.Context(), text(id, "x")); err != nil || r.ProviderID != id {
					t.Fatal(r, err)
				}
			}
			if got := placedFiles(t, opt); len(got) != c.want || c.want == 1 && got[0] != "textback-job-1" {
				t.Errorf("in the outgoing directory: %v", got)
			}
			if _, err := openLedger(opt.StateFile); err == nil {
				t.Error("two have the state file open")
			}
			stop()
			again, err := openLedger(opt.StateFile) // what was noted can be read by the next one
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := again.get(id); !ok || e.State == "" {
				t.Errorf("not noted: %+v", e)
			}
			_ = again.close()
		})
	}
}

func TestSubmitErrors(t *testing.T) {
	opt := folders(t, Smstools)
	tr := open(t, opt)
	if _, err := tr.Submit(t.Context(), text("job-1", "x")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("before it runs: %v", err)
	}
	stop := begin(t, tr, &box{})
	for name, c := range map[string]struct {
		m    sms.Message
		want sms.Class
	}{
		"a path":      {text("../x", "x"), sms.Rejected},
		"no id":       {text("", "x"), sms.Rejected},
		"no number":   {sms.Message{ID: "a", To: "12", Body: "x"}, sms.Invalid},
		"a header":    {sms.Message{ID: "a", To: "+1202555\nX: 1", Body: "x"}, sms.Invalid},
		"well-formed": {text("ok", "x"), ""},
	} {
		if _, err := tr.Submit(t.Context(), c.m); err != nil && sms.ClassOf(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.RemoveAll(opt.Outgoing); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Submit(t.Context(), text("job-2", "x")); sms.ClassOf(err) != sms.Misconfigured || strings.Contains(err.Error(), opt.Outgoing) {
		t.Errorf("without the directory: %v", err)
	}
	stop()
	if _, err := tr.Submit(t.Context(), text("job-1", "x")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("after it ran: %v", err)
	}
	for _, bad := range []Options{{}, {Kind: "fax", Outgoing: "x", StateFile: "y"}, {Kind: Gammu, StateFile: "y"}, {Kind: Gammu, Outgoing: "x"}} {
		if _, err := Open(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// The file's name is on disk before the note is: after a power failure a note without the file
// would say that the daemon has had it.
func TestNameIsSyncedBeforeTheNote(t *testing.T) {
	opt := folders(t, Smstools)
	tr := open(t, opt)
	var broken error
	var noted []bool // at each sync
	tr.sync = func(dir string) error {
		if dir != opt.Outgoing {
			t.Errorf("synced %s", dir)
		}
		_, ok := tr.ledger.get("job-1")
		noted = append(noted, ok)
		return broken
	}
	defer begin(t, tr, &box{})()
	broken = errors.New("input/output error")
	if _, err := tr.Submit(t.Context(), text("job-1", "x")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(opt.Outgoing); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	broken = nil
	if _, err := tr.Submit(t.Context(), text("job-1", "x")); err != nil {
		t.Error(err)
	}
	if want := []bool{false, false, true}; !slices.Equal(noted, want) {
		t.Errorf("noted %v, want %v", noted, want)
	}
	broken = syscall.EINVAL
	if _, err := tr.Submit(t.Context(), text("job-2", "x")); err != nil {
		t.Errorf("on a file system that cannot: %v", err)
	}
}

// A body cannot become a header: those end at the first empty line.
func TestBodyIsNoHeader(t *testing.T) {
	h, body := header(smstoolsFile(text("a", "\nTo: 4912345678\n\nx"), false))
	if h["To"] != "12025550143" || string(body) != "\nTo: 4912345678\n\nx" {
		t.Errorf("%v %q", h, body)
	}
}

func TestUnbroken(t *testing.T) {
	for n := range 300 {
		s := strings.Repeat("я", n) + strings.Repeat("😀", 80)
		got := unbroken(s)
		units := utf16.Encode([]rune(got))
		for i := perPart; i < len(units) && len(units) > 70; i += perPart {
			if units[i] >= 0xDC00 && units[i] < 0xE000 {
				t.Fatalf("%d letters: cut in two at %d", n, i)
			}
		}
		if strings.ReplaceAll(got, "\u200b", "") != s {
			t.Fatalf("%d letters: %q", n, got)
		}
	}
	if s := strings.Repeat("я", 68) + "😀"; unbroken(s) != s {
		t.Error("a text in one part is changed")
	}
}

// A file that is being written is not read, one that cannot be stored stays, one
// that cannot be read stays too.
func TestIncoming(t *testing.T) {
	opt := folders(t, Smstools)
	opt.Settle = 1500 * time.Millisecond
	in := &box{refuse: errors.New("full")}
	begin(t, open(t, opt), in)
	half := filepath.Join(opt.Incoming, "GSM1.half")
	put(t, half, "From: 12025550143\n")
	f, err := os.OpenFile(half, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 20 { // longer than Settle, never quiet for as long
		time.Sleep(100 * time.Millisecond)
		fmt.Fprintf(f, "X%d: x\n", i)
	}
	fmt.Fprint(f, "From_TOA: 91 international, ISDN/telephone\nAlphabet: ISO\n\nwhole")
	put(t, filepath.Join(opt.Incoming, "GSM1.bad"), "no text\n")
	put(t, filepath.Join(opt.Incoming, "GSM1.lock.LOCK"), "From: 1\n\nx")
	wait(t, "offered, and again", func() bool { in.mu.Lock(); defer in.mu.Unlock(); return len(in.tried) > 1 })
	if _, err := os.Stat(half); err != nil {
		t.Fatal("what could not be stored is gone")
	}
	in.mu.Lock()
	in.refuse = nil
	in.mu.Unlock()
	wait(t, "read", func() bool { _, err := os.Stat(half); return errors.Is(err, fs.ErrNotExist) })
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.inbound) != 1 || in.inbound[0].Body != "whole" || in.inbound[0].From != to {
		t.Errorf("got %+v", in.inbound)
	}
	for _, body := range in.tried {
		if body != "whole" {
			t.Errorf("read half: %q", body)
		}
	}
	if left, _ := os.ReadDir(opt.Incoming); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

// What stays in the outgoing directory is taken back; its fate is told until it is stored.
func TestTakenBack(t *testing.T) {
	for _, kind := range []Kind{Smstools, Gammu} {
		opt := folders(t, kind)
		opt.Expire = 300 * time.Millisecond
		in := &box{refuse: errors.New("full")}
		tr := open(t, opt)
		begin(t, tr, in)
		put(t, filepath.Join(opt.Outgoing, "somebody-elses"), "To: 1\n\nx")
		if _, err := tr.Submit(t.Context(), text("job-1", "x")); err != nil {
			t.Fatal(err)
		}
		name, _ := tr.render(text("job-1", "x"))
		wait(t, "out of its place", func() bool {
			if kind == Gammu {
				found, _ := filepath.Glob(filepath.Join(opt.Outgoing, "OUT*"))
				return len(found) == 0
			}
			_, err := os.Stat(filepath.Join(opt.Outgoing, name))
			return errors.Is(err, fs.ErrNotExist)
		})
		in.mu.Lock()
		in.refuse = nil
		in.mu.Unlock()
		wait(t, "told", func() bool { return in.last().MessageID == "job-1" })
		wait(t, "gone", func() bool { return len(placedFiles(t, opt)) == 1 })
		if r := in.last(); r.Delivery != sms.Undelivered || r.Class != sms.Transient {
			t.Errorf("%+v", r)
		}
		if _, err := tr.Submit(t.Context(), text("job-1", "x")); sms.ClassOf(err) != sms.Transient {
			t.Errorf("a repeat: %v", err)
		}
	}
}

func TestCheck(t *testing.T) {
	opt := folders(t, Smstools)
	if err := Check(opt); err != nil {
		t.Errorf("all is well, but: %v", err)
	}
	put(t, filepath.Join(filepath.Dir(opt.Sent), "file"), "")
	opt.Sent = filepath.Join(filepath.Dir(opt.Sent), "file")
	opt.Incoming += "-none"
	err := Check(opt)
	if err == nil || !strings.Contains(err.Error(), "sent directory "+opt.Sent+": it is no directory") || !strings.Contains(err.Error(), "incoming directory "+opt.Incoming+": there is none") {
		t.Errorf("got %v", err)
	}
}

func TestLedgerShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.jsonl")
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, `{"id":"old-%d","state":"sent","at":"2020-01-01T00:00:00Z"}`+"\n", i)
	}
	fmt.Fprintf(&b, `{"id":"new","state":"sent","at":%q,"ref":"7","to":%q}`+"\n", time.Now().UTC().Format(time.RFC3339), blind("new", to))
	put(t, path, b.String())
	for range 2 {
		l, err := openLedger(path)
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := l.byRef("7", to); !ok || e.ID != "new" || len(l.all) != 1 {
			t.Errorf("%+v of %d", e, len(l.all))
		}
		_ = l.close()
	}
	if info, _ := os.Stat(path); info.Size() > 200 {
		t.Errorf("%d bytes", info.Size())
	}
}

func FuzzReceived(f *testing.F) {
	f.Add("GSM1.x", []byte("From: 12025550143\nFrom_TOA: 91 international\nAlphabet: UCS2\n\n\x00a\xd8"))
	f.Add("GSM1.x", []byte("From: 1\n\nSMS STATUS REPORT\nMessage_id: 1\nStatus: 0,Ok\n"))
	f.Add("IN20261125_235510_00_+12025550143_00.txt", []byte("[SMSBackup000]\nUDH = 050003010201\nText00 = 0041\n"))
	f.Add("IN20261125_235510_00_+12025550143_00.txt", []byte("\xfe\xff\x00a"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		for _, opt := range []Options{{Kind: Smstools, Region: "US"}, {Kind: Gammu, Region: "US"}} {
			var got received
			var err error
			if opt.Kind == Gammu {
				got, err = readGammu(name, [][]byte{b, b}, &opt)
			} else {
				got, err = readSmstools(b, &opt)
			}
			if err == nil && got.inbound != nil && !utf8.ValidString(got.inbound.Body) {
				t.Errorf("%q is not UTF-8", got.inbound.Body)
			}
			if got.report != nil {
				_, _, _, _ = got.report.delivery()
			}
		}
	})
}

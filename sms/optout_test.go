package sms

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx/bus"
	"textback/rules/gsm7"
)

// Either of stream and copy may be lost: who has said stop stays out.
func TestOptOutsSurvive(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	numbers := []string{sarah, bob, "+12025550145", "+12025550146"}
	for i, n := range numbers {
		if err := o.out.Set(o.ctx(), n, true, []string{ByAdmin, ByKeyword, ByCarrier, ByImport}[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.out.Set(o.ctx(), numbers[3], false, ByAdmin); err != nil {
		t.Fatal(err)
	}
	check := func(what string, o *office) {
		t.Helper()
		for i, n := range numbers {
			if out, err := o.out.Out(o.ctx(), n); err != nil || out != (i < 3) {
				t.Errorf("%s: %s is out: %v %v", what, n, out, err)
			}
		}
		if n, err := o.out.Count(o.ctx()); err != nil || n != 3 {
			t.Errorf("%s: %d %v", what, n, err)
		}
	}
	check("at first", o)
	for what, ruin := range map[string]func() error{
		"the copy is gone":         func() error { return os.Remove(filepath.Join(dir, "optouts.jsonl")) },
		"NATS has lost everything": func() error { return os.RemoveAll(filepath.Join(dir, "nats", "jetstream")) },
		"the copy's last line is torn": func() error {
			f, err := os.OpenFile(filepath.Join(dir, "optouts.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString(`{"key":"abc","ou`)
			return err
		},
	} {
		o.close()
		if err := ruin(); err != nil {
			t.Fatal(what, err)
		}
		o = open(t, dir)
		check(what, o)
		o.close()
		o = open(t, dir)
		check(what+", once more", o)
	}
}

// The daemon and the command line write the copy at once; no line is lost.
func TestOptOutCopyHasManyWriters(t *testing.T) {
	o := open(t, t.TempDir())
	var wg sync.WaitGroup
	var outs []*OptOuts
	for range 4 {
		out, err := OpenOptOuts(o.ctx(), o.nc, o.key, o.dir)
		if err != nil {
			t.Fatal(err)
		}
		outs = append(outs, out)
	}
	for w, out := range outs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 25 {
				if err := out.Set(context.Background(), fmt.Sprintf("+1202555%d1%02d", w, i), true, ByAdmin); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	b, err := os.ReadFile(filepath.Join(o.dir, "optouts.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n != 100 {
		t.Errorf("%d lines of 100", n)
	}
	if m, err := o.out.load(); err != nil || len(m) != 100 {
		t.Errorf("%d %v", len(m), err)
	}
}

// What root's command line writes stays the daemon's, which has a user of its own.
func TestOptOutCopyKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files that are not the daemon's")
	}
	const daemon = 54321
	o := open(t, t.TempDir())
	if err := os.Chown(o.dir, daemon, daemon); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.dir, optOutsFile)
	writes := func() error { // as the daemon, without root's rights
		cmd := exec.Command("sh", "-c", `exec 9<>"$0"`, optOutsFile)
		cmd.Dir = o.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: daemon, Gid: daemon}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	if err := os.Chmod(filepath.Dir(o.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if writes() == nil {
		t.Fatal("the test shows nothing: the file is the daemon's before")
	}
	for what, do := range map[string]func() error{
		"the list is opened": func() error { _, err := OpenOptOuts(o.ctx(), o.nc, o.key, o.dir); return err },
		"a number is added to a file of root's": func() error {
			return errors.Join(os.Chown(path, 0, 0), o.out.Set(o.ctx(), sarah, true, ByAdmin))
		},
		"a number is added where there is no file": func() error {
			return errors.Join(os.Remove(path), o.out.Set(o.ctx(), bob, true, ByAdmin))
		},
	} {
		if err := errors.Join(do(), writes()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The daemon's user must not be given root's files by a link.
	elsewhere := filepath.Join(t.TempDir(), "shadow")
	for what, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
		if err := errors.Join(os.WriteFile(elsewhere, nil, 0o600), os.RemoveAll(path), link(elsewhere, path)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenOptOuts(o.ctx(), o.nc, o.key, o.dir); err == nil {
			t.Errorf("a %s link was followed", what)
		}
		if info, err := os.Stat(elsewhere); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("a %s link gave the daemon's user another file", what)
		}
	}
}

func TestOptOutNumbers(t *testing.T) {
	o := open(t, t.TempDir())
	if err := o.out.Set(o.ctx(), sarah, true, ByAdmin); err != nil {
		t.Fatal(err)
	}
	o.out.KeepNumbers()
	if err := o.out.Set(o.ctx(), bob, true, ByAdmin); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := o.out.Each(o.ctx(), func(x OptOut) { got[x.Key] = x.Number }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[o.key.Caller(sarah)] != "" || got[o.key.Caller(bob)] != bob {
		t.Errorf("%v", got)
	}
}

// START and STOP in any order of arrival, offered any number of times: who said
// stop last, or at the same time, is out.
func TestOptOutOrder(t *testing.T) {
	o := open(t, t.TempDir())
	at := func(minute int) time.Time { return time.Date(2026, 11, 23, 12, minute, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		says string // s<minute> or b<minute> (back), in the order of arrival
		out  bool
	}{
		"stop":                     {"s1", true},
		"stop, start":              {"s1 b2", false},
		"start that is older":      {"s2 b1", true},
		"at the same time":         {"s1 b1", true},
		"stop, start, stop":        {"s1 b2 s3", true},
		"two stops, start between": {"s1 s3 b2", true},
		"two stops, start after":   {"s1 s3 b4", false},
		"start alone":              {"b1", false},
		"an old stop comes late":   {"s2 b3 s1", true},
	} {
		key := o.key.hash("case", name)[:20]
		for i, say := range strings.Fields(c.says) {
			var minute int
			fmt.Sscanf(say[1:], "%d", &minute)
			x := OptOut{Key: key, At: time.Now().UTC(), Source: ByKeyword, By: fmt.Sprint(name, i), Said: at(minute)}
			for range 2 {
				var err error
				if say[0] == 's' {
					x.Out = true
					_, err = o.out.stop(o.ctx(), x)
				} else {
					_, err = o.out.start(o.ctx(), x)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if out, err := o.out.out(o.ctx(), key); err != nil || out != c.out {
			t.Errorf("%s: out %v, %v", name, out, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	for k, texts := range DefaultAnswers() {
		for _, lang := range Languages() {
			if texts[lang] == "" {
				t.Errorf("no answer to %s in %s", k, lang)
				continue
			}
			if bad := (Answers{}).Check(texts[lang]); bad != "" {
				t.Errorf("%s in %s: %s", k, lang, bad)
			}
			s, err := Answers(nil).Text(k, lang, "en", "Miller & Sons Dental of Springfield", "+1 212 555 0100")
			if err != nil {
				t.Fatal(err)
			}
			if n, enc := gsm7.Segments(gsm7.Normalize(s)); n != 1 || enc != "GSM-7" {
				r, _ := gsm7.Foreign(gsm7.Normalize(s))
				t.Errorf("%s in %s takes %d segments in %s (%q): %s", k, lang, n, enc, r, s)
			}
		}
	}
	own := Answers{Stop: {"en": "{{.Business}}: bye", "es": "{{.Business}}: adiós"}}
	for lang, want := range map[string]string{"en": "Miller: bye", "es": "Miller: adiós", "xx": "Miller: bye", "": "Miller: bye"} {
		if got, err := own.Text(Stop, lang, "en", "Miller", ""); err != nil || got != want {
			t.Errorf("%s: %q %v", lang, got, err)
		}
	}
	for _, bad := range []string{"", " ", "{{.Caller}} bye {{.Business}}", "you are out"} {
		if own.Check(bad) == "" {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestWayIn(t *testing.T) {
	for name, c := range map[string]struct {
		traits  Traits
		regions []string
		handled string
		ok      bool
	}{
		"none, US":            {Traits{Replies: NoReplies}, []string{"US"}, "", false},
		"not said, DE among":  {Traits{}, []string{"BR", "DE"}, "", false},
		"by webhook":          {Traits{Replies: ByWebhook}, []string{"US"}, "", true},
		"none, but handled":   {Traits{Replies: NoReplies}, []string{"US"}, "the carrier", true},
		"handled by nobody":   {Traits{Replies: NoReplies}, []string{"US"}, "  ", false},
		"none, nowhere bound": {Traits{Replies: NoReplies}, []string{"BR"}, "", true},
	} {
		if err := CheckWayIn("x", c.traits, c.regions, c.handled); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The list is read whole, and each number's last word alone, however long it is.
func TestLongListOfOptOuts(t *testing.T) {
	o := open(t, t.TempDir())
	const n = 700
	number := func(i int) string { return fmt.Sprintf("+1202555%04d", i) }
	for i := range n {
		if err := o.out.declare(o.ctx(), OptOut{Key: o.key.Caller(number(i)), Out: true, At: time.Now(), Source: ByAdmin}, anySeq); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{3, n - 1} {
		if err := o.out.declare(o.ctx(), OptOut{Key: o.key.Caller(number(i)), At: time.Now(), Source: ByAdmin}, anySeq); err != nil {
			t.Fatal(err)
		}
	}
	all, out := 0, 0
	if err := o.out.Each(o.ctx(), func(x OptOut) {
		if all++; x.Out {
			out++
		}
	}); err != nil || all != n || out != n-2 {
		t.Errorf("%d, %d of them out: %v", all, out, err)
	}
	// NATS goes away in the middle: that is not the end of the list.
	nc, read := o.connect(bus.Sender), 0
	err := bus.Each(o.ctx(), nc, OptOutStream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{optOutPrefix + "*"}}, func(jetstream.Msg, uint64) (bool, error) {
		if read++; read == 1 {
			nc.Close()
		}
		return true, nil
	})
	if err == nil || read > n {
		t.Errorf("%d read: %v", read, err)
	}
}

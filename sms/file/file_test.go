package file

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"textback/sms"
)

var (
	_ interface {
		sms.Transport
		sms.Idempotent
	} = (*Transport)(nil)
	_ interface {
		sms.Transport
		sms.Idempotent
	} = Log{}
)

func message(id string) sms.Message {
	return sms.Message{ID: id, From: "+12125550100", To: "+12025550143", Body: "Hi Sarah & co,\n<sorry> \u2028 😀 " + id}
}

func open(t *testing.T, path string) *Transport {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func submit(t *testing.T, f *Transport, id string) {
	t.Helper()
	r, err := f.Submit(t.Context(), message(id))
	if err != nil || r.ProviderID != id || r.Status != "written" {
		t.Fatalf("submit %s: got %+v, %v", id, r, err)
	}
}

// texts reads the file strictly: every line whole, every line a Text.
func texts(t *testing.T, path string) (ids []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		t.Errorf("the last line is torn: %q", b)
	}
	for line := range strings.Lines(string(b)) {
		var x Text
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if m := message(x.ID); x.From != m.From || x.To != m.To || x.Body != m.Body {
			t.Errorf("got %+v, want %+v", x, m)
		}
		ids = append(ids, x.ID)
	}
	return ids
}

func want(t *testing.T, path string, ids ...string) {
	t.Helper()
	if got := texts(t, path); fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("got %v, want %v", got, ids)
	}
}

func TestSubmit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	f.now = func() time.Time {
		return time.Date(2026, 11, 23, 12, 17, 40, 123456789, time.FixedZone("CET", 3600))
	}
	submit(t, f, "a")
	b, _ := os.ReadFile(path)
	const line = `{"id":"a","time":"2026-11-23T11:17:40.123Z","from":"+12125550100","to":"+12025550143","body":"Hi Sarah & co,\n<sorry> \u2028 😀 a"}` + "\n"
	if string(b) != line {
		t.Errorf("got %s\nwant %s", b, line)
	}
	submit(t, f, "b")
	submit(t, f, "a")
	want(t, path, "a", "b")
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}

	if _, err := f.Submit(t.Context(), sms.Message{To: "+12025550143"}); sms.ClassOf(err) != sms.Rejected {
		t.Errorf("without an id: got %v", err)
	}
	f.Close()
	if _, err := f.Submit(t.Context(), message("c")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("closed: got %v", err)
	}
	want(t, path, "a", "b")
}

func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	submit(t, f, "a")
	f.Close()
	f = open(t, path)
	submit(t, f, "a")
	submit(t, f, "b")
	want(t, path, "a", "b")
}

// Wherever a crash tears the last line, asking again writes it exactly once
// and the lines before it stay.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	submit(t, f, "a")
	first := f.size
	submit(t, f, "b")
	f.Close()
	whole, _ := os.ReadFile(path)
	for cut := first; cut <= int64(len(whole)); cut++ {
		os.WriteFile(path, whole[:cut], 0o600)
		f := open(t, path)
		submit(t, f, "a")
		submit(t, f, "b")
		submit(t, f, "c")
		f.Close()
		want(t, path, "a", "b", "c")
	}
}

func TestSpoiledLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	submit(t, f, "a")
	f.Close()
	b, _ := os.ReadFile(path)
	os.WriteFile(path, append([]byte("# a note of mine\n\n"), b...), 0o600)
	f = open(t, path)
	submit(t, f, "a")
	submit(t, f, "b")
	b, _ = os.ReadFile(path)
	if n := bytes.Count(b, []byte("\n")); n != 4 || !bytes.HasPrefix(b, []byte("# a note")) {
		t.Errorf("got %s", b)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	f.Close()
	open(t, path)
}

func TestMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	submit(t, f, "a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	submit(t, f, "b")
	submit(t, f, "a") // known from the file that was moved
	want(t, path+".1", "a")
	want(t, path, "b")
}

func TestConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if _, err := f.Submit(t.Context(), message(fmt.Sprint(i%20))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := texts(t, path); len(got) != 20 {
		t.Errorf("%d texts, want 20: %v", len(got), got)
	}
}

// A full disk refuses the text, leaves no torn line, and is got over.
func TestDiskFull(t *testing.T) {
	if os.Getenv("TEXTBACK_DISK_FULL") == "" {
		// The limit binds the whole process, so it is set in one of its own.
		cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
		cmd.Env = append(os.Environ(), "TEXTBACK_DISK_FULL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	f := open(t, path)
	submit(t, f, "a")
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: uint64(f.size) + 10, Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	_, err := f.Submit(t.Context(), message("b"))
	var e *sms.Error
	if !errors.As(err, &e) || e.Class != sms.Transient || !errors.Is(err, syscall.EFBIG) {
		t.Errorf("got %v, want Transient for EFBIG", err)
	}
	if err != nil && strings.Contains(err.Error(), "Sarah") {
		t.Errorf("the error holds the text: %v", err)
	}
	want(t, path, "a")
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	submit(t, f, "b")
	want(t, path, "a", "b")
}

// kill -9 in the middle of writing, again and again: no text is lost once
// acknowledged, none is there twice, no line is torn.
func TestKilled(t *testing.T) {
	if path := os.Getenv("TEXTBACK_KILLED"); path != "" {
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1_000_000 {
			id := fmt.Sprint("k", i)
			if _, err := f.Submit(t.Context(), message(id)); err != nil {
				t.Fatal(err)
			}
			fmt.Println("acknowledged", id)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "texts.jsonl")
	acknowledged := 0
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "TEXTBACK_KILLED="+path)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		n, said := 0, bufio.NewScanner(out)
		for said.Scan() {
			if strings.HasPrefix(said.Text(), "acknowledged") {
				if n++; n == 10+37*round {
					cmd.Process.Kill() // while it writes on
				}
			}
		}
		cmd.Wait()
		acknowledged = max(acknowledged, n)
	}
	f := open(t, path)
	f.Close()
	got := texts(t, path)
	if len(got) < acknowledged || acknowledged == 0 {
		t.Errorf("%d texts, %d were acknowledged", len(got), acknowledged)
	}
	for i, id := range got {
		if id != fmt.Sprint("k", i) {
			t.Fatalf("line %d is %s", i+1, id)
		}
	}
}

func TestLog(t *testing.T) {
	for _, c := range []struct {
		show bool
		want string
	}{
		{false, `id=a from=+12*******00 to=+12*******43 text="Hi Sarah`},
		{true, `id=a from=+12125550100 to=+12025550143 text="Hi Sarah`},
	} {
		var b bytes.Buffer
		l := Log{Logger: slog.New(slog.NewTextHandler(&b, nil)), ShowNumbers: c.show}
		r, err := l.Submit(t.Context(), message("a"))
		if err != nil || r.Status != "logged" {
			t.Errorf("got %+v, %v", r, err)
		}
		if !strings.Contains(b.String(), c.want) {
			t.Errorf("got %s\nwant %s", b.String(), c.want)
		}
		if strings.Count(b.String(), "\n") != 1 {
			t.Errorf("more than one line: %s", b.String())
		}
	}
}

package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"textback/rules"
	"textback/rules/contacts"
)

const ann, bob = "+12025550143", "+12025550144"

func lookup(t *testing.T, opt LookupOptions) *Lookup {
	t.Helper()
	if opt.URL == "" {
		opt.URL = "http://crm.example/lookup?number={number}"
	}
	l, err := NewLookup(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// What real servers answer, and what is made of it.
func TestAnswers(t *testing.T) {
	var log bytes.Buffer
	for _, c := range []struct {
		name   string
		fields map[string]string
		answer func(w http.ResponseWriter, r *http.Request)
		want   *rules.Contact
		err    string
	}{
		{"by our names", nil, body(`{"name":"Ann Lee","first_name":"Ann","language":"es-MX","groups":["patients","VIP"],"do_not_text":false,"blocked":0}`),
			&rules.Contact{Name: "Ann Lee", FirstName: "Ann", Language: "es", Groups: []string{"patients", "VIP"}, VIP: true}, ""},
		{"by theirs", map[string]string{"name": "results.0.properties.display", "groups": "results.0.tags", "do_not_text": "results.0.properties.sms_opt_out", "blocked": "results.0.nothing"},
			body(`{"results":[{"properties":{"display":"Ann\u0000\n Lee","sms_opt_out":"2026-01-02"},"tags":"a; b"}]}`),
			&rules.Contact{Name: "Ann Lee", Groups: []string{"a", "b"}, DoNotText: true}, ""},
		{"a list", map[string]string{"name": "0.name"}, body(`[{"name":"Ann Lee"}]`), &rules.Contact{Name: "Ann Lee"}, ""},
		{"an empty list", map[string]string{"name": "0.name"}, body(`[]`), nil, ""},
		{"nulls", nil, body(`{"name":null,"do_not_text":null}`), nil, ""},
		{"only a flag", nil, body(`{"do_not_text":true}`), &rules.Contact{DoNotText: true}, ""},
		{"not found", nil, code(404), nil, ""},
		{"no content", nil, code(204), nil, ""},
		{"not JSON", nil, body(`<html>`), nil, "the answer is not JSON"},
		{"empty", nil, body(``), nil, "the answer is not JSON"},
		{"unauthorized", nil, code(401), nil, "HTTP 401 Unauthorized"},
		{"broken", nil, code(503), nil, "HTTP 503 Service Unavailable"},
		{"elsewhere", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, nil, "HTTP 302 Found"},
		{"endless", nil, body(`"` + strings.Repeat("x", maxAnswer) + `"`), nil, "the answer is longer than 256 KB"},
		{"cut off", nil, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, nil, "the connection broke, or what answers does not speak HTTP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery != "n=%2B12025550143&d=12025550143" || r.Header.Get("Authorization") != "Bearer hush" || r.Header.Get("Accept") != "application/json" {
					t.Errorf("asked %s with %v", r.URL, r.Header)
				}
				c.answer(w, r)
			}))
			defer srv.Close()
			l := lookup(t, LookupOptions{URL: srv.URL + "/who?n={number}&d={digits}", Fields: c.fields, Headers: map[string]string{"Authorization": "Bearer hush"},
				Timeout: 10 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
			got, err := l.Contact(t.Context(), ann)
			if !reflect.DeepEqual(got, c.want) || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("got %+v, %v; want %+v, %s", got, err, c.want, c.err)
			}
			if found, err := l.Probe(t.Context(), ann); found != (c.want != nil) || (err == nil) != (c.err == "") {
				t.Errorf("probe: %v %v", found, err)
			}
		})
	}
	if s := log.String(); strings.Contains(s, "2025550143") || strings.Contains(s, "hush") || !strings.Contains(s, "HTTP 401") {
		t.Errorf("the log says\n%s", s)
	}
}

func body(s string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

func code(n int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
}

// What cannot be reached, is not trusted, or never answers is told in words of
// our own: net/http's would quote the URL with the number.
func TestUnreachable(t *testing.T) {
	hangs := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer slow.Close()
	defer close(hangs)
	secure := httptest.NewTLSServer(http.HandlerFunc(code(404)))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer secure.Close()
	plain := httptest.NewServer(http.HandlerFunc(code(404)))
	defer plain.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for url, want := range map[string]string{
		gone.URL:                          "it cannot be reached",
		secure.URL:                        "its certificate is not trusted",
		"https" + plain.URL[len("http"):]: "it does not speak TLS: use http://, or another port",
		slow.URL:                          "no answer within 200ms",
	} {
		opt := LookupOptions{URL: url + "/{number}", Timeout: 10 * time.Second}
		if url == slow.URL {
			opt.Timeout = 200 * time.Millisecond
		}
		if c, err := lookup(t, opt).Contact(t.Context(), ann); c != nil || err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v", want, c, err)
		}
	}
}

// A crm answers in a bubble of time, without a network.
type crm struct {
	takes time.Duration
	say   func(number string) (int, string)

	mu      sync.Mutex
	asked   []string
	at, top int
}

func (c *crm) RoundTrip(r *http.Request) (*http.Response, error) {
	n := r.URL.Query().Get("number")
	c.mu.Lock()
	c.asked = append(c.asked, n)
	c.at++
	c.top = max(c.top, c.at)
	takes, say := c.takes, c.say
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.at--
		c.mu.Unlock()
	}()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, text := say(n)
	if status == 0 {
		return nil, errors.New("broken")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func (c *crm) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

func (c *crm) set(status int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.say = func(string) (int, string) { return status, text }
}

func named(c *rules.Contact) string {
	if c == nil {
		return "nobody"
	}
	return c.Name
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crm{takes: 100 * time.Millisecond}
		c.set(200, `{"name":"Ann Lee"}`)
		var said []string
		l := lookup(t, LookupOptions{RoundTripper: c, Observe: func(s string) { said = append(said, s) }})
		want := func(what, name string, asked int, failed bool) {
			t.Helper()
			begin := time.Now()
			got, err := l.Contact(t.Context(), ann)
			took := time.Since(begin)
			if named(got) != name || (err != nil) != failed || said[len(said)-1] != what {
				t.Errorf("got %s, %v, %s", named(got), err, said[len(said)-1])
			}
			if waits := what == Asked || what == Failed; took > 800*time.Millisecond || !waits && took != 0 {
				t.Errorf("%s took %v", what, took)
			}
			synctest.Wait()
			if c.count() != asked {
				t.Errorf("asked %d times, want %d", c.count(), asked)
			}
		}
		want(Asked, "Ann Lee", 1, false)
		time.Sleep(59 * time.Minute)
		want(Cached, "Ann Lee", 1, false)
		c.set(200, `{"name":"Ann Ruiz"}`)
		time.Sleep(2 * time.Minute)
		want(Stale, "Ann Lee", 2, false) // the old one at once ...
		time.Sleep(time.Second)
		want(Cached, "Ann Ruiz", 2, false) // ... and the new one from then on
		time.Sleep(25 * time.Hour)         // too old to be used unasked
		c.set(404, "")
		want(Asked, "nobody", 3, false)
		time.Sleep(4 * time.Minute)
		want(Cached, "nobody", 3, false)
		c.set(200, `{"name":"Ann Lee"}`)
		time.Sleep(2 * time.Minute)
		want(Stale, "nobody", 4, false)
		time.Sleep(25 * time.Hour)
		c.set(500, "")
		want(Failed, "Ann Lee", 5, true) // the last good answer
		c.mu.Lock()
		c.takes = time.Hour
		c.mu.Unlock()
		want(Failed, "Ann Lee", 6, true)
	})
}

// However many want to know, it is asked once; however many numbers, a few at a time.
func TestOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crm{takes: 100 * time.Millisecond}
		c.set(200, `{"name":"Ann Lee"}`)
		l := lookup(t, LookupOptions{RoundTripper: c, MaxCached: 5})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got, err := l.Contact(t.Context(), ann); named(got) != "Ann Lee" {
					t.Errorf("%v %v", got, err)
				}
			})
		}
		wg.Wait()
		if c.count() != 1 {
			t.Errorf("asked %d times", c.count())
		}
		var answered atomic.Int32
		for i := range 200 {
			wg.Go(func() {
				got, err := l.Contact(t.Context(), fmt.Sprintf("+1202555%04d", 1000+i))
				if err == nil && got != nil {
					answered.Add(1)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second) // one that was asked as patience ended has its answer too
		synctest.Wait()
		// 4 at once, 100 ms each, 800 ms of patience.
		if n := answered.Load(); n < 28 || n > 32 || c.top != 4 {
			t.Errorf("%d answered, %d at once", n, c.top)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.cache) != 5 || l.recent.Len() != 5 || len(l.flights) != 0 || l.failures != 0 {
			t.Errorf("%d cached, %d in order, %d under way, %d failures", len(l.cache), l.recent.Len(), len(l.flights), l.failures)
		}
	})
}

// A dead CRM is left alone for a while, asked once after it, and trusted again
// as soon as it answers.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &crm{}
		c.set(0, "")
		l := lookup(t, LookupOptions{RoundTripper: c, Log: slog.New(slog.NewTextHandler(&log, nil))})
		n := 0
		ask := func() error {
			n++
			_, err := l.Contact(t.Context(), fmt.Sprintf("+1202555%04d", n))
			return err
		}
		for range 5 {
			_ = ask()
		}
		for _, pause := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute} {
			before := c.count()
			time.Sleep(pause - time.Second)
			if err := ask(); !errors.Is(err, errPaused) || c.count() != before {
				t.Fatalf("asked in a pause of %v: %v", pause, err)
			}
			time.Sleep(2 * time.Second)
			if err := ask(); err == nil || errors.Is(err, errPaused) || c.count() != before+1 {
				t.Fatalf("not asked after %v: %v", pause, err)
			}
		}
		c.set(404, "")
		time.Sleep(6 * time.Minute)
		for range 10 {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "answers again") {
			t.Errorf("each change should be logged once:\n%s", log.String())
		}
	})
}

// Who the lookup said is not to be texted stays so without it, over a restart too.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "refusals.jsonl")
		c := &crm{}
		opt := LookupOptions{RoundTripper: c, RefusalsFile: file, Hide: func(n string) string { return "h" + n[len(n)-2:] }}
		open := func() *Lookup { return lookup(t, opt) }
		l := open()
		c.set(200, `{"name":"Ann Lee","do_not_text":true}`)
		if got, err := l.Contact(t.Context(), ann); err != nil || !got.DoNotText {
			t.Fatal(got, err)
		}
		c.set(200, `{"name":"Bob","blocked":true}`)
		_, _ = l.Contact(t.Context(), bob)
		l.Close()
		b, _ := os.ReadFile(file)
		if s := string(b); s != "{\"caller\":\"h43\",\"do_not_text\":true}\n{\"caller\":\"h44\",\"blocked\":true}\n" {
			t.Errorf("the file holds %s", s)
		}
		// A crash cut the last line off.
		if err := os.WriteFile(file, append(b, `{"caller":"h4`...), 0o600); err != nil {
			t.Fatal(err)
		}
		l = open()
		c.set(500, "")
		if got, err := l.Contact(t.Context(), ann); err == nil || got == nil || !got.DoNotText || got.Blocked {
			t.Errorf("%+v %v", got, err)
		}
		if got, err := l.Contact(t.Context(), bob); err == nil || got == nil || !got.Blocked || got.DoNotText {
			t.Errorf("%+v %v", got, err)
		}
		if got, err := l.Contact(t.Context(), "+12025550199"); err == nil || got != nil {
			t.Errorf("%+v %v", got, err)
		}
		// She welcomes texts again.
		c.set(200, `{"name":"Ann Lee"}`)
		_, _ = l.Contact(t.Context(), ann)
		l.Close()
		l = open()
		c.set(500, "")
		if got, err := l.Contact(t.Context(), ann); err == nil || got != nil {
			t.Errorf("%+v %v", got, err)
		}
		l.Close()
		opt.SilenceForbids = true
		if got, err := open().Contact(t.Context(), ann); err == nil || got == nil || !got.DoNotText {
			t.Errorf("%+v %v", got, err)
		}
	})
	if _, err := NewLookup(LookupOptions{URL: "http://crm.example/{number}", RefusalsFile: "x"}); err == nil {
		t.Error("numbers would stand in a file")
	}
}

// Refusals that come and go do not fill the disk.
func TestRefusalsShrink(t *testing.T) {
	file := filepath.Join(t.TempDir(), "refusals.jsonl")
	same := func(s string) string { return s }
	r, err := openRefusals(file, same)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		if err := errors.Join(r.set(ann, &rules.Contact{DoNotText: true}), r.set(ann, &rules.Contact{DoNotText: true}), r.set(ann, nil)); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := r.set(bob, &rules.Contact{Blocked: true}); err != nil {
		t.Fatal(err)
	}
	r.close()
	for range 2 {
		if r, err = openRefusals(file, same); err != nil {
			t.Fatal(err)
		}
		if _, blocked := r.of(bob); !blocked {
			t.Error("forgotten")
		}
		r.close()
	}
	if b, _ := os.ReadFile(file); string(b) != `{"caller":"+12025550144","blocked":true}`+"\n" {
		t.Errorf("%s", b)
	}
}

// A full disk at the wrong time: what could not be written is written with the next answer,
// even if that says the same.
func TestRefusalsAfterAFailedWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "refusals.jsonl")
	same := func(s string) string { return s }
	r, err := openRefusals(file, same)
	if err != nil {
		t.Fatal(err)
	}
	r.f.Close() // every write fails
	if err := r.set(bob, &rules.Contact{DoNotText: true}); err == nil {
		t.Fatal("written to a closed file")
	}
	if err := errors.Join(r.set(bob, &rules.Contact{DoNotText: true}), r.set(ann, &rules.Contact{Blocked: true})); err != nil {
		t.Fatal(err)
	}
	r.close()
	if r, err = openRefusals(file, same); err != nil {
		t.Fatal(err)
	}
	defer r.close()
	doNotText, _ := r.of(bob)
	if _, blocked := r.of(ann); !doNotText || !blocked {
		t.Error("forgotten")
	}
}

// A prefetched answer is there when it is wanted; closing ends what is under way.
func TestPrefetchAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crm{takes: 500 * time.Millisecond}
		c.set(200, `{"name":"Ann Lee"}`)
		d, problems, err := Open(Options{Lookup: &LookupOptions{URL: "http://crm.example/?number={number}", RoundTripper: c}})
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		d.Prefetch(ann)
		d.Prefetch(ann)
		d.Prefetch("")
		time.Sleep(time.Second)
		begin := time.Now()
		if got, err := d.Contact(t.Context(), ann); named(got) != "Ann Lee" || err != nil || time.Since(begin) != 0 || c.count() != 1 {
			t.Errorf("%v %v after %v, asked %d times", got, err, time.Since(begin), c.count())
		}
		d.Prefetch(bob)
		begin = time.Now()
		d.Close()
		if time.Since(begin) != 0 {
			t.Errorf("closing took %v", time.Since(begin))
		}
		if got, err := d.Contact(t.Context(), bob); got != nil || !errors.Is(err, errClosed) {
			t.Errorf("%v %v", got, err)
		}
	})
}

func TestDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "contacts.csv")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("number,name,dnt\n" + ann + ",Ann Lee,\n" + bob + ",Bob,yes\n")
	c := &crm{}
	c.set(200, `{"name":"ANN LEE","first_name":"Ann","vip":true,"do_not_text":false}`)
	d, problems, err := Open(Options{Files: []string{file}, Contacts: contacts.Options{Region: "US"}, Lookup: &LookupOptions{URL: "http://crm.example/?number={number}", RoundTripper: c}})
	if err != nil || len(problems) > 0 || d.Len() != 2 {
		t.Fatal(err, problems)
	}
	defer d.Close()
	if got, err := d.Contact(t.Context(), ann); err != nil || !reflect.DeepEqual(*got, rules.Contact{Name: "Ann Lee", FirstName: "Ann", VIP: true}) {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := d.Contact(t.Context(), bob); err != nil || !got.DoNotText || got.Name != "Bob" || got.FirstName != "" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := d.Contact(context.Background(), ""); got != nil || err != nil {
		t.Errorf("no number: %+v %v", got, err)
	}
	write("name\nAnn\n")
	if problems := d.Reload(); len(problems) != 1 || d.Len() != 2 {
		t.Errorf("an error should leave the old book: %v, %d", problems, d.Len())
	}
	write("number\n" + ann + "\n")
	if problems := d.Reload(); len(problems) != 0 || d.Len() != 1 {
		t.Errorf("%v, %d", problems, d.Len())
	}
	if d, problems, err := Open(Options{Files: []string{file + "x"}}); d != nil || len(problems) != 1 || err != nil {
		t.Errorf("%v %v %v", d, problems, err)
	}
	for _, url := range []string{"", "http://crm.example/", "crm.example/{number}", "ftp://crm.example/{number}", "http://[/{number}"} {
		if _, _, err := Open(Options{Lookup: &LookupOptions{URL: url}}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"name":"Ann","groups":["a",{"b":[1]}],"do_not_text":[false,{}]}`), "groups")
	f.Add([]byte(`[{"x":1e400}]`), "0.x")
	f.Add([]byte(`{"a":[{"b":1},{"b":2}]}`), "a.#(b==2).b")
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		for _, fields := range []map[string]string{DefaultFields, {"name": path, "groups": path, "do_not_text": path}} {
			c, err := read(b, fields)
			if err != nil || c == nil {
				continue
			}
			for _, s := range append([]string{c.Name, c.FirstName, c.Language}, c.Groups...) {
				if strings.ContainsAny(s, "\n\r\x00") || len(s) > 500 {
					t.Errorf("%q should be one short line", s)
				}
			}
		}
	})
}

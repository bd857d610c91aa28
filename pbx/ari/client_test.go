package ari

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"textback/pbx"
	"textback/pbx/testkit"
)

// fakeARI stands for moments of Asterisk's life that are hard to time on a
// real one: the lab's end-to-end tests have the real one.
type fakeARI struct {
	mu       sync.Mutex
	status   int      // answer to everything while not 0
	channels []string // names of GET /channels
	hold     chan struct{}
	deaf     bool // accept the socket and never read: no pong
	filter   string
	conns    chan *websocket.Conn
	asked    int
}

func (f *fakeARI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	status, hold, deaf := f.status, f.hold, f.deaf
	f.asked++
	f.mu.Unlock()
	user, pass, _ := r.BasicAuth()
	if status != 0 || user != "textback" || pass != "secret" {
		if status == 0 {
			status = http.StatusUnauthorized
		}
		w.WriteHeader(status)
		return
	}
	switch r.URL.Path {
	case "/ari/events":
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		f.conns <- ws
		if deaf {
			<-r.Context().Done()
			return
		}
		ws.CloseRead(context.Background())
		<-r.Context().Done()
	case "/ari/applications/textback-1/eventFilter", "/ari/applications/textback-2/eventFilter":
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		f.mu.Lock()
		f.filter = b.String()
		f.mu.Unlock()
		fmt.Fprint(w, "{}")
	case "/ari/asterisk/info":
		fmt.Fprint(w, `{"system":{"version":"22.0.0"}}`)
	case "/ari/asterisk/ping":
		fmt.Fprintf(w, `{"timestamp":%q}`, time.Now().UTC().Format("2006-01-02T15:04:05.000-0700"))
	case "/ari/channels":
		if hold != nil {
			<-hold
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		var out []json.RawMessage
		for _, c := range f.channels {
			out = append(out, json.RawMessage(fakeChannel(c, "Ring")))
		}
		_ = json.NewEncoder(w).Encode(out)
	case "/ari/bridges":
		fmt.Fprint(w, "[]")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// began is when the fake's channels did: lately, since old ones are not followed.
var began = time.Now().UTC()

func fakeChannel(id, state string) string {
	return fmt.Sprintf(`{"id":%q,"name":"PJSIP/trunk-%s","state":%q,"caller":{"name":"","number":"+12025550143"},`+
		`"connected":{"name":"","number":""},"dialplan":{"context":"from-trunk","exten":"5551001","app_name":"","app_data":""},`+
		`"creationtime":%q}`, id, id, state, began.Format("2006-01-02T15:04:05.000-0700"))
}

func fakeEvent(typ, id, state, more string) []byte {
	return fmt.Appendf(nil, `{"type":%q,"timestamp":%q,"channel":%s%s}`, typ,
		time.Now().UTC().Format("2006-01-02T15:04:05.000-0700"), fakeChannel(id, state), more)
}

// watch runs a client against f until the test ends and gives what it reports.
type watched struct {
	attached chan string
	lost     chan error
	calls    chan *pbx.Call
	live     chan *pbx.Call
	log      *testkit.Log
	client   *Client
}

func watch(t *testing.T, url string, change func(*Options)) *watched {
	t.Helper()
	w := &watched{make(chan string, 100), make(chan error, 100), make(chan *pbx.Call, 100), make(chan *pbx.Call, 100), &testkit.Log{}, nil}
	opt := Options{URL: url, User: "textback", Password: "secret", Log: slog.New(slog.NewTextHandler(w.log, nil)),
		MinPause: time.Millisecond, MaxPause: 20 * time.Millisecond, AuthPause: 20 * time.Millisecond,
		Observe: Observer{Attached: func(v string) { w.attached <- v }, Lost: func(err error) { w.lost <- err }}}
	if change != nil {
		change(&opt)
	}
	tr := pbx.NewTracker(testConfig())
	tr.OnCall = func(c *pbx.Call) { w.calls <- c }
	tr.OnLive = func(c *pbx.Call) { w.live <- c }
	c, err := NewClient(opt, tr)
	if err != nil {
		t.Fatal(err)
	}
	w.client = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func fakeServer(t *testing.T) (*fakeARI, string) {
	return fakeServerOf(t, nil)
}

// fakeServerOf serves a fake through a handler around it.
func fakeServerOf(t *testing.T, around http.Handler) (*fakeARI, string) {
	f := &fakeARI{conns: make(chan *websocket.Conn, 10)}
	if around == nil {
		around = f
	}
	s := httptest.NewServer(around)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return f, s.URL
}

func send(t *testing.T, ws *websocket.Conn, ev []byte) {
	t.Helper()
	if err := ws.Write(context.Background(), websocket.MessageText, ev); err != nil {
		t.Fatal(err)
	}
}

func TestFollowsAndAsksForFilter(t *testing.T) {
	f, url := fakeServer(t)
	w := watch(t, url, nil)
	ws := <-f.conns
	if v := <-w.attached; v != "22.0.0" {
		t.Errorf("version %q", v)
	}
	f.mu.Lock()
	if !strings.Contains(f.filter, `{"type":"ChannelCreated"}`) || strings.Contains(f.filter, "DeviceState") {
		t.Errorf("event filter %s", f.filter)
	}
	f.mu.Unlock()
	send(t, ws, fakeEvent("ChannelCreated", "1", "Ring", ""))
	if c := <-w.live; c.Caller.Number != "+12025550143" || c.State != pbx.StateStarting {
		t.Errorf("live %+v", c)
	}
	send(t, ws, []byte(`{"type":"ChannelStateChange","timestamp":"yesterday","channel":{}}`)) // passed over, said
	send(t, ws, fakeEvent("ChannelHangupRequest", "1", "Ring", ""))
	send(t, ws, fakeEvent("ChannelDestroyed", "1", "Ring", `,"cause":16`))
	if c := <-w.calls; c.Outcome != pbx.Unattended || !c.Certain {
		t.Errorf("%s certain %v gaps %v", c.Outcome, c.Certain, c.Gaps)
	}
	if !strings.Contains(w.log.String(), "could not be read") {
		t.Errorf("the bad event is not in the log:\n%s", w.log)
	}
}

// A leg created between the socket's opening and the list of channels is new,
// not an old one found late.
func TestCreatedWhileAttaching(t *testing.T) {
	f, url := fakeServer(t)
	f.hold = make(chan struct{})
	f.channels = []string{"1", "old"}
	read := make(chan struct{}, 10)
	w := watch(t, url, func(o *Options) { o.Record = func([]byte) { read <- struct{}{} } })
	ws := <-f.conns
	send(t, ws, fakeEvent("ChannelCreated", "1", "Ring", ""))
	<-read
	send(t, ws, fakeEvent("ChannelStateChange", "1", "Ring", ""))
	<-read // the first is in the queue for sure
	close(f.hold)
	<-w.attached
	send(t, ws, fakeEvent("ChannelDestroyed", "1", "Ring", `,"cause":16`))
	send(t, ws, fakeEvent("ChannelDestroyed", "old", "Ring", `,"cause":16`))
	first, second := <-w.calls, <-w.calls
	if second.ID != "old" || second.Certain || !second.HasGap(pbx.GapAttachedLate) {
		t.Errorf("old call: certain %v gaps %v", second.Certain, second.Gaps)
	}
	if first.ID != "1" || !first.Certain || len(first.Gaps) > 0 {
		t.Errorf("new call %s: certain %v gaps %v", first.ID, first.Certain, first.Gaps)
	}
}

func TestRefusedPasswordIsSaidOnceAndHeals(t *testing.T) {
	f, url := fakeServer(t)
	f.status = http.StatusUnauthorized
	w := watch(t, url, nil)
	waitFor(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.asked > 4 })
	f.mu.Lock()
	f.status = 0
	f.mu.Unlock()
	<-w.attached
	if n := strings.Count(w.log.String(), "refuses user or password"); n != 1 {
		t.Errorf("said %d times:\n%s", n, w.log)
	}
	if strings.Contains(w.log.String(), "secret") {
		t.Error("the password is in the log")
	}
}

func TestBootingAsterisk(t *testing.T) {
	f, url := fakeServer(t)
	f.status = http.StatusNotFound
	w := watch(t, url, nil)
	waitFor(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.asked > 1 })
	f.mu.Lock()
	f.status = http.StatusServiceUnavailable
	n := f.asked
	f.mu.Unlock()
	waitFor(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.asked > n+2 })
	f.mu.Lock()
	f.status = 0
	f.mu.Unlock()
	<-w.attached
	if n := strings.Count(w.log.String(), "may be starting"); n != 1 {
		t.Errorf("said %d times:\n%s", n, w.log)
	}
}

func TestHungAsteriskIsLeft(t *testing.T) {
	f, url := fakeServer(t)
	f.deaf = true
	w := watch(t, url, func(o *Options) { o.PingEvery, o.PingWait = 10*time.Millisecond, 50*time.Millisecond })
	<-w.attached
	if err := <-w.lost; !strings.Contains(err.Error(), "no pong") {
		t.Errorf("lost: %v", err)
	}
	f.mu.Lock()
	f.deaf = false
	f.mu.Unlock()
	<-w.attached
}

// A call that goes on across a broken connection is not certain; one that
// ended meanwhile is closed as unknown; the same leg never makes two calls.
func TestLostConnection(t *testing.T) {
	f, url := fakeServer(t)
	w := watch(t, url, nil)
	ws := <-f.conns
	<-w.attached
	for _, id := range []string{"stays", "goes"} {
		send(t, ws, fakeEvent("ChannelCreated", id, "Ring", ""))
		<-w.live
	}
	f.mu.Lock()
	f.channels = []string{"stays"}
	f.mu.Unlock()
	_ = ws.CloseNow()
	<-w.lost
	ws = <-f.conns
	<-w.attached
	if c := <-w.calls; c.ID != "goes" || c.Outcome != pbx.Unknown || c.Certain || !c.HasGap(pbx.GapEventsLost) {
		t.Errorf("%s: %s certain %v gaps %v", c.ID, c.Outcome, c.Certain, c.Gaps)
	}
	send(t, ws, fakeEvent("ChannelDestroyed", "goes", "Ring", `,"cause":16`)) // late word of it changes nothing
	send(t, ws, fakeEvent("ChannelDestroyed", "stays", "Ring", `,"cause":16`))
	if c := <-w.calls; c.ID != "stays" || c.Outcome == pbx.Unknown || c.Certain || !c.HasGap(pbx.GapEventsLost) {
		t.Errorf("%s: %s certain %v gaps %v", c.ID, c.Outcome, c.Certain, c.Gaps)
	}
}

func TestReplacedIsSaid(t *testing.T) {
	f, url := fakeServer(t)
	w := watch(t, url, nil)
	ws := <-f.conns
	<-w.attached
	send(t, ws, []byte(`{"type":"ApplicationReplaced","application":"textback","timestamp":"2026-11-23T11:17:16.984+0000"}`))
	_ = ws.Close(websocket.StatusNormalClosure, "")
	<-w.lost
	<-w.attached
	if !strings.Contains(w.log.String(), "same ARI application name") {
		t.Errorf("not said:\n%s", w.log)
	}
}

func TestBadURL(t *testing.T) {
	for _, u := range []string{"", "127.0.0.1:8088", "ftp://x", "http://", "://"} {
		if _, err := NewClient(Options{URL: u}, nil); err == nil {
			t.Errorf("%q is taken", u)
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened")
		}
	}
}

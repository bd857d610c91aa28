package ari

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// What held at a call's end is told some seconds later.
func TestStatesAt(t *testing.T) {
	s := newStates(&Options{})
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	want := func(seconds int, want map[string]string) {
		t.Helper()
		if got := s.at(at(seconds)); !reflect.DeepEqual(got, want) {
			t.Errorf("at %d s: got %v, want %v", seconds, got, want)
		}
	}
	want(0, nil)
	s.set("night", "", at(0)) // never known: nothing to remember
	s.set("night", "INUSE", at(10))
	s.set("mode", "1", at(20))
	s.set("night", "INUSE", at(30))
	s.set("night", "NOT_INUSE", at(40))
	want(5, map[string]string{"night": "INUSE", "mode": "1"})
	want(39, map[string]string{"night": "INUSE", "mode": "1"})
	want(40, map[string]string{"night": "NOT_INUSE", "mode": "1"})
	s.forget(at(50))
	want(45, map[string]string{"night": "NOT_INUSE", "mode": "1"})
	want(50, nil)
	s.set("night", "INUSE", at(60))
	want(55, nil)
	want(60, map[string]string{"night": "INUSE"})
	for i := range 100 {
		s.set("night", fmt.Sprint(i), at(70+i))
	}
	want(169, map[string]string{"night": "99"})
	want(168, map[string]string{"night": "98"})
	if n := len(s.changes["night"]); n != keptChanges {
		t.Errorf("%d changes are kept", n)
	}
	s.at(at(169))["night"] = "mine" // the map is the caller's
	want(169, map[string]string{"night": "99"})
}

// switches answer for device states and variables beside the fake's channels.
type switches struct {
	*fakeARI
	mu        sync.Mutex
	states    map[string]string
	variables map[string]string
	before    func() // GET /deviceStates is answered
	asks      map[string]int
}

func (s *switches) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	device, isDevice := strings.CutPrefix(r.URL.Path, "/ari/deviceStates/")
	name := r.URL.Query().Get("variable")
	if r.URL.Path == "/ari/channels/up" {
		return
	}
	onLeg := r.URL.Path == "/ari/channels/up/variable"
	if !isDevice && !onLeg && r.URL.Path != "/ari/asterisk/variable" {
		s.fakeARI.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	s.asks[name]++
	state, isState := s.states[device]
	value, isVariable := s.variables[name]
	before := s.before
	s.mu.Unlock()
	if before != nil && isDevice {
		before()
	}
	switch {
	case isDevice && isState:
		fmt.Fprintf(w, `{"name":%q,"state":%q}`, device, state)
	case isVariable && isFunction(name) && !onLeg: // as the real one does
		fmt.Fprint(w, `{"value":""}`)
	case isVariable:
		fmt.Fprintf(w, `{"value":%q}`, value)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *switches) set(m map[string]string, k, v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m[k] = v
}

func fakeSwitches(t *testing.T) (*switches, string) {
	s := &switches{states: map[string]string{"Custom:NIGHT": "NOT_INUSE", "Custom:NEVER": "UNKNOWN"}, asks: map[string]int{},
		variables: map[string]string{"MODE": "1", "GLOBAL(MODE)": "DAY", "EMPTY": "", "LONG": strings.Repeat("x", maxValue+1)}}
	var url string
	s.fakeARI, url = fakeServerOf(t, s)
	return s, url
}

func stateEvent(name, state string) []byte {
	return fmt.Appendf(nil, `{"type":"DeviceStateChanged","timestamp":%q,"device_state":{"name":%q,"state":%q},"application":"textback-1"}`,
		time.Now().UTC().Format("2006-01-02T15:04:05.000-0700"), name, state)
}

func TestFollowsStates(t *testing.T) {
	f, url := fakeSwitches(t)
	w := watch(t, url, func(o *Options) {
		o.States, o.Variables = []string{"Custom:NIGHT", "Custom:NEVER", "PJSIP/none"}, []string{"MODE", "EMPTY", "NONE", "LONG"}
		o.VariablesEvery = time.Hour
	})
	ws := <-f.conns
	<-w.attached
	is := func(want map[string]string) {
		t.Helper()
		var got map[string]string
		defer func() {
			if t.Failed() {
				t.Logf("got %v, want %v", got, want)
			}
		}()
		waitFor(t, func() bool { got = w.client.States(time.Now().Add(time.Minute)); return reflect.DeepEqual(got, want) })
	}
	is(map[string]string{"Custom:NIGHT": "NOT_INUSE", "MODE": "1"})
	f.fakeARI.mu.Lock()
	if !strings.Contains(f.filter, `{"type":"DeviceStateChanged"}`) {
		t.Errorf("event filter %s", f.filter)
	}
	f.fakeARI.mu.Unlock()

	send(t, ws, stateEvent("PJSIP/101", "INUSE")) // nobody asked
	send(t, ws, stateEvent("custom:night", "INUSE"))
	is(map[string]string{"Custom:NIGHT": "INUSE", "MODE": "1"})
	send(t, ws, stateEvent("Custom:NIGHT", "UNKNOWN"))
	is(map[string]string{"MODE": "1"})

	f.set(f.variables, "MODE", "2")
	call := time.Now().Add(-time.Second)
	w.client.RefreshVariables("", call)
	w.client.RefreshVariables("", time.Now())
	is(map[string]string{"MODE": "2"})
	if got := w.client.States(call); got["MODE"] != "2" {
		t.Errorf("when the call began that had it asked: %v", got)
	}

	// The connection breaks: nothing is known until it is back.
	f.set(f.states, "Custom:NIGHT", "INUSE")
	lost := time.Now()
	_ = ws.Close(websocket.StatusGoingAway, "")
	<-w.lost
	<-f.conns
	<-w.attached
	is(map[string]string{"Custom:NIGHT": "INUSE", "MODE": "2"})
	if got := w.client.States(lost.Add(-time.Minute)); got["MODE"] == "" {
		t.Errorf("before the break: %v", got)
	}
	for _, s := range []string{"PJSIP/none", "NONE", "LONG"} {
		if n := strings.Count(w.log.String(), "does not tell"); n != 3 || !strings.Contains(w.log.String(), s) {
			t.Errorf("%s should be told of once, of %d:\n%s", s, n, w.log)
		}
	}
}

func TestVariablesInTurn(t *testing.T) {
	f, url := fakeSwitches(t)
	w := watch(t, url, func(o *Options) { o.Variables, o.VariablesEvery = []string{"MODE"}, time.Millisecond })
	<-w.attached
	waitFor(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.asks["MODE"] > 3 })
	f.fakeARI.mu.Lock()
	defer f.fakeARI.mu.Unlock()
	if strings.Contains(f.filter, "DeviceState") {
		t.Errorf("states are sent that nobody asked for: %s", f.filter)
	}
}

// Functions are asked on calls that are up, and known for a while after the last.
func TestFunctions(t *testing.T) {
	f, url := fakeSwitches(t)
	w := watch(t, url, func(o *Options) {
		o.Variables, o.VariablesEvery = []string{"GLOBAL(MODE)", "NONE(x)", "MODE"}, time.Hour
	})
	<-w.attached
	is := func(at time.Time, want map[string]string) {
		t.Helper()
		waitFor(t, func() bool { return reflect.DeepEqual(w.client.States(at), want) })
	}
	is(time.Now(), map[string]string{"MODE": "1"})
	call := time.Now().Add(-time.Second)
	w.client.RefreshVariables("up", call)
	is(call, map[string]string{"MODE": "1", "GLOBAL(MODE)": "DAY"})
	f.set(f.variables, "GLOBAL(MODE)", "NIGHT")
	w.client.RefreshVariables("gone", time.Now()) // the newest call has ended already: another tells
	is(time.Now(), map[string]string{"MODE": "1", "GLOBAL(MODE)": "NIGHT"})
	is(time.Now().Add(3*time.Hour), map[string]string{"MODE": "1"})
	if s := w.log.String(); strings.Count(s, "does not tell") != 1 || !strings.Contains(s, "NONE(x)") {
		t.Errorf("the log says\n%s", s)
	}
}

// An event that comes while states are asked for is newer than the answer.
func TestStateChangesWhileAttaching(t *testing.T) {
	f, url := fakeSwitches(t)
	read := make(chan struct{}, 10)
	conns := make(chan *websocket.Conn, 1)
	f.before = func() {
		ws := <-f.conns
		send(t, ws, stateEvent("Custom:NIGHT", "INUSE"))
		<-read
		conns <- ws
	}
	w := watch(t, url, func(o *Options) {
		o.States = []string{"Custom:NIGHT"}
		o.Record = func([]byte) { read <- struct{}{} }
	})
	<-conns
	<-w.attached
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	w.client.Do(ctx, func() { close(done) })
	<-done
	// An answer that overrode the event would stay.
	waitFor(t, func() bool { return w.client.States(time.Now().Add(time.Minute))["Custom:NIGHT"] == "INUSE" })
}

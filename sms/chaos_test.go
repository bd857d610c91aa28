package sms_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/event"
	"textback/pbx/testkit"
	"textback/rules"
	"textback/sms"
	"textback/sms/emulator"
)

const stopNumber = "+12022999999" // has opted out before

// told is a call that the test tells the daemon of, again until it is confirmed.
type told struct {
	*pbx.Call
	done   bool      // Finished returned: it must not be lost
	liveAt time.Time // it was seen in LIVE
}

// The states in which a kill can find a call's text, as shown by what the next
// process finds in its stores and by the provider's own books.
var states = []string{
	"spooled, not stored", "stored, not planned", "planned, timer set", "planned, due", "submitting, no request yet",
	"request arrived, not accepted", "accepted, not answered", "answered, answer not stored", "fate asked, not stored", "sent, due message not acknowledged",
}

// points are where the daemon or the provider can be stopped for the kill.
var points = []string{"stored", "planning", "scheduled", "due", "submitting", "arrived", "accepted", "answered", "asked", "sent"}

type hits struct{ kills, texts int }

// chaos is the world outside of the killed process.
type chaos struct {
	t       *testing.T
	dir     string
	emu     *emulator.Emulator
	server  *http.Server // the provider; killed and started again at the same address
	addr    string
	outages []time.Time // when it was killed
	url     string
	told    []*told
	queue   []*told // to be told next

	behave   map[string]emulator.Behaviour // of submissions to a number, a refusal for now only once; Accept if unset
	numbers  int
	killed   []time.Time
	hit      map[string]*hits
	inFlight map[string]bool // a kill found a text to this number submitting

	// What was so at the last kill.
	killedAt time.Time
	books    []emulator.Text
	wanted   string // the point that was waited for and reached

	mu       sync.Mutex
	moment   emulator.Moment // the provider stops there
	number   string
	reached  chan struct{}
	released chan struct{}
}

func newChaos(t *testing.T) *chaos {
	x := &chaos{t: t, dir: t.TempDir(), emu: emulator.New(), behave: map[string]emulator.Behaviour{}, hit: map[string]*hits{}, inFlight: map[string]bool{}}
	x.emu.Behave = func(m emulator.Text, n int) emulator.Behaviour {
		x.mu.Lock()
		defer x.mu.Unlock()
		if b := x.behaviour(m.To); n == 1 || b != emulator.Throttle {
			return b
		}
		return emulator.Accept
	}
	x.emu.At = func(m emulator.Moment, text emulator.Text) {
		x.mu.Lock()
		stop, reached, released := x.moment == m && x.number == text.To, x.reached, x.released
		x.mu.Unlock()
		if stop {
			close(reached)
			<-released
		}
	}
	x.provide("127.0.0.1:0")
	t.Cleanup(func() { _ = x.server.Close() })
	return x
}

// provide starts the provider at addr.
func (x *chaos) provide(addr string) {
	l, err := testkit.Listen(addr)
	if err != nil {
		x.t.Error(err)
		return
	}
	if x.url == "" { // killed and started again, it is where it was
		x.addr = l.Addr().String()
		x.url = "http://" + x.addr
	}
	x.server = &http.Server{Handler: x.emu, ErrorLog: log.New(io.Discard, "", 0)}
	go func(s *http.Server) { _ = s.Serve(l) }(x.server)
}

// outage kills the provider: what it has in hand it may take, but answers nobody.
func (x *chaos) outage() (over func()) {
	x.outages = append(x.outages, time.Now())
	_ = x.server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond)
		x.provide(x.addr)
	}()
	return func() { <-done }
}

func (x *chaos) behaviour(number string) emulator.Behaviour {
	if b, ok := x.behave[number]; ok {
		return b
	}
	return emulator.Accept
}

func (x *chaos) newNumber() string {
	x.numbers++
	return fmt.Sprintf("+1202%07d", 3000000+x.numbers)
}

func (x *chaos) call(number string, o pbx.Outcome) *told {
	c := &pbx.Call{ID: fmt.Sprintf("%s.%d", number[5:], rand.Uint32()), Site: "hq", Source: "ari", Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: o,
		Caller: pbx.Caller{Number: number, Raw: number, Name: "Sarah Miller"}, Line: pbx.Line{Number: "+12125550100", Raw: "5551000"}, Certain: true}
	switch o {
	case pbx.RangOut:
		c.Reason = pbx.ReasonRangOut
	case pbx.Declined:
		c.Reason = pbx.ReasonDeclined
	case pbx.Busy:
		c.Reason = pbx.ReasonBusy
	}
	return &told{Call: c}
}

// stories are the calls of many callers, n missed ones at least, each caller's in order.
func (x *chaos) stories(n int) []*told {
	at, later := pbx.RangOut, pbx.Declined
	kinds := []struct {
		calls []pbx.Outcome
		b     emulator.Behaviour
	}{
		{[]pbx.Outcome{at}, emulator.Accept},
		{[]pbx.Outcome{later, pbx.Answered}, emulator.Accept},
		{[]pbx.Outcome{at, at}, emulator.Accept},
		{[]pbx.Outcome{at}, emulator.TakeAndCut},
		{[]pbx.Outcome{at, later}, emulator.OptedOut},
		{[]pbx.Outcome{later}, emulator.FailAfter},
		{[]pbx.Outcome{later, at, later}, emulator.Accept},
		{[]pbx.Outcome{at}, emulator.FailBefore},
		{[]pbx.Outcome{at}, emulator.Throttle},
		{[]pbx.Outcome{at, pbx.Answered}, emulator.Accept},
		{[]pbx.Outcome{at}, emulator.Slow(300 * time.Millisecond)},
		{[]pbx.Outcome{later}, emulator.Accept},
		{nil, emulator.Accept}, // has opted out
		{[]pbx.Outcome{later, later}, emulator.TakeAndHang},
		{[]pbx.Outcome{at}, emulator.CutOff},
		{[]pbx.Outcome{at}, emulator.Hang},
	}
	var queues [][]*told
	for i, have := 0, 0; have < n; i++ {
		k := kinds[i%len(kinds)]
		var q []*told
		if k.calls == nil {
			q = []*told{x.call(stopNumber, at)}
			have++
		} else {
			number := x.newNumber()
			x.behave[number] = k.b
			for _, o := range k.calls {
				q = append(q, x.call(number, o))
				if o != pbx.Answered {
					have++
				}
			}
		}
		queues = append(queues, q)
	}
	var all []*told
	for len(queues) > 0 { // some ten callers at a time
		i := rand.IntN(min(len(queues), 10))
		all = append(all, queues[i][0])
		if queues[i] = queues[i][1:]; len(queues[i]) == 0 {
			queues = append(queues[:i], queues[i+1:]...)
		}
	}
	return all
}

// process is one life of the daemon.
type process struct {
	x     *chaos
	cmd   *exec.Cmd
	in    io.WriteCloser
	words chan [2]string // what it says; closed when it is dead
	err   bytes.Buffer
	dead  bool
}

func (x *chaos) start(hold, number string) *process {
	x.t.Helper()
	self, err := os.Executable()
	if err != nil {
		x.t.Fatal(err)
	}
	a, err := json.Marshal(args{x.dir, x.url, x.emu.AccountSID, x.emu.AuthToken, hold, number})
	if err != nil {
		x.t.Fatal(err)
	}
	p := &process{x: x, cmd: exec.Command(self), words: make(chan [2]string, 4096)}
	p.cmd.Env = append(os.Environ(), "TEXTBACK_TEST_CHAOS="+string(a))
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		if !p.dead {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	go func() {
		defer close(p.words)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return // half a line was not said
			}
			word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			p.words <- [2]string{word, rest}
		}
	}()
	return p
}

// heard notes what the process said.
func (p *process) heard(w [2]string) {
	for _, c := range p.x.told {
		switch {
		case c.ID != w[1]:
		case w[0] == "done":
			c.done = true
		case w[0] == "live" && c.liveAt.IsZero():
			c.liveAt = time.Now()
		}
	}
}

// await reads on until the process says word.
func (p *process) await(word string) string {
	p.x.t.Helper()
	timeout := time.After(3 * time.Minute)
	for {
		select {
		case w, ok := <-p.words:
			if !ok {
				_ = p.cmd.Wait()
				p.x.t.Fatalf("the process died waiting for %q: %s", word, p.err.String())
			}
			p.heard(w)
			if w[0] == word {
				return w[1]
			}
		case <-timeout:
			p.x.t.Fatalf("the process never says %q: %s", word, p.err.String())
		}
	}
}

// tell hands calls over, the queue's at the end. Their end is now, the first time.
func (p *process) tell(calls []*told) {
	calls = append(slices.Clone(calls), p.x.queue...)
	p.x.queue = nil
	for _, c := range calls {
		if c.EndedAt.IsZero() {
			c.EndedAt = time.Now().UTC().Truncate(time.Millisecond)
			c.StartedAt = c.EndedAt.Add(-10 * time.Second)
			if c.Outcome == pbx.Answered {
				c.AnsweredAt, c.Talk = c.EndedAt.Add(-time.Second), time.Second
			}
			p.x.told = append(p.x.told, c)
		}
		b, err := event.Encode(c.Call, c.EndedAt)
		if err != nil {
			p.x.t.Fatal(err)
		}
		_, _ = fmt.Fprintf(p.in, "call %s\n", b) // to a dead process: told again
	}
}

// kill ends it and keeps how the world stood.
func (p *process) kill(wanted string) {
	p.x.t.Helper()
	_ = p.cmd.Process.Kill()
	for w := range p.words { // what it had said counts
		p.heard(w)
	}
	_ = p.cmd.Wait()
	p.dead = true
	if code := p.cmd.ProcessState.ExitCode(); code != -1 {
		p.x.t.Fatalf("the process ended by itself with %d: %s", code, p.err.String())
	}
	p.x.killedAt, p.x.books, p.x.wanted = time.Now(), p.x.emu.Texts(), wanted
	p.x.killed = append(p.x.killed, p.x.killedAt)
}

// look finds out what the last kill hit: what is in the stores, r, against
// what the provider's books said in that moment.
func (x *chaos) look(r report) {
	if x.killedAt.IsZero() {
		return
	}
	found := map[string]int{}
	stored, jobs := map[string]bool{}, map[string]sms.Job{}
	for _, id := range r.Stored {
		stored[id] = true
	}
	for _, j := range r.Jobs {
		if j.Kind == sms.Text {
			jobs[strings.TrimPrefix(j.Call, "hq/")] = j
		}
	}
	for _, c := range x.told {
		j, planned := jobs[c.ID]
		switch {
		case !c.done:
		case !stored[c.ID]:
			found["spooled, not stored"]++
		case c.Missed() && !planned:
			found["stored, not planned"]++
		case j.State == sms.Scheduled && j.DueAt.After(x.killedAt):
			found["planned, timer set"]++
		case j.State == sms.Scheduled:
			found["planned, due"]++
		case j.State == sms.Submitting:
			x.inFlight[j.To] = true
			found[x.submitting(j)]++
			if x.wanted == "asked" {
				found["fate asked, not stored"]++
			}
		case j.State == sms.Sent && x.wanted == "sent":
			found["sent, due message not acknowledged"]++
		}
	}
	for state, n := range found {
		if x.hit[state] == nil {
			x.hit[state] = &hits{}
		}
		x.hit[state].kills++
		x.hit[state].texts += n
	}
	x.killedAt = time.Time{}
}

// submitting tells how far a submitting job's request had come.
func (x *chaos) submitting(j sms.Job) string {
	var last emulator.Text
	n := 0
	for _, m := range x.books {
		if m.To == j.To {
			last = m
			n++
		}
	}
	switch {
	case n < j.Attempt:
		return "submitting, no request yet"
	case last.Answered != 0:
		return "answered, answer not stored"
	case last.Accepted:
		return "accepted, not answered"
	}
	return "request arrived, not accepted"
}

// life is one life of the daemon: it is told what it had not confirmed and
// calls, and is killed at point, with the text to bait, or at any moment if
// point is empty.
func (x *chaos) life(point string, calls []*told) (bait string) {
	x.t.Helper()
	bait = x.newNumber()
	kill := time.After(15 * time.Second)
	var trap chan struct{}
	released := make(chan struct{})
	var trigger [2]string
	switch point {
	case "":
		kill = time.After(time.Duration(rand.IntN(1500)) * time.Millisecond)
	case "stored": // and the next ones wait behind it
		second := x.call(x.newNumber(), pbx.RangOut)
		calls = append(calls, x.call(bait, pbx.RangOut), second)
		trigger = [2]string{"done", second.ID}
	case "arrived", "accepted":
		trap = make(chan struct{})
		x.mu.Lock()
		x.moment, x.number, x.reached, x.released = emulator.Moment(point), bait, trap, released
		x.mu.Unlock()
		calls = append(calls, x.call(bait, pbx.RangOut))
	case "scheduled":
		trigger = [2]string{"at", point + " " + bait}
		calls = append(calls, x.call(bait, pbx.Busy))
	case "asked": // of one that was killed in the life before
		bait, calls = x.life("accepted", calls), nil
		trigger = [2]string{"at", point + " " + bait}
	default:
		trigger = [2]string{"at", point + " " + bait}
		calls = append(calls, x.call(bait, pbx.RangOut))
	}
	x.queue = append(x.queue, calls...) // killed too early, it hears them in its next life
	p := x.start(point, bait)
	for wanted, open := "", true; open; {
		select {
		case w, ok := <-p.words:
			if !ok {
				_ = p.cmd.Wait()
				x.t.Fatalf("the process died by itself: %s", p.err.String())
			}
			p.heard(w)
			if w[0] == "ready" {
				var r report
				if err := json.Unmarshal([]byte(w[1]), &r); err != nil {
					x.t.Fatal(err)
				}
				x.look(r)
				var again []*told
				for _, c := range x.told {
					if !c.done {
						again = append(again, c)
					}
				}
				p.tell(again)
			}
			if w != trigger {
				continue
			}
			wanted = point
		case <-trap:
			wanted = point
		case <-kill:
		}
		open = false
		p.kill(wanted)
	}
	// What the provider had in hand it takes in spite of the kill, some of it late.
	x.mu.Lock()
	x.moment = ""
	x.mu.Unlock()
	time.AfterFunc(time.Duration(rand.IntN(2))*2*time.Second, func() { close(released) })
	return bait
}

// settle waits until nothing is left to do.
func (x *chaos) settle(p *process) report {
	x.t.Helper()
	var r report
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		fmt.Fprintln(p.in, "state")
		r = report{}
		if err := json.Unmarshal([]byte(p.await("state")), &r); err != nil {
			x.t.Fatal(err)
		}
		open := r.Spooled + int(r.Unplanned) + int(r.Waiting) + r.Unacked
		for _, j := range r.Jobs {
			if j.Open() {
				open++
			}
		}
		for _, c := range x.told {
			if !c.done {
				open++
			}
		}
		if open == 0 {
			return r
		}
	}
	for _, j := range r.Jobs {
		if j.Open() {
			x.t.Logf("%s to %s: %s %s %s", j.ID, j.To, j.State, j.Why, j.Because)
		}
	}
	x.t.Fatalf("never settles: %d spooled, %d not planned, %d due messages waiting, %d not acknowledged: %s", r.Spooled, r.Unplanned, r.Waiting, r.Unacked, p.err.String())
	return r
}

// check holds the jobs against what the provider took.
func (x *chaos) check(jobs []sms.Job) {
	x.t.Helper()
	_ = x.server.Shutdown(x.t.Context()) // waits until the provider is done with all it had in hand
	type caller struct {
		jobs   []sms.Job
		missed int
		liveAt time.Time // got through
	}
	callers := map[string]*caller{}
	calls := map[string]*told{}
	for _, c := range x.told {
		k := callers[c.Caller.Number]
		if k == nil {
			k = &caller{}
			callers[c.Caller.Number] = k
		}
		calls["hq/"+c.ID] = c
		if c.Missed() {
			k.missed++
		} else {
			k.liveAt = c.liveAt
		}
	}
	for _, j := range jobs {
		if j.Kind != sms.Text {
			continue
		}
		c := calls[j.Call]
		if c == nil {
			x.t.Errorf("a job for a call that nobody told of: %+v", j)
			continue
		}
		callers[c.Caller.Number].jobs = append(callers[c.Caller.Number].jobs, j)
	}
	books := map[string][]emulator.Text{}
	for _, m := range x.emu.Texts() {
		books[m.To] = append(books[m.To], m)
	}
	counts := x.emu.Counts()
	outcome := map[string]int{}
	for number, k := range callers {
		bad := func(format string, a ...any) {
			x.t.Helper()
			x.t.Errorf("%s (first submission: %+v, killed in flight: %v): %s", number, x.behaviour(number), x.inFlight[number], fmt.Sprintf(format, a...))
			for _, j := range k.jobs {
				x.t.Logf("\tjob %s: %s %s %s attempt %d submitted %v", j.ID, j.State, j.Why, j.Because, j.Attempt, j.SubmittedAt)
			}
			for _, m := range books[number] {
				x.t.Logf("\tsubmission %+v", m)
			}
		}
		if counts[number] > 1 {
			bad("%d TEXTS", counts[number])
		}
		if len(k.jobs) != k.missed {
			bad("%d calls, %d jobs", k.missed, len(k.jobs))
		}
		var first *sms.Job // the one that was no duplicate
		for i, j := range k.jobs {
			if j.State == sms.Suppressed && (j.Why == rules.Duplicate || j.Why == rules.SaidStop || j.Why == rules.Reached) {
				continue
			}
			if first != nil {
				bad("two jobs that were not decided against")
			}
			first = &k.jobs[i]
		}
		b := x.behaviour(number)
		switch {
		case number == stopNumber:
			if first != nil || len(books[number]) != 0 {
				bad("has opted out")
			}
			outcome["none: had opted out"]++
		case first == nil:
			bad("NO TEXT: all decided against")
		case first.State == sms.Sent:
			if n := len(books[number]); counts[number] != 1 || first.ProviderID != books[number][n-1].SID {
				bad("sent, says the job; %d were accepted", counts[number])
			}
			outcome["one text"]++
		case first.State == sms.Held:
			if b.Clear() && !x.inFlight[number] && !slices.ContainsFunc(x.outages, func(k time.Time) bool { return k.After(first.SubmittedAt) && k.Before(first.UpdatedAt) }) {
				bad("held, but the provider's answer was clear and nobody was killed")
			}
			for _, m := range books[number] {
				// Whoever was told and killed at once could not note it down.
				if !m.Listed.IsZero() && !slices.ContainsFunc(slices.Concat(x.killed, x.outages), func(k time.Time) bool { return k.After(m.Listed) && k.Before(first.UpdatedAt) }) {
					bad("held, but the provider had said at %v that it took it", m.Listed)
				}
			}
			outcome[fmt.Sprintf("held, %d accepted", counts[number])]++
		case first.State == sms.Cancelled:
			if k.liveAt.IsZero() || first.Why != rules.Reached || len(books[number]) != 0 {
				bad("NO TEXT: cancelled")
			}
			outcome["none: cancelled, got through"]++
		case first.State == sms.Failed:
			if b != emulator.OptedOut || first.Why != string(sms.OptedOut) || counts[number] != 0 {
				bad("NO TEXT: failed")
			}
			outcome["none: opted out at the carrier"]++
		default:
			bad("left %s", first.State)
		}
		// A step begins before it asks LIVE: one that began after the caller was
		// seen there must not have submitted.
		if first != nil && !k.liveAt.IsZero() && first.SubmittedAt.After(k.liveAt) {
			bad("submitted after the call that got through was live at %v", k.liveAt)
		}
	}
	x.t.Logf("%d calls of %d callers, %d kills of the daemon, %d of the provider", len(x.told), len(callers), len(x.killed), len(x.outages))
	for _, what := range slices.Sorted(maps.Keys(outcome)) {
		x.t.Logf("%5d callers: %s", outcome[what], what)
	}
}

// TestChaosKill kills the daemon's inside at every point of a text's life and
// at random ones. Whoever deserves a text gets exactly one, or it is held
// because nobody can know; the provider's own books say so.
func TestChaosKill(t *testing.T) {
	n, each := 20, 1
	if v := os.Getenv("TEXTBACK_CHAOS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatalf("TEXTBACK_CHAOS=%s: want a number of calls, 1 for 200", v)
		}
		if each = 3; n == 1 {
			n = 200
		}
	}
	x := newChaos(t)
	var plan []string
	for range each {
		plan = append(plan, points...)
	}
	for range max(2, n/8) {
		plan = append(plan, "")
	}
	rand.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	stories := x.stories(n)
	for i, point := range plan {
		k := len(stories) / (len(plan) - i)
		x.emu.Mute(i%5 == 4)
		over := func() {}
		if i%6 == 5 {
			over = x.outage()
		}
		x.life(point, stories[:k:k])
		over()
		stories = stories[k:]
	}
	x.emu.Mute(false)
	// A point can be missed when the machine is slow.
	missing := func() (out []int) {
		for i, s := range states {
			if x.hit[s] == nil {
				out = append(out, i)
			}
		}
		return out
	}
	p := x.start("", "")
	ready := func() {
		var r report
		if err := json.Unmarshal([]byte(p.await("ready")), &r); err != nil {
			t.Fatal(err)
		}
		x.look(r)
	}
	ready()
	for range 3 {
		again := missing()
		if len(again) == 0 {
			break
		}
		p.kill("")
		for _, i := range again {
			x.life(points[i], nil)
		}
		p = x.start("", "")
		ready()
	}
	p.tell(x.told) // what was confirmed too: it changes nothing
	x.settle(p)
	fmt.Fprintln(p.in, "wake")
	p.await("woken")
	r := x.settle(p)
	p.kill("")
	x.check(r.Jobs)

	t.Logf("%8s %8s  %s", "kills", "texts", "that a kill found so")
	for _, s := range states {
		h := x.hit[s]
		if h == nil {
			t.Errorf("no kill hit the state %q", s)
			h = &hits{}
		}
		t.Logf("%8d %8d  %s", h.kills, h.texts, s)
	}
}

package pbx

import (
	"strings"
	"time"

	"textback/pbx/number"
)

// Config tells a Tracker what is outside, what is inside and what the office
// calls its lines. The zero value works with stock contexts once Defaults has
// filled it.
type Config struct {
	Site   string
	Source string // what Call.Source says
	Region string // ISO 3166-1 alpha-2, for numbers without a country code

	// Patterns with '*'. A leg that came in by itself is outside when its
	// context or its endpoint matches, whatever the Inside patterns say.
	OutsideContexts  []string
	OutsideEndpoints []string
	// Contexts that are known to be inside, so that no warning is due.
	InsideContexts []string

	Lines []LineName

	// MaxAge closes a call that never ends. 0 means 12 hours.
	MaxAge time.Duration
}

// LineName is what the admin calls a line. Raw is a pattern for what the trunk
// dials.
type LineName struct {
	Raw    string
	Number string // E.164; empty: made of Raw by region
	Name   string
}

// DefaultOutsideContexts fit stock Asterisk configurations and FreePBX.
var DefaultOutsideContexts = []string{"from-trunk*", "from-pstn*", "from-did*", "ext-did*", "from-external*",
	"from-provider*", "from-sip-external*", "from-dahdi*", "from-zaptel*", "from-analog*", "incoming*", "inbound*", "from-outside*"}

// DefaultInsideContexts fit the same.
var DefaultInsideContexts = []string{"from-internal*", "internal*", "from-inside*", "phones*", "local*", "users*",
	"from-users*", "from-phones*", "outbound*", "outgoing*", "ext-local*", "macro-*", "sub-*", "app-*", "parkedcalls*", "park-*"}

const (
	// settle is how long a call waits for its other legs once the caller's has ended.
	settle = 2 * time.Second
	// hangupWait is how long a leg that asked to hang up may take to end.
	hangupWait = 5 * time.Minute
	// remember is how long an ended leg is known, for facts that come late.
	remember = 10 * time.Second
	// maxAttempts bounds what one call keeps: a queue rings its phones for hours.
	maxAttempts = 200
	// maxNumbers bounds how many numbers are remembered as read.
	maxNumbers = 4096
	// DefaultMaxAge closes a call that never ends.
	DefaultMaxAge = 12 * time.Hour
)

// Warning is something an admin should know, said once.
type Warning struct {
	Context  string // a context that matches no pattern
	Endpoint string // of the leg that stood in it
	CallID   string // a call that was closed by age
}

// A Tracker follows legs and makes calls of them. It has no clock and does no
// I/O: time comes with the facts and with Advance, results leave through the
// On functions, which are called before Feed, Advance, Attached or Flush
// returns. It is not safe for concurrent use.
type Tracker struct {
	OnCall func(*Call) // a call is over; called once per call
	OnLive func(*Call) // an outside call began, rings or was answered
	OnWarn func(Warning)

	cfg      Config
	now      time.Time
	legs     map[string]*leg
	pairs    map[string]*[2]*leg // halves of Local channels by common name
	bridges  map[string]*bridge
	calls    map[*call]struct{}
	closing  []*call // caller's leg has ended, others have not
	ended    []*leg  // ended legs in order of their end, to be forgotten
	gen      int     // counts connections to the PBX
	warned   map[string]bool
	trunks   map[string]bool // endpoints that calls came in by
	numbers  map[string]number.Number
	seq      int
	nextAged time.Time // when to look for calls and legs past MaxAge

	stack, real []*leg // scratch of connected
}

type leg struct {
	Leg
	gen        int
	by         *leg // who dialled it
	dialed     bool
	external   bool // dialled, and outside the office
	call       *call
	attempt    *attempt
	bridge     *bridge
	ended      bool
	endedAt    time.Time
	visited    int
	dialling   bool // a Dial is running on this leg
	dialLegs   int  // how many legs it has made
	progressed bool // a leg it dialled has rung, so the PBX says
	incomplete bool // first seen otherwise than by its creation
}

type bridge struct {
	id      string
	holding bool
	members []*leg
}

type attempt struct {
	Attempt
	leg       *leg
	external  bool
	ringing   bool
	rang      bool
	up        bool
	connected bool
	forwarded bool
	taken     bool // the PBX says that the dialling leg was answered by it
	lent      bool // another call has taken it over, by an attended transfer
	stopped   bool // decided or taken back
	own       bool // its own device ended it
	ringFrom  time.Time
	stoppedAt time.Time
	endedAt   time.Time
	status    string
	cause     int
	sip       int
}

type call struct {
	root     *leg
	id       string
	dir      Direction // empty: inside the office
	started  time.Time
	endedAt  time.Time
	open     int // legs that have not ended, the root included
	members  []*leg
	attempts []*attempt
	dialTo   string // outbound: what was dialled
	// perhapsOut: a wire inside the PBX dials an outside number and nobody is
	// known to have dialled the wire.
	perhapsOut bool

	ringing  int
	ringFrom time.Time
	ring     time.Duration
	lastStop *attempt // the last phone to stop ringing

	answeredAt time.Time
	answeredBy *leg
	answerer   Answerer

	mailbox   *Mailbox
	mailboxAt time.Time

	queue      *Queue
	queueFrom  time.Time
	queueing   bool
	queueGave  bool // the queue said why it gave the caller up
	queueAband bool
	waiting    bool // in a queue that nobody named

	menu, forwarded bool

	hungUp      bool // the caller's own device ended the call
	hungUpAt    time.Time
	undecided   bool // a phone was undecided then
	wasQueueing bool
	softHangup  bool
	calleeEnded *leg // the person who hung up on the caller
	dialCancel  bool // the PBX says that the caller cancelled its Dial

	withheld bool
	gaps     []Gap
	doubt    bool // somebody may have answered unseen
	deadline time.Time
	done     bool
	ringLive bool

	numRaw  string // what num was made of
	num     number.Number
	lineRaw string
	line    Line
}

// NewTracker makes a Tracker. Empty pattern lists mean the defaults.
func NewTracker(cfg Config) *Tracker {
	if cfg.OutsideContexts == nil {
		cfg.OutsideContexts = DefaultOutsideContexts
	}
	if cfg.InsideContexts == nil {
		cfg.InsideContexts = DefaultInsideContexts
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	return &Tracker{
		cfg: cfg, legs: map[string]*leg{}, pairs: map[string]*[2]*leg{}, bridges: map[string]*bridge{},
		calls: map[*call]struct{}{}, warned: map[string]bool{}, trunks: map[string]bool{},
	}
}

// Open tells how many outside calls are in progress and how many legs are known.
func (t *Tracker) Open() (calls, legs int) {
	for c := range t.calls {
		if c.dir != "" {
			calls++
		}
	}
	return calls, len(t.legs)
}

// Tracks reports whether the outside call with this ID is in progress.
func (t *Tracker) Tracks(id string) bool {
	l := t.legs[id]
	return l != nil && l.call != nil && l.call.id == id && l.call.dir != "" && !l.call.done
}

// Live returns every outside call in progress.
func (t *Tracker) Live() []*Call {
	var out []*Call
	for c := range t.calls {
		if c.dir != "" && !c.done {
			out = append(out, t.build(c))
		}
	}
	return out
}

// Feed takes one fact. Facts come in the order in which they happened.
func (t *Tracker) Feed(f *Fact) {
	t.Advance(f.At)
	l := t.seen(&f.Leg, f.Kind == LegCreated, f.At)
	if l == nil {
		return
	}
	switch f.Kind {
	case LegDialed:
		t.dialed(l, f)
	case LegHangup:
		t.hangup(l, f)
	case LegEnded:
		t.end(l, f.At, f.Cause, f.SIPStatus)
	case LegBridged, LegUnbridged:
		t.bridged(l, f)
	case DialEnded:
		t.dialEnded(l, f.Dial, f.At)
	case DialProgressed:
		l.progressed = true
	case MessageLeft:
		if c := t.mailboxOf(l, f.At); c != nil {
			c.mailbox.MessageLeft = boolp(true)
		}
	case MailboxEnded:
		// In good order without a message left is not proof of none: silence is
		// thrown away in good order too, and so may be the fact of the message.
		if c := t.mailboxOf(l, f.At); c != nil && c.mailbox.MessageLeft == nil && !f.OK {
			c.mailbox.MessageLeft = boolp(false)
		}
	case QueueLeft:
		if c := l.call; c != nil && c.root == l && f.Dial != "" {
			c.queueGave = true
			t.leaveQueue(c, f.At)
		}
	case QueueAbandoned:
		if c := l.call; c != nil && c.root == l {
			c.queueAband = true
		}
	case Withheld:
		t.Withhold(l.ID)
	case Waiting:
		if c := l.call; c != nil && c.root == l && c.answeredAt.IsZero() && !c.hungUp {
			c.waiting = true
		}
	case EvidenceLost:
		if c := l.call; c != nil && !c.done {
			c.addGap(f.Gap)
			c.doubt = c.doubt || f.Doubt && c.answeredAt.IsZero()
		}
	}
}

// Withhold notes that a leg's caller asked not to be shown, learned otherwise
// than by a fact.
func (t *Tracker) Withhold(legID string) {
	if l := t.legs[legID]; l != nil && l.call != nil && l.call.root == l {
		l.call.withheld = true
	}
}

func boolp(b bool) *bool { return &b }

// mailboxOf is the call of a leg that a mailbox speaks of, with its mailbox
// noted even if the mailbox's beginning was not seen.
func (t *Tracker) mailboxOf(l *leg, at time.Time) *call {
	c := l.call
	if c == nil {
		return nil
	}
	if c.mailbox == nil {
		if c.root != l {
			return nil
		}
		t.reachMailbox(c, "", at)
	}
	return c
}

// seen finds or makes the leg of a snapshot and takes over what changed.
func (t *Tracker) seen(s *Leg, created bool, at time.Time) *leg {
	if s.ID == "" {
		return nil
	}
	l := t.legs[s.ID]
	if l == nil {
		l = &leg{gen: t.gen, incomplete: !created}
		l.ID, l.Context, l.Exten = strings.Clone(s.ID), strings.Clone(s.Context), strings.Clone(s.Exten)
		l.State, l.CreatedAt, l.Unseen = s.State, s.CreatedAt, s.Unseen
		l.Attestation = strings.Clone(s.Attestation)
		if l.CreatedAt.IsZero() {
			l.CreatedAt = at
		}
		l.take(s)
		t.legs[l.ID] = l
		if pair, half, ok := localPair(l.Name); ok {
			p := t.pairs[pair]
			if p == nil {
				p = new([2]*leg)
				t.pairs[pair] = p // pair is part of l.Name, which is a copy
			}
			p[half] = l
			if other := p[1-half]; other != nil && other.call != nil {
				t.join(other.call, l)
			}
		} else if s.State == LegRing || !created && s.State == LegUp && s.Activity != ActivityDialed {
			t.root(l, at)
		}
		t.activity(l, s, at)
		t.state(l, s.State, at)
		return l
	}
	if l.ended {
		return l
	}
	if created && l.incomplete && l.gen == t.gen {
		l.incomplete = false
	}
	changed := l.take(s)
	if changed && l.call != nil && l.call.root == l {
		t.live(l.call)
	}
	t.activity(l, s, at)
	t.state(l, s.State, at)
	return l
}

// take copies what may change in a snapshot and reports whether the caller's
// name or number became another. Context and extension stay those of the
// leg's first snapshot for as long as it is in its first context: the line a
// caller dialled does not change when the dialplan moves on.
func (l *leg) take(s *Leg) (renumbered bool) {
	if l.Name != s.Name && s.Name != "" {
		l.Name = strings.Clone(s.Name)
	}
	if s.Number != l.Number || s.Person != l.Person {
		renumbered = true
		l.Number, l.Person = strings.Clone(s.Number), strings.Clone(s.Person)
	}
	if s.OtherNum != l.OtherNum {
		l.OtherNum = strings.Clone(s.OtherNum)
	}
	return renumbered
}

// root opens a call for a leg that came in by itself.
func (t *Tracker) root(l *leg, at time.Time) {
	// A leg older than any call is one that was closed by age and forgotten.
	if isMachine(l.Name) || at.Sub(l.CreatedAt) > t.cfg.MaxAge {
		return
	}
	c := &call{root: l, id: l.ID, started: l.CreatedAt}
	ep := endpoint(l.Name)
	switch {
	case Match(t.cfg.OutsideContexts, l.Context), Match(t.cfg.OutsideEndpoints, ep):
		c.dir = Inbound
		t.trunks[ep] = true
	case l.Context != "" && !Match(t.cfg.InsideContexts, l.Context) && !t.warned[l.Context] && len(t.warned) < 1000:
		t.warned[l.Context] = true
		if t.OnWarn != nil {
			t.OnWarn(Warning{Context: l.Context, Endpoint: ep})
		}
	}
	t.calls[c] = struct{}{}
	t.join(c, l)
	if l.incomplete {
		c.addGap(GapAttachedLate)
		// In state Ring the PBX has not answered it, so no person can have.
		c.doubt = l.State != LegRing
	}
	if c.dir == Inbound {
		t.live(c)
	}
}

func (t *Tracker) join(c *call, l *leg) {
	if l.call != nil || c.done {
		return
	}
	l.call = c
	if !l.ended {
		c.open++
	}
	if len(c.members) > 4*maxAttempts {
		kept := c.members[:0]
		for _, m := range c.members {
			if !m.ended || m == c.root {
				kept = append(kept, m)
			}
		}
		clear(c.members[len(kept):])
		c.members = kept
	}
	c.members = append(c.members, l)
	if l.incomplete && l != c.root && l.gen == t.gen {
		c.addGap(GapEventsLost)
	}
	if other := t.other(l); other != nil && other.call == nil {
		t.join(c, other)
	}
}

// other is the other half of a Local channel.
func (t *Tracker) other(l *leg) *leg {
	pair, half, ok := localPair(l.Name)
	if !ok {
		return nil
	}
	if p := t.pairs[pair]; p != nil {
		return p[1-half]
	}
	return nil
}

// state follows the leg's own signalling.
func (t *Tracker) state(l *leg, s LegState, at time.Time) {
	if s == StateUnknown || s == l.State && s != LegRinging && s != LegUp {
		return
	}
	l.State = s
	if l.attempt == nil {
		return
	}
	switch s {
	case LegRinging:
		t.rings(l.attempt, at)
	case LegUp:
		t.up(l.attempt, at)
	}
}

func (t *Tracker) rings(a *attempt, at time.Time) {
	c := a.leg.call
	if a.rang || a.stopped || c == nil {
		return
	}
	a.rang, a.ringing, a.ringFrom = true, true, at
	if !c.counts(a) {
		return
	}
	if c.ringing == 0 {
		c.ringFrom = at
	}
	c.ringing++
	if !c.ringLive {
		c.ringLive = true
		t.live(c)
	}
}

// counts tells whether the attempt is one of the call's own: in an outbound
// call only the outside legs are.
func (c *call) counts(a *attempt) bool { return c.dir == Inbound || a.external }

// stopRinging ends the attempt's ringing, if it rang.
func (t *Tracker) stopRinging(a *attempt, at time.Time) {
	if !a.ringing {
		return
	}
	c := a.leg.call
	a.ringing = false
	a.Ring = at.Sub(a.ringFrom)
	if c == nil || !c.counts(a) {
		return
	}
	c.lastStop = a
	c.ringing--
	if c.ringing == 0 {
		c.ring += at.Sub(c.ringFrom)
	}
}

func (t *Tracker) up(a *attempt, at time.Time) {
	if a.up || a.stopped {
		return
	}
	t.stopRinging(a, at)
	a.up = true
	a.stoppedAt = at
}

// stop ends the attempt: nobody will take the call on this phone any more.
func (t *Tracker) stop(a *attempt, at time.Time) {
	if a.stopped {
		return
	}
	t.stopRinging(a, at)
	a.stopped = true
	if a.stoppedAt.IsZero() {
		a.stoppedAt = at
	}
}

// activity follows what the PBX does with a leg.
func (t *Tracker) activity(l *leg, s *Leg, at time.Time) {
	if s.Activity == l.Activity && s.Data == l.Data {
		return
	}
	was := l.Activity
	if was == ActivityDial {
		t.dialOver(l, at)
	}
	l.Activity, l.Data = s.Activity, strings.Clone(s.Data)
	c := l.call
	if s.Activity == ActivityDial {
		l.dialling, l.dialLegs = true, 0
	}
	if c == nil {
		return
	}
	if c.root != l {
		if s.Activity == ActivityMailbox {
			t.evaluate(l, at)
		}
		return
	}
	if was == ActivityQueue && s.Activity != ActivityQueue {
		t.leaveQueue(c, at)
	}
	switch s.Activity {
	case ActivityMenu:
		c.menu = true
	case ActivityQueue:
		if c.answeredAt.IsZero() {
			c.queue = &Queue{Name: strings.Clone(firstArg(s.Data))}
			c.queueFrom, c.queueing, c.queueGave, c.queueAband = at, true, false, false
		}
	case ActivityMailbox:
		t.reachMailbox(c, s.Data, at)
	}
}

func firstArg(s string) string {
	if i := strings.IndexAny(s, ",|"); i >= 0 {
		s = s[:i]
	}
	return s
}

func (t *Tracker) leaveQueue(c *call, at time.Time) {
	if c.queueing {
		c.queueing = false
		c.queue.Wait = at.Sub(c.queueFrom)
	}
}

func (t *Tracker) reachMailbox(c *call, data string, at time.Time) {
	if !c.answeredAt.IsZero() || c.hungUp {
		return
	}
	box := firstArg(data)
	if i := strings.IndexByte(box, '&'); i >= 0 {
		box = box[:i]
	}
	if c.mailbox == nil {
		c.mailbox, c.mailboxAt = &Mailbox{}, at
	}
	if box != "" {
		c.mailbox.Mailbox = strings.Clone(box)
	}
}

// dialed links a leg to who dials it and follows the dialling.
func (t *Tracker) dialed(l *leg, f *Fact) {
	by := t.seen(&f.By, false, f.At)
	l.dialed = true
	if by == nil {
		return // originated: nobody's attempt until it dials itself
	}
	if c := l.call; c != nil && c.root == l && by != l {
		// It had looked as if it came in by itself; now it is known to be dialled.
		delete(t.calls, c)
		c.done = true
		l.call = nil
	}
	if l.by == nil && by != l {
		l.by = by
		by.dialLegs++
		if by.call == nil && !by.ended {
			t.own(by)
		}
		if c := l.call; c != nil && by.call != nil && c != by.call && c.dir == "" && c.open > 0 {
			if _, _, local := localPair(c.root.Name); local {
				t.merge(c, by.call)
			}
		}
		if by.call != nil && l.call == nil {
			t.join(by.call, l)
		}
		t.try(l, f)
	}
	if f.Forward != "" && l.call != nil {
		if l.call.dir == Inbound || l.external {
			l.call.forwarded = true
		}
		if l.attempt != nil {
			l.attempt.forwarded = true
		}
	}
	a := l.attempt
	if a == nil {
		return
	}
	switch f.Dial {
	case "":
	case "RINGING", "PROGRESS":
		t.rings(a, f.At)
	case "PROCEEDING":
	case "ANSWER":
		a.taken = true
		if !a.stopped {
			t.up(a, f.At)
		}
	default:
		if !a.stopped || a.status == "" {
			a.status = strings.Clone(f.Dial) // the first word; queues add a CANCEL to their NOANSWER
		}
		t.stop(a, f.At)
	}
}

// merge moves what a wire inside the PBX has gathered by itself into the call
// that turns out to dial it.
func (t *Tracker) merge(from, to *call) {
	from.done = true
	delete(t.calls, from)
	for _, m := range from.members {
		m.call = nil
		t.join(to, m)
		if a := m.attempt; a != nil {
			t.addAttempt(to, a)
			if a.ringing && to.counts(a) {
				if to.ringing == 0 {
					to.ringFrom = a.ringFrom
				}
				to.ringing++
			}
			if a.external && to.dir == "" {
				to.dir, to.dialTo = Outbound, a.Extension
			}
		}
	}
	if from.lastStop != nil && to.lastStop == nil {
		to.lastStop = from.lastStop
	}
	to.menu = to.menu || from.menu
}

// own opens a call inside the office for a leg that dials without having come
// in by itself: an originated one, or half of a Local channel.
func (t *Tracker) own(l *leg) {
	c := &call{root: l, id: l.ID, started: l.CreatedAt}
	t.calls[c] = struct{}{}
	t.join(c, l)
	if l.incomplete {
		c.addGap(GapAttachedLate)
		c.doubt = true
	}
}

// try makes an attempt of a dialled leg that is a phone or a way out.
func (t *Tracker) try(l *leg, f *Fact) {
	c := l.call
	if c == nil || l.attempt != nil {
		return
	}
	if _, _, local := localPair(l.Name); local || isMachine(l.Name) {
		return
	}
	ep := endpoint(l.Name)
	l.external = Match(t.cfg.OutsideContexts, l.Context) || t.outsideEndpoint(ep)
	a := &attempt{leg: l, external: l.external}
	a.Endpoint = ep
	a.Extension, a.Name = resource(ep), l.Person
	if l.external {
		a.Extension = dialledNumber(f.DialTo)
		if a.Extension == "" {
			a.Extension = l.Number
		}
	} else if n := l.Number; n != "" && number.Parse(n, "").Kind == number.Internal {
		a.Extension = n
	}
	a.Extension = strings.Clone(a.Extension)
	l.attempt = a
	t.addAttempt(c, a)
	if l.external && c.dir == "" {
		c.dialTo = a.Extension
		if _, _, wire := localPair(c.root.Name); wire {
			// Whoever dialled this wire may yet turn up, and be an outside caller.
			c.perhapsOut = true
		} else {
			c.dir = Outbound
			t.live(c)
		}
	}
	switch l.State {
	case LegRinging:
		t.rings(a, f.At)
	case LegUp:
		t.up(a, f.At)
	}
}

func (t *Tracker) outsideEndpoint(ep string) bool {
	return t.trunks[ep] || Match(t.cfg.OutsideEndpoints, ep)
}

// dialledNumber is the number in a dial string: "2025550143@trunk",
// "trunk/2025550143", "trunk/sip:2025550143@203.0.113.7".
func dialledNumber(s string) string {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		s = s[i+1:]
	}
	s = strings.TrimPrefix(strings.TrimPrefix(s, "sips:"), "sip:")
	if i := strings.IndexByte(s, '@'); i >= 0 {
		s = s[:i]
	}
	return s
}

func (t *Tracker) addAttempt(c *call, a *attempt) {
	if len(c.attempts) >= maxAttempts {
		for i, old := range c.attempts {
			if old.stopped && !old.connected && old != c.lastStop {
				copy(c.attempts[i:], c.attempts[i+1:])
				c.attempts = c.attempts[:len(c.attempts)-1]
				break
			}
		}
	}
	c.attempts = append(c.attempts, a)
}

// dialEnded follows the outcome of a whole Dial.
func (t *Tracker) dialEnded(l *leg, status string, at time.Time) {
	switch status {
	case "":
		// Dial clears its variables as it begins.
		if l.Activity == ActivityDial && !l.dialling {
			l.dialling, l.dialLegs = true, 0
		}
		return
	case "ANSWER":
		return
	case "CANCEL":
		if c := l.call; c != nil && c.root == l {
			c.dialCancel = true
		}
		return
	}
	if l.dialling && l.dialLegs == 0 {
		t.dialFailed(l, status, at)
	}
	l.dialling = false
}

// dialOver ends a Dial whose end was not seen.
func (t *Tracker) dialOver(l *leg, at time.Time) {
	if l.dialling && l.dialLegs == 0 && l.Activity == ActivityDial && (l.call == nil || !l.call.hungUp) {
		t.dialFailed(l, "", at)
	}
	l.dialling = false
}

// dialFailed notes the phones that a Dial could not even make a leg for.
func (t *Tracker) dialFailed(l *leg, status string, at time.Time) {
	c := l.call
	if c == nil {
		return
	}
	for _, dev := range strings.Split(firstArg(l.Data), "&") {
		tech, rest, _ := strings.Cut(dev, "/")
		if i := strings.IndexByte(rest, '@'); i >= 0 && tech != "Local" {
			rest = rest[i+1:]
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			rest = rest[:i]
		}
		ep := dev
		if rest != "" {
			ep = tech + "/" + rest
		}
		a := &attempt{leg: l, external: t.outsideEndpoint(ep), stopped: true, stoppedAt: at, endedAt: at, status: status}
		a.Endpoint, a.Extension = strings.Clone(ep), strings.Clone(rest)
		if a.external {
			a.Extension = strings.Clone(dialledNumber(strings.TrimPrefix(dev, tech+"/")))
		}
		switch status {
		case "BUSY":
			a.cause = 17
		case "CONGESTION":
			a.cause = 34
		case "CHANUNAVAIL", "":
			a.cause = 20 // subscriber absent
		}
		t.addAttempt(c, a)
		if a.external && c.dir == "" {
			c.dir, c.dialTo = Outbound, a.Extension
			t.live(c)
		}
	}
}

// hangup follows requests to end a leg.
func (t *Tracker) hangup(l *leg, f *Fact) {
	if l.ended {
		return
	}
	if a := l.attempt; a != nil && !f.Soft {
		if !a.stopped {
			a.own = true
			a.cause, a.sip = f.Cause, f.SIPStatus
			t.stop(a, f.At)
		}
	}
	if !f.Soft {
		t.calleeHangsUp(l)
	}
	c := l.call
	if c == nil || c.root != l || c.done {
		return
	}
	if f.Soft {
		c.softHangup = true
	} else if !c.hungUp {
		c.hungUp, c.hungUpAt = true, f.At
		c.wasQueueing = c.queueing || c.waiting
		for _, a := range c.attempts {
			if c.counts(a) && !a.stopped {
				c.undecided = true
			}
		}
	}
	if c.deadline.IsZero() {
		c.deadline = f.At.Add(hangupWait)
		t.closing = append(t.closing, c)
	}
}

// calleeHangsUp notes that the person a caller talks to hung up, for as long as
// nobody else is connected to that caller.
func (t *Tracker) calleeHangsUp(l *leg) {
	if l.bridge == nil || l.call != nil && l.call.root == l && l.call.dir == Inbound {
		return
	}
	t.connected(l)
	for _, m := range t.real {
		c := m.call
		if c == nil || c.done || c.answeredAt.IsZero() || c.hungUp || c.softHangup {
			continue
		}
		if c.dir == Inbound && m == c.root || c.dir == Outbound && l.external && l.call == c {
			c.calleeEnded = l
		}
	}
}

// end is a leg's last moment.
func (t *Tracker) end(l *leg, at time.Time, cause, sip int) {
	if l.ended {
		return
	}
	if l.Activity == ActivityDial {
		t.dialOver(l, at)
	}
	l.ended, l.endedAt = true, at
	t.ended = append(t.ended, l)
	if l.bridge != nil {
		l.bridge.remove(l, t)
	}
	if a := l.attempt; a != nil {
		a.endedAt = at
		if a.cause == 0 {
			a.cause = cause
		}
		if a.sip == 0 {
			a.sip = sip
		}
		t.stop(a, at)
	}
	c := l.call
	if c == nil || c.done {
		return
	}
	c.open--
	if l == c.root {
		t.leaveQueue(c, at)
		c.endedAt = at
		if c.deadline.IsZero() {
			t.closing = append(t.closing, c)
		}
		c.deadline = at.Add(settle)
		if _, _, local := localPair(l.Name); local {
			// A wire may be taken out of a call that goes on.
			c.deadline = at.Add(t.cfg.MaxAge)
		}
	}
	if c.root.ended && c.open <= 0 {
		t.close(c)
	}
}

func (b *bridge) remove(l *leg, t *Tracker) {
	for i, m := range b.members {
		if m == l {
			b.members = append(b.members[:i], b.members[i+1:]...)
			break
		}
	}
	l.bridge = nil
	if len(b.members) == 0 {
		delete(t.bridges, b.id)
	}
}

func (t *Tracker) place(b *bridge, l *leg) {
	if l.bridge == b || l.ended {
		return
	}
	if l.bridge != nil {
		l.bridge.remove(l, t)
	}
	if len(b.members) == 0 {
		t.bridges[b.id] = b
	}
	l.bridge = b
	b.members = append(b.members, l)
}

// bridged follows who stands in which bridge. The member list that comes with
// each fact is believed over what was seen before: that way one lost fact
// hides nobody.
func (t *Tracker) bridged(l *leg, f *Fact) {
	b := t.bridges[f.Bridge.ID]
	if b == nil {
		b = &bridge{id: strings.Clone(f.Bridge.ID)}
	}
	b.holding = f.Bridge.Holding
	for _, id := range f.Bridge.Members {
		if m := t.legs[id]; m != nil {
			t.place(b, m)
		}
	}
	t.place(b, l)
	t.evaluate(l, f.At)
	if f.Kind == LegUnbridged && l.bridge == b {
		b.remove(l, t)
	}
}

// connected leaves in t.real the legs of devices that l can talk to, itself
// included, and returns the Local half on whose other side a mailbox listens.
func (t *Tracker) connected(l *leg) (inbox *leg) {
	t.seq++
	t.stack, t.real = append(t.stack[:0], l), t.real[:0]
	l.visited = t.seq
	visit := func(m *leg) {
		if m != nil && m.visited != t.seq {
			m.visited = t.seq
			t.stack = append(t.stack, m)
		}
	}
	for len(t.stack) > 0 {
		m := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		if _, _, local := localPair(m.Name); local {
			visit(t.other(m))
			if m.Activity == ActivityMailbox {
				inbox = m
			}
		} else if !isMachine(m.Name) {
			t.real = append(t.real, m)
		}
		// Parked and held callers share a bridge without hearing one another.
		if m.bridge != nil && !m.bridge.holding {
			for _, n := range m.bridge.members {
				visit(n)
			}
		}
	}
	return inbox
}

// evaluate looks who is connected to whom through the bridge that l stands in
// and the Local channels behind it, and marks calls answered.
func (t *Tracker) evaluate(l *leg, at time.Time) {
	inbox := t.connected(l)
	for _, m := range t.real {
		c := m.call
		if c == nil || c.done {
			continue
		}
		if !c.answeredAt.IsZero() {
			switch {
			case m == c.root && c.dir == Inbound:
				t.transferred(c, at)
			case m.attempt != nil && m != c.root && len(t.real) > 1:
				t.up(m.attempt, at)
				m.attempt.connected = true
			}
			continue
		}
		if c.perhapsOut && c.dir == "" && m.external && len(t.real) > 1 {
			c.dir = Outbound
		}
		switch c.dir {
		case Inbound:
			if m != c.root {
				continue
			}
			if p := t.person(m); p != nil {
				t.answered(c, p, at)
			} else if inbox != nil {
				t.reachMailbox(c, inbox.Data, at)
			}
		case Outbound:
			if m.external && len(t.real) > 1 {
				t.answered(c, m, at)
			}
		}
	}
}

// transferred notes whom an answered caller is connected to now. A phone that a
// colleague had called to ask first was tried by a call inside the office; it
// is one of this call's phones from here on.
func (t *Tracker) transferred(c *call, at time.Time) {
	p := t.person(c.root)
	if p == nil {
		return
	}
	if p != c.calleeEnded {
		c.calleeEnded = nil
	}
	if p == c.answeredBy || p.call == nil || p.call == c || p.attempt == nil || p.call.dir != "" || p.attempt.lent {
		return
	}
	was := p.attempt
	was.lent = true
	a := &attempt{leg: p, Attempt: was.Attempt, external: was.external, rang: was.rang, up: true, connected: true,
		stopped: true, stoppedAt: at, endedAt: at}
	t.addAttempt(c, a)
	c.ring += a.Ring
}

// person picks who is on the other end of the caller's leg, if anybody is. A
// second outside caller is nobody of ours.
func (t *Tracker) person(caller *leg) *leg {
	var found *leg
	for _, m := range t.real {
		if m == caller || m.call != nil && m.call.root == m && m.call.dir == Inbound {
			continue
		}
		if found == nil || m.attempt != nil && m.call == caller.call {
			found = m
		}
	}
	return found
}

func (t *Tracker) answered(c *call, by *leg, at time.Time) {
	t.leaveQueue(c, at)
	c.answeredAt, c.answeredBy = at, by
	if by.Unseen {
		t.live(c)
		return
	}
	c.answerer = Answerer{Endpoint: endpoint(by.Name), Name: by.Person, External: by.external}
	c.answerer.Extension = resource(c.answerer.Endpoint)
	if a := by.attempt; a != nil {
		t.up(a, at)
		a.connected = true
		if a.external {
			c.answerer.Extension = a.Extension
		}
		if c.answerer.Endpoint == a.Endpoint {
			c.answerer.Extension = a.Extension
		}
	}
	t.live(c)
}

// Lost tells that the connection to the PBX broke: from at on facts may be
// missing. Attached follows once it stands again.
func (t *Tracker) Lost(at time.Time) {
	t.Advance(at)
	t.gen++
	for c := range t.calls {
		c.addGap(GapEventsLost)
		if c.answeredAt.IsZero() {
			c.doubt = true
		}
	}
}

// Attached tells which legs and bridges the PBX has right after a connection
// to it was made. Legs known before that are gone have ended unseen; legs
// never seen before are older than the connection. Facts that arrived on the
// new connection before this list was taken are fed first.
func (t *Tracker) Attached(at time.Time, legs []Leg, bridges []Bridge) {
	t.Advance(at)
	there := make(map[string]bool, len(legs))
	for i := range legs {
		there[legs[i].ID] = true
		l := t.seen(&legs[i], false, at)
		if l == nil {
			continue
		}
		if c := l.call; c != nil && c.root == l && l.gen < t.gen && l.State == LegRing {
			c.doubt = false // still not answered by the PBX: nobody can have been missed
		}
		if l.gen < t.gen {
			l.gen = t.gen
		}
	}
	for i := range bridges {
		for _, id := range bridges[i].Members {
			if l := t.legs[id]; l != nil && !l.ended {
				t.bridged(l, &Fact{Kind: LegBridged, At: at, Bridge: bridges[i]})
				break
			}
		}
	}
	for _, l := range t.legs {
		if l.gen < t.gen && !l.ended && !there[l.ID] {
			t.end(l, at, 0, 0)
		}
	}
}

// Next is when Advance has something to do although no fact comes, zero if
// nothing waits.
func (t *Tracker) Next() time.Time {
	var next time.Time
	for _, c := range t.closing {
		if !c.done && (next.IsZero() || c.deadline.Before(next)) {
			next = c.deadline
		}
	}
	if len(t.legs) > 0 && (next.IsZero() || t.nextAged.Before(next)) {
		next = t.nextAged
	}
	return next
}

// Advance lets time pass: calls whose other legs stay silent are closed, and
// so are those past their age.
func (t *Tracker) Advance(now time.Time) {
	if !now.After(t.now) {
		return
	}
	t.now = now
	if len(t.closing) > 0 {
		kept := t.closing[:0]
		for _, c := range t.closing {
			if !c.done && !now.Before(c.deadline) {
				if !c.root.ended {
					c.addGap(GapNoFinal)
				}
				t.close(c)
			}
			if !c.done {
				kept = append(kept, c)
			}
		}
		clear(t.closing[len(kept):])
		t.closing = kept
	}
	n := 0
	for n < len(t.ended) && now.Sub(t.ended[n].endedAt) > remember && (t.ended[n].call == nil || t.ended[n].call.done || t.ended[n] != t.ended[n].call.root) {
		t.forget(t.ended[n])
		n++
	}
	if n > 0 {
		clear(t.ended[:n])
		t.ended = t.ended[n:]
	}
	if now.Before(t.nextAged) {
		return
	}
	if !t.nextAged.IsZero() {
		t.age(now)
	}
	t.nextAged = now.Add(min(time.Minute, t.cfg.MaxAge/4))
}

func (t *Tracker) age(now time.Time) {
	for c := range t.calls {
		if now.Sub(c.started) > t.cfg.MaxAge {
			c.addGap(GapForcedClose)
			if c.root.State != LegRing && c.root.State != LegDown {
				c.doubt = true
			}
			if c.dir != "" && t.OnWarn != nil {
				t.OnWarn(Warning{CallID: c.id})
			}
			t.close(c)
		}
	}
	for _, l := range t.legs {
		if now.Sub(l.CreatedAt) > 2*t.cfg.MaxAge && (l.call == nil || l.call.done) {
			if !l.ended {
				l.ended = true
				if l.bridge != nil {
					l.bridge.remove(l, t)
				}
			}
			t.forget(l)
		}
	}
}

func (t *Tracker) forget(l *leg) {
	if t.legs[l.ID] == l {
		delete(t.legs, l.ID)
	}
	if pair, half, ok := localPair(l.Name); ok {
		if p := t.pairs[pair]; p != nil {
			if p[half] == l {
				p[half] = nil
			}
			if p[0] == nil && p[1] == nil {
				delete(t.pairs, pair)
			}
		}
	}
}

// Flush closes every call in progress: nothing more will come. Such calls have
// lost their end.
func (t *Tracker) Flush(at time.Time) {
	t.Advance(at)
	for c := range t.calls {
		if !c.root.ended {
			c.addGap(GapNoFinal)
			if c.answeredAt.IsZero() && !c.hungUp && c.root.State != LegRing {
				c.doubt = true
			}
			if !c.hungUp && !c.softHangup {
				c.doubt = true // it may yet be answered
			}
		}
		t.close(c)
	}
}

func (c *call) addGap(g Gap) {
	for _, have := range c.gaps {
		if have == g {
			return
		}
	}
	c.gaps = append(c.gaps, g)
}

func (t *Tracker) live(c *call) {
	if c.dir != "" && !c.done && t.OnLive != nil {
		t.OnLive(t.build(c))
	}
}

func (t *Tracker) close(c *call) {
	if c.done {
		return
	}
	end := c.endedAt
	if end.IsZero() {
		end = t.now
		if c.hungUp {
			end = c.hungUpAt
		}
		c.endedAt = end
		t.leaveQueue(c, end)
	}
	if c.ringing > 0 {
		c.ring += max(end.Sub(c.ringFrom), 0)
		for _, a := range c.attempts {
			if a.ringing {
				a.Ring = max(end.Sub(a.ringFrom), 0)
			}
		}
	}
	var out *Call
	if c.perhapsOut && c.dir == "" {
		c.dir = Outbound
	}
	if c.dir != "" {
		t.finish(c)
		out = t.build(c)
		c.classify(out)
	}
	c.done = true
	delete(t.calls, c)
	for _, m := range c.members {
		if !m.ended && m.call == c {
			m.call, m.attempt = nil, nil
		}
	}
	if out != nil && t.OnCall != nil {
		t.OnCall(out)
	}
}

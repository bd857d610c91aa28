package sip

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"textback/pbx"
)

// Contexts that the witness gives its legs: the tracker's Config takes them as
// outside and inside.
const (
	OutsideContext = "sip-outside"
	InsideContext  = "sip-inside"
)

// Tracker makes the tracker configuration fit for facts of a Witness.
func Tracker(cfg pbx.Config) pbx.Config {
	cfg.Source = "sip"
	cfg.OutsideContexts, cfg.InsideContexts, cfg.OutsideEndpoints = []string{OutsideContext}, []string{InsideContext}, []string{}
	return cfg
}

const (
	// timerC is how long an INVITE may go without any message before it is
	// given up (RFC 3261, 16.6: more than three minutes).
	timerC = 185 * time.Second
	// linger is how long an ended dialog is known, for retransmissions (64*T1).
	linger = 32 * time.Second
	// early is how long a message may be ahead of the one that it belongs to.
	early = 500 * time.Millisecond
	// moved is how recently a call must have moved on to be the one that a new
	// leg belongs to, where nothing else tells two calls apart.
	moved = 250 * time.Millisecond
	// pickupTakes is how long a PBX may take from answering a colleague who picks
	// a call up to connecting the caller.
	pickupTakes = time.Second
	// orphaned is how long a leg may wait for its call to be seen.
	orphaned = 2 * time.Second
	// prompt is how soon a phone that does not ring gives its final answer. A
	// later one without ringing may have lost the message that it rang.
	prompt = 500 * time.Millisecond
	// challenge is how long whoever was challenged may take to try again.
	challenge = 5 * time.Second
	// lookEvery is how often all dialogs are looked through for what takes longer.
	lookEvery = 2 * time.Second
	// sweepEvery is how often dialogs are looked through in which something is
	// decided within moments.
	sweepEvery = 100 * time.Millisecond
)

// Config tells a Witness who is who on the wire.
type Config struct {
	PBX       []netip.Prefix // the PBX's own addresses; what trunks talk to is one too
	Trunks    []netip.Prefix // carriers and gateways: only what comes from them comes from outside
	Mailboxes []Target       // where a 2xx is a mailbox
	Services  []Target       // where a 2xx is some other machine: queue, conference, announcement
	// AllPhones says that every phone's signalling is seen, so that no phone leg
	// means that no phone was tried. Without it a call that the PBX answers with
	// no phone in sight is unknown.
	AllPhones bool
	// Pickups are patterns of what phones dial to take a call that rings
	// elsewhere; nil means *8 and ** with an extension.
	Pickups []string
}

// A Target is where a call is sent: an address, or the user part of a request
// URI with '*' for any run of characters.
type Target struct {
	Prefix netip.Prefix
	User   string
}

// ParsePrefix reads an address or a network.
func ParsePrefix(s string) (netip.Prefix, error) {
	if strings.ContainsRune(s, '/') {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
}

// ParseTarget reads an address, a network, or a pattern of user parts.
func ParseTarget(s string) Target {
	if p, err := ParsePrefix(s); err == nil {
		return Target{Prefix: p}
	}
	return Target{User: s}
}

// defaultMailboxes are user parts that name a mailbox at most PBXs.
var defaultMailboxes = []Target{{User: "voicemail*"}, {User: "vmail*"}, {User: "voice-mail*"}, {User: "vm-*"}}

// role is where an INVITE goes, seen from the PBX.
type role uint8

const (
	foreign   role = iota // not at this PBX
	fromTrunk             // a call from outside begins
	fromPhone             // a call from inside begins
	toTrunk               // the PBX calls outside
	toPhone               // the PBX calls a phone
	toMailbox             // the PBX calls a mailbox on another host
	toService             // the PBX calls another machine
)

func (r role) root() bool { return r == fromTrunk || r == fromPhone }

// key names a session: Call-ID and the tag of whoever began it.
type key struct{ callID, tag string }

// session is what shares one Call-ID and From tag: one hop at a B2BUA, several
// where a proxy passes the same INVITE on.
type session struct {
	key  key
	hops []*hop
	last time.Time
}

// hop is one INVITE between two hosts, from its first sending to its end.
type hop struct {
	s      *session
	role   role
	whole  bool   // its INVITE was seen
	branch string // of the newest INVITE
	cseq   uint32
	src    netip.Addr
	dst    netip.Addr
	leg    pbx.Leg
	user   string // dialled
	caller string // suffix of who calls
	fed    bool   // the tracker knows its leg
	begun  time.Time

	parent   *hop
	children []*hop

	toTags    []string // every fork's
	replied   bool
	unheard   bool // by an answer that was not seen
	rangAt    time.Time
	upAt      time.Time
	cancelAt  time.Time // CANCEL was seen
	elsewhere bool      // and says that somebody else took the call
	unasked   bool      // 487 without a CANCEL in sight
	ackedAt   time.Time // a refusal was acknowledged that was not seen
	authAt    time.Time // challenged, not yet tried again
	endedAt   time.Time
	expires   time.Duration // after so long without a refresh the session is over (RFC 4028)
	status    int
	movedAt   time.Time

	// of a root
	lastRing  time.Time // newest 18x
	ambiguous bool      // a leg might have been its, and might not
	rivals    []*hop    // roots that only the moment told apart from this one
	bridged   *hop
	picks     []*hop     // colleagues' own calls that were answered in the same moment
	claims    []*hop     // calls whose picks this one is among
	tone      bool       // 180, not only 183
	behind    netip.Addr // who answered behind a proxy
	voiced    bool       // and that it is a machine
	hungUpAt  time.Time
	silenced  bool     // phones that never spoke have been ended
	ghost     *hop     // stands for phones that were not seen
	listed    []string // keys under which it stands in the index

	// what tells whose leg it is
	under     string
	orig      string // Call-ID of the other leg, as the PBX says
	sessionID string
	icid      string
	origin    string
	diverted  string // Diversion
	replaces  string // Replaces
	forward   string // where a phone sent the call
	cause     int
	said      bool // cause stood in a Reason header
	byDevice  bool // ended by the BYE of whom the INVITE was sent to
}

func (h *hop) open() bool { return h.endedAt.IsZero() }
func (h *hop) up() bool   { return !h.upAt.IsZero() }

// move is a moment in which something happened in root's call.
type move struct {
	root *hop
	at   time.Time
}

// Warning is something an admin should know.
type Warning struct {
	Text   string
	CallID string
}

// A Witness turns SIP messages into leg facts. Like the tracker that it feeds it
// has no clock and does no I/O: time comes with the messages and with Advance.
// It is not safe for concurrent use.
type Witness struct {
	Feed func(*pbx.Fact) // the tracker's
	Warn func(Warning)   // may be nil

	cfg      Config
	now      time.Time
	swept    time.Time
	m        message
	fact     pbx.Fact
	seq      uint64
	sessions map[key]*session
	index    map[string][]*hop // open roots by what their legs may be known by
	recent   []move            // newest last
	orphans  []*hop
	soon     []*session          // to be looked at in moments
	lookedAt time.Time           // when all sessions were looked at
	alone    map[*hop]bool       // open roots from inside that were answered by the PBX itself
	phones   map[string]bool     // suffixes of users known to be phones
	held     []Packet            // messages that came before the one they belong to
	learned  map[netip.Addr]bool // PBX addresses found out
	warned   map[string]bool

	Stats Stats
}

// Stats count what a Witness has met.
type Stats struct {
	Messages  uint64 // that belong to calls
	Ignored   uint64 // registrations, options pings, other SIP, junk
	Foreign   uint64 // INVITEs between hosts that are no part of this PBX
	Ambiguous uint64 // legs that might belong to several calls
	Orphans   uint64 // legs of no call that was seen
}

// NewWitness makes a Witness that feeds feed.
func NewWitness(cfg Config, feed func(*pbx.Fact)) *Witness {
	if cfg.Pickups == nil {
		cfg.Pickups = []string{"*8"}
	}
	cfg.Mailboxes = append(slices.Clone(defaultMailboxes), cfg.Mailboxes...)
	return &Witness{Feed: feed, cfg: cfg, sessions: map[key]*session{}, index: map[string][]*hop{}, alone: map[*hop]bool{}, phones: map[string]bool{},
		learned: map[netip.Addr]bool{}, warned: map[string]bool{}}
}

// Open tells how many dialogs are known, ended ones within their linger included.
func (w *Witness) Open() int { return len(w.sessions) }

// Handle takes one message. Messages come in the order in which they were seen.
func (w *Witness) Handle(p *Packet) {
	w.Advance(p.At)
	m := &w.m
	if !scan(p.Payload, m) {
		w.Stats.Ignored++
		return
	}
	w.Stats.Messages++
	w.handle(p, m, false)
}

func (w *Witness) handle(p *Packet, m *message, late bool) {
	s, byCaller := w.sessions[key{m.callID, m.fromTag}], true
	if s == nil && m.toTag != "" {
		s, byCaller = w.sessions[key{m.callID, m.toTag}], false
	}
	if s != nil {
		s.last = p.At
	}
	switch {
	case m.method == "INVITE":
		if m.toTag == "" {
			w.invite(s, p, m)
		}
	case s == nil:
		// Only the answer to an INVITE can tell of a call that was not seen to begin.
		if m.method == "" && m.cseqMethod == "INVITE" {
			w.unbegun(nil, p, m, late)
		}
	case m.method == "CANCEL":
		if h := s.byBranch(m); h != nil && h.open() && h.cancelAt.IsZero() {
			h.cancelAt, h.elsewhere = p.At, m.elsewhere()
			if !h.replied {
				// CANCEL follows a provisional answer only (RFC 3261, 9.1): that one was lost.
				h.replied, h.unheard = true, true
			}
		} else if h != nil && h.unasked && p.At.Sub(h.endedAt) < early {
			h.unasked, h.elsewhere = false, m.elsewhere() // it was overtaken by its answer
		}
	case m.method == "ACK":
		w.ack(s, p, m)
	case m.method == "BYE", m.method == "" && m.cseqMethod == "BYE" && m.status >= 200:
		w.bye(s, p, m, byCaller)
	case m.method == "REFER":
		w.refer(s, m)
	case m.method == "" && m.cseqMethod == "INVITE":
		w.response(s, p, m, late)
	}
}

// byBranch finds the hop whose transaction m belongs to.
func (s *session) byBranch(m *message) *hop {
	for _, h := range s.hops {
		if h.branch == m.branch && m.branch != "" {
			return h
		}
	}
	// RFC 2543 elements send no unique branch.
	if len(s.hops) == 1 && !strings.HasPrefix(m.branch, "z9hG4bK") && s.hops[0].cseq == m.cseq {
		return s.hops[0]
	}
	return nil
}

func within(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (w *Witness) isPBX(a netip.Addr) bool { return within(w.cfg.PBX, a) || w.learned[a] }

// learn notes an address of the PBX that nobody named, or by which it is known
// in its own copies alone.
func (w *Witness) learn(a netip.Addr, guess bool) {
	if (len(w.cfg.PBX) == 0 || guess) && len(w.learned) < 64 && a.IsValid() {
		w.learned[a] = true
	}
}

// selves are what a PBX calls itself in its own copies when it does not know
// better: Asterisk writes what its transport is bound to.
var selves = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

func (w *Witness) own(guess bool, addrs ...netip.Addr) {
	for _, a := range addrs {
		if guess && slices.Contains(selves, a) && !within(w.cfg.Trunks, a) {
			w.learn(a, true)
		}
	}
}

// role tells what an INVITE from src to dst is.
func (w *Witness) role(src, dst netip.Addr, guess bool, user string, target func() bool) role {
	switch {
	case within(w.cfg.Trunks, src):
		if within(w.cfg.Trunks, dst) || len(w.cfg.PBX) > 0 && !within(w.cfg.PBX, dst) && !guess {
			return foreign
		}
		w.learn(dst, guess)
		return fromTrunk
	case within(w.cfg.Trunks, dst):
		w.learn(src, guess)
		return toTrunk
	case w.isPBX(src) && w.isPBX(dst):
		if matches(w.cfg.Mailboxes, dst, user) {
			return toMailbox
		}
		return foreign
	case w.isPBX(src):
		switch {
		case matches(w.cfg.Mailboxes, dst, user), target():
			return toMailbox
		case matches(w.cfg.Services, dst, user):
			return toService
		}
		return toPhone
	case w.isPBX(dst):
		if len(w.cfg.Trunks) == 0 {
			return fromTrunk
		}
		return fromPhone
	case len(w.cfg.PBX) == 0 && len(w.cfg.Trunks) == 0:
		// Nobody said who is who: the first host to be called is the PBX.
		w.learn(dst, false)
		return fromTrunk
	}
	return foreign
}

func matches(targets []Target, dst netip.Addr, user string) bool {
	for _, t := range targets {
		if t.User != "" && pbx.Match([]string{t.User}, user) || t.Prefix.IsValid() && t.Prefix.Contains(dst) {
			return true
		}
	}
	return false
}

// suffix makes numbers comparable that trunk and phones show in different forms:
// the last seven digits, or the whole of something shorter.
func suffix(user string) string {
	user = strings.TrimPrefix(user, "+")
	if len(user) > 7 && digits(user) {
		return user[len(user)-7:]
	}
	return strings.ToLower(user)
}

const nobody = "anonymous"

// invite follows an INVITE that begins a dialog.
func (w *Witness) invite(s *session, p *Packet, m *message) {
	if s != nil {
		if h := s.byBranch(m); h != nil {
			return // a retransmission, or the same packet seen twice
		}
	}
	src, dst := p.Src.Addr().Unmap(), p.Dst.Addr().Unmap()
	inv := m.parties(p.Payload, within(w.cfg.Trunks, src) || len(w.cfg.Trunks) == 0)
	w.own(p.Guess, src, dst)
	r := w.role(src, dst, p.Guess, userOf(&inv.target), func() bool {
		// RFC 4458: an address with a cause is a voicemail service's.
		_, cause := inv.target.UriParams.Get("cause")
		return cause
	})
	if r == foreign {
		w.Stats.Foreign++
		return
	}
	if s != nil {
		// A challenge was answered: the same attempt, tried again (RFC 3261, 22.2).
		for _, h := range s.hops {
			if h.role == r && !h.authAt.IsZero() && m.cseq > h.cseq {
				h.branch, h.cseq, h.authAt = strings.Clone(m.branch), m.cseq, time.Time{}
				return
			}
		}
	}
	if s == nil {
		s = w.newSession(m, m.fromTag, p.At)
	}
	h := w.newHop(s, r, p.At)
	h.src, h.dst, h.branch, h.cseq = src, dst, strings.Clone(m.branch), m.cseq
	h.user = strings.Clone(userOf(&inv.target))
	if r.root() {
		h.user = strings.Clone(inv.line)
	}
	w.name(h, &inv)
	h.under, h.orig, h.sessionID, h.icid = strings.Clone(m.under), strings.Clone(m.origCallID), strings.Clone(uuid(m.sessionID)), strings.Clone(m.icid)
	h.origin, h.diverted, h.replaces = strings.Clone(m.origin()), strings.Clone(m.diversion), strings.Clone(m.replaces)
	w.place(h, true, inv.withheld)
	w.replay(h.s)
}

// place finds the call that a new hop belongs to, or begins one.
func (w *Witness) place(h *hop, whole, withheld bool) {
	h.whole = whole
	if h.role.root() {
		w.begin(h, withheld)
	} else if parent := w.parentOf(h); parent != nil {
		w.attach(h, parent)
	} else {
		w.orphans = append(w.orphans, h)
	}
}

func (w *Witness) newSession(m *message, tag string, at time.Time) *session {
	s := &session{key: key{strings.Clone(m.callID), strings.Clone(tag)}, last: at}
	w.sessions[s.key] = s
	return s
}

func (w *Witness) newHop(s *session, r role, at time.Time) *hop {
	w.seq++
	h := &hop{s: s, role: r, begun: at, movedAt: at}
	h.leg.ID = s.key.callID
	if len(s.hops) > 0 {
		h.leg.ID += "#" + strconv.Itoa(len(s.hops))
	}
	s.hops = append(s.hops, h)
	return h
}

// name gives the hop's leg its names and numbers.
func (w *Witness) name(h *hop, inv *invite) {
	l := &h.leg
	l.CreatedAt = h.begun
	n := "-" + strconv.FormatUint(w.seq, 36)
	l.Context = InsideContext
	switch h.role {
	case fromTrunk:
		l.Name, l.Context, l.State = "SIP/"+h.src.String()+n, OutsideContext, pbx.LegRing
	case fromPhone:
		l.Name, l.State = "SIP/"+strings.Clone(inv.caller)+n, pbx.LegRing
	case toTrunk:
		l.Name, l.Context, l.State, l.Activity = "SIP/"+h.dst.String()+n, OutsideContext, pbx.LegDown, pbx.ActivityDialed
	default:
		l.Name, l.State, l.Activity = "SIP/"+h.user+n, pbx.LegDown, pbx.ActivityDialed
	}
	if h.role.root() {
		l.Exten, l.Number, l.Person, l.Attestation = h.user, strings.Clone(inv.caller), strings.Clone(inv.name), strings.Clone(inv.attestation)
	} else {
		l.Number, l.OtherNum = h.user, strings.Clone(inv.caller)
	}
	h.caller = suffix(strings.Clone(inv.caller))
	if inv.withheld {
		h.caller = nobody
	}
	if len(w.phones) < 10_000 {
		switch h.role {
		case fromPhone:
			w.phones[h.caller] = true
		case toPhone:
			w.phones[suffix(h.user)] = true
		}
	}
}

// feed gives the tracker a fact about the hop's leg.
func (w *Witness) feed(h *hop, kind pbx.FactKind, at time.Time, set func(*pbx.Fact)) {
	w.fact = pbx.Fact{Kind: kind, At: at, Leg: h.leg}
	if set != nil {
		set(&w.fact)
	}
	w.Feed(&w.fact)
}

func (w *Witness) lost(h *hop, g pbx.Gap, doubt bool) {
	w.feed(h, pbx.EvidenceLost, w.now, func(f *pbx.Fact) { f.Gap, f.Doubt = g, doubt })
}

// kind is the first fact about the hop's leg.
func (h *hop) kind() pbx.FactKind {
	if h.whole {
		return pbx.LegCreated
	}
	return pbx.LegSeen
}

// begin opens a call for a root.
func (w *Witness) begin(h *hop, withheld bool) {
	h.fed = true
	w.feed(h, h.kind(), h.begun, nil)
	if withheld {
		w.feed(h, pbx.Withheld, h.begun, nil)
	}
	w.list(h)
	w.move(h, h.begun)
	kept := w.orphans[:0]
	for _, o := range w.orphans {
		if parent := w.parentOf(o); parent == h {
			w.attach(o, h)
		} else {
			kept = append(kept, o)
		}
	}
	clear(w.orphans[len(kept):])
	w.orphans = kept
}

// attach makes h a leg of parent's call.
func (w *Witness) attach(h, parent *hop) {
	h.parent = parent
	parent.children = append(parent.children, h)
	delete(w.alone, parent)
	w.move(parent, h.begun)
	if h.role == toPhone && h.user == parent.user && (h.s == parent.s || parent.role == fromTrunk) {
		// A proxy's fork: what tells the phones apart is where they are.
		h.leg.Name = "SIP/" + h.dst.String() + h.leg.Name[strings.LastIndexByte(h.leg.Name, '-'):]
		h.leg.Number = ""
	}
	if h.role == toMailbox || h.role == toService {
		if h.up() {
			w.machine(h)
		}
		return
	}
	h.fed = true
	state := h.leg.State
	h.leg.State = pbx.LegDown
	w.feed(h, h.kind(), h.begun, nil)
	w.feed(h, pbx.LegDialed, h.begun, func(f *pbx.Fact) { f.By, f.DialTo = parent.leg, h.user })
	if !h.rangAt.IsZero() {
		h.leg.State = pbx.LegRinging
		w.feed(h, pbx.LegSeen, h.rangAt, nil)
	}
	h.leg.State = state
	if h.up() {
		w.feed(h, pbx.LegSeen, h.upAt, nil)
		w.connect(parent, h.upAt)
	}
	if !h.open() {
		w.ended(h, h.endedAt)
	}
}

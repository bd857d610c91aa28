package sms

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"textback/pbx/number"
	"textback/rules"
	"textback/rules/gsm7"
)

// InboxOptions say how texts that arrive are taken.
type InboxOptions struct {
	Keywords *Keywords // nil: all languages
	Answers  Answers   // nil: the default ones
	Language string    // of answers when the keyword does not tell; "en"
	Business func() string
	// Phone is the number to call that HELP names, for our number that was texted;
	// nil: that number.
	Phone func(line string) string
	// Own reports whether a number is the office's own.
	Own func(number string) bool
	// Tell names those of the staff who are told of a text to our number.
	Tell func(line string) []string
	// Heard, if set, is told of each text that was taken: "reply", "stop", "machine" …
	Heard func(transport, as string)
}

func (o *InboxOptions) defaults() error {
	if o.Keywords == nil {
		var err error
		if o.Keywords, err = NewKeywords(KeywordOptions{}); err != nil {
			return err
		}
	}
	if o.Language == "" {
		o.Language = "en"
	}
	if o.Business == nil {
		o.Business = func() string { return "" }
	}
	if o.Phone == nil {
		o.Phone = func(line string) string { return line }
	}
	if o.Own == nil {
		o.Own = func(string) bool { return false }
	}
	if o.Tell == nil {
		o.Tell = func(string) []string { return nil }
	}
	if o.Heard == nil {
		o.Heard = func(string, string) {}
	}
	return nil
}

// Bounds.
const (
	maxBody     = 16 << 10         // of an inbound text, in bytes; the longest SMS has 39,015 septets
	answerFresh = 5 * time.Minute  // FCC: a confirmation within five minutes is not a text of its own
	helpEvery   = 24 * time.Hour   // one answer to HELP in that time
	noIDWithin  = 10 * time.Minute // same words without id and time count once in that time
	offerWithin = time.Hour        // how long a START without id and time may be offered again
)

// A Reply is the event of a text that arrived, under
// textback.v1.sms.event.<id>.received. Beside staff nobody else may read it: it
// holds the words.
type Reply struct {
	ID         string    `json:"id"`
	Site       string    `json:"site"`
	Transport  string    `json:"transport"`
	Caller     string    `json:"caller"`
	From       string    `json:"from"`
	To         string    `json:"to,omitempty"`
	Body       string    `json:"body,omitempty"`
	Media      int       `json:"media,omitempty"`
	At         time.Time `json:"at"`          // by the provider's clock, where it says
	ReceivedAt time.Time `json:"received_at"` // by ours
	Keyword    Keyword   `json:"keyword,omitempty"`
	Machine    string    `json:"machine,omitempty"` // why a machine is thought to have sent it

	lang  string
	hash  string
	auto  bool
	idle  bool // a START with nothing to lift
	doubt bool // a START that may be an older one, offered again after a STOP
	byOut bool // the carrier has heard the keyword, and answered
}

// taken is the mark that a text's effects are stored, under textback.v1.sms.in.<id>.
type taken struct {
	Caller string    `json:"caller"`
	At     time.Time `json:"at"`
	As     string    `json:"as"`
}

type inbox struct {
	s         *Sender
	transport string
	traits    Traits
}

// Inbox is where a transport leaves what arrives.
func (s *Sender) Inbox(transport string, t Traits) Inbox {
	return &inbox{s: s, transport: transport, traits: t}
}

// received stores what m, read as r, changes, once: its mark is created in the batch
// that does. What comes before that, the opt-out list and the conversation, may be
// written again without harm.
func (b *inbox) received(ctx context.Context, m Inbound, r *Reply) error {
	s := b.s
	if m.ID == "" && m.At.IsZero() && r.From != "" {
		if err := b.tell(ctx, r); err != nil {
			return fmt.Errorf("take a text that arrived: %w", err)
		}
	}
	var mark taken
	if seq, err := read(ctx, s.opt.NC, Stream, inSubject(r.ID), &mark); err != nil || seq > 0 {
		return err
	}
	// STOP first of all, before anything that could fail: a submission that has not
	// begun yet cannot begin once the caller's record is stored below.
	if r.Keyword == Stop && r.From != "" {
		carrier, err := s.opt.OptOuts.stop(ctx, OptOut{Key: r.Caller, Out: true, At: s.opt.Now().UTC(), Source: ByKeyword, By: r.ID, Said: r.At, Number: r.From})
		if err != nil {
			return err
		}
		r.byOut = r.byOut || carrier
	}
	said := &Said{ID: r.ID, Way: SaidIn, At: r.ReceivedAt, Caller: r.Caller, Number: r.From, Line: r.To, Body: r.Body, Media: r.Media, Transport: r.Transport, Keyword: r.Keyword}
	if err := said.keep(ctx, s.opt.NC); err != nil {
		return err
	}
	r.ReceivedAt = said.At // offered again, it was received when it was first offered
	if m.At.IsZero() {
		r.At = said.At
	}
	switch {
	case r.doubt:
		r.idle = true
		s.opt.Log.Warn("a START may be an older one that was offered again, because it has neither id nor time; the caller stays opted out, and staff is told", "transport", b.transport, "text", r.ID)
	case r.Keyword == Start && r.From != "":
		lifted, err := s.opt.OptOuts.start(ctx, OptOut{Key: r.Caller, At: s.opt.Now().UTC(), Source: ByKeyword, By: r.ID, Said: r.At, Number: r.From})
		if err != nil {
			return err
		}
		r.idle = !lifted
	}
	as := ""
	err := s.withCaller(ctx, r.Caller, func(tx *callerTx) error {
		as = ""
		if seq, err := read(ctx, s.opt.NC, Stream, inSubject(r.ID), &mark); err != nil || seq > 0 {
			return err
		}
		var err error
		as, err = b.take(tx, *r)
		return err
	})
	if err != nil {
		return fmt.Errorf("take a text that arrived: %w", err)
	}
	if as != "" {
		s.opt.Inbox.Heard(b.transport, as)
		from := r.From
		if !s.opt.ShowNumbers {
			from = number.Mask(from)
		}
		s.opt.Log.Info("a text arrived", "transport", b.transport, "text", r.ID, "from", from, "as", as)
	}
	return nil
}

// reply makes of m what is known of it before anything is read.
func (b *inbox) reply(m Inbound) *Reply {
	s, now := b.s, b.s.opt.Now().UTC()
	body := cleanBody(m.Body)
	from, to := cleanAddress(m.From), cleanAddress(m.To)
	r := &Reply{Site: s.opt.Site, Transport: b.transport, Caller: s.opt.Key.Caller(from), From: from, To: to, Body: body, Media: m.Media, ReceivedAt: now, At: m.At.UTC()}
	if r.At.After(now) || m.At.IsZero() {
		r.At = now
	}
	if m.ID != "" {
		r.ID = s.opt.Key.hash("id", b.transport, m.ID)
	} else {
		at := m.At
		if at.IsZero() {
			at = now.Truncate(noIDWithin)
		}
		r.ID = s.opt.Key.hash("text", b.transport, from, strconv.FormatInt(at.UnixNano(), 10), body)
	}
	r.Keyword, r.lang = s.opt.Inbox.Keywords.Find(body)
	switch strings.ToUpper(strings.TrimSpace(m.Keyword)) {
	case "STOP":
		r.Keyword, r.byOut = Stop, true
	case "START":
		r.Keyword, r.byOut = Start, true
	case "HELP":
		// STOP in the same words counts: the provider knows fewer languages.
		if r.Keyword != Stop {
			r.Keyword, r.byOut = Help, true
		}
	}
	r.auto = s.opt.Inbox.Keywords.Auto(body)
	if r.Keyword == NoKeyword {
		r.hash = s.opt.Key.hash("words", strings.Join(fold(body), " "))
	}
	return r
}

// tell tells a keyword that was said again from one that is offered again, where a
// transport gives neither id nor time. The list knows what was said in between, and doubt
// falls towards stop: a STOP is new whenever the caller is welcome, so that one
// offered again after a START puts them out. A START is not taken for new while
// the same words may still be offered again.
func (b *inbox) tell(ctx context.Context, r *Reply) error {
	if r.Keyword != Stop && r.Keyword != Start {
		return nil
	}
	s := b.s
	var last OptOut
	if _, err := read(ctx, s.opt.NC, OptOutStream, optOutSubject(r.Caller), &last); err != nil {
		return err
	}
	before := inSubject(r.ID)
	if r.Keyword == Start {
		before = inSubject(b.startID(r))
	}
	var mark taken
	seq, err := read(ctx, s.opt.NC, Stream, before, &mark)
	if err != nil || seq == 0 {
		return err
	}
	again := r.ID + "-" + s.opt.Key.hash("again", last.By, last.At.Format(time.RFC3339Nano))
	switch {
	case r.Keyword == Stop && !last.Out:
		r.ID = again
	case r.Keyword == Stop && strings.HasPrefix(last.By, r.ID+"-"):
		r.ID = last.By // it is on the list, but perhaps not taken to its end
	case r.Keyword == Start && last.Out && r.ReceivedAt.Sub(mark.At) < offerWithin:
		r.ID, r.doubt = again, true
	}
	return nil
}

// startID names the mark of a START's words, whenever they were said.
func (b *inbox) startID(r *Reply) string {
	return b.s.opt.Key.hash("start", b.transport, r.From, r.Body)
}

// take stores what a text changes: the caller's record, what is pending, the one
// answer to a keyword, word to staff, the event, and the mark.
func (b *inbox) take(tx *callerTx, r Reply) (as string, err error) {
	c, now, opt := &tx.Caller, tx.now, &tx.s.opt.Inbox
	known := c.machineNow(now)
	all, machine, long := heard(c.Heard, r.From, r.hash, r.auto, opt.Own(r.From), now)
	c.Heard = all
	if machine != "" {
		r.Machine = machine
		if till := now.Add(long).UTC(); till.After(c.MachineTill) || c.MachineTill.Before(now) {
			c.Machine, c.MachineTill = machine, till
		}
	} else if known == takesNoTexts {
		known, c.Machine, c.MachineTill = "", "", time.Time{} // it has just written one
	}
	r.Machine = cmp.Or(r.Machine, known)
	if c.KnownSince.IsZero() {
		c.KnownSince = r.ReceivedAt
	}
	tx.touch()

	mayAnswer := !r.byOut && !b.traits.AnswersStop && r.Machine == "" && r.From != ""
	as = string(r.Keyword)
	switch r.Keyword {
	case Stop:
		c.StopAt = now.UTC()
		tx.optedOut("the caller has said stop")
		if mayAnswer && !c.StopTold {
			err = b.answer(tx, &r)
		}
		c.StopTold = c.StopTold || mayAnswer || r.byOut || b.traits.AnswersStop
	case Start:
		if r.idle {
			as = "reply" // nothing to lift: they say something else
			break
		}
		c.StopAt, c.StopTold = now.UTC(), false
		for _, j := range tx.Open {
			if j.State == Scheduled && j.Kind == Answer && j.Message == string(Stop) {
				tx.set(j, Cancelled, rules.Replied, "the caller has said start")
			}
		}
		if mayAnswer {
			err = b.answer(tx, &r)
		}
	case Help:
		if mayAnswer && now.Sub(c.HelpedAt) >= helpEvery {
			c.HelpedAt = now.UTC()
			err = b.answer(tx, &r)
		}
	}
	if err != nil {
		return "", err
	}
	if r.Keyword == NoKeyword || as == "reply" {
		as = "reply"
		if r.Machine != "" {
			as = "machine"
		} else {
			tx.replied(r.ReceivedAt)
		}
	}
	// A machine's texts reach staff once in a while: the first of each spell.
	if r.Machine == "" || known == "" {
		w := r.word(as)
		if r.doubt {
			w.body += "\n\nThey had said stop after a START of theirs, and it cannot be told whether this one is new: they are still not texted. If they want texts, use \"textback optout remove\"."
		}
		tx.word(opt.Tell(r.To), w)
	}
	if r.Keyword == Start {
		m, err := json.Marshal(taken{Caller: r.Caller, At: r.ReceivedAt, As: string(Start)})
		if err != nil {
			return "", err
		}
		tx.also = append(tx.also, message(inSubject(b.startID(&r)), m, offerWithin))
	}
	return as, tx.mark(&r, as, tx.s.opt.Retention.bodies())
}

// optedOut ends everything that was planned for the caller, but for the
// confirmation of a STOP.
func (tx *callerTx) optedOut(because string) {
	for _, j := range tx.Open {
		confirms := j.Kind == Answer && j.Message == string(Stop)
		if j.State == Scheduled && !confirms && (j.Kind == Text || j.Kind == Answer || j.FollowUp) {
			tx.set(j, Cancelled, rules.SaidStop, because)
		}
	}
}

// replied joins a reply to the episode: it goes on, and what was planned in case
// there is none is dropped. A first text that waits is about a call, which a
// text does not settle.
func (tx *callerTx) replied(at time.Time) {
	c := &tx.Caller
	c.RepliedAt = at.UTC()
	if !c.OpenedAt.IsZero() || !c.FirstTextAt.IsZero() {
		c.LastTextAt = at.UTC()
	}
	for _, j := range tx.Open {
		if j.State == Scheduled && j.FollowUp {
			tx.set(j, Cancelled, rules.Replied, "the caller has replied")
		}
	}
}

// mark adds the event and the mark that the text is taken.
func (tx *callerTx) mark(r *Reply, as string, bodiesFor time.Duration) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	m, err := record(inSubject(r.ID), taken{Caller: r.Caller, At: r.ReceivedAt, As: as}, 0, inTTL)
	if err != nil {
		return err
	}
	tx.also = append(tx.also, message(eventSubject(r.ID, "received"), data, bodiesFor), m)
	return nil
}

// answer adds the one answer to a keyword, through the outbox like every text.
func (b *inbox) answer(tx *callerTx, r *Reply) error {
	opt, s := &tx.s.opt.Inbox, tx.s
	text, err := opt.Answers.Text(r.Keyword, r.lang, opt.Language, opt.Business(), opt.Phone(r.To))
	if err != nil {
		return err
	}
	text = gsm7.Normalize(text)
	segments, _ := gsm7.Segments(text)
	j := &Job{ID: r.ID + "-a", Kind: Answer, Call: s.opt.Site + "/" + r.ID, Site: s.opt.Site, Caller: r.Caller, To: r.From, From: r.To, Line: r.To, Body: text, Segments: segments,
		Message: string(r.Keyword), Language: r.lang, Transport: b.transport, CallEndedAt: r.ReceivedAt, DueAt: r.ReceivedAt, FreshUntil: r.ReceivedAt.Add(answerFresh), CreatedAt: tx.now.UTC()}
	s.set(j, Scheduled, "", "")
	tx.add(j)
	return nil
}

// recheckAnswer is rules.Recheck for the answer to a keyword: it goes to whoever
// has just written, on a line or not, at night, and opted out or not. It must be
// fresh, and still be true.
func (j *Job) recheckAnswer(optedOut bool, now time.Time) (why, because string) {
	switch {
	case now.After(j.FreshUntil):
		return rules.Stale, "the answer to a keyword would come too late"
	case j.Message == string(Start) && optedOut:
		return rules.SaidStop, "the caller has said stop since"
	case j.Message == string(Stop) && !optedOut:
		return rules.Replied, "the caller is welcome again since"
	}
	return "", ""
}

// cleanBody makes of what a provider passed on what can be stored and shown:
// valid UTF-8 of bounded length, without control characters.
func cleanBody(s string) string {
	s = strings.ToValidUTF8(cut(s, maxBody), "\ufffd")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s))
}

// cleanAddress bounds a sender or a number of ours.
func cleanAddress(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(cut(s, 64), "")))
}

package sms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx/bus"
	"textback/rules"
	"textback/rules/gsm7"
)

// Word is what staff is told of.
type Word string

const (
	CallMissed Word = "call_missed" // a rule wants somebody told of a missed call
	TaskOpened Word = "task_opened" // a callback is owed
	TaskLate   Word = "task_late"   // and its deadline is over
	TextHeld   Word = "text_held"   // an admin must find out what became of a text
	ReplyCame  Word = "reply"       // a caller has written
	SaidNoMore Word = "opted_out"   // a caller has said stop, or start
	ManyThings Word = "digest"      // more notices than were sent one by one
)

// The ways in which staff is told. What is told is on NATS in every case, as the
// event of the job, the call or the reply.
const (
	ByEmail      = "email"
	ByStaffHook  = "webhook"
	ByMobileText = "text"
)

// A Notification is one notice on its way to one person by one channel.
type Notification struct {
	ID      string // the same when it is tried again
	Word    Word
	To      rules.Staff
	Channel string // ByEmail or ByStaffHook
	Subject string
	Body    string
	Call    string // the call it is about, "site/id"; may be empty
	Number  string // the caller's
	Line    string
	At      time.Time // when the matter came up
}

// A Notifier tells one person one thing. It makes one attempt; an *Error whose
// class is Rejected or Invalid says that another one is useless.
type Notifier interface {
	Notify(ctx context.Context, n Notification) error
}

// NoticeOptions say how staff is told.
type NoticeOptions struct {
	Notifier Notifier                                 // e-mail and webhook; nil: there are none
	Staff    func(name string) (rules.Staff, bool)    // nil: there is nobody
	Limit    int                                      // notices to one person by one channel within Window (10); more of them come as one digest
	Window   time.Duration                            // 10 min
	Timeout  time.Duration                            // of one attempt (45 s)
	Zone     func() *time.Location                    // of the times in notices, asked each time: rules are reloaded; nil: UTC
	Told     func(channel string, word Word, ok bool) // if set, is told of every attempt
}

func (o *NoticeOptions) defaults() {
	if o.Staff == nil {
		o.Staff = func(string) (rules.Staff, bool) { return rules.Staff{}, false }
	}
	if o.Limit == 0 {
		o.Limit = 10
	}
	if o.Window == 0 {
		o.Window = 10 * time.Minute
	}
	if o.Timeout == 0 {
		o.Timeout = 45 * time.Second
	}
	if o.Zone == nil {
		o.Zone = func() *time.Location { return time.UTC }
	}
	if o.Told == nil {
		o.Told = func(string, Word, bool) {}
	}
}

// How long a notice is worth telling.
const (
	noticeFresh     = 12 * time.Hour
	textNoticeFresh = time.Hour
	noticeRetryMax  = 15 * time.Minute
	maxDigest       = 16 << 10
)

func staffConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{Durable: "staff", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Minute, MaxAckPending: 64,
		MaxDeliver: -1, FilterSubject: prefix + "tell.>", DeliverPolicy: jetstream.DeliverAllPolicy}
}

// A wording is what a notice says.
type wording struct {
	word          Word
	about         string // id of the job or text it is about: notices about it have ids made of it
	call          string
	number, line  string
	caller        string
	subject, body string
	short         string // for a text to a mobile
}

// tell has staff told about a job. It happens with what else the transaction stores.
func (tx *callerTx) tell(names []string, what Word, about *Job) {
	if len(names) > 0 {
		tx.word(names, about.wording(what, tx.s.opt.Notices.Zone()))
	}
}

// word has staff told something, each in every way they can be reached.
func (tx *callerTx) word(names []string, w wording) {
	told := map[string]bool{}
	for _, name := range names {
		st, ok := tx.s.opt.Notices.Staff(name)
		if !ok {
			tx.s.opt.Log.Warn("nobody of that name is on the staff", "staff", name)
			continue
		}
		for _, ch := range tx.s.channels(st) {
			// Two names may be one mailbox.
			where := ch + " " + map[string]string{ByEmail: st.Email, ByStaffHook: st.Webhook, ByMobileText: st.Text}[ch]
			if told[where] {
				continue
			}
			told[where] = true
			j := &Job{ID: w.about + "-n" + tx.s.opt.Key.hash("notice", string(w.word), name, ch)[:8], Kind: Notice, Call: w.call, Site: tx.s.opt.Site, Caller: w.caller, To: w.number, Line: w.line,
				Message: string(w.word), Staff: name, Channel: ch, Subject: w.subject, Body: w.body, CreatedAt: tx.now.UTC(), DueAt: tx.now.UTC(), FreshUntil: tx.now.Add(noticeFresh).UTC()}
			if tx.s.exists(j.ID) {
				continue // told before: the matter has come up twice
			}
			if ch == ByMobileText {
				tx.s.toMobile(j, st, w.short)
				j.FreshUntil = tx.now.Add(textNoticeFresh).UTC()
			}
			tx.s.set(j, Scheduled, "", "")
			tx.changed = append(tx.changed, j)
			tx.also = append(tx.also, message(tellSubject(j.ID), nil, dueTTL))
		}
	}
}

// exists reports whether there is a job of that id. When that cannot be read, the
// batch finds out.
func (s *Sender) exists(id string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	var j Job
	seq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &j)
	return err == nil && seq > 0
}

// channels are the ways in which st can be reached.
func (s *Sender) channels(st rules.Staff) (ch []string) {
	if st.Email != "" && s.opt.Notices.Notifier != nil {
		ch = append(ch, ByEmail)
	}
	if st.Webhook != "" && s.opt.Notices.Notifier != nil {
		ch = append(ch, ByStaffHook)
	}
	if st.Text != "" {
		ch = append(ch, ByMobileText)
	}
	return ch
}

// toMobile makes a text to the staff's mobile of a notice: its own recipient, and
// that one's record, so that it leaves with all the guarantees of a text.
func (s *Sender) toMobile(j *Job, st rules.Staff, words string) {
	j.To, j.Caller = st.Text, s.opt.Key.Caller(st.Text)
	j.Body = gsm7.Normalize(words)
	for j.Segments, _ = gsm7.Segments(j.Body); j.Segments > 2; j.Segments, _ = gsm7.Segments(j.Body) {
		r := []rune(j.Body)
		j.Body = strings.TrimSpace(string(r[:len(r)*9/10])) + "..."
	}
}

// toStaff passes a due notice on to the consumer of notices.
func (s *Sender) toStaff(ctx context.Context, id string) error {
	_, err := bus.Publish(ctx, s.opt.NC, message(tellSubject(id), nil, dueTTL))
	return err
}

// tellMsg looks at the notice that a message names, as dueMsg does at a text.
func (s *Sender) tellMsg(ctx context.Context, m jetstream.Msg) {
	s.woken(ctx, m, "tell.", s.tellers, s.stepNotice)
}

// stepNotice brings a notice as far as it goes now.
func (s *Sender) stepNotice(ctx context.Context, id string) error {
	var j Job
	jseq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &j)
	if err != nil || jseq == 0 || j.Kind != Notice {
		return err
	}
	if j.Channel == ByMobileText {
		unlock := s.locks.lock(j.Caller)
		defer unlock()
		if jseq, err = read(ctx, s.opt.NC, Stream, jobSubject(id), &j); err != nil || jseq == 0 {
			return err
		}
	}
	now := s.opt.Now()
	switch {
	case j.State == Submitting && j.Channel == ByMobileText && !s.neverHanded(&j):
		return s.recover(ctx, &j, jseq, now)
	case j.State == Submitting: // told or not: once more does no harm
	case j.State != Scheduled:
		return s.settled(ctx, &j)
	case j.DueAt.After(now.Add(5 * time.Millisecond)):
		return errAgain{j.DueAt.Sub(now)}
	}
	if now.After(j.FreshUntil) {
		return s.noticeFailed(ctx, &j, jseq, "expired", "staff could not be told while it was news")
	}
	st, ok := s.opt.Notices.Staff(j.Staff)
	if !ok {
		return s.noticeFailed(ctx, &j, jseq, "no_such_staff", "nobody of that name is on the staff any more")
	}
	if room, err := s.room(ctx, &j, jseq, now); err != nil || !room {
		return err
	}
	if j.Channel == ByMobileText {
		w, err := s.handOver(ctx, &j, jseq)
		if err != nil || w == nil {
			return err
		}
		s.told(&j)
		return s.submit(ctx, &j, w)
	}
	return s.notify(ctx, &j, jseq, st, now)
}

// notify makes one attempt at telling, by e-mail or webhook.
func (s *Sender) notify(ctx context.Context, j *Job, jseq uint64, st rules.Staff, now time.Time) error {
	if s.opt.Notices.Notifier == nil {
		return s.noticeFailed(ctx, j, jseq, "not_configured", "there is neither e-mail nor a webhook")
	}
	nctx, cancel := context.WithTimeout(ctx, s.opt.Notices.Timeout)
	defer cancel()
	err := s.opt.Notices.Notifier.Notify(nctx, Notification{ID: j.ID, Word: Word(j.Message), To: st, Channel: j.Channel, Subject: j.Subject, Body: j.Body,
		Call: j.Call, Number: j.To, Line: j.Line, At: j.CreatedAt})
	s.opt.Notices.Told(j.Channel, Word(j.Message), err == nil)
	j.Attempt++
	if err == nil {
		s.set(j, Done, "", "")
		return s.putNotice(ctx, j, jseq)
	}
	if c := ClassOf(err); c == Rejected || c == Invalid {
		return s.noticeFailed(ctx, j, jseq, string(c), err.Error())
	}
	pause := 10 * time.Second
	for i := 1; i < j.Attempt && pause < noticeRetryMax; i++ {
		pause *= 2
	}
	j.DueAt = now.Add(min(pause, noticeRetryMax)).UTC()
	s.set(j, Scheduled, "retry", "tried again: "+err.Error())
	return s.putNotice(ctx, j, jseq, timer(j.ID, j.DueAt))
}

func (s *Sender) noticeFailed(ctx context.Context, j *Job, jseq uint64, why, because string) error {
	s.opt.Log.Error("somebody of the staff could not be told", "staff", j.Staff, "channel", j.Channel, "of", j.Message, "why", because)
	s.set(j, Failed, why, because)
	return s.putNotice(ctx, j, jseq)
}

func (s *Sender) putNotice(ctx context.Context, j *Job, jseq uint64, also ...*nats.Msg) error {
	msgs, err := s.jobMsgs(j, jseq)
	if err != nil {
		return err
	}
	if _, err := bus.Batch(ctx, s.opt.NC, append(msgs, also...)...); err != nil {
		return err
	}
	s.told(j)
	return nil
}

// load is what somebody has been told lately by one channel, under
// textback.v1.sms.staff.<hash>.
type load struct {
	Told []toldAt `json:"told"`
}

type toldAt struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// room tells whether j may be told by itself; otherwise it has gone into the
// digest that comes at the end of the window.
func (s *Sender) room(ctx context.Context, j *Job, jseq uint64, now time.Time) (bool, error) {
	if j.Count > 0 || j.Attempt > 0 {
		return true, nil
	}
	opt, key := s.opt.Notices, s.opt.Key.hash("load", j.Staff, j.Channel)
	for {
		var l load
		lseq, err := read(ctx, s.opt.NC, Stream, staffSubject(key), &l)
		if err != nil {
			return false, err
		}
		var recent []toldAt
		for _, t := range l.Told {
			if t.ID == j.ID {
				return true, nil
			}
			if now.Sub(t.At) < opt.Window {
				recent = append(recent, t)
			}
		}
		if len(recent) >= opt.Limit {
			return false, s.intoDigest(ctx, j, jseq, key, now)
		}
		l.Told = append(recent, toldAt{j.ID, now.UTC()})
		m, err := record(staffSubject(key), &l, lseq, callerTTL)
		if err != nil {
			return false, err
		}
		if _, err = bus.Publish(ctx, s.opt.NC, m); !errors.Is(err, bus.ErrWrongSequence) {
			return err == nil, err
		}
	}
}

// intoDigest puts j into the window's digest, and makes that if there is none.
func (s *Sender) intoDigest(ctx context.Context, j *Job, jseq uint64, key string, now time.Time) error {
	w := s.opt.Notices.Window
	for n := now.UnixNano() / int64(w); ; n++ {
		d := Job{ID: fmt.Sprintf("digest-%s-%d", key[:10], n)}
		dseq, err := read(ctx, s.opt.NC, Stream, jobSubject(d.ID), &d)
		if err != nil {
			return err
		}
		var also []*nats.Msg
		switch {
		case dseq == 0:
			d = Job{ID: d.ID, Kind: Notice, Site: j.Site, Staff: j.Staff, Channel: j.Channel, Message: string(ManyThings), CreatedAt: now.UTC(), DueAt: time.Unix(0, (n+1)*int64(w)).UTC(),
				FreshUntil: time.Unix(0, (n+1)*int64(w)).Add(noticeFresh).UTC()}
			if j.Channel == ByMobileText {
				d.To, d.Caller, d.Line = j.To, j.Caller, j.Line
				d.FreshUntil = d.DueAt.Add(textNoticeFresh)
			}
			also = append(also, timer(d.ID, d.DueAt))
		case d.State != Scheduled || d.Attempt > 0:
			continue // it has left: the next one
		}
		d.Count++
		d.Subject = fmt.Sprintf("%d more notices", d.Count)
		if j.Channel == ByMobileText {
			d.Body = fmt.Sprintf("textback: %d more notices since %s; the others were one by one", d.Count, d.CreatedAt.In(s.opt.Notices.Zone()).Format("15:04"))
			d.Segments, _ = gsm7.Segments(d.Body)
		} else if len(d.Body) < maxDigest {
			d.Body += j.CreatedAt.In(s.opt.Notices.Zone()).Format("15:04:05") + "  " + j.Subject + "\n"
		}
		s.set(&d, Scheduled, "", "")
		part, err := s.jobMsgs(&d, dseq)
		if err != nil {
			return err
		}
		s.set(j, Done, "digest", "there were many: it is told with others at "+d.DueAt.In(s.opt.Notices.Zone()).Format("15:04"))
		return s.putNotice(ctx, j, jseq, append(part, also...)...)
	}
}

// wording says what a job is to staff.
func (j *Job) wording(what Word, zone *time.Location) wording {
	who, line := cmp.Or(j.To, "a caller who shows no number"), ""
	if j.Line != "" {
		line = " on " + j.Line
	}
	w := wording{word: what, about: j.ID, call: j.Call, number: j.To, line: j.Line, caller: j.Caller}
	at := j.CallEndedAt.In(zone).Format("15:04")
	var more []string
	switch what {
	case TaskOpened:
		w.subject = "Call back: " + who
		w.body = fmt.Sprintf("%s called at %s%s and waits for a call back, by %s at the latest.\n%s.", who, at, line, j.Deadline.In(zone).Format("Mon 15:04"), sentence(j.Because))
		w.short = fmt.Sprintf("Call back %s by %s", who, j.Deadline.In(zone).Format("15:04"))
	case TaskLate:
		w.subject = "Late: nobody has called " + who + " back"
		w.body = fmt.Sprintf("%s called at %s%s. A call back was due by %s; nobody has reached them.", who, at, line, j.Deadline.In(zone).Format("Mon 15:04"))
		w.short = fmt.Sprintf("LATE: call back %s, it was due by %s", who, j.Deadline.In(zone).Format("15:04"))
	case TextHeld:
		w.subject = "A text is held: its fate is not known"
		w.body = fmt.Sprintf("The text to %s about their call at %s%s may or may not have been sent. Look it up at the provider, then settle it: textback texts --settle %s --sent (or --not-sent).\n%s.", who, at, line, j.ID, sentence(j.Because))
		w.short = "A text to " + who + " is held: its fate is not known"
	default:
		w.subject = "Missed call: " + who
		w.body = fmt.Sprintf("%s called at %s%s and reached nobody.\n", who, at, line)
		switch j.State {
		case Suppressed:
			w.body += "No text is sent: " + j.Because + "."
		case Scheduled:
			w.body += "A text leaves at " + j.DueAt.In(zone).Format("15:04:05") + "."
		}
		w.short = fmt.Sprintf("Missed call %s: %s%s", at, who, line)
	}
	if len(j.Tags) > 0 {
		more = append(more, "Tags: "+strings.Join(j.Tags, ", "))
	}
	if j.Rule != "" {
		more = append(more, "Rule: "+j.Rule)
	}
	if len(more) > 0 {
		w.body += "\n\n" + strings.Join(more, "\n")
	}
	return w
}

// word says what a text that arrived is to staff.
func (r *Reply) word(as string) wording {
	w := wording{word: ReplyCame, about: r.ID, number: r.From, line: r.To, caller: r.Caller}
	who := cmp.Or(r.From, "somebody who shows no number")
	words := r.Body
	if r.Media > 0 {
		words = strings.TrimSpace(words + fmt.Sprintf("\n[%d pictures or files]", r.Media))
	}
	w.subject = "Text from " + who
	w.body = who + " writes"
	if r.To != "" {
		w.body += " to " + r.To
	}
	w.body += ":\n\n" + words
	w.short = who + ": " + words
	switch {
	case as == string(Stop):
		w.word, w.subject = SaidNoMore, who+" has said stop"
		w.body += "\n\nThey are not texted any more, on any line."
		w.short = who + " has said stop"
	case as == string(Start):
		w.word, w.subject = SaidNoMore, who+" welcomes texts again"
		w.short = w.subject
	case r.Machine != "":
		w.body += "\n\nIt seems to come from a machine: " + r.Machine + ". More of the kind are not told."
	}
	return w
}

func sentence(s string) string {
	if s == "" {
		return "No reason was noted"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

package twilio

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/emulator"
	"textback/sms/smstest"
)

// peer is the emulator as the suite wants it.
type peer struct {
	*emulator.Emulator
	*smstest.Server
	t       *testing.T
	replies map[string]string // the suite's id → ours
}

// refusals are a code for each class.
var refusals = map[sms.Class]emulator.Behaviour{
	sms.OptedOut: emulator.OptedOut, sms.Throttled: emulator.Throttle,
	sms.NotMobile:     {Status: 400, Code: 21614},
	sms.Invalid:       {Status: 400, Code: 21211},
	sms.Blocked:       {Status: 400, Code: 30007},
	sms.RegionDenied:  {Status: 403, Code: 21408},
	sms.Misconfigured: {Status: 400, Code: 21606},
	sms.Unauthorized:  {Status: 401, Code: 20003},
	sms.NoCredit:      {Status: 402, Code: 0},
	sms.Transient:     {Status: 400, Code: 30008},
	sms.Rejected:      {Status: 400, Code: 21617},
	sms.Ambiguous:     {Status: 500, Code: 20500},
}

func (p *peer) behave(emulator.Text, int) emulator.Behaviour {
	switch o := p.Order(); o.Fate {
	case smstest.Refuse:
		return refusals[o.Class]
	case smstest.TakeAndHang:
		return emulator.TakeAndHang
	case smstest.TakeAndCut:
		return emulator.TakeAndCut
	case smstest.Cut:
		return emulator.CutOff
	}
	return emulator.Accept
}

func (p *peer) Taken() (all []sms.Message) {
	for _, x := range p.Texts() {
		if x.Accepted {
			all = append(all, sms.Message{From: x.From, To: x.To, Body: x.Body})
		}
	}
	return all
}

func (p *peer) Reply(ctx context.Context, m sms.Inbound) error {
	if sid := p.replies[m.ID]; sid != "" {
		return p.Repeat(ctx, sid)
	}
	sid, err := p.Emulator.Reply(ctx, m.From, m.To, m.Body)
	p.replies[m.ID] = sid
	return err
}

func (p *peer) Report(ctx context.Context, n int, d sms.Delivery, class sms.Class) error {
	var taken []emulator.Text
	for _, x := range p.Texts() {
		if x.Accepted {
			taken = append(taken, x)
		}
	}
	return p.Deliver(ctx, taken[n].SID, map[sms.Delivery]string{sms.EnRoute: "sent", sms.Delivered: "delivered", sms.Undelivered: "undelivered"}[d], refusals[class].Code)
}

func (p *peer) Serve(h sms.WebhookTaker, in sms.Inbox) {
	if p.InboundURL == "" {
		return
	}
	s := httptest.NewServer(http.StripPrefix("/textback/twilio", h.Webhook(in)))
	p.t.Cleanup(s.Close)
	p.Reach = func(u string) string { return strings.Replace(u, "https://sms.example.com", s.URL, 1) }
}

func conformance(t *testing.T, change func(*Options, *peer)) smstest.Harness {
	h := smstest.Harness{Fates: []smstest.Fate{smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut, smstest.Down}}
	for class := range refusals {
		h.Refusals = append(h.Refusals, class)
	}
	h.New = func(t *testing.T) (sms.Transport, smstest.Peer) {
		p := &peer{Emulator: emulator.New(), t: t, replies: map[string]string{}}
		p.Behave = p.behave
		p.Server = smstest.Serve(t, p.Emulator)
		tr := transport(t, p.URL, func(o *Options) {
			o.AccountSID, o.AuthToken, o.ConnectTimeout, o.AnswerTimeout = p.AccountSID, p.AuthToken, 30*time.Second, smstest.Patience(t)
			change(o, p)
		})
		return tr, p
	}
	return h
}

func TestConformanceWebhook(t *testing.T) {
	smstest.Run(t, conformance(t, func(o *Options, p *peer) { o.PublicURL, p.InboundURL = public, public+"/inbound" }))
}

func TestConformancePoll(t *testing.T) {
	h := conformance(t, func(o *Options, p *peer) { o.Poll = 10 * time.Millisecond })
	h.Again = smstest.ByItself // it is listed until it was stored
	smstest.Run(t, h)
}

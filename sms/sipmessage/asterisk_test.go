package sipmessage

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"textback/pbx/lab"
	"textback/sms"
	"textback/sms/smstest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// office is a real Asterisk that textback is registered with, as configs describe it,
// and that passes texts on to a carrier and back.
type office struct {
	t       *testing.T
	pbx     *lab.PBX
	carrier *peer
	frozen  bool
	refuses bool
	tr      *Transport // under test
}

// Like the example in configs/textback.yaml.
const officePJSIP = `
[textback]
type = endpoint
context = nowhere
message_context = texts-out
disallow = all
allow = ulaw
auth = textback
aors = textback
[textback]
type = auth
auth_type = userpass
username = textback
password = ` + password + `
[textback]
type = aor
max_contacts = 1
remove_existing = yes
[textback]
type = identify
endpoint = textback
match = 127.0.0.1
[carrier]
type = endpoint
context = nowhere
message_context = texts-in
disallow = all
allow = ulaw
aors = carrier
[carrier]
type = aor
contact = sip:%[1]s
[carrier]
type = identify
endpoint = carrier
match = 127.0.0.9
`

const officeDialplan = `
[texts-out]
exten => _[+0-9].,1,MessageSend(pjsip:carrier/sip:${EXTEN}@%[1]s,${MESSAGE(from)})
 same => n,Hangup()
[texts-in]
exten => _[+0-9].,1,Set(MESSAGE_DATA(P-Called-Party-ID)=<sip:${EXTEN}@office>)
 same => n,MessageSend(pjsip:textback,${MESSAGE(from)})
 same => n,Hangup()
`

func newOffice(t *testing.T, v lab.Version) *office {
	o := &office{t: t, pbx: lab.Start(t, v), carrier: newPeerAt(t, UDP, "127.0.0.9:0")}
	o.carrier.challengeWith(noChallenge)
	o.carrier.set(func(p *peer) { p.contact = sip.Uri{Scheme: "sip", Host: o.pbx.Address(), Port: 5060} })
	for name, text := range map[string]string{"pjsip.conf": officePJSIP, "extensions.conf": officeDialplan} {
		if err := o.pbx.Append(name, fmt.Sprintf(text, o.carrier.addr)); err != nil {
			t.Fatal(err)
		}
	}
	o.cli("module load res_pjsip_messaging.so", "module load res_pjsip_endpoint_identifier_user.so", "module reload res_pjsip.so",
		"module reload res_pjsip_endpoint_identifier_ip.so", "dialplan reload")
	return o
}

func (o *office) cli(commands ...string) {
	o.t.Helper()
	for _, c := range commands {
		if out, err := o.pbx.CLI(c); err != nil {
			o.t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
}

func (o *office) options() Options {
	return Options{Server: o.pbx.Address(), User: "textback", Password: password, Register: true, Listen: "127.0.0.1:0", Region: "US",
		ConnectTimeout: 5 * time.Second, AnswerTimeout: 30 * time.Second}
}

// Do makes Asterisk itself behave so.
func (o *office) Do(d smstest.Order) {
	if o.frozen {
		if err := o.pbx.Thaw(); err != nil {
			o.t.Error(err)
		}
		o.frozen = false
	}
	if o.refuses {
		o.cli("dialplan reload")
		o.refuses = false
	}
	switch {
	case d.Fate == smstest.Down:
		if err := o.pbx.Freeze(); err != nil {
			o.t.Error(err)
		}
		o.frozen = true
	case d.Fate == smstest.Refuse: // Asterisk's 404: no such extension in message_context
		o.cli("dialplan remove context texts-out")
		o.refuses = true
	}
}

func (o *office) Taken() []sms.Message { return o.carrier.Taken() }

func (o *office) Reply(ctx context.Context, m sms.Inbound) error {
	// What comes before we are registered, Asterisk takes and gives to nobody.
	for end := time.Now().Add(time.Minute); o.tr.Health() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return o.tr.Health()
		}
	}
	// There is no way to learn from Asterisk whether we have taken what it passed on.
	q := o.carrier.incoming(m.From, m.To, m.ID+time.Now().String(), "text/plain", m.Body)
	q.Recipient = sip.Uri{Scheme: "sip", User: m.To, Host: o.pbx.Address(), Port: 5060}
	return o.carrier.offer(ctx, q)
}

// The suite, with real Asterisk as the provider: our digest against its own,
// registration, both directions, every word as it was written.
func TestThroughAsterisk(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, v)
			smstest.Run(t, smstest.Harness{
				Refusals: []sms.Class{sms.Rejected},
				Spare:    true,
				Fates:    []smstest.Fate{smstest.Down},
				Again:    smstest.Never, // Asterisk has told the carrier that it took the text, and does not try again
				New: func(t *testing.T) (sms.Transport, smstest.Peer) {
					o.t = t
					o.Do(smstest.Order{Fate: smstest.Take})
					o.carrier.set(func(p *peer) { p.taken = nil })
					tr, err := New(o.options())
					if err != nil {
						t.Fatal(err)
					}
					o.tr = tr
					return tr, o
				},
			})
			o.t = t
			o.Do(smstest.Order{Fate: smstest.Take})

			// What Asterisk says of a text is said before the carrier is asked.
			o.carrier.set(func(p *peer) {
				p.answer = func(q *sip.Request) *sip.Response { return sip.NewResponseFromRequest(q, 403, "Forbidden", nil) }
			})
			tr := running(t, o.options(), nil)
			r, err := tr.Submit(t.Context(), sms.Message{ID: "blind", From: "+12125550100", To: "+12025550143", Body: "blind"})
			if err != nil || r.Status != "202" {
				t.Errorf("behind Asterisk a carrier says 403: %+v, %v; the package comment says that this cannot be known", r, err)
			}
			until(t, "the carrier is asked", func() bool {
				for _, q := range o.carrier.seen() {
					if string(q.Body()) == "blind" {
						return true
					}
				}
				return false
			})

			opt := o.options()
			opt.Password, opt.Register = "wrong", false
			if _, err := running(t, opt, nil).Submit(t.Context(), sms.Message{ID: "wrong", From: "+12125550100", To: "+12025550143", Body: "x"}); sms.ClassOf(err) != sms.Unauthorized {
				t.Errorf("wrong password: %v", err)
			}

			// Asterisk itself knows where replies go.
			until(t, "registered", func() bool { return tr.Health() == nil })
			out, err := o.pbx.CLI("pjsip show contacts")
			if err != nil || !strings.Contains(out, "textback/sip:textback@127.0.0.1") {
				t.Errorf("not registered: %v\n%s", err, out)
			}
		})
	}
}

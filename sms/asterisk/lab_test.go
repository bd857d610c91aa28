package asterisk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"textback/pbx/lab"
	"textback/sms"
	"textback/sms/sipmessage"
	"textback/sms/smstest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// office is a real Asterisk with a trunk, and nothing in its dialplan about texts.
// The carrier at the trunk's other end is our own SIP MESSAGE.
type office struct {
	t       *testing.T
	pbx     *lab.PBX
	carrier *sipmessage.Transport
	frozen  bool
	log     *watch // of the transport under test

	mu    sync.Mutex
	taken []sms.Message
	n     int
}

const carrierAddress = "127.0.0.9:5062"

func newOffice(t *testing.T, v lab.Version, carrier string) *office {
	o := &office{t: t, pbx: lab.Start(t, v)}
	o.append("pjsip.conf", fmt.Sprintf(`
[carrier]
type = endpoint
context = nowhere
disallow = all
allow = ulaw
aors = carrier
[carrier]
type = aor
contact = sip:%[1]s
[carrier]
type = identify
endpoint = carrier
match = %[2]s
[dead]
type = endpoint
context = nowhere
disallow = all
allow = ulaw
aors = dead
[dead]
type = aor
contact = sip:127.0.0.99:5060
qualify_frequency = 1
qualify_timeout = 0.5
`, carrier, carrier[:len(carrier)-len(":5062")]))
	o.append("ari.conf", "[reader]\ntype = user\nread_only = yes\npassword = secret\n")
	for _, c := range []string{"module load res_pjsip_messaging.so", "module reload res_pjsip.so", "module reload res_pjsip_endpoint_identifier_ip.so", "module reload res_ari.so"} {
		if out, err := o.pbx.CLI(c); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
	tr, err := sipmessage.New(sipmessage.Options{Server: o.pbx.Address(), Listen: carrier, Region: "US"})
	if err != nil {
		t.Fatal(err)
	}
	o.carrier = tr
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, o) }()
	t.Cleanup(func() { stop(); <-done })
	return o
}

func (o *office) append(name, text string) {
	o.t.Helper()
	if err := o.pbx.Append(name, text); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) options() Options {
	patience := 30 * time.Second
	if strings.HasSuffix(o.t.Name(), "/down") { // a frozen Asterisk is waited out
		patience = 4 * time.Second
	}
	return Options{URL: o.pbx.URL(), User: lab.ARIUser, Password: lab.ARIPassword, App: "texts", Endpoint: "carrier", Domain: carrierAddress, Region: "US",
		ConnectTimeout: patience, AnswerTimeout: patience, MinPause: 50 * time.Millisecond}
}

// Received is the carrier's side: what it gets, a handset shows.
func (o *office) Received(_ context.Context, m sms.Inbound) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = append(o.taken, sms.Message{From: m.From, To: m.To, Body: m.Body})
	return nil
}

func (o *office) Receipt(context.Context, sms.DeliveryReceipt) error { return nil }

func (o *office) Taken() []sms.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]sms.Message(nil), o.taken...)
}

func (o *office) Do(d smstest.Order) {
	if o.frozen {
		if err := o.pbx.Thaw(); err != nil {
			o.t.Error(err)
		}
		o.frozen = false
	}
	if d.Fate == smstest.Down {
		if err := o.pbx.Freeze(); err != nil {
			o.t.Error(err)
		}
		o.frozen = true
	}
}

func (o *office) Reply(ctx context.Context, m sms.Inbound) error {
	// Before the application has subscribed, Asterisk takes a text and gives it to nobody.
	for end := time.Now().Add(20 * time.Second); !o.log.subscribed.Load(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("nobody has subscribed")
		}
	}
	o.mu.Lock()
	o.n++
	id := fmt.Sprintf("%s-%d", m.ID, o.n)
	o.mu.Unlock()
	_, err := o.carrier.Submit(ctx, sms.Message{ID: id, From: m.From, To: m.To, Body: m.Body})
	return err
}

// watch waits for what the log says once the subscription stands.
type watch struct {
	slog.Handler
	subscribed atomic.Bool
}

func (w *watch) Enabled(context.Context, slog.Level) bool { return true }

func (w *watch) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "texts arrive through Asterisk" {
		w.subscribed.Store(true)
	}
	return nil
}

// The suite, with real Asterisk as the provider.
func TestThroughARI(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			// One after the other: the carrier's address is the same for both.
			o := newOffice(t, v, carrierAddress)
			smstest.Run(t, smstest.Harness{
				Fates: []smstest.Fate{smstest.Down},
				Again: smstest.ByItself,
				New: func(t *testing.T) (sms.Transport, smstest.Peer) {
					o.t = t
					o.Do(smstest.Order{Fate: smstest.Take})
					o.mu.Lock()
					o.taken = nil
					o.mu.Unlock()
					o.log = &watch{Handler: slog.DiscardHandler}
					opt := o.options()
					opt.Log = slog.New(o.log)
					tr, err := New(opt)
					if err != nil {
						t.Fatal(err)
					}
					return tr, o
				},
			})
			o.t = t
			o.Do(smstest.Order{Fate: smstest.Take})
			// No application is connected now, and Asterisk takes what comes from the
			// carrier all the same: see the package comment.
			if _, err := o.carrier.Submit(t.Context(), sms.Message{ID: "nobody", From: "+12025550143", To: "+12125550100", Body: "lost"}); err != nil {
				t.Errorf("with nobody there Asterisk says %v; the package comment says that it takes texts", err)
			}
			m := sms.Message{ID: "x", From: "+12125550100", To: "+12025550143", Body: "not to be seen"}
			for name, c := range map[string]struct {
				change func(*Options)
				want   sms.Class
			}{
				"no such endpoint": {func(o *Options) { o.Endpoint = "nosuch" }, sms.Misconfigured},
				"wrong password":   {func(o *Options) { o.Password = "wrong" }, sms.Unauthorized},
				"reader":           {func(o *Options) { o.User, o.Password = "reader", "secret" }, sms.Unauthorized},
				"offline":          {func(o *Options) { o.Endpoint = "dead" }, sms.Transient},
			} {
				opt := o.options()
				c.change(&opt)
				tr, err := New(opt)
				if err != nil {
					t.Fatal(err)
				}
				end := time.Now().Add(20 * time.Second)
				for _, err = tr.Submit(t.Context(), m); name == "offline" && err == nil && time.Now().Before(end); _, err = tr.Submit(t.Context(), m) {
					time.Sleep(100 * time.Millisecond) // Asterisk has yet to ask there
				}
				if sms.ClassOf(err) != c.want {
					t.Errorf("%s: %v, want %s", name, err, c.want)
				}
			}
			for _, got := range o.Taken() {
				if got.Body == m.Body {
					t.Error("a text that was refused has arrived")
				}
			}
		})
	}
}

package e2e

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/testkit"
	"textback/rules"
	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/emulator"
	"textback/sms/smpp/pdu"
	"textback/sms/smpp/smsc"
	"textback/sms/smstest"
	"textback/sms/smstest/kannel"
)

// The other side of a way: what a phone shows, and what it makes textback hear.
type wayPeer interface {
	ready() bool                  // textback can be heard and can hear
	phone(number string) []string // the texts that it shows
	// reply sends a text of the phone's, the same one for the same id; nil: textback has it.
	reply(ctx context.Context, id, from, body string) error
	// delivered tells that the first text to number has arrived.
	delivered(ctx context.Context, number string) error
}

const (
	officeLine = "+12125550100"
	publicURL  = "https://office.example/textback"
)

const wayRules = `version: 1
business: {name: Lab Dental}
timezone: UTC
regions: [US, CA]
guards: {quiet_hours: {texts: "0:00-24:00"}, budgets: {per_caller: "off", per_prefix: "off", per_minute: "off", segments_per_day: "off"}}
defaults: {delay: 0s, window: 0s}
messages: {missed: "{{.Business}}: sorry we missed you ☎. Reply here. STOP ends texts."}
rules: [{name: missed, when: {outcome: rang_out}, send: missed}]
`

// An office is a daemon whose PBX is the test: it publishes calls as the watcher would.
type office struct {
	*daemon
	hooks   string // where the listener of webhooks is
	secrets map[string]string
	pub     *bus.Publisher
	n       int
}

// newOffice writes a configuration with the sms section and secrets, each in a
// file of its name. The office knows no caller's number but what leaks.
func newOffice(t *testing.T, section string, webhooks bool, secrets map[string]string) *office {
	t.Helper()
	o := &office{daemon: newDaemon(t, "", "", "0s"), hooks: testkit.FreeAddr(t), secrets: secrets}
	// A witness that nobody tells anything.
	conf := fmt.Sprintf("site: lab\nstate_dir: %s/state\npbx: {sip: {pbx: [192.0.2.10], trunks: [192.0.2.20], hep: {listen: %q, key_file: hep_key}}}\n"+
		"lines: [{number: %q}]\nsms: %s\nnats: {listen: %q}\nhttp: {listen: %q}\nlog: {level: debug}\n", o.dir, testkit.FreeAddr(t), officeLine, section, o.addr, o.http)
	if webhooks {
		conf += fmt.Sprintf("webhooks: {listen: %q, public_url: %q}\n", o.hooks, publicURL)
	}
	files := maps.Clone(secrets)
	if files == nil {
		files = map[string]string{}
	}
	files["textback.yaml"], files["rules.yaml"] = conf, wayRules
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// edit replaces words in textback.yaml, in pairs.
func (o *office) edit(oldnew ...string) {
	o.t.Helper()
	path := filepath.Join(o.dir, "textback.yaml")
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.NewReplacer(oldnew...).Replace(string(b))), 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// reach is where a public URL leads to.
func (o *office) reach(u string) string {
	return strings.Replace(u, "https://office.example", "http://"+o.hooks, 1)
}

// up starts the daemon and, the first time, the publisher of calls.
func (o *office) up() {
	o.t.Helper()
	o.start()
	o.attached()
	if o.pub != nil {
		return
	}
	nc := o.nats(bus.Watcher)
	var err error
	if o.pub, err = bus.NewPublisher(bus.PublisherOptions{NC: nc, StateDir: o.t.TempDir()}); err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = o.pub.Run(ctx) }()
	o.t.Cleanup(func() { cancel(); <-done; nc.Close() })
}

// missed publishes a call that rang out just now.
func (o *office) missed(number string) (id string) {
	o.t.Helper()
	o.n++
	id = fmt.Sprintf("ways.%d", o.n)
	now := time.Now().UTC()
	if err := o.pub.Finished(&pbx.Call{ID: id, Site: "lab", Source: "ari", Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut,
		Caller: pbx.Caller{Number: number, Raw: number}, Line: pbx.Line{Number: officeLine}, StartedAt: now.Add(-20 * time.Second), EndedAt: now, Certain: true}); err != nil {
		o.t.Fatal(err)
	}
	return id
}

// becomes waits until the first text for a call is as wanted.
func (o *office) becomes(call, what string, ok func(*sms.Job) bool) (j *sms.Job) {
	o.t.Helper()
	o.until(what, func() bool { j = o.jobs()[call]; return j != nil && ok(j) })
	return j
}

func (o *office) is(call string, want sms.State) *sms.Job {
	o.t.Helper()
	return o.becomes(call, call+" "+string(want), func(j *sms.Job) bool { return j.State == want })
}

// discreet looks in the daemon's log for what must not be in it.
func (o *office) discreet(words ...string) {
	o.t.Helper()
	b, err := os.ReadFile(o.log.Name())
	if err != nil || len(b) == 0 {
		o.t.Fatalf("no log: %v", err)
	}
	for _, s := range o.secrets {
		words = append(words, strings.TrimSpace(s))
	}
	for _, w := range words {
		if i := bytes.Index(b, []byte(w)); i >= 0 {
			o.t.Errorf("the log tells %q: …%s…", w, b[max(0, i-200):min(len(b), i+200)])
		}
	}
}

var allWays = map[string]func(t *testing.T) (*office, wayPeer){
	"twilio, called": twilioCalled, "twilio, polled": twilioPolled, "telnyx": telnyxWay, "smpp": smppWay, "android": androidWay, "sip": sipWay, "kannel": kannelWay, "spool": spoolWay,
}

// Every way, with the whole daemon: the text arrives, a reply and STOP come back,
// a receipt reaches the job, and the log tells nothing of it.
func TestWays(t *testing.T) {
	for name, open := range allWays {

		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, p := open(t)
			o.up()
			o.until("ready", p.ready)
			const asks, stops = "+12025550143", "+12025550144"
			asked, stopped := o.missed(asks), o.missed(stops)
			for _, call := range []string{asked, stopped} {
				if j := o.is(call, sms.Sent); j.Attempt != 1 {
					t.Errorf("%d attempts", j.Attempt)
				}
			}
			// For a gateway, "sent" means that it took the text: the phone shows it later.
			o.until("the phones show the texts", func() bool { return len(p.phone(asks)) == 1 && len(p.phone(stops)) == 1 })
			o.until("the receipt", func() bool {
				if o.jobs()[asked].Delivery == sms.Delivered {
					return true
				}
				if err := p.delivered(t.Context(), asks); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				return o.jobs()[asked].Delivery == sms.Delivered
			})

			const question = "Would Tuesday at 5 be possible?"
			// A text over SMPP that tells neither id nor time is known again for ten minutes by the clock.
			tenth := func() time.Time { return time.Now().Truncate(10 * time.Minute) }
			from := tenth()
			for range 2 { // a provider that was not sure offers it again
				if err := p.reply(t.Context(), "5ae0c001", asks, question); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.reply(t.Context(), "5ae0c002", stops, "Stop!"); err != nil {
				t.Fatal(err)
			}
			var out string
			o.until("the reply", func() bool { out, _ = o.run("replies"); return strings.Contains(out, question) })
			if !strings.Contains(out, asks) {
				t.Errorf("replies do not say whose:\n%s", out)
			}
			o.until("opted out", func() bool { _, code := o.run("optout", "check", stops); return code == 1 })
			if _, code := o.run("optout", "check", asks); code != 0 {
				t.Errorf("optout check of who did not say stop: exit %d", code)
			}
			o.until("the confirmation", func() bool { return len(p.phone(stops)) == 2 })
			again, more := o.missed(stops), o.missed(asks)
			if j := o.is(again, sms.Suppressed); j.Why != rules.SaidStop {
				t.Errorf("suppressed as %s", j.Why)
			}
			o.is(more, sms.Sent)
			o.until("the second text shows", func() bool { return len(p.phone(asks)) >= 2 })
			out, _ = o.run("replies", asks)
			if n := strings.Count(out, question); n != 1 && !(n == 2 && name == "smpp" && !from.Equal(tenth())) {
				t.Errorf("offered twice, kept otherwise:\n%s", out)
			}
			if got := p.phone(asks); len(got) != 2 || !strings.Contains(got[0], "Lab Dental: sorry we missed you ☎.") {
				t.Errorf("the phone shows %q", got)
			}
			if got := p.phone(stops); len(got) != 2 || !strings.Contains(got[1], "unsubscribed") {
				t.Errorf("the phone of who said stop shows %q", got)
			}
			want := []string{"ok    opt-out", "ok    daemon"}
			if name == "kannel" { // the only one with a public URL that leads anywhere
				want = append(want, "ok    webhooks")
			}
			out, _ = o.run("doctor")
			for _, w := range want {
				if !strings.Contains(out, w) {
					t.Errorf("doctor does not say %q:\n%s", w, out)
				}
			}
			o.stop()
			o.discreet("2025550143", "2025550144", "sorry we missed", question, "Tuesday", "unsubscribed")
		})
	}
}

// With wrong secrets no text leaves, what strangers send to the webhooks is not
// believed, and neither the log nor doctor tells a secret, a number or a word.
func TestWrongSecrets(t *testing.T) {
	for name, open := range allWays {
		if name == "spool" {
			continue // it has none
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, p := open(t)
			for file, s := range o.secrets {
				if err := os.WriteFile(filepath.Join(o.dir, file), []byte("not-"+s), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o.up()
			const caller = "+12025550143"
			call := o.missed(caller)
			j := o.becomes(call, "refused", func(j *sms.Job) bool { return j.Why != "" })
			if j.State == sms.Sent || j.State == sms.Held || len(p.phone(caller)) > 0 {
				t.Errorf("%s (%s: %s), the phone shows %q", j.State, j.Why, j.Because, p.phone(caller))
			}
			conf, err := os.ReadFile(filepath.Join(o.dir, "textback.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(conf, []byte("webhooks:")) {
				transport, _, _ := strings.Cut(name, ",")
				if transport == "kannel" {
					transport = "http"
				}
				for _, method := range []string{"GET", "POST"} {
					r, _ := http.NewRequest(method, "http://"+o.hooks+"/textback/"+transport+"/inbound?from=12025550143&text=Forged+Tuesday", strings.NewReader("From=%2B12025550143&Body=Forged+Tuesday"))
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					resp, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					if resp.StatusCode < 400 || resp.StatusCode > 499 {
						t.Errorf("%s of a stranger: HTTP %d", method, resp.StatusCode)
					}
				}
			}
			out, _ := o.run("doctor")
			if (name == "smpp" || name == "sip") && !strings.Contains(out, "SICK  daemon      texts by "+name) {
				t.Errorf("doctor does not tell that there is no session:\n%s", out)
			}
			for _, s := range o.secrets {
				if strings.Contains(out, s) {
					t.Errorf("doctor tells a secret:\n%s", out)
				}
			}
			if out, _ = o.run("replies"); strings.Contains(out, "Forged") {
				t.Errorf("a forged reply is believed:\n%s", out)
			}
			o.stop()
			t.Logf("%s: %s", j.Why, j.Because)
			o.discreet("2025550143", "sorry we missed", "Forged")
		})
	}
}

// Twilio's emulator, as it calls webhooks or is polled.
type twilioPeer struct{ *emulator.Emulator }

func (p twilioPeer) ready() bool { return true }
func (p twilioPeer) phone(number string) (got []string) {
	for _, x := range p.Texts() {
		if x.Accepted && x.To == number {
			got = append(got, x.Body)
		}
	}
	return got
}

func (p twilioPeer) reply(ctx context.Context, _, from, body string) error {
	for _, r := range p.Received() {
		if r.From == from && r.Body == body {
			return p.Repeat(ctx, r.SID)
		}
	}
	_, err := p.Reply(ctx, from, officeLine, body)
	return err
}

func (p twilioPeer) delivered(ctx context.Context, number string) error {
	for _, x := range p.Texts() {
		if x.To == number {
			return p.Deliver(ctx, x.SID, "delivered", 0)
		}
	}
	return errors.New("nothing has come")
}

const twilioToken = "8f3c-twilio-token"

// newTwilio starts an emulator and returns the section of its account.
func newTwilio(t *testing.T, poll string) (twilioPeer, string) {
	emu := emulator.New()
	emu.AccountSID, emu.AuthToken = account, twilioToken
	shop := httptest.NewServer(emu)
	t.Cleanup(shop.Close)
	return twilioPeer{emu}, fmt.Sprintf("twilio: {account_sid: %s, auth_token_file: twilio_token, base_url: %q, poll: %s}", account, shop.URL, poll)
}

func twilioCalled(t *testing.T) (*office, wayPeer) {
	p, section := newTwilio(t, "off")
	o := newOffice(t, "{transport: twilio, "+section+"}", true, map[string]string{"twilio_token": twilioToken})
	p.InboundURL, p.Reach = publicURL+"/twilio/inbound", o.reach
	return o, p
}

func twilioPolled(t *testing.T) (*office, wayPeer) {
	p, section := newTwilio(t, "1s")
	return newOffice(t, "{transport: twilio, "+section+"}", false, map[string]string{"twilio_token": twilioToken}), p
}

// httpWay is a provider or a phone with an HTTP API.
type httpWay struct {
	*smstest.HTTP
	o         *office
	isReady   func() bool
	onReply   func(ctx context.Context, id, from, body string) error
	onDeliver func(ctx context.Context, m sms.Message) error
}

func (p *httpWay) ready() bool { return p.isReady == nil || p.isReady() }
func (p *httpWay) phone(number string) (got []string) {
	for _, m := range p.Taken() {
		if m.To == number {
			got = append(got, m.Body)
		}
	}
	return got
}

func (p *httpWay) reply(ctx context.Context, id, from, body string) error {
	return p.onReply(ctx, id, from, body)
}

func (p *httpWay) delivered(ctx context.Context, number string) error {
	for _, m := range p.Taken() {
		if m.To == number {
			return p.onDeliver(ctx, m)
		}
	}
	return errors.New("nothing has come")
}

// send posts an event to a public URL.
func (p *httpWay) send(ctx context.Context, u string, event any, sign func(body string) http.Header) error {
	b, err := json.Marshal(event)
	if err != nil {
		return err
	}
	return p.Post(ctx, "POST", p.o.reach(u), sign(string(b)), string(b))
}

type fields = map[string]any

// Telnyx: the texts' ids are their callback URLs, which hold the job's id.
func telnyxWay(t *testing.T) (*office, wayPeer) {
	const key = "KEY0123-telnyx"
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &httpWay{HTTP: smstest.NewHTTP(t)}
	p.Read = func(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
		var s struct{ From, To, Text, WebhookURL string }
		var raw fields
		if r.URL.Path != "/v2/messages" || r.Header.Get("Authorization") != "Bearer "+key || json.NewDecoder(r.Body).Decode(&raw) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return m, false
		}
		s.From, _ = raw["from"].(string)
		s.To, _ = raw["to"].(string)
		s.Text, _ = raw["text"].(string)
		s.WebhookURL, _ = raw["webhook_url"].(string)
		return sms.Message{ID: s.WebhookURL, From: s.From, To: s.To, Body: s.Text}, true
	}
	p.Accept = func(w http.ResponseWriter, n int, m sms.Message) {
		_ = json.NewEncoder(w).Encode(fields{"data": fields{"id": fmt.Sprintf("40385f64-0000-4000-8000-%012d", n), "parts": 2, "to": []fields{{"phone_number": m.To, "status": "queued"}}}})
	}
	sign := func(body string) http.Header {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		return http.Header{"Telnyx-Timestamp": {at}, "Telnyx-Signature-Ed25519": {base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(at+"|"+body)))}}
	}
	event := func(kind string, payload fields) fields {
		return fields{"data": fields{"record_type": "event", "event_type": kind, "occurred_at": time.Now().UTC().Format(time.RFC3339Nano), "payload": payload}}
	}
	p.onReply = func(ctx context.Context, id, from, body string) error {
		return p.send(ctx, publicURL+"/telnyx/inbound", event("message.received", fields{"id": id, "direction": "inbound", "type": "SMS", "from": fields{"phone_number": from},
			"to": []fields{{"phone_number": officeLine}}, "text": body, "media": []fields{}, "received_at": time.Now().UTC().Format(time.RFC3339)}), sign)
	}
	p.onDeliver = func(ctx context.Context, m sms.Message) error {
		return p.send(ctx, m.ID, event("message.finalized", fields{"id": "40385f64-ffff-4000-8000-000000000000", "direction": "outbound", "from": fields{"phone_number": m.From},
			"to": []fields{{"phone_number": m.To, "status": "delivered"}}, "errors": []fields{}, "webhook_url": m.ID}), sign)
	}
	p.o = newOffice(t, fmt.Sprintf("{transport: telnyx, telnyx: {api_key_file: telnyx_key, public_key: %q, base_url: %q}}", base64.StdEncoding.EncodeToString(public), p.URL),
		true, map[string]string{"telnyx_key": key})
	return p.o, p
}

// The app on an Android phone, which is told by textback where it calls.
func androidWay(t *testing.T) (*office, wayPeer) {
	const password, key = "phone-password", "phone-signing-key"
	p := &httpWay{HTTP: smstest.NewHTTP(t)}
	var mu sync.Mutex
	urls := map[string]string{}
	p.Read = func(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
		if user, pass, _ := r.BasicAuth(); user != "sms" || pass != password {
			w.WriteHeader(http.StatusUnauthorized)
			return m, false
		}
		var in struct {
			ID, Event, URL string
			TextMessage    struct{ Text string }
			PhoneNumbers   []string
		}
		if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusNotFound)
			return m, false
		}
		if r.URL.Path == "/webhooks" {
			mu.Lock()
			urls[in.Event] = in.URL
			mu.Unlock()
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(fields{"id": in.ID, "event": in.Event, "url": in.URL})
			return m, false
		}
		if len(in.PhoneNumbers) != 1 {
			w.WriteHeader(http.StatusBadRequest)
			return m, false
		}
		return sms.Message{ID: in.ID, To: in.PhoneNumbers[0], Body: in.TextMessage.Text}, true
	}
	p.Accept = func(w http.ResponseWriter, _ int, m sms.Message) {
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(fields{"id": m.ID, "state": "Pending", "recipients": []fields{}})
	}
	hook := func(event string) string {
		mu.Lock()
		defer mu.Unlock()
		return urls[event]
	}
	p.isReady = func() bool { return hook("sms:received") != "" && hook("sms:delivered") != "" }
	send := func(ctx context.Context, event string, payload fields) error {
		return p.send(ctx, hook(event), fields{"deviceId": "d", "event": event, "id": "e", "webhookId": "w", "payload": payload}, func(body string) http.Header {
			at := strconv.FormatInt(time.Now().Unix(), 10)
			m := hmac.New(sha256.New, []byte(key))
			m.Write([]byte(body + at))
			return http.Header{"X-Timestamp": {at}, "X-Signature": {hex.EncodeToString(m.Sum(nil))}}
		})
	}
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")
	p.onReply = func(ctx context.Context, id, from, body string) error {
		return send(ctx, "sms:received", fields{"messageId": id, "message": body, "sender": from, "recipient": officeLine, "phoneNumber": from, "simNumber": 1, "receivedAt": at})
	}
	p.onDeliver = func(ctx context.Context, m sms.Message) error {
		return send(ctx, "sms:delivered", fields{"messageId": m.ID, "phoneNumber": m.To, "deliveredAt": at})
	}
	p.o = newOffice(t, fmt.Sprintf("{transport: android, android: {url: %q, user: sms, password_file: android_password, signing_key_file: android_key}}", p.URL),
		true, map[string]string{"android_password": password, "android_key": key})
	return p.o, p
}

// A real Kannel behind the generic HTTP transport, with phones at its fake SMSC.
type kannelPeer struct {
	*kannel.Kannel
	said map[string]bool
}

func (p *kannelPeer) ready() bool { return true }
func (p *kannelPeer) phone(number string) (got []string) {
	for _, m := range p.Texts() {
		if m.To == number {
			got = append(got, m.Body)
		}
	}
	return got
}

// reply is from a phone: Kannel offers it again by itself, under its own id.
func (p *kannelPeer) reply(_ context.Context, id, from, body string) error {
	if !p.said[id] {
		p.Plug(kannel.Say(sms.Inbound{From: from, To: officeLine, Body: body}))
		p.said[id] = true
	}
	return nil
}

// delivered has nothing to do: Kannel reports by itself.
func (p *kannelPeer) delivered(context.Context, string) error { return nil }

func kannelWay(t *testing.T) (*office, wayPeer) {
	const secret, inbound = "sendsms-password", "a-word-of-the-office-own"
	o := newOffice(t, `{transport: http, http: {preset: kannel, url: "KANNEL", user: office, secret_file: http_secret, inbound_secret_file: http_inbound}}`,
		true, map[string]string{"http_secret": secret, "http_inbound": inbound})
	k := kannel.Start(t, kannel.Options{Secret: secret, Inbound: inbound, Hook: "http://" + o.hooks + "/textback/http"})
	o.edit("KANNEL", k.URL, publicURL, "http://"+o.hooks+"/textback")
	return o, &kannelPeer{k, map[string]bool{}}
}

// spoolPeer does with files what smsd does: it takes them out of outgoing, notes the
// modem's reference, and puts texts and reports into incoming.
type spoolPeer struct {
	t     *testing.T
	dir   string
	said  map[string]bool
	files int

	mu    sync.Mutex
	texts []sms.Message // ID: the modem's reference
}

func (p *spoolPeer) ready() bool { return true }
func (p *spoolPeer) phone(number string) (got []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.texts {
		if m.To == number {
			got = append(got, m.Body)
		}
	}
	return got
}

// send takes the texts that are there.
func (p *spoolPeer) send() error {
	found, err := filepath.Glob(filepath.Join(p.dir, "outgoing", "textback-*"))
	for _, path := range found {
		checked, sent := filepath.Join(p.dir, "checked", filepath.Base(path)), filepath.Join(p.dir, "sent", filepath.Base(path))
		if err := os.Rename(path, checked); err != nil {
			return err
		}
		b, err := os.ReadFile(checked)
		if err != nil {
			return err
		}
		head, body, _ := bytes.Cut(b, []byte("\n\n"))
		m := sms.Message{Body: gsm7.Decode(body)}
		if bytes.Contains(head, []byte("Alphabet: UCS2")) {
			m.Body = gsm7.DecodeUCS2(body)
		}
		to, _, _ := strings.Cut(string(bytes.TrimPrefix(head, []byte("To: "))), "\n")
		p.mu.Lock()
		m.To, m.ID = "+"+to, strconv.Itoa(len(p.texts)+1)
		p.texts = append(p.texts, m)
		p.mu.Unlock()
		if err := os.WriteFile(checked, slices.Concat(head, []byte("\nMessage_id: "+m.ID+"\n\n"), body), 0o600); err != nil {
			return err
		}
		if err := os.Rename(checked, sent); err != nil {
			return err
		}
	}
	return err
}

func (p *spoolPeer) incoming(from, body string) error {
	p.files++
	name := filepath.Join(p.dir, "incoming", fmt.Sprintf("GSM1.a%d", p.files))
	return os.WriteFile(name, fmt.Appendf(nil, "From: %s\nFrom_TOA: 91 international, ISDN/telephone\nReceived: %s\nModem: GSM1\nAlphabet: ISO\n\n%s",
		from[1:], time.Now().Format("06-01-02 15:04:05"), body), 0o600)
}

// reply comes once: a modem has no reason to offer a text again.
func (p *spoolPeer) reply(_ context.Context, id, from, body string) error {
	if p.said[id] {
		return nil
	}
	p.said[id] = true
	return p.incoming(from, body)
}

// delivered reports on the first text to number, once smsd has told that it is sent.
func (p *spoolPeer) delivered(_ context.Context, number string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.texts {
		if m.To == number && !p.said[m.ID] {
			p.said[m.ID] = true
			return p.incoming(number, "SMS STATUS REPORT\nMessage_id: "+m.ID+"\nDischarge_timestamp: "+time.Now().Format("06-01-02 15:04:05")+"\nStatus: 0,Ok,short message received by the SME\n")
		}
	}
	return nil
}

func spoolWay(t *testing.T) (*office, wayPeer) {
	p := &spoolPeer{t: t, dir: t.TempDir(), said: map[string]bool{}}
	conf := "number: " + strconv.Quote(officeLine)
	for _, name := range []string{"outgoing", "incoming", "sent", "failed", "checked"} {
		dir := filepath.Join(p.dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		conf += ", " + name + ": " + dir
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := p.send(); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return newOffice(t, "{transport: spool, spool: {kind: smstools, "+conf+"}}", false, nil), p
}

// smppPeer is a provider's SMSC.
type smppPeer struct{ *smsc.SMSC }

func address(number string) pdu.Address {
	return pdu.Address{TON: 1, NPI: 1, Digits: strings.TrimPrefix(number, "+")}
}

const smppPassword = "smsc-pw"

func newSMSC(t *testing.T) (smppPeer, string) {
	s, err := smsc.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SystemID, s.Password = "office", smppPassword
	return smppPeer{s}, fmt.Sprintf("smpp: {address: %q, system_id: office, password_file: smpp_password}", s.Addr())
}

func (p smppPeer) ready() bool { return p.Bound() }
func (p smppPeer) phone(number string) (got []string) {
	for _, x := range p.Texts() {
		if "+"+x.To.Digits == number {
			got = append(got, x.Body)
		}
	}
	return got
}

// reply offers the text in one part: SMPP gives it no id, textback tells by its words that it has it already.
func (p smppPeer) reply(ctx context.Context, id, from, body string) error {
	ref := id[len(id)-1]
	return p.Reply(ctx, address(from), address(officeLine), body, ref)
}

func (p smppPeer) delivered(ctx context.Context, number string) error {
	for _, s := range p.Submits() {
		if "+"+s.Message.Destination.Digits == number {
			if err := p.Report(ctx, s, s.ID, 2, "DELIVRD"); err != nil {
				return err
			}
		}
	}
	return nil
}

func smppWay(t *testing.T) (*office, wayPeer) {
	p, section := newSMSC(t)
	return newOffice(t, "{transport: smpp, "+section+"}", false, map[string]string{"smpp_password": smppPassword}), p
}

// Of two ways, the second takes what the first refuses, never what it may have
// taken; and each has its regions.
func TestTwoWays(t *testing.T) {
	open := func(t *testing.T, more string) (*office, smppPeer, twilioPeer) {
		t.Parallel()
		first, one := newSMSC(t)
		second, two := newTwilio(t, "1s")
		o := newOffice(t, fmt.Sprintf("{transport: [smpp, twilio], %s, %s%s}", one, two, more), false, map[string]string{"smpp_password": smppPassword, "twilio_token": twilioToken})
		return o, first, second
	}
	const refused, cut, plain, canadian = "+12025550145", "+12025550146", "+12025550147", "+14165550148"
	t.Run("failover", func(t *testing.T) {
		o, first, second := open(t, "")
		first.Behave = func(m pdu.Message, _ int) smsc.Behaviour {
			switch "+" + m.Destination.Digits {
			case refused:
				return smsc.Refuse(pdu.SystemError)
			case cut:
				return smsc.TakeAndCut
			}
			return smsc.Accept
		}
		o.up()
		o.until("bound", first.Bound)
		call := o.missed(refused)
		if j := o.is(call, sms.Sent); j.Transport != "twilio" {
			t.Errorf("it left by %q", j.Transport)
		}
		o.until("bound", first.Bound)
		if j := o.is(o.missed(plain), sms.Sent); j.Transport != "smpp" {
			t.Errorf("a text after one that was refused left by %q", j.Transport)
		}
		held := o.missed(cut)
		if j := o.is(held, sms.Held); j.Transport != "smpp" {
			t.Errorf("held with %q", j.Transport)
		}
		o.kill() // nor does a start change that
		o.up()
		o.until("bound again", first.Bound)
		o.is(o.missed("+12025550149"), sms.Sent)
		if j := o.jobs()[held]; j.State != sms.Held {
			t.Errorf("held, then %s", j.State)
		}
		if out, _ := o.run("status"); !strings.Contains(out, "held") {
			t.Errorf("status does not tell of a text of unknown fate:\n%s", out)
		}
		for number, want := range map[string][2]int{refused: {0, 1}, cut: {1, 0}, plain: {1, 0}} {
			if got := [2]int{len(first.phone(number)), len(second.phone(number))}; got != want {
				t.Errorf("%s: %v texts by smpp and twilio, want %v", number, got, want)
			}
		}
		o.stop()
		o.discreet("2025550145", "2025550146", "2025550147", "sorry we missed")
	})
	t.Run("regions", func(t *testing.T) {
		o, first, second := open(t, ", regions: {smpp: [US], twilio: [CA]}")
		o.up()
		o.until("bound", first.Bound)
		here, there := o.missed(plain), o.missed(canadian)
		o.is(here, sms.Sent)
		o.is(there, sms.Sent)
		for number, want := range map[string][2]int{plain: {1, 0}, canadian: {0, 1}} {
			if got := [2]int{len(first.phone(number)), len(second.phone(number))}; got != want {
				t.Errorf("%s: %v texts by smpp and twilio, want %v", number, got, want)
			}
		}
		o.stop()
	})
}

// The daemon is killed while a STOP comes in, at a moment that moves, and the
// provider offers it again after the start: it is heard, and confirmed once. By SMPP, which
// cannot be asked, a confirmation that was on its way is held, and may not have left.
func TestKilledAtStop(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (*office, wayPeer){"twilio": twilioCalled, "smpp": smppWay} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedAtStop(t, open)
		})
	}
}

func killedAtStop(t *testing.T, open func(t *testing.T) (*office, wayPeer)) {
	o, p := open(t)
	o.up()
	o.until("ready", p.ready)
	stop := func(number string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return p.reply(ctx, "5ae0c00"+number[len(number)-1:], number, "STOP")
	}
	var numbers []string
	for i, after := range []time.Duration{0, 3, 8, 16, 40} {
		number := fmt.Sprintf("+1202555016%d", i)
		numbers = append(numbers, number)
		o.is(o.missed(number), sms.Sent)
		heard := make(chan error, 1)
		go func() { heard <- stop(number) }()
		time.Sleep(after * time.Millisecond)
		o.kill()
		first := <-heard
		o.up()
		o.until("ready again", p.ready)
		o.until("STOP is taken", func() bool { return stop(number) == nil })
		t.Logf("killed after %d ms: the provider was told %v", after, first)
	}
	answers := func() map[string]*sms.Job {
		nc := o.nats(bus.Admin)
		defer nc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		found := map[string]*sms.Job{}
		if err := sms.Jobs(ctx, nc, func(j *sms.Job) {
			if j.Kind == sms.Answer {
				if found[j.To] != nil {
					t.Errorf("two answers to %s", j.To)
				}
				found[j.To] = j
			}
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, number := range numbers {
		o.until("opted out", func() bool { _, code := o.run("optout", "check", number); return code == 1 })
		o.until("the confirmation", func() bool {
			j := answers()[number]
			return j != nil && (j.State == sms.Sent || j.State == sms.Held)
		})
	}
	for _, number := range numbers {
		o.until("STOP is taken a last time", func() bool { return stop(number) == nil })
	}
	o.is(o.missed("+12025550170"), sms.Sent)
	_, asked := p.(twilioPeer)
	for number, j := range answers() {
		got := p.phone(number)
		if j.State == sms.Held && len(got) == 1 {
			continue // it was killed before the request arrived, which nobody can know
		}
		if len(got) != 2 || !strings.Contains(got[1], "unsubscribed") || j.State == sms.Held && asked {
			t.Errorf("%s: %s, the phone shows %q", number, j.State, got)
		}
	}
	o.stop()
	o.discreet("sorry we missed", "unsubscribed", "202555016")
}

package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/rules/strict"
	"textback/sms"
	"textback/sms/smstest"
)

const (
	testSecret  = "secret-api-password"
	testInbound = "secret-of-the-webhooks"
)

// account is a configuration of every preset.
func account(preset, base, public string) Options {
	return Options{Preset: preset, URL: base, Account: "acc1", User: "office", Secret: testSecret,
		Values: map[string]string{"application": "app-1"}, PublicURL: public, InboundUser: "hook", InboundSecret: testInbound,
		Validity: 15 * time.Minute, ConnectTimeout: 30 * time.Second, AnswerTimeout: 30 * time.Second}
}

// Every preset reads without a problem, and has its needs told.
func TestPresetsAreWhole(t *testing.T) {
	if len(Presets) < 5 {
		t.Fatal(Presets)
	}
	for _, name := range Presets {
		b, err := presetFiles.ReadFile("presets/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var s Spec
		r, ok := strict.Parse(name+".yaml", b, &s)
		if !ok || len(r.Problems) > 0 {
			t.Errorf("%s: %v", name, r.Problems)
		}
		if s.Setup == "" || s.Needs["secret"] == "" || s.Needs["inbound_secret"] == "" {
			t.Errorf("%s does not say what it needs", name)
		}
		for _, p := range account(name, "https://sms.example", "https://office.example/hook").Problems() {
			t.Errorf("%s: %+v", name, p)
		}
		needed := map[string]bool{}
		for _, p := range (Options{Preset: name, PublicURL: "https://office.example"}).Problems() {
			needed[string(p.Key)] = true
			if strings.Contains(p.Text, "%!") {
				t.Error(p.Text)
			}
		}
		if !needed["secret_file"] || !needed["inbound_secret_file"] {
			t.Errorf("%s: an empty configuration lacks only %v", name, needed)
		}
	}
}

// play is how one provider speaks: the counterpart of its preset, written from
// the provider's documentation and not from the preset.
type play struct {
	*smstest.HTTP
	reply  func(ctx context.Context, p *play, m sms.Inbound) error
	report func(ctx context.Context, p *play, n int, m sms.Message, d sms.Delivery) error
}

func (p *play) Reply(ctx context.Context, m sms.Inbound) error { return p.reply(ctx, p, m) }
func (p *play) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	return p.report(ctx, p, n, p.Taken()[n], d)
}

// mute is a play of a provider without receipts.
type mute struct{ *smstest.HTTP }

func (p *mute) Reply(ctx context.Context, m sms.Inbound) error {
	h, b := smstest.Form(url.Values{"sender": {m.From}, "timestamp": {"20261123111700"}, "text": {m.Body}, "msgid": {"7" + m.ID[2:]}, "apikey": {testInbound}})
	return p.Post(ctx, "POST", p.Hook+"/inbound", h, b)
}

func basic(r *http.Request, user, password string) bool {
	u, p, ok := r.BasicAuth()
	return ok && u == user && p == password
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// fields reads a JSON body, and refuses fields that the provider does not know.
func fields(w http.ResponseWriter, r *http.Request, known ...string) (map[string]any, bool) {
	var v map[string]any
	b, _ := io.ReadAll(r.Body)
	err := json.Unmarshal(b, &v)
	for key := range v {
		found := false
		for _, k := range known {
			found = found || k == key
		}
		if !found {
			err = fmt.Errorf("unknown field %s", key)
		}
	}
	if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
		answer(w, 400, map[string]any{"error": fmt.Sprint(err)})
		return nil, false
	}
	return v, true
}

func str(v any) string { s, _ := v.(string); return s }

func jsonBody(v any) (http.Header, string) {
	b, _ := json.Marshal(v)
	return http.Header{"Content-Type": {"application/json"}}, string(b)
}

// vonageToken signs body as Vonage does.
func vonageToken(body, key string, at time.Time) string {
	enc := base64.RawURLEncoding.EncodeToString
	sum := sha256.Sum256([]byte(body))
	claims, _ := json.Marshal(map[string]any{"iat": at.Unix(), "jti": "1", "iss": "Vonage", "payload_hash": hex.EncodeToString(sum[:]), "api_key": "acc1"})
	head := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc(claims)
	return head + "." + enc(mac(sha256.New, key, head))
}

func vonagePlay(p *smstest.HTTP) smstest.Peer {
	p.Read = func(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
		if r.URL.Path != "/v1/messages" || !basic(r, "acc1", testSecret) {
			answer(w, 401, map[string]any{"type": "https://developer.vonage.com/api-errors#unauthorized", "title": "Unauthorized"})
			return m, false
		}
		v, ok := fields(w, r, "message_type", "channel", "to", "from", "text", "ttl", "client_ref", "webhook_url", "webhook_version")
		if !ok || str(v["message_type"]) != "text" || str(v["channel"]) != "sms" || v["ttl"] != 900.0 || strings.HasPrefix(str(v["to"]), "+") {
			answer(w, 422, map[string]any{"type": "https://developer.vonage.com/api-errors/messages#1020", "title": "Invalid params"})
			return m, false
		}
		return sms.Message{ID: str(v["client_ref"]), From: str(v["from"]), To: str(v["to"]), Body: str(v["text"])}, true
	}
	p.Accept = func(w http.ResponseWriter, n int, _ sms.Message) {
		answer(w, 202, map[string]any{"message_uuid": fmt.Sprintf("aaaaaaaa-bbbb-4ccc-8ddd-%012d", n)})
	}
	p.Refuse = func(w http.ResponseWriter, class sms.Class) {
		no := map[sms.Class]struct {
			status int
			end    string
		}{sms.Throttled: {429, "#throttled"}, sms.OptedOut: {422, "/messages#1240"}, sms.Invalid: {422, "/messages#1430"}, sms.Misconfigured: {422, "/messages#1120"},
			sms.Blocked: {422, "/messages#1210"}, sms.Unauthorized: {401, "#unauthorized"}, sms.NoCredit: {402, "#low-balance"}, sms.Rejected: {422, "/messages#1020"},
			sms.Ambiguous: {500, "/messages#1030"}}[class]
		answer(w, no.status, map[string]any{"type": "https://developer.vonage.com/api-errors" + no.end, "title": "no", "detail": "The number 12025550143 …"})
	}
	send := func(ctx context.Context, p *play, path string, v any) error {
		h, b := jsonBody(v)
		h.Set("Authorization", "Bearer "+vonageToken(b, testInbound, time.Now()))
		return p.Post(ctx, "POST", p.Hook+path, h, b)
	}
	return &play{p,
		func(ctx context.Context, p *play, m sms.Inbound) error {
			return send(ctx, p, "/inbound", map[string]any{"channel": "sms", "message_uuid": "in-" + m.ID, "to": m.To[1:], "from": m.From[1:], "timestamp": "2026-11-23T11:17:16Z",
				"text": m.Body, "message_type": "text", "sms": map[string]any{"num_messages": "1", "keyword": "X"}})
		},
		func(ctx context.Context, p *play, n int, m sms.Message, d sms.Delivery) error {
			v := map[string]any{"channel": "sms", "message_uuid": fmt.Sprintf("aaaaaaaa-bbbb-4ccc-8ddd-%012d", n), "to": m.To, "from": m.From, "timestamp": "2026-11-23T11:17:16.984Z",
				"status": map[sms.Delivery]string{sms.EnRoute: "submitted", sms.Delivered: "delivered", sms.Undelivered: "undeliverable"}[d], "client_ref": m.ID}
			if d == sms.Undelivered {
				v["error"] = map[string]any{"type": "https://developer.vonage.com/api-errors/messages#1430", "title": 1430, "detail": "…"}
			}
			return send(ctx, p, "/status", v)
		}}
}

func plivoPlay(p *smstest.HTTP) smstest.Peer {
	p.Read = func(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
		if r.URL.Path != "/v1/Account/acc1/Message/" || !basic(r, "acc1", testSecret) {
			w.WriteHeader(401)
			return m, false
		}
		v, ok := fields(w, r, "src", "dst", "text", "type", "message_expiry", "url", "method")
		if !ok || v["message_expiry"] != 900.0 || str(v["method"]) != "POST" || str(v["type"]) != "sms" {
			answer(w, 400, map[string]any{"api_id": "1", "error": "parameter is missing"})
			return m, false
		}
		// Plivo tells no id of ours back but in the URL that it was given.
		return sms.Message{ID: str(v["url"]), From: str(v["src"]), To: str(v["dst"]), Body: str(v["text"])}, true
	}
	p.Accept = func(w http.ResponseWriter, n int, _ sms.Message) {
		answer(w, 202, map[string]any{"message": "message(s) queued", "message_uuid": []string{fmt.Sprintf("db3ce55a-7f1d-11e1-8ea7-%012d", n)}, "api_id": "db342550"})
	}
	p.Refuse = func(w http.ResponseWriter, class sms.Class) {
		no := map[sms.Class]struct {
			status int
			says   string
		}{sms.Throttled: {429, "rate limit"}, sms.Unauthorized: {401, "authentication failed"}, sms.NoCredit: {400, "Insufficient credit"},
			sms.Misconfigured: {400, "src parameter is not valid"}, sms.Invalid: {400, "dst 12025550143 is not valid"}, sms.Rejected: {400, "text is empty"}}[class]
		answer(w, no.status, map[string]any{"api_id": "1", "error": no.says})
	}
	send := func(ctx context.Context, target string, v url.Values) error {
		h, b := smstest.Form(v)
		bare, _, _ := strings.Cut(target, "?")
		h.Set("X-Plivo-Signature-V2-Nonce", "12345")
		h.Set("X-Plivo-Signature-V2", base64.StdEncoding.EncodeToString(mac(sha256.New, testSecret, bare+"12345")))
		return p.Post(ctx, "POST", target, h, b)
	}
	return &play{p,
		func(ctx context.Context, p *play, m sms.Inbound) error {
			return send(ctx, p.Hook+"/inbound?secret="+testInbound, url.Values{"From": {m.From[1:]}, "To": {m.To[1:]}, "Text": {m.Body}, "Type": {"sms"}, "MessageUUID": {"in-" + m.ID}, "Units": {"1"}})
		},
		func(ctx context.Context, p *play, n int, m sms.Message, d sms.Delivery) error {
			v := url.Values{"MessageUUID": {fmt.Sprintf("db3ce55a-7f1d-11e1-8ea7-%012d", n)}, "To": {m.To}, "From": {m.From}, "ErrorCode": {"000"},
				"Status": {map[sms.Delivery]string{sms.EnRoute: "sent", sms.Delivered: "delivered", sms.Undelivered: "undelivered"}[d]}}
			if d == sms.Undelivered {
				v.Set("ErrorCode", "70")
			}
			return send(ctx, m.ID, v)
		}}
}

func bandwidthPlay(p *smstest.HTTP) smstest.Peer {
	p.Read = func(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
		if r.URL.Path != "/api/v2/users/acc1/messages" || !basic(r, "office", testSecret) {
			answer(w, 401, map[string]any{"type": "unauthorized", "description": "Authentication Failed"})
			return m, false
		}
		v, ok := fields(w, r, "applicationId", "to", "from", "text", "tag", "expiration")
		to, _ := v["to"].([]any)
		if _, err := time.Parse(time.RFC3339, str(v["expiration"])); !ok || len(to) != 1 || str(v["applicationId"]) != "app-1" || err != nil {
			answer(w, 400, map[string]any{"type": "request-validation", "description": "Your request could not be accepted"})
			return m, false
		}
		return sms.Message{ID: str(v["tag"]), From: str(v["from"]), To: str(to[0]), Body: str(v["text"])}, true
	}
	p.Accept = func(w http.ResponseWriter, n int, m sms.Message) {
		segments, _ := gsm7.Segments(m.Body)
		answer(w, 202, map[string]any{"id": fmt.Sprintf("1589228074636lm4k2je7j%d", n), "segmentCount": segments, "direction": "out", "to": []string{m.To}})
	}
	p.Refuse = func(w http.ResponseWriter, class sms.Class) {
		no := map[sms.Class]struct {
			status      int
			kind, field string
		}{sms.Throttled: {429, "max-message-queue-size-exceeded", ""}, sms.Unauthorized: {403, "forbidden", ""}, sms.Invalid: {400, "request-validation", "to[0]"},
			sms.Misconfigured: {400, "request-validation", "applicationId"}, sms.Rejected: {400, "request-validation", "text"}}[class]
		answer(w, no.status, map[string]any{"type": no.kind, "description": "'+12025550143' must be …", "fieldErrors": []any{map[string]any{"fieldName": no.field}}})
	}
	send := func(ctx context.Context, p *play, path string, v any) error {
		h, b := jsonBody([]any{v})
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("hook:"+testInbound)))
		return p.Post(ctx, "POST", p.Hook+path, h, b)
	}
	return &play{p,
		func(ctx context.Context, p *play, m sms.Inbound) error {
			return send(ctx, p, "/inbound", map[string]any{"type": "message-received", "time": "2026-11-23T11:17:16.984Z", "to": m.To, "description": "Incoming message received",
				"message": map[string]any{"id": "in-" + m.ID, "owner": m.To, "to": []string{m.To}, "from": m.From, "text": m.Body, "direction": "in", "segmentCount": 1}})
		},
		func(ctx context.Context, p *play, n int, m sms.Message, d sms.Delivery) error {
			v := map[string]any{"type": map[sms.Delivery]string{sms.EnRoute: "message-sending", sms.Delivered: "message-delivered", sms.Undelivered: "message-failed"}[d],
				"time": "2026-11-23T11:17:16.984Z", "to": m.To, "message": map[string]any{"id": fmt.Sprintf("1589228074636lm4k2je7j%d", n), "text": "", "tag": m.ID, "direction": "out"}}
			if d == sms.Undelivered {
				v["errorCode"] = 4720
			}
			return send(ctx, p, "/status", v)
		}}
}

// SMSEagle may count its ids anew after a reset: another text under an old id is another text,
// and the same one is not.
func TestSMSEagleAfterAReset(t *testing.T) {
	tr, err := New(account("smseagle", "http://127.0.0.1:1", "https://office.example/hook"))
	if err != nil {
		t.Fatal(err)
	}
	in := &book{}
	h := tr.Webhook(in)
	for _, m := range []url.Values{
		{"sender": {"+12025550143"}, "timestamp": {"20261123121716"}, "text": {"STOP"}, "msgid": {"5"}},
		{"sender": {"+12025550143"}, "timestamp": {"20261123121716"}, "text": {"STOP"}, "msgid": {"5"}},
		{"sender": {"+12025550144"}, "timestamp": {"20261123121716"}, "text": {"STOP"}, "msgid": {"5"}},
		{"sender": {"+12025550143"}, "timestamp": {"20261123121716"}, "text": {"START"}, "msgid": {"5"}},
		{"sender": {"+12025550143"}, "timestamp": {"20261124101716"}, "text": {"STOP"}, "msgid": {"5"}},
		{"sender": {"+12025550143"}, "timestamp": {"20261123121716"}, "text": {"STOP"}, "msgid": {"6"}},
	} {
		m.Set("apikey", testInbound)
		if w := call(h, "POST", "/inbound", m.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}); w.Code != 200 {
			t.Errorf("HTTP %d", w.Code)
		}
	}
	ids := map[string]bool{}
	texts, _ := in.got()
	for _, m := range texts {
		ids[m.ID] = true
	}
	if len(texts) != 6 || len(ids) != 5 || texts[0].ID != texts[1].ID || ids[""] {
		t.Errorf("%+v", texts)
	}
}

func smseaglePlay(p *smstest.HTTP) smstest.Peer {
	p.Read = func(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
		q := r.URL.Query()
		_, encoding := gsm7.Segments(q.Get("message"))
		switch {
		case r.Method != "GET" || r.URL.Path != "/http_api/send_sms":
			w.WriteHeader(404)
		case q.Get("access_token") != testSecret:
			_, _ = io.WriteString(w, "Invalid access token")
		case q.Get("to") == "" || (q.Get("unicode") == "1") != (encoding == "UCS-2"):
			_, _ = io.WriteString(w, "Wrong parameters")
		default:
			return sms.Message{To: q.Get("to"), Body: q.Get("message")}, true
		}
		return m, false
	}
	p.Accept = func(w http.ResponseWriter, n int, _ sms.Message) { fmt.Fprintf(w, "OK; ID=[%d]", 297+n) }
	p.Refuse = func(w http.ResponseWriter, class sms.Class) {
		_, _ = io.WriteString(w, map[sms.Class]string{sms.Unauthorized: "Invalid login or password", sms.Misconfigured: "Wrong parameters"}[class])
	}
	return &mute{p}
}

var everyFate = []smstest.Fate{smstest.Down, smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut}

func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		play     func(*smstest.HTTP) smstest.Peer
		refusals []sms.Class
	}{
		"vonage":                {vonagePlay, []sms.Class{sms.Throttled, sms.OptedOut, sms.Invalid, sms.Misconfigured, sms.Blocked, sms.Unauthorized, sms.NoCredit, sms.Rejected, sms.Ambiguous}},
		"plivo":                 {plivoPlay, []sms.Class{sms.Throttled, sms.Unauthorized, sms.NoCredit, sms.Misconfigured, sms.Invalid, sms.Rejected}},
		"bandwidth":             {bandwidthPlay, []sms.Class{sms.Throttled, sms.Unauthorized, sms.Invalid, sms.Misconfigured, sms.Rejected}},
		"smseagle":              {smseaglePlay, []sms.Class{sms.Unauthorized, sms.Misconfigured}},
		"smseagle, one segment": {smseaglePlay, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			smstest.Run(t, smstest.Harness{Refusals: c.refusals, Fates: everyFate, New: func(t *testing.T) (sms.Transport, smstest.Peer) {
				p := smstest.NewHTTP(t)
				peer := c.play(p)
				preset, short, _ := strings.Cut(name, ", ")
				o := account(preset, p.URL, p.Hook)
				o.AnswerTimeout = smstest.Patience(t)
				if short != "" {
					o.MaxSegments = 1
				}
				tr, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				return tr, peer
			}})
		})
	}
}

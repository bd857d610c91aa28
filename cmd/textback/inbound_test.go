package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/pbx/bus"
	"textback/pbx/testkit"
	"textback/rules"
	"textback/sms"
)

// gateway is a transport with every way in that a daemon wires: it is called, and
// it has a life of its own.
type gateway struct {
	replies sms.ReplyWay
	mu      sync.Mutex
	sent    []sms.Message
	in      chan sms.Inbox // of Run
}

func (g *gateway) Traits() sms.Traits { return sms.Traits{Name: "gateway", Replies: g.replies} }

func (g *gateway) Submit(_ context.Context, m sms.Message) (sms.Receipt, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent = append(g.sent, m)
	return sms.Receipt{ProviderID: m.ID}, nil
}

func (g *gateway) Run(ctx context.Context, in sms.Inbox) error {
	g.in <- in
	<-ctx.Done()
	return nil
}

func (g *gateway) Webhook(in sms.Inbox) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Secret") != "right" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		b, _ := io.ReadAll(r.Body)
		from, body, _ := strings.Cut(string(b), "|")
		if err := in.Received(r.Context(), sms.Inbound{From: from, To: "+12125550100", Body: body, At: time.Now()}); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

const officeRules = `
version: 1
business: {name: Miller Dental}
timezone: America/New_York
messages: {missed: "Sorry we missed you. {{.Business}}. Reply STOP to opt out."}
rules:
  - {name: missed, when: {outcome: [rang_out, declined, busy]}, send: missed}
`

// What comes in, from the listener to the command line.
func TestInbound(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	t.Setenv("STATE_DIRECTORY", "")
	dir := t.TempDir()
	natsAddr, hookAddr := testkit.FreeAddr(t), testkit.FreeAddr(t)
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("rules.yaml", officeRules)
	write("ari_password", "x")
	conf := write("textback.yaml", fmt.Sprintf("state_dir: %s\nnats: {listen: '%s'}\nhttp: {listen: off}\noptouts: {store: number}\nwebhooks: {listen: '%s', public_url: 'https://sms.example/textback'}\nlines: [{number: '+12125550100'}]\n",
		dir, natsAddr, hookAddr))
	var errs bytes.Buffer
	cfg, r, err := loadConfig(console{nil, io.Discard, &errs}, conf)
	if err != nil {
		t.Fatal(errs.String())
	}
	log := slog.New(slog.DiscardHandler)
	server, err := bus.Serve(bus.ServerOptions{StateDir: dir, Site: cfg.Site, Listen: cfg.NATS.Listen, MaxStore: 1 << 30, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	connect := func(role bus.Role) (*nats.Conn, error) {
		return bus.Connect(bus.ConnectOptions{Server: server, Role: role, Log: log})
	}
	d := &serving{cfg: cfg, log: log, m: newMetrics()}
	d.rules.Store(r)
	ctx, cancel := context.WithCancel(t.Context())
	if err := d.prepare(ctx, connect, true); err != nil {
		t.Fatal(err)
	}
	nc, err := connect(bus.Sender)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{replies: sms.ByWebhook, in: make(chan sms.Inbox, 1)}
	way := sms.Way{Name: "gateway", Transport: g}
	sender, err := d.sender(ctx, nc, way)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := d.inbound(sender, []sms.Way{way})
	if err != nil || len(parts) != 2 {
		t.Fatalf("%v %v", parts, err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, p := range append(parts, part{"sender", sender.Run}) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := p.run(ctx); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}()
	}
	call := func(path, secret, body string) int {
		t.Helper()
		req, _ := http.NewRequest("POST", fmt.Sprintf("http://%s%s", hookAddr, path), strings.NewReader(body))
		req.Header.Set("X-Secret", secret)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		path, secret, body string
		code               int
	}{
		{"/textback/gateway/inbound", "right", "+12025550143|Can I come at 5?\nThanks\x1b[2J", 200},
		{"/textback/gateway/inbound", "wrong", "+12025550143|evil", 403},
		{"/textback/other/inbound", "right", "+12025550143|evil", 404},
		{"/metrics", "right", "", 404},
		{"/textback/gateway/inbound", "right", "+12025550144|Please take me off your list", 200},
	} {
		if code := call(c.path, c.secret, c.body); code != c.code {
			t.Errorf("%s: %d, want %d", c.path, code, c.code)
		}
	}
	if err := (<-g.in).Received(ctx, sms.Inbound{ID: "1", From: "+12025550145", Body: "by session", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		g.mu.Lock()
		n := len(g.sent)
		g.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d answers", n)
		}
	}

	// The command line, against the running server.
	cli := func(want int, in string, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		args = append(args, "--config", conf)
		if code := run(args, console{strings.NewReader(in), &out, &out}); code != want {
			t.Errorf("%v: exit %d\n%s", args, code, &out)
		}
		return out.String()
	}
	has := func(s string, wants ...string) {
		t.Helper()
		for _, w := range wants {
			if !strings.Contains(s, w) {
				t.Errorf("%q is not in\n%s", w, s)
			}
		}
	}
	has(cli(0, "", "replies"), "+12025550143", "Can I come at 5? Thanks", "by session", "(stop)")
	conv := cli(0, "", "replies", "202 555 0144")
	for end := time.Now().Add(30 * time.Second); !strings.Contains(conv, "we    ") && time.Now().Before(end); {
		conv = cli(0, "", "replies", "202 555 0144") // it joins the conversation once the provider has answered
	}
	has(conv, "they  Please take me off", "we    Miller Dental: you are unsubscribed")
	if strings.Contains(cli(0, "", "replies", "+12025550143"), "\x1b") {
		t.Error("what a stranger wrote reaches the terminal")
	}
	has(cli(0, "", "replies", "+12025550199"), "nothing is kept")
	has(cli(0, "", "replies", "--json"), `"number":"+12025550143"`)
	has(cli(0, "", "optout", "list"), "+12025550144", "keyword", "1 have opted out")
	has(cli(0, "", "optout", "list", "--json"), `{"number":"+12025550144","hash":"`, `"source":"keyword"}`)
	has(cli(1, "", "optout", "check", "+12025550144"), "never texted")
	has(cli(0, "", "texts", "--json"), `"to":"+12025550144"`, `"state":"sent"`)
	if got := cli(0, "", "texts", "--held", "--json"); got != "" {
		t.Errorf("held: %s", got)
	}

	list := write("list.csv", "\ufeffName,Phone,When\r\n\"A, B\",(202) 555-0147,x\r\nC,+1 202 555 0148,\r\n")
	has(cli(0, "", "optout", "import", list, "--column", "phone"), "2 numbers read, 2 added")
	has(cli(0, "", "optout", "import", list, "--column", "phone"), "2 numbers read, 0 added")
	has(cli(1, "", "optout", "import", list), `no column "number"`)
	has(cli(0, "+12025550149\n2025550150\n", "optout", "import", "-"), "2 numbers read, 2 added")
	has(cli(1, "+12025550151\nnobody\n", "optout", "import", "-"), "-:2:", "nothing has been imported")
	has(cli(0, "", "optout", "check", "+12025550151"), "has not")
	out := filepath.Join(dir, "out.jsonl")
	has(cli(0, "", "optout", "export", out), "5 opt-outs written")
	cli(1, "", "optout", "export", out) // nothing is overwritten
	has(cli(0, "", "optout", "import", out), "5 numbers read, 0 added")
	has(cli(0, "", "optout", "export", "-"), "number,hash,at,source", "+12025550149", "import")

	var known sms.Known
	if err := json.Unmarshal([]byte(cli(0, "", "export", "+12025550144")), &known); err != nil || len(known.Conversation) != 2 || known.OptOut == nil || len(known.Texts) == 0 {
		t.Errorf("%v %+v", err, known)
	}
	has(cli(1, "n\n", "forget", "+12025550143"), "nothing was done")
	has(cli(0, "y\n", "forget", "+12025550143"), "1 texts of conversations", "backups")
	has(cli(0, "", "forget", "--yes", "+12025550144"), "kept: the opt-out, with the number")
	has(cli(0, "", "replies", "+12025550144"), "nothing is kept")
	has(cli(1, "", "optout", "check", "+12025550144"), "never texted")
	if s := cli(0, "", "replies"); strings.Contains(s, "come at 5") || !strings.Contains(s, "by session") {
		t.Error(s)
	}
	has(cli(2, "", "replies", "nobody"), "no phone number")
}

// A transport that brings no replies is not started for where STOP must be heard.
func TestNoWayIn(t *testing.T) {
	d := &serving{cfg: &config.Config{Region: "US"}, log: slog.New(slog.DiscardHandler), m: newMetrics()}
	r, problems := rules.Parse("rules.yaml", []byte(officeRules))
	if r == nil {
		t.Fatal(problems)
	}
	d.rules.Store(r)
	ways := []sms.Way{{Name: "gateway", Transport: &gateway{replies: sms.NoReplies}}}
	if _, err := d.inbound(&sms.Sender{}, ways); err == nil || !strings.Contains(err.Error(), "opt_out_handled_by") {
		t.Errorf("%v", err)
	}
	d.cfg.SMS.OptOutHandledBy = "the carrier"
	ways[0].Transport = struct {
		sms.Transport
		sms.Declarer
	}{ways[0].Transport, ways[0].Transport.(sms.Declarer)}
	if _, err := d.inbound(&sms.Sender{}, ways); err != nil {
		t.Error(err)
	}
}

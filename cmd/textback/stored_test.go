package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/sms"
)

// What asks for stored calls gets them from the NATS server of a daemon: explain --call, backtest, check.
func TestStoredCalls(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	log := slog.New(slog.DiscardHandler)
	s, err := bus.Serve(bus.ServerOptions{StateDir: state, Site: "hq", Listen: addr, Log: log, MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, err := bus.Connect(bus.ConnectOptions{Server: s, Role: bus.Admin, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(bus.EnsureStreams(ctx, nc, log), sms.EnsureStreams(ctx, nc, log)); err != nil {
		t.Fatal(err)
	}
	// What the sender of that time decided about the first call, and what became of it.
	for _, j := range []sms.Job{
		{ID: "x-1", Call: "hq/first", State: sms.Failed, Why: "not_mobile", Because: "the provider refused it", Rule: "older", RulesVersion: "0123abcd", Attempt: 2, Transport: "twilio", ProviderCode: "21614", CreatedAt: time.Now()},
		{ID: "x-2", Call: "hq/first", Kind: sms.Task, State: sms.Waiting, CreatedAt: time.Now()},
		{ID: "x-3", Call: "hq/first", Kind: sms.Notice, State: sms.Done, CreatedAt: time.Now()},
		{ID: "y-1", Call: "hq/second", State: sms.Suppressed, Why: "duplicate", CreatedAt: time.Now()},
	} {
		m := nats.NewMsg("textback.v1.sms.job." + j.ID)
		if m.Data, err = json.Marshal(j); err != nil {
			t.Fatal(err)
		}
		if _, err := bus.Publish(ctx, nc, m); err != nil {
			t.Fatal(err)
		}
	}
	pub, err := bus.NewPublisher(bus.PublisherOptions{NC: nc, StateDir: state, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	pctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = pub.Run(pctx) }()
	defer func() { stop(); <-done }()

	// Two missed calls of one caller, and one whom the office reached in between.
	begin := time.Now().Add(-3 * 24 * time.Hour).Truncate(time.Second)
	call := func(id string, after time.Duration, dir pbx.Direction, o pbx.Outcome, number string) {
		end := begin.Add(after)
		c := &pbx.Call{ID: id, Site: "hq", Source: "ari", Direction: dir, State: pbx.StateEnded, Outcome: o, Reason: pbx.Reason(o), Certain: true,
			Caller: pbx.Caller{Number: number, Raw: number}, Line: pbx.Line{Number: "+12125550100", Name: "Front desk"},
			StartedAt: end.Add(-30 * time.Second), EndedAt: end, Ring: 20 * time.Second, Wait: 20 * time.Second}
		if o == pbx.Answered {
			c.Reason, c.AnsweredAt, c.Talk = "", end.Add(-25*time.Second), 25*time.Second
		}
		if err := pub.Finished(c); err != nil {
			t.Fatal(err)
		}
	}
	call("first", 0, pbx.Inbound, pbx.RangOut, "+12025550143")
	call("second", time.Minute, pbx.Inbound, pbx.RangOut, "+12025550143")
	call("other", 2*time.Minute, pbx.Inbound, pbx.RangOut, "+12025550144")
	call("ours", 3*time.Minute, pbx.Inbound, pbx.RangOut, "+12125550111")
	call("back", 7*time.Minute, pbx.Outbound, pbx.Answered, "+12025550144")
	call("after", 10*time.Minute, pbx.Inbound, pbx.RangOut, "+12025550144")
	for i := range 100 {
		call(fmt.Sprint("more", i), time.Duration(i)*time.Second, pbx.Inbound, pbx.Answered, "+12125550177")
	}
	for pub.Backlog() > 0 {
		if ctx.Err() != nil {
			t.Fatal("the calls were not stored")
		}
		time.Sleep(5 * time.Millisecond)
	}

	// What became of the first call's text.
	if err := sms.EnsureStreams(ctx, nc, log); err != nil {
		t.Fatal(err)
	}
	job := `{"id":"j1","call":"hq/first","site":"hq","caller":"c","state":"failed","why":"not_mobile","call_ended_at":"2026-01-01T00:00:00Z","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z"}`
	sender, err := bus.Connect(bus.ConnectOptions{Server: s, Role: bus.Sender, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := sender.RequestWithContext(ctx, "textback.v1.sms.job.j1", []byte(job)); err != nil {
		t.Fatal(err)
	}

	config := filepath.Join(dir, "textback.yaml")
	for name, content := range map[string]string{
		"textback.yaml": fmt.Sprintf("site: hq\nstate_dir: %s\nnats: {listen: %q}\nlines: [{number: \"+12125550111\", name: Fax}]\n", state, addr),
		"ari_password":  "secret\n",
		"rules.yaml": `version: 1
business: {name: Miller}
timezone: America/New_York
guards: {budgets: {per_prefix: "off"}, quiet_hours: {texts: "0:00-24:00"}}
rules:
  - {name: back door, when: {line: Back door}, nothing: nobody calls there}
  - {name: again, when: {attempts: {at_least: 2}}, nothing: they had one}
  - {name: missed, text: "{{.Business}} missed you. Reply or call us. STOP ends this."}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	was := glance
	glance = time.Minute // a busy machine may take longer than people want to wait
	t.Cleanup(func() { glance = was })
	textback := func(want int, args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		args = append(args, "--config", config)
		if code := run(args, console{strings.NewReader(""), &out, &errs}); code != want {
			t.Errorf("%v: exit %d\n%s%s", args, code, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	for _, c := range []struct {
		want int
		args []string
		says []string
	}{
		{0, []string{"explain", "--call", "first"}, []string{`A text is sent, by rule "missed"`}},
		{0, []string{"explain", "--call", "first"}, []string{`text x-1: failed (not_mobile): the provider refused it`, `by rule "older", rules version 0123abcd`, "2 attempts, by twilio, the provider's code 21614", "callback x-2: open",
			"By the rules as they are now:", "not asked: whether the caller has said stop"}},
		{0, []string{"explain", "--call", "first", "--json"}, []string{`"stored": [`, `"provider_code": "21614"`, `"send": true`, `"not_asked": true`}},
		{0, []string{"explain", "--call", "back"}, []string{"nothing is stored"}},
		{0, []string{"explain", "--call", "second"}, []string{"text y-1: suppressed (duplicate)"}},
		{0, []string{"explain", "--call", "second"}, []string{"is still within the window", "yes  again", "0 of 3 automatic texts to this caller|1 of 3 automatic texts to this caller"}},
		{0, []string{"explain", "--call", "back"}, []string{"No text is sent: the call went out"}},
		{0, []string{"explain", "--call", "ours"}, []string{"No text is sent: the caller shows the office's own number"}},
		{0, []string{"explain", "--caller", "2125550111", "--outcome", "busy"}, []string{"No text is sent: the caller shows the office's own number"}},
		{0, []string{"explain", "--caller", "101", "--outcome", "busy"}, []string{`No text is sent: the caller shows "101", an extension`}},
		{0, []string{"backtest", "--list", "--show-numbers"}, []string{"+12125550111", "no text (internal)"}},
		{1, []string{"explain", "--call", "nowhere"}, []string{`no call "nowhere" is stored`}},
		{0, []string{"explain", "--call", "after"}, []string{`A text is sent, by rule "missed"`}},
		{0, []string{"backtest", "--office"}, []string{"5 missed calls", "3 texts and 0 follow-ups to 2 people", "called back and talked     1", "1 would have been superfluous"}},
		{0, []string{"calls", "--since", "30d", "--missed"}, []string{"failed (not_mobile)"}},
		{0, []string{"calls", "--since", "30d", "--json"}, []string{`"id":"hq/first"`, `,"textstate":"failed","textwhy":"not_mobile"}`, `"id":"hq/second"`}},
		{0, []string{"texts", "--json"}, []string{`{"id":"j1",`}},
		{0, []string{"backtest", "--since", "1h"}, []string{"no missed calls in this time"}},
		{0, []string{"check"}, []string{`line "Back door" was never called: none of 106 stored calls`, "are fine"}},
		{0, []string{"check", "--calls"}, []string{`line "Back door" was never called`}},
	} {
		got := textback(c.want, c.args...)
		for _, s := range c.says {
			some := false
			for alt := range strings.SplitSeq(s, "|") {
				some = some || strings.Contains(got, alt)
			}
			if !some {
				t.Errorf("%v does not say %q:\n%s", c.args, s, got)
			}
		}
	}
	// Where 25 s with a mailbox's greeting are no talk, the episode goes on.
	b, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(b, "sms: {got_through_talk: 30s}\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := textback(0, "explain", "--call", "after"); !strings.Contains(got, "is still within the window") {
		t.Error(got)
	}
}

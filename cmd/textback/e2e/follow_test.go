package e2e

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"textback/pbx/bus"
	"textback/pbx/lab"
	"textback/pbx/testkit"
	"textback/rules"
	"textback/sms"
	"textback/sms/emulator"
)

const followRules = `version: 1
business: {name: Lab Dental}
timezone: UTC
guards: {quiet_hours: {texts: "0:00-24:00"}, budgets: {per_caller: "off", per_prefix: "off", per_minute: "off", segments_per_day: "off"}}
staff:
  desk: {text: "+12125550199"}
messages:
  missed: "{{.Business}}: sorry we missed you. Reply or call {{.Phone}}. STOP ends texts."
  again: "{{.Business}}: shall we call you? Reply YES. STOP ends texts."
rules:
  - name: soon
    when: {outcome: busy}
    send: missed
    delay: 0s
    follow_ups:
      - {after: 1m, send: again}
      - {after: 61s, assign: desk, within: 1h}
  - name: later
    when: {outcome: [rang_out, declined, unreachable]}
    send: missed
    delay: 0s
    follow_ups:
      - {after: 1h, send: again}
      - {after: 2h, assign: desk, within: 1h}
`

// Follow-ups on real Asterisk: they come when nothing happens, and end when the
// office calls back, when the caller gets through, replies, or says stop.
func TestFollowUps(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			for try := 1; !followUps(t, v, try == 3); try++ {
			}
		})
	}
}

// followUps plays everything once; false means that the lab stumbled.
func followUps(t *testing.T, v lab.Version, last bool) bool {
	p := lab.Start(t, v)
	emu := emulator.New()
	emu.AccountSID, emu.AuthToken = account, "provider-secret"
	shop := httptest.NewServer(emu)
	t.Cleanup(shop.Close)
	d := newDaemon(t, overARI(p), shop.URL, "0s")
	hooks := testkit.FreeAddr(t)
	const public = "https://office.example/textback"
	emu.InboundURL = public + "/twilio/inbound"
	emu.Reach = func(u string) string { return strings.Replace(u, "https://office.example", "http://"+hooks, 1) }
	conf := filepath.Join(d.dir, "textback.yaml")
	b, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	b = fmt.Appendf(b, "webhooks: {listen: %q, public_url: %q}\n", hooks, public)
	for name, content := range map[string]string{"textback.yaml": string(b), "rules.yaml": followRules} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.start()
	d.attached()

	// Everybody is missed once. The numbers of later calls are those of the scenarios that play them.
	later := lab.Named("outbound_answered", "answered_caller_ends")
	missed := lab.Named("busy", "declined_603", "dnd", "declined_486", "phone_gives_up")
	nobody := missed[0].Number
	calledBack, through := later[0].Number, later[1].Number
	missed[1].Number, missed[2].Number = calledBack, through
	replies, stops := missed[3].Number, missed[4].Number
	if !d.plays(p, missed, last) {
		return false
	}
	job := func(number, step string) *sms.Job {
		nc := d.nats(bus.Admin)
		defer nc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var found *sms.Job
		if err := sms.Jobs(ctx, nc, func(j *sms.Job) {
			if j.To == number && strings.HasSuffix(j.ID, step) {
				found = j
			}
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	state := func(number, step string, want sms.State) *sms.Job {
		t.Helper()
		var j *sms.Job
		d.until(number+step+" "+string(want), func() bool { j = job(number, step); return j != nil && j.State == want })
		return j
	}
	for _, s := range missed {
		state(s.Number, "-1", sms.Sent)
	}

	if !d.plays(p, later, last) {
		return false
	}
	for number, body := range map[string]string{replies: "Tuesday at 5 would be fine", stops: "Stop texting me!"} {
		if _, err := emu.Reply(t.Context(), number, "+12125550100", body); err != nil {
			t.Fatal(err)
		}
	}
	for number, why := range map[string]string{calledBack: rules.CalledBack, through: rules.Reached, replies: rules.Replied, stops: rules.SaidStop} {
		for _, step := range []string{"-2", "-3"} {
			if j := state(number, step, sms.Cancelled); j.Why != why || j.Because == "" {
				t.Errorf("%s%s: %q because %q, want %q", number, step, j.Why, j.Because, why)
			}
		}
	}
	state(nobody, "-2", sms.Sent)
	if task := state(nobody, "-3", sms.Waiting); task.TaskOwner != "desk" || task.Deadline.IsZero() {
		t.Errorf("%+v", task)
	}
	out, code := d.run("tasks")
	if code != 0 || !strings.Contains(out, nobody) || !strings.Contains(out, "desk") || strings.Contains(out, through) {
		t.Errorf("tasks, exit %d:\n%s", code, out)
	}
	// What phones show: the text, the reminder for nobody else, and one confirmation of STOP.
	d.until("the confirmation", func() bool { return emu.Counts()[stops] == 2 })
	d.until("word to the desk", func() bool { return emu.Counts()["+12125550199"] > 0 })
	for _, s := range missed {
		want := map[string]int{nobody: 2, stops: 2}[s.Number]
		if n := emu.Counts()[s.Number]; n != max(want, 1) {
			t.Errorf("%s: %d texts, want %d", s.Number, n, max(want, 1))
		}
	}
	if _, code := d.run("optout", "check", stops); code != 1 {
		t.Errorf("optout check of who said stop: exit %d", code)
	}
	if out, code := d.run("replies"); code != 0 || !strings.Contains(out, "Tuesday at 5") {
		t.Errorf("replies, exit %d:\n%s", code, out)
	}
	d.stop()
	return true
}

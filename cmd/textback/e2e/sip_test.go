package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"textback/pbx"
	"textback/pbx/lab"
)

// metric is the value of one of the daemon's metrics, with its labels as written.
func (d *daemon) metric(name string) float64 {
	d.t.Helper()
	r, err := http.Get("http://" + d.http + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		d.t.Fatalf("no metric %s in\n%s", name, b)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// A PBX whose events nobody follows: the messages alone tell of each call, by
// HEP and off the wire, and the right texts leave.
func TestSIPAlone(t *testing.T) {
	for _, v := range lab.Versions {
		for name, how := range map[string]func(*lab.PBX) string{"hep": overHEP, "capture": overWire} {
			t.Run(fmt.Sprint(v, "/", name), func(t *testing.T) {
				t.Parallel()
				p := lab.Start(t, v)
				played := lab.Named("answered_caller_ends", "rang_out", "declined_603", "busy", "abandoned", "group_answered", "rang_out_greeting")
				for try := 1; ; try++ {
					shop := newProvider(t)
					d := newDaemon(t, how(p), shop.URL, "0s")
					d.start()
					d.attached()
					err := lab.RunAll(t.Context(), p, played, 4)
					if err == nil { // alone: whose phone a colleague picked up is plain when no other rang
						err = lab.RunAll(t.Context(), p, lab.Named("pickup"), 1)
					}
					d.settled()
					if err != nil && try < 3 {
						t.Logf("the lab stumbled: %v", err)
						d.kill()
						if err := p.Restart(); err != nil { // the phones left legs behind
							t.Fatal(err)
						}
						continue
					}
					if err != nil {
						t.Error(err)
					}
					byNumber := map[string]*pbx.Call{}
					for _, c := range d.calls() {
						if byNumber[c.Caller.Number] != nil {
							t.Errorf("two calls of %s", c.Caller.Number)
						}
						byNumber[c.Caller.Number] = c
					}
					for _, s := range append(played, lab.Named("pickup")...) {
						c, want := byNumber[s.Number], s.Truth[0]
						if c == nil || c.Outcome != want.Outcome || c.Reason != want.Reason || !c.Certain || c.Source != "sip" {
							t.Errorf("%s: %+v, want %s %s", s.Name, c, want.Outcome, want.Reason)
						}
						text := want.Outcome != pbx.Answered
						if got := shop.to(s.Number); len(got) > 1 || (len(got) == 1) != text {
							t.Errorf("%s: %d texts", s.Name, len(got))
						}
					}
					d.stop()
					return
				}
			})
		}
	}
}

package event

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"textback/pbx"
)

var update = flag.Bool("update", false, "write the golden samples anew")

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("call.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("call.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t testing.TB, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return s.Validate(doc)
}

var (
	began = time.Date(2026, 11, 23, 11, 17, 16, 984_000_000, time.UTC)
	yes   = true
)

func after(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

// inbound is a call that ended after the seconds given.
func inbound(id string, o pbx.Outcome, r pbx.Reason, seconds float64) *pbx.Call {
	return &pbx.Call{ID: id, Site: "hq", Source: "ari", Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: o, Reason: r,
		Caller:    pbx.Caller{Number: "+12025550143", Raw: "2025550143", Name: "Sarah Caller", Attestation: "A"},
		Line:      pbx.Line{Number: "+12125550100", Raw: "5551000", Name: "Front desk"},
		StartedAt: began, EndedAt: after(seconds), Wait: after(seconds).Sub(began), EndedBy: pbx.EndedByCaller, Certain: true}
}

func tried(result pbx.Result, ring time.Duration, sip, q850 int) pbx.Attempt {
	return pbx.Attempt{Endpoint: "PJSIP/101", Extension: "101", Name: "Alice Desk", Result: result, Ring: ring, SIPStatus: sip, Q850Cause: q850}
}

// samples are the golden events: what integrators can build their readers on.
func samples() map[string]*pbx.Call {
	m := map[string]*pbx.Call{}
	sample := func(name string, c *pbx.Call, more func(*pbx.Call)) {
		if more != nil {
			more(c)
		}
		m[name] = c
	}
	alice := &pbx.Answerer{Endpoint: "PJSIP/101", Extension: "101", Name: "Alice Desk"}
	sample("answered", inbound("1795432636.1", pbx.Answered, "", 65.25), func(c *pbx.Call) {
		c.Ring, c.Wait, c.AnsweredAt, c.Talk, c.EndedBy, c.AnsweredBy = 4*time.Second, 5*time.Second, after(5), 60250*time.Millisecond, pbx.EndedByCallee, alice
		c.Attempts = []pbx.Attempt{tried(pbx.ResultAnswered, 4*time.Second, 200, 16),
			{Endpoint: "PJSIP/102", Extension: "102", Result: pbx.ResultElsewhere, Ring: 4 * time.Second, Q850Cause: 26}}
	})
	sample("answered_forwarded_mobile", inbound("1795432636.2", pbx.Answered, "", 40), func(c *pbx.Call) {
		c.Ring, c.Wait, c.AnsweredAt, c.Talk, c.Forwarded = 9*time.Second, 10*time.Second, after(10), 30*time.Second, true
		c.AnsweredBy = &pbx.Answerer{Endpoint: "PJSIP/trunk", External: true}
		c.Attempts = []pbx.Attempt{tried(pbx.ResultForwarded, 0, 302, 0), {Endpoint: "PJSIP/trunk", Result: pbx.ResultAnswered, Ring: 9 * time.Second}}
	})
	sample("voicemail_declined", inbound("1795432636.3", pbx.Voicemail, pbx.ReasonDeclined, 23.136), func(c *pbx.Call) {
		c.Ring, c.Wait, c.Menu = 1500*time.Millisecond, 14700*time.Millisecond, true
		c.Voicemail = &pbx.Mailbox{Mailbox: "101@default", MessageLeft: &yes}
		c.Queue = &pbx.Queue{Name: "support", Wait: 12100 * time.Millisecond}
		c.Attempts = []pbx.Attempt{tried(pbx.ResultDeclined, 1500*time.Millisecond, 603, 21)}
		c.PBX = map[string]string{"Custom:DAYNIGHT0": "INUSE", "NIGHTMODE": "1"}
	})
	sample("voicemail_not_known_which", inbound("1795432636.4", pbx.Voicemail, pbx.ReasonRangOut, 31), func(c *pbx.Call) {
		c.Ring, c.Voicemail, c.Gaps = 20*time.Second, &pbx.Mailbox{}, []pbx.Gap{pbx.GapMachineKind}
		c.Attempts = []pbx.Attempt{tried(pbx.ResultNoAnswer, 20*time.Second, 0, 0)}
	})
	sample("abandoned_queue", inbound("1795432636.5", pbx.Abandoned, pbx.ReasonCallerHungUp, 48.5), func(c *pbx.Call) {
		c.Ring, c.Menu, c.Queue = 15*time.Second, true, &pbx.Queue{Name: "support", Wait: 44 * time.Second}
		c.Attempts = []pbx.Attempt{tried(pbx.ResultNoAnswer, 10*time.Second, 0, 0), tried(pbx.ResultCancelled, 5*time.Second, 487, 0)}
	})
	sample("unattended", inbound("1795432636.6", pbx.Unattended, pbx.ReasonNotTried, 12), func(c *pbx.Call) { c.Menu, c.EndedBy = true, pbx.EndedByPBX })
	sample("declined", inbound("1795432636.7", pbx.Declined, pbx.ReasonDeclined, 6), func(c *pbx.Call) {
		c.Ring, c.EndedBy = 3*time.Second, pbx.EndedByPBX
		c.Attempts = []pbx.Attempt{tried(pbx.ResultDeclined, 3*time.Second, 603, 21)}
	})
	sample("rang_out", inbound("1795432636.8", pbx.RangOut, pbx.ReasonRangOut, 25), func(c *pbx.Call) {
		c.Ring, c.EndedBy = 20*time.Second, pbx.EndedByPBX
		c.Caller.Name = "Müller & Söhne <Zürich>"
		c.Attempts = []pbx.Attempt{tried(pbx.ResultNoAnswer, 20*time.Second, 0, 0), {Endpoint: "PJSIP/102", Result: pbx.ResultUnconfirmed, Ring: 8 * time.Second}}
	})
	sample("busy", inbound("1795432636.9", pbx.Busy, pbx.ReasonBusy, 2), func(c *pbx.Call) {
		c.EndedBy = pbx.EndedByPBX
		c.Attempts = []pbx.Attempt{tried(pbx.ResultBusy, 0, 486, 17)}
	})
	sample("unreachable", inbound("1795432636.10", pbx.Unreachable, pbx.ReasonUnreachable, 1), func(c *pbx.Call) {
		c.EndedBy = pbx.EndedByPBX
		c.Caller = pbx.Caller{Raw: "anonymous", Anonymous: true}
		c.Attempts = []pbx.Attempt{tried(pbx.ResultUnreachable, 0, 0, 20)}
	})
	sample("unknown", inbound("1795432636.11", pbx.Unknown, "", 90), func(c *pbx.Call) {
		c.Certain, c.EndedBy, c.Gaps = false, "", []pbx.Gap{pbx.GapAttachedLate, pbx.GapEventsLost}
		c.Line = pbx.Line{Raw: "5551000"}
	})
	sample("outbound_answered", inbound("1795432636.12", pbx.Answered, "", 33), func(c *pbx.Call) {
		c.Direction, c.Source, c.ID, c.Caller.Attestation = pbx.Outbound, "sip", "8a6f0c1e@203.0.113.9", ""
		c.Ring, c.Wait, c.AnsweredAt, c.Talk, c.AnsweredBy = 7*time.Second, 8*time.Second, after(8), 25*time.Second, alice
	})
	live := func(id string, s pbx.State) *pbx.Call {
		c := inbound(id, "", "", 0)
		c.State, c.EndedAt, c.EndedBy, c.Wait = s, time.Time{}, "", 2*time.Second
		return c
	}
	sample("live_starting", live("1795432636.13", pbx.StateStarting), func(c *pbx.Call) { c.Wait = 0 })
	sample("live_ringing", live("1795432636.14", pbx.StateRinging), func(c *pbx.Call) {
		c.Ring, c.Attempts = time.Second, []pbx.Attempt{tried("", time.Second, 0, 0)}
	})
	sample("live_answered", live("1795432636.15", pbx.StateAnswered), func(c *pbx.Call) {
		c.Ring, c.AnsweredAt, c.AnsweredBy = time.Second, after(2), alice
		c.Attempts = []pbx.Attempt{tried("", time.Second, 0, 0)}
	})
	return m
}

// now is when the live samples are published.
var now = after(3)

// TestGoldenSamples holds every event to the letter: integrators parse them.
func TestGoldenSamples(t *testing.T) {
	s := schema(t)
	seen := map[pbx.Outcome]bool{}
	for name, c := range samples() {
		seen[c.Outcome] = true
		data, err := Encode(c, now)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsRune(data, '\n') {
			t.Errorf("%s: more than one line", name)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, data, "", "  "); err != nil {
			t.Fatal(err)
		}
		pretty.WriteByte('\n')
		path := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v (run with -update)", err)
		}
		if !bytes.Equal(pretty.Bytes(), want) {
			t.Errorf("%s: the event has changed (a contract: only ever add to it; -update writes it anew)\n%s", path, pretty.Bytes())
		}
		if err := validate(t, s, want); err != nil {
			t.Errorf("%s does not satisfy the schema: %v", path, err)
		}
		back, err := Decode(want)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !reflect.DeepEqual(normal(back), normal(c)) {
			t.Errorf("%s: decoded\n%+v, want\n%+v", path, back, c)
		}
	}
	for _, o := range pbx.Outcomes {
		if !seen[o] {
			t.Errorf("no sample of outcome %s", o)
		}
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if samples()[strings.TrimSuffix(filepath.Base(f), ".json")] == nil {
			t.Errorf("%s is nobody's sample any more", f)
		}
	}
}

// normal makes calls comparable: no list and an empty one mean the same.
func normal(c *pbx.Call) pbx.Call {
	n := *c
	if len(n.Gaps) == 0 {
		n.Gaps = nil
	}
	if len(n.Attempts) == 0 {
		n.Attempts = nil
	}
	return n
}

// TestSchemaKnowsEveryWord: the schema's lists are the code's.
func TestSchemaKnowsEveryWord(t *testing.T) {
	var doc struct {
		Defs struct {
			Call struct {
				Properties struct {
					Outcome, Reason struct{ Enum []string }
					Gaps            struct{ Items struct{ Enum []string } }
					Attempts        struct {
						Items struct {
							Properties struct{ Result struct{ Enum []string } }
						}
					}
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema, &doc); err != nil {
		t.Fatal(err)
	}
	p := doc.Defs.Call.Properties
	same(t, "outcomes", p.Outcome.Enum, pbx.Outcomes)
	same(t, "reasons", p.Reason.Enum, pbx.Reasons)
	same(t, "gaps", p.Gaps.Items.Enum, pbx.Gaps)
	same(t, "results", p.Attempts.Items.Properties.Result.Enum, pbx.Results)
}

func same[T ~string](t *testing.T, what string, schema []string, code []T) {
	t.Helper()
	var words []string
	for _, c := range code {
		words = append(words, string(c))
	}
	if !reflect.DeepEqual(schema, words) {
		t.Errorf("%s: the schema has %q, the code %q", what, schema, words)
	}
}

func TestSubjects(t *testing.T) {
	digits := regexp.MustCompile(`^\+?\d{6,}$`)
	for name, c := range samples() {
		tail := Tail(c)
		for _, s := range []string{IngestPrefix + tail, PublicPrefix + tail, StoredFilter(c), LiveSubject(c)} {
			for _, token := range strings.Split(s, ".") {
				if token == "" && c.Outcome != "" || strings.ContainsAny(token, " >\t") {
					t.Errorf("%s: token %q of %s", name, token, s)
				}
				if digits.MatchString(token) || strings.Contains(token, "2025550143") || strings.Contains(token, "2125550100") {
					t.Errorf("%s: a phone number in %s", name, s)
				}
			}
		}
		if got, want := StoredFilter(c), PublicPrefix+"hq.*.*."+CallToken(c); got != want {
			t.Errorf("%s: filter %s, want %s", name, got, want)
		}
		if got, want := LiveSubject(c), LivePrefix+"hq."+CallToken(c); got != want {
			t.Errorf("%s: live subject %s, want %s", name, got, want)
		}
		dir := ".in."
		if c.Direction == pbx.Outbound {
			dir = ".out."
		}
		if want := "hq" + dir + string(c.Outcome) + "." + CallToken(c); tail != want {
			t.Errorf("%s: tail %s, want %s", name, tail, want)
		}
	}
}

// TestCallTokenIsNoNumber: the hash is hexadecimal, and one of digits alone
// would still be 20 of them, longer than any phone number.
func TestCallTokenIsNoNumber(t *testing.T) {
	seen := map[string]bool{}
	for i := range 2000 {
		c := &pbx.Call{Site: "hq", ID: "+1202555" + strings.Repeat("0", i%7) + "." + string(rune('a'+i%26)) + strings.Repeat("x", i)}
		token := CallToken(c)
		if len(token) != 20 || strings.Trim(token, "0123456789abcdef") != "" || seen[token] {
			t.Fatalf("token %q of %s", token, c.ID)
		}
		seen[token] = true
	}
	a, b := &pbx.Call{Site: "hq", ID: "1"}, &pbx.Call{Site: "branch", ID: "1"}
	if CallToken(a) == CallToken(b) {
		t.Error("two sites' calls have one token")
	}
}

func TestSiteToken(t *testing.T) {
	for in, want := range map[string]string{"hq": "hq", "North-2_b": "North-2_b", "a.b": "a_b", "a b>*": "a_b__", "Zürich": "Z_rich", "\xff\xfe": "__"} {
		if got := SiteToken(in); got != want {
			t.Errorf("SiteToken(%q) = %q, want %q", in, got, want)
		}
	}
}

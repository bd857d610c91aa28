package event

import (
	"encoding/json"
	"testing"
)

type doc = map[string]any

// sampleDoc is a golden sample that a test may spoil.
func sampleDoc(t testing.TB, name string) doc {
	t.Helper()
	c := samples()[name]
	if c == nil {
		t.Fatalf("no sample %s", name)
	}
	data, err := Encode(c, now)
	if err != nil {
		t.Fatal(err)
	}
	var d doc
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func set(of func(doc) doc, key string, v any) func(doc) { return func(d doc) { of(d)[key] = v } }
func drop(of func(doc) doc, key string) func(doc)       { return func(d doc) { delete(of(d), key) } }

func top(d doc) doc     { return d }
func data(d doc) doc    { return d["data"].(doc) }
func caller(d doc) doc  { return data(d)["caller"].(doc) }
func line(d doc) doc    { return data(d)["line"].(doc) }
func attempt(d doc) doc { return data(d)["attempts"].([]any)[0].(doc) }

// TestSchemaRefuses spoils every sample in every way that applies to all, and
// some in ways of their own.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	refused := func(name, what string, spoil func(doc)) {
		t.Helper()
		d := sampleDoc(t, name)
		spoil(d)
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if validate(t, s, b) == nil {
			t.Errorf("%s: the schema accepts %s\n%s", name, what, b)
		}
	}
	for name := range samples() {
		for _, k := range []string{"specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "data"} {
			refused(name, "no "+k, drop(top, k))
		}
		for _, k := range []string{"site", "source", "direction", "caller", "line", "started_at", "menu", "forwarded", "attempts", "certain", "gaps"} {
			refused(name, "no data."+k, drop(data, k))
			refused(name, "null for data."+k, set(data, k, nil))
		}
		refused(name, "no caller.anonymous", drop(caller, "anonymous"))
		for what, spoil := range map[string]func(doc){
			"CloudEvents 0.3":        set(top, "specversion", "0.3"),
			"another type":           set(top, "type", "textback.call.v2"),
			"another schema":         set(top, "dataschema", "urn:textback:schema:call:v2"),
			"another content":        set(top, "datacontenttype", "text/plain"),
			"somebody else's source": set(top, "source", "/elsewhere/hq"),
			"an empty id":            set(top, "id", ""),
			"a time without ms":      set(top, "time", "2026-11-23T11:17:16Z"),
			"a local time":           set(data, "started_at", "2026-11-23T12:17:16.984+01:00"),
			"a time without zone":    set(data, "started_at", "2026-11-23T11:17:16.984"),
			"a time in microseconds": set(data, "started_at", "2026-11-23T11:17:16.984123Z"),
			"a number as time":       set(data, "started_at", 1795432636),
			"an outcome of no kind":  set(data, "outcome", "missed"),
			"an empty outcome":       set(data, "outcome", ""),
			"a reason of no kind":    set(data, "reason", "because"),
			"a direction of no kind": set(data, "direction", "in"),
			"the state ended":        set(data, "state", "ended"),
			"ended by nobody known":  set(data, "ended_by", "nobody"),
			"a national number":      set(caller, "number", "2025550143"),
			"a number with spaces":   set(caller, "number", "+1 202 555 0143"),
			"a number with two +":    set(caller, "number", "++12025550143"),
			"a number of 16 digits":  set(caller, "number", "+1234567890123456"),
			"an empty number":        set(caller, "number", ""),
			"a national line":        set(line, "number", "5551000"),
			"negative ringing":       set(data, "ring_seconds", -0.001),
			"negative waiting":       set(data, "wait_seconds", -1),
			"seconds in words":       set(data, "ring_seconds", "20s"),
			"a gap of no kind":       set(data, "gaps", []string{"whatever"}),
			"a gap twice":            set(data, "gaps", []string{"no_final", "no_final"}),
			"certain in words":       set(data, "certain", "yes"),
			"answered by a string":   set(data, "answered_by", "PJSIP/101"),
			"a queue without name":   set(data, "queue", doc{"wait_seconds": 1}),
			"a queue waiting < 0":    set(data, "queue", doc{"name": "support", "wait_seconds": -1}),
			"a mailbox in words":     set(data, "voicemail", "101@default"),
			"no phone in an attempt": set(data, "attempts", []doc{{"result": "busy"}}),
			"a result of no kind":    set(data, "attempts", []doc{{"endpoint": "PJSIP/101", "result": "ringing"}}),
			"SIP status 0":           set(data, "attempts", []doc{{"endpoint": "PJSIP/101", "sip_status": 0}}),
			"SIP status 486.5":       set(data, "attempts", []doc{{"endpoint": "PJSIP/101", "sip_status": 486.5}}),
			"cause 128":              set(data, "attempts", []doc{{"endpoint": "PJSIP/101", "q850_cause": 128}}),
		} {
			refused(name, what, spoil)
		}
		finished := data(sampleDoc(t, name))["state"] == nil
		if finished {
			refused(name, "a finished call without outcome", drop(data, "outcome"))
			refused(name, "a finished call without end", drop(data, "ended_at"))
			refused(name, "a finished call with a state", set(data, "state", "ringing"))
			refused(name, "a finished call as a live one", set(top, "type", LiveType))
		} else {
			refused(name, "a live call without state", drop(data, "state"))
			refused(name, "a live call that has ended", set(data, "ended_at", "2026-11-23T11:17:40.120Z"))
			refused(name, "a live call as a finished one", set(top, "type", Type))
		}
		if o := data(sampleDoc(t, name))["outcome"]; o != "answered" && name != "live_answered" {
			refused(name, "answered_by on a call nobody answered", set(data, "answered_by", doc{"endpoint": "PJSIP/101", "external": false}))
			refused(name, "answered_at on a call nobody answered", set(data, "answered_at", "2026-11-23T11:17:20.000Z"))
			refused(name, "talk on a call nobody answered", set(data, "talk_seconds", 3))
		} else {
			refused(name, "a reason on an answered call", set(data, "reason", "declined"))
			refused(name, "an answered call without answered_at", drop(data, "answered_at"))
		}
	}
	refused("answered", "an answered call without talk_seconds", drop(data, "talk_seconds"))
	refused("answered", "negative talk", set(data, "talk_seconds", -5))
	refused("answered", "an answerer without endpoint", set(data, "answered_by", doc{"external": false}))
	refused("answered", "an answerer who may be inside or not", set(data, "answered_by", doc{"endpoint": "PJSIP/101"}))
	refused("unknown", "unknown and certain", set(data, "certain", true))
	refused("unknown", "unknown with a reason", set(data, "reason", "rang_out"))
	refused("declined", "negative ringing of a phone", set(attempt, "ring_seconds", -1))
	refused("voicemail_declined", "a message perhaps left", set(data, "voicemail", doc{"message_left": "perhaps"}))
}

// TestSchemaAccepts: absent means unknown, and within v1 members are added.
func TestSchemaAccepts(t *testing.T) {
	s := schema(t)
	for name := range samples() {
		for what, change := range map[string]func(doc){
			"a new envelope attribute":   set(top, "traceparent", "00-1"),
			"a new member of the call":   set(data, "recorded", true),
			"a new member of the caller": set(caller, "country", "US"),
			"no subject":                 drop(top, "subject"),
			"an unknown caller":          set(data, "caller", doc{"anonymous": true}),
			"an unknown line":            set(data, "line", doc{}),
			"unknown ringing":            drop(data, "ring_seconds"),
			"unknown waiting":            drop(data, "wait_seconds"),
			"unknown reason":             drop(data, "reason"),
			"an unknown answerer":        drop(data, "answered_by"),
		} {
			d := sampleDoc(t, name)
			change(d)
			b, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, s, b); err != nil {
				t.Errorf("%s: the schema refuses %s: %v", name, what, err)
			}
			if _, err := Decode(b); err != nil {
				t.Errorf("%s: Decode refuses %s: %v", name, what, err)
			}
		}
	}
}

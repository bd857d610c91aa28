package event

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"textback/pbx"
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// text is what may come from a PBX: anything that is UTF-8.
func text(r *rand.Rand) string {
	return pick(r, []string{"", "Sarah Caller", "Müller & Söhne <Zürich>", "\"quoted\" \\ back", "line\nbreak\ttab\x00\x7f", "\u2028日本語🙂", "hq/1", "textback.v1.call.>"})
}

func instant(r *rand.Rand) time.Time {
	if r.IntN(4) == 0 {
		return time.Time{}
	}
	return began.Add(time.Duration(r.Int64N(int64(20 * 365 * 24 * time.Hour)))).In(pick(r, []*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("", -8*3600)}))
}

func span(r *rand.Rand) time.Duration {
	return time.Duration(r.Int64N(int64(pick(r, []time.Duration{time.Millisecond, time.Minute, 40 * 24 * time.Hour}))))
}

func randomCall(r *rand.Rand) *pbx.Call {
	c := &pbx.Call{ID: text(r) + "1795432636.1", Site: "hq", Source: "sip", Direction: pick(r, []pbx.Direction{pbx.Inbound, pbx.Outbound}),
		State: pbx.StateEnded, Outcome: pick(r, pbx.Outcomes), Reason: pick(r, append([]pbx.Reason{""}, pbx.Reasons...)),
		Caller:    pbx.Caller{Number: text(r), Raw: text(r), Name: text(r), Anonymous: r.IntN(2) == 0, Attestation: text(r)},
		Line:      pbx.Line{Number: text(r), Raw: text(r), Name: text(r)},
		StartedAt: instant(r), AnsweredAt: instant(r), EndedAt: instant(r), Ring: span(r), Wait: span(r),
		EndedBy: pick(r, []pbx.EndedBy{"", pbx.EndedByCaller, pbx.EndedByPBX, pbx.EndedByCallee}),
		Menu:    r.IntN(2) == 0, Forwarded: r.IntN(2) == 0, Certain: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		c.State, c.Outcome = pick(r, []pbx.State{pbx.StateStarting, pbx.StateRinging, pbx.StateAnswered}), ""
	}
	if !c.AnsweredAt.IsZero() {
		c.Talk = span(r)
	}
	if r.IntN(2) == 0 {
		c.AnsweredBy = &pbx.Answerer{Endpoint: text(r), Extension: text(r), Name: text(r), External: r.IntN(2) == 0}
	}
	if r.IntN(2) == 0 {
		left := r.IntN(2) == 0
		c.Voicemail = &pbx.Mailbox{Mailbox: text(r), MessageLeft: pick(r, []*bool{nil, &left})}
	}
	if r.IntN(2) == 0 {
		c.Queue = &pbx.Queue{Name: text(r), Wait: span(r)}
	}
	for range r.IntN(4) {
		c.Attempts = append(c.Attempts, pbx.Attempt{Endpoint: text(r), Extension: text(r), Name: text(r), Result: pick(r, append([]pbx.Result{""}, pbx.Results...)),
			Ring: span(r), SIPStatus: r.IntN(700), Q850Cause: r.IntN(128)})
	}
	if r.IntN(2) == 0 {
		c.PBX = map[string]string{"Custom:DAYNIGHT0": pick(r, []string{"INUSE", "NOT_INUSE"}), text(r): text(r) + "."}
	}
	for range r.IntN(3) {
		c.Gaps = append(c.Gaps, pick(r, pbx.Gaps))
	}
	return c
}

// toMilliseconds is what the contract keeps of a call: instants in UTC cut to
// the millisecond, durations rounded to it.
func toMilliseconds(c *pbx.Call) pbx.Call {
	n := normal(c)
	for _, t := range []*time.Time{&n.StartedAt, &n.AnsweredAt, &n.EndedAt} {
		if !t.IsZero() {
			*t = t.UTC().Truncate(time.Millisecond)
		}
	}
	ms := func(d *time.Duration) { *d = d.Round(time.Millisecond) }
	ms(&n.Ring)
	ms(&n.Wait)
	ms(&n.Talk)
	if n.Queue != nil {
		q := *n.Queue
		n.Queue = &q
		ms(&n.Queue.Wait)
	}
	n.Attempts = append([]pbx.Attempt(nil), n.Attempts...)
	for i := range n.Attempts {
		ms(&n.Attempts[i].Ring)
	}
	return n
}

func TestRoundTripOfRandomCalls(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 3000 {
		c := randomCall(r)
		data, err := Encode(c, now)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(data)
		if err != nil {
			t.Fatalf("seed %d, call %d: %v\n%s", seed, i, err, data)
		}
		if got, want := normal(back), toMilliseconds(c); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d, call %d: decoded\n%+v, want\n%+v\n%s", seed, i, got, want, data)
		}
		again, err := Encode(back, now)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("seed %d, call %d: encoded again\n%s, want\n%s (%v)", seed, i, again, data, err)
		}
		if CallToken(back) != CallToken(c) || Tail(back) != Tail(c) {
			t.Fatalf("seed %d, call %d: another subject after decoding", seed, i)
		}
	}
}

// TestIDThatIsNotUTF8 has a SIP Call-ID of any bytes: JSON cannot hold them,
// and the call that comes back from the spool must have the subject it had.
func TestIDThatIsNotUTF8(t *testing.T) {
	c := inbound("\xff\xfe\x80a@203.0.113.9", pbx.Busy, pbx.ReasonBusy, 1)
	c.Caller.Name = "M\xfcller"
	data, err := Encode(c, now)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if Tail(back) != Tail(c) || StoredFilter(back) != StoredFilter(c) || LiveSubject(back) != LiveSubject(c) || ID(back) != ID(c) {
		t.Errorf("%q becomes %q with another subject: the call would be stored twice", c.ID, back.ID)
	}
}

// TestImpossibleDurations: the contract has none below zero, whatever a PBX's clock does.
func TestImpossibleDurations(t *testing.T) {
	c := inbound("1", pbx.Answered, "", 10)
	c.AnsweredAt, c.Ring, c.Wait, c.Talk = after(5), -time.Second, -time.Millisecond, -time.Hour
	c.Queue = &pbx.Queue{Name: "support", Wait: -1}
	data, err := Encode(c, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, schema(t), data); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"-1", "-1e300", "1e300", "1e18"} {
		b := bytes.Replace(data, []byte(`"ring_seconds":0,`), []byte(`"ring_seconds":`+s+`,`), 1)
		if bytes.Equal(b, data) {
			t.Fatalf("nothing replaced in %s", data)
		}
		back, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		} else if back.Ring < 0 || strings.HasPrefix(s, "1") && back.Ring < 365*24*time.Hour {
			t.Errorf("%s seconds are read as %v", s, back.Ring)
		}
	}
}

func TestDecodeIgnoresWhatItDoesNotKnow(t *testing.T) {
	c := samples()["voicemail_declined"]
	data, err := Encode(c, now)
	if err != nil {
		t.Fatal(err)
	}
	more := strings.NewReplacer(`{"specversion"`, `{"traceparent":"00-1","next":{"deep":[1,null]},"specversion"`, `"data":{`, `"data":{"recorded":true,"cost":[1.5],`,
		`"caller":{`, `"caller":{"country":"US",`, `"attempts":[{`, `"attempts":[{"codec":{"name":"opus"},`).Replace(string(data))
	if len(more) < len(data)+100 {
		t.Fatal("nothing added")
	}
	back, err := Decode([]byte(more))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := normal(back), normal(c); !reflect.DeepEqual(got, want) {
		t.Errorf("decoded\n%+v, want\n%+v", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:     "unexpected end",
		`null`: "type",
		`[]`:   "cannot unmarshal",
		`{}`:   "type",
		`{"type":"textback.sms.v1","id":"hq/1","data":{"site":"hq"}}`:  "textback.sms.v1",
		`{"type":"textback.call.v1","id":"hq/1","data":{}}`:            "does not begin with its site",
		`{"type":"textback.call.v1","id":"hq/","data":{"site":"hq"}}`:  "does not begin with its site",
		`{"type":"textback.call.v1","id":"a/1","data":{"site":"hq"}}`:  "does not begin with its site",
		`{"type":"textback.call.v1","id":"/1","data":{"site":""}}`:     "does not begin with its site",
		`{"type":"textback.call.v1","time":"noon","data":{"site":""}}`: "cannot parse",
		`{"type":"textback.call.v1","time":1795432636}`:                "cannot unmarshal",
		`{"time":"9999-12-31T23:59:59.000-01:00"}`:                     "year",
	} {
		c, err := Decode([]byte(in))
		if err == nil {
			t.Errorf("%s is decoded as %+v", in, c)
		} else if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "decode call event") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// FuzzDecode: nothing makes it panic, and what it reads it can write and read again.
func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		data, err := Encode(c, now)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"type":"textback.call.v1","id":"hq/1","data":{"site":"hq","started_at":"0000-01-01T00:00:00+14:00","answered_at":"9999-12-31T23:59:59.9999Z","talk_seconds":1e300,"ring_seconds":-0.0004}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := Decode(in)
		if err != nil {
			return
		}
		data, err := Encode(c, now)
		if err != nil {
			t.Fatalf("decoded but not encoded: %v\n%q", err, in)
		}
		back, err := Decode(data)
		if err != nil {
			t.Fatalf("encoded but not decoded: %v\n%s", err, data)
		}
		if !reflect.DeepEqual(normal(back), normal(c)) {
			t.Fatalf("decoded again\n%+v, want\n%+v\n%s", back, c, data)
		}
		if Tail(back) != Tail(c) {
			t.Fatalf("subject %s, then %s", Tail(c), Tail(back))
		}
	})
}

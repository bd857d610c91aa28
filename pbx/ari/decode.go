package ari

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/tidwall/gjson"

	"textback/pbx"
)

// Decoder turns ARI events into leg facts. It reads only what the tracker
// needs: most events (device states, RTP statistics, connected line updates)
// end after a look at their type and variable. The zero value is ready. It is
// not safe for concurrent use.
type Decoder struct {
	fact pbx.Fact
}

var errNotEvent = errors.New("not a JSON object with type and timestamp: is it an ARI event?")

// variables are the channel variables that carry facts.
var variables = map[string]pbx.FactKind{
	"DIALSTATUS":     pbx.DialEnded,
	"PROGRESSTIME":   pbx.DialProgressed, // Asterisk 18 and later
	"VM_MESSAGEFILE": pbx.MessageLeft,
	"VMSTATUS":       pbx.MailboxEnded,
	"QUEUESTATUS":    pbx.QueueLeft,
	"ABANDONED":      pbx.QueueAbandoned,
}

// activities are the dialplan applications that matter.
var activities = map[string]pbx.Activity{
	"dial": pbx.ActivityDial, "retrydial": pbx.ActivityDial, "followme": pbx.ActivityDial,
	"queue": pbx.ActivityQueue, "voicemail": pbx.ActivityMailbox, "minivmrecord": pbx.ActivityMailbox,
	"background": pbx.ActivityMenu, "read": pbx.ActivityMenu, "waitexten": pbx.ActivityMenu,
	"appdial": pbx.ActivityDialed, "appdial2": pbx.ActivityDialed, "appqueue": pbx.ActivityDialed,
}

// varset stands in kinds for an event whose variable decides.
const varset = pbx.FactKind(255)

// kinds are the event types that carry facts.
var kinds = map[string]pbx.FactKind{
	"ChannelCreated":       pbx.LegCreated,
	"ChannelDestroyed":     pbx.LegEnded,
	"ChannelStateChange":   pbx.LegSeen,
	"ChannelDialplan":      pbx.LegSeen,
	"ChannelCallerId":      pbx.Withheld,
	"ChannelHangupRequest": pbx.LegHangup,
	"ChannelEnteredBridge": pbx.LegBridged,
	"ChannelLeftBridge":    pbx.LegUnbridged,
	"Dial":                 pbx.LegDialed,
	"ChannelVarset":        varset,
}

// Types are the event types that Decode reads: what Asterisk is asked for.
var Types = slices.Sorted(maps.Keys(kinds))

// raw holds the top-level members of an event, undecoded.
type raw struct {
	typ, timestamp, channel, peer, caller, bridge, variable, value string
	dialstatus, dialstring, forward, cause, techCause, soft        string
	presentation                                                   string
}

// Decode reads one event as Asterisk sent it. It returns nil without an error
// for events that carry no fact. The fact is valid until the next call, its
// strings for as long as line is not written to.
func (d *Decoder) Decode(line []byte) (*pbx.Fact, error) {
	// The strings below share line's memory: no copy for events nobody reads.
	text := unsafe.String(unsafe.SliceData(line), len(line))
	var r raw
	gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "type":
			r.typ = v.Str
		case "timestamp":
			r.timestamp = v.Str
		case "channel":
			r.channel = v.Raw
		case "peer":
			r.peer = v.Raw
		case "caller":
			r.caller = v.Raw
		case "bridge":
			r.bridge = v.Raw
		case "variable":
			r.variable = v.Str
		case "value":
			r.value = v.Str
		case "dialstatus":
			r.dialstatus = v.Str
		case "dialstring":
			r.dialstring = v.Str
		case "forward":
			r.forward = v.Str
		case "cause":
			r.cause = v.Raw
		case "tech_cause":
			r.techCause = v.Raw
		case "soft":
			r.soft = v.Raw
		case "caller_presentation":
			r.presentation = v.Raw
		}
		return true
	})
	if r.typ == "" {
		return nil, errNotEvent
	}
	kind, known := kinds[r.typ]
	if known && kind == varset {
		kind, known = variables[r.variable]
	}
	if !known {
		return nil, nil
	}
	if !gjson.Valid(text) {
		return nil, errors.New("not valid JSON")
	}
	f := &d.fact
	members := f.Bridge.Members[:0]
	*f = pbx.Fact{}
	f.Kind = kind
	switch kind {
	case pbx.Withheld:
		// Bits 6 and 7 of the presentation octet (Q.931, 4.5.10): 1 = restricted.
		if atoi(r.presentation)>>5&3 != 1 {
			f.Kind = pbx.LegSeen
		}
	case pbx.LegHangup:
		f.Soft = r.soft == "true"
	case pbx.LegDialed:
		f.Dial, f.DialTo, f.Forward = r.dialstatus, r.dialstring, r.forward
		r.channel = r.peer
	case pbx.DialEnded, pbx.QueueLeft:
		f.Dial = r.value
	case pbx.MailboxEnded:
		f.OK = r.value == "SUCCESS"
		if r.value == "" {
			f.Kind = pbx.LegSeen
		}
	case pbx.MessageLeft, pbx.DialProgressed:
		if r.value == "" {
			f.Kind = pbx.LegSeen
		}
	case pbx.QueueAbandoned:
		if r.value != "TRUE" {
			f.Kind = pbx.LegSeen
		}
	}
	at, err := parseTime(r.timestamp)
	if err != nil {
		return nil, fmt.Errorf("%s event: %w", r.typ, err)
	}
	f.At = at
	if r.channel == "" {
		return nil, fmt.Errorf("%s event names no channel", r.typ)
	}
	channel(&f.Leg, r.channel)
	if f.Leg.ID == "" {
		return nil, fmt.Errorf("%s event: its channel has no id", r.typ)
	}
	if r.caller != "" {
		channel(&f.By, r.caller)
	}
	if r.bridge != "" {
		f.Bridge.Members = members
		bridge(&f.Bridge, r.bridge)
	}
	f.Cause, f.SIPStatus = atoi(r.cause), atoi(r.techCause)
	return f, nil
}

// channel reads a channel object into a leg.
func channel(l *pbx.Leg, obj string) {
	gjson.Parse(obj).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "id":
			l.ID = v.Str
		case "name":
			l.Name = v.Str
		case "state":
			l.State = legState(v.Str)
		case "creationtime":
			l.CreatedAt, _ = parseTime(v.Str)
		case "caller":
			l.Person, l.Number = party(v)
		case "connected":
			l.OtherName, l.OtherNum = party(v)
		case "dialplan":
			var app string
			v.ForEach(func(k, v gjson.Result) bool {
				switch k.Str {
				case "context":
					l.Context = v.Str
				case "exten":
					l.Exten = v.Str
				case "app_name":
					app = v.Str
				case "app_data":
					l.Data = v.Str
				}
				return true
			})
			l.Activity = activity(app)
			if l.Activity < pbx.ActivityDial || l.Activity == pbx.ActivityDialed {
				l.Data = ""
			}
		}
		return true
	})
}

func party(v gjson.Result) (name, num string) {
	v.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "name":
			name = v.Str
		case "number":
			num = v.Str
		}
		return true
	})
	return name, num
}

func activity(app string) pbx.Activity {
	if app == "" {
		return pbx.ActivityNone
	}
	if a, ok := activities[app]; ok {
		return a
	}
	for i := 0; i < len(app); i++ {
		if app[i] >= 'A' && app[i] <= 'Z' {
			if a, ok := activities[strings.ToLower(app)]; ok {
				return a
			}
			break
		}
	}
	return pbx.ActivityOther
}

func legState(s string) pbx.LegState {
	switch s {
	case "Down", "Rsrvd":
		return pbx.LegDown
	case "Ring", "Dialing", "OffHook":
		return pbx.LegRing
	case "Ringing", "Pre-ring":
		return pbx.LegRinging
	case "Up":
		return pbx.LegUp
	}
	return pbx.StateUnknown
}

// bridge reads a bridge object. Its member list is appended to b.Members.
func bridge(b *pbx.Bridge, obj string) {
	gjson.Parse(obj).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "id":
			b.ID = v.Str
		case "bridge_type":
			b.Holding = v.Str == "holding"
		case "channels":
			v.ForEach(func(_, v gjson.Result) bool {
				b.Members = append(b.Members, v.Str)
				return true
			})
		}
		return true
	})
}

// atoi reads a small number, 0 for anything else.
func atoi(s string) int {
	n := 0
	for i := 0; i < len(s) && i < 9; i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// parseTime reads Asterisk's "2026-11-23T11:17:16.984+0000". The common form is
// read by hand because every event has one or two of them.
func parseTime(s string) (time.Time, error) {
	if len(s) == 28 && s[4] == '-' && s[10] == 'T' && s[19] == '.' && s[23:] == "+0000" {
		y, mo, d := atoi(s[0:4]), atoi(s[5:7]), atoi(s[8:10])
		h, mi, sec, ms := atoi(s[11:13]), atoi(s[14:16]), atoi(s[17:19]), atoi(s[20:23])
		if y > 0 && mo >= 1 && mo <= 12 && d >= 1 && d <= 31 && h < 24 && mi < 60 && sec < 61 {
			return time.Date(y, time.Month(mo), d, h, mi, sec, ms*int(time.Millisecond), time.UTC), nil
		}
	}
	for _, layout := range [...]string{"2006-01-02T15:04:05.000-0700", time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("its timestamp %q is not ISO 8601", s)
}

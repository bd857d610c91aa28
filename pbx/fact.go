package pbx

import (
	"strings"
	"time"
)

// FactKind says what a Fact reports.
type FactKind uint8

const (
	// LegSeen reports a leg's snapshot and nothing else. Every Fact with a
	// Leg is one too.
	LegSeen FactKind = iota
	// LegCreated is the leg's first moment.
	LegCreated
	// LegHangup is a request to end the leg. Soft is false when the leg's own
	// device asked for it, true when the PBX did. Cause and SIPStatus may be set.
	LegHangup
	// LegEnded is the leg's last moment. Cause and SIPStatus may be set.
	LegEnded
	// LegDialed reports progress of dialling Leg on behalf of the leg By (whose
	// snapshot may be empty for an originated leg). Dial is the PBX's word for
	// how far it has come, Forward where the phone sent the call.
	LegDialed
	// LegBridged reports that Leg stands in Bridge with Bridge.Members.
	LegBridged
	// LegUnbridged reports that Leg left Bridge.
	LegUnbridged
	// DialEnded reports how a whole Dial by Leg ended: Dial holds it.
	DialEnded
	// DialProgressed reports that a leg dialled by Leg has shown progress (180 or
	// 183), without saying which.
	DialProgressed
	// MessageLeft reports that the caller left a voicemail message.
	MessageLeft
	// MailboxEnded reports that the mailbox is done with Leg. OK is true when
	// it ended in good order, which still does not prove a message.
	MailboxEnded
	// QueueLeft reports that the queue gave Leg up. Dial holds the PBX's word.
	QueueLeft
	// QueueAbandoned reports that Leg left a queue without an agent.
	QueueAbandoned
	// Withheld reports that the leg's caller asked not to be shown.
	Withheld
	// Waiting reports that a machine holds the leg until a phone is free: a queue
	// whose name is not known.
	Waiting
	// EvidenceLost reports that something about Leg's call was not seen: Gap says
	// what, and Doubt that a person may have answered unseen.
	EvidenceLost
)

// LegState is how far a leg's own signalling has come.
type LegState uint8

const (
	StateUnknown LegState = iota
	LegDown               // created towards a phone, nothing heard yet
	LegRing               // came in from a device, not answered by the PBX
	LegRinging            // the phone rings
	LegUp                 // answered
)

// Activity is what the PBX is doing with a leg.
type Activity uint8

const (
	ActivityNone    Activity = iota
	ActivityOther            // something that does not matter here
	ActivityDial             // dialling other legs; Data holds the dial string
	ActivityQueue            // waiting in a queue; Data begins with its name
	ActivityMailbox          // in a voicemail box; Data begins with the mailbox
	ActivityMenu             // listening to a menu
	ActivityDialed           // this leg was dialled by another
)

// Leg is a snapshot of one channel (ARI) or dialog (SIP) as its source shows it.
type Leg struct {
	ID        string // unique for as long as the PBX runs
	Name      string // "PJSIP/101-0000002a", "Local/101@ring-00000003;1"
	State     LegState
	Context   string // where its dialplan stands, for a dialled leg its endpoint's context
	Exten     string
	Number    string // its own party's number
	Person    string // its own party's name
	OtherNum  string // the connected party's number
	OtherName string
	Activity  Activity
	Data      string // of Activity
	CreatedAt time.Time
	// Attestation is the STIR/SHAKEN verdict on Number, where the source has one.
	Attestation string
	// Unseen is true of a leg that was not observed but follows from what was:
	// it decides like any other and is not listed among the attempts.
	Unseen bool
}

// Bridge is a bridge and who stands in it at the time of the fact.
type Bridge struct {
	ID      string
	Holding bool // members hear music, not one another (parking, hold)
	Members []string
}

// Fact is one thing that happened to a leg, by the source's own clock. The
// tracker keeps nothing of it but copies of its strings, so that sources may
// reuse one Fact.
type Fact struct {
	Kind      FactKind
	At        time.Time
	Leg       Leg
	By        Leg    // LegDialed: the dialling leg
	Bridge    Bridge // LegBridged, LegUnbridged
	Soft      bool   // LegHangup
	OK        bool   // MailboxEnded
	Cause     int    // Q.850
	SIPStatus int
	Dial      string // LegDialed, DialEnded, QueueLeft
	DialTo    string // LegDialed: the dialled string
	Forward   string // LegDialed: where the phone sent the call
	Gap       Gap    // EvidenceLost
	Doubt     bool   // EvidenceLost
}

// endpoint is the device of a leg's name: "PJSIP/101" of "PJSIP/101-0000002a".
func endpoint(name string) string {
	name = strings.TrimSuffix(name, "<ZOMBIE>")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		return name[:i]
	}
	return name
}

// resource is what follows the technology: "101" of "PJSIP/101".
func resource(endpoint string) string {
	if i := strings.IndexByte(endpoint, '/'); i >= 0 {
		return endpoint[i+1:]
	}
	return endpoint
}

// localPair splits a Local channel's name into what both halves share and its
// half, 0 for ";1" and 1 for ";2". ok is false for other technologies.
func localPair(name string) (pair string, half int, ok bool) {
	n := len(name)
	if !strings.HasPrefix(name, "Local/") || name[n-2] != ';' {
		return "", 0, false
	}
	return name[:n-2], int(name[n-1]-'1') & 1, true
}

// machines are channel technologies with no person behind them. Two of these
// in a bridge with a caller (an announcer, a recorder) are nobody.
var machines = map[string]bool{
	"Announcer": true, "Recorder": true, "CBAnn": true, "CBRec": true, "Snoop": true, "Message": true,
	"Surrogate": true, "MulticastRTP": true, "Bridge": true, "AsyncGoto": true, "ParkingBridge": true, "Rec": true,
}

func isMachine(name string) bool {
	i := strings.IndexByte(name, '/')
	return i > 0 && machines[name[:i]]
}

// Match reports whether s matches one of patterns, in which '*' stands for any
// run of characters. Letters match whatever their case.
func Match(patterns []string, s string) bool {
	for _, p := range patterns {
		if glob(p, s) {
			return true
		}
	}
	return false
}

func glob(p, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && lower(p[i]) == lower(s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

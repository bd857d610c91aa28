package rules_test

import (
	"fmt"
	"os"
	"time"

	"textback/pbx"
	"textback/rules"
)

// A missed call becomes a Decision that explains itself.
func Example() {
	r, problems := rules.Parse("rules.yaml", []byte(`
version: 1
business: {name: Miller Dental}
timezone: America/New_York
messages:
  missed: "Hi{{with .Name}} {{.}}{{end}}, sorry we missed you! {{.Business}}"
rules:
  - {name: one ring, when: {ring: {under: 2s}}, nothing: whoever hangs up at once dialled a wrong number}
  - {name: all others, send: missed}
`))
	for _, p := range problems {
		fmt.Println(p)
	}
	end := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	d := r.Decide(rules.Facts{Call: &pbx.Call{
		Direction: pbx.Inbound, Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, Certain: true,
		Caller: pbx.Caller{Number: "+12025550143", Name: "Sarah Caller"}, Line: pbx.Line{Number: "+12125550100"},
		Ring: 20 * time.Second, EndedAt: end,
	}}, end)
	fmt.Println(d.Send, d.DueAt.Sub(end))
	_ = d.WriteText(os.Stdout, r.Zone())
	// Output:
	// true 3s
	// A text is sent, by rule "all others" (line 9), at Mon 23 Nov 10:00:03 EST (3 s after the call).
	//
	// The text (message "missed", 44 characters, 1 segment, GSM-7):
	//   Hi Sarah, sorry we missed you! Miller Dental
	//
	// Rules, in order:
	//   no   one ring (line 8): it rang for 20 s, not under 2 s
	//   yes  all others (line 9)
	//
	// Guards on every text:
	//   ok    nobody took the call
	//   ok    the call ended just now
	//   ok    it is certain that nobody took it
	//   ok    the caller shows a number
	//   ok    the number is not the office's own
	//   ok    the number is valid
	//   ok    numbers of US are texted
	//   ok    it is a number that can be texted (fixed line or mobile)
	//   ok    the caller has not said stop
	//   ok    no address book says not to text
	//   ok    no address book blocks the caller
	//   ok    nothing says that a machine answers there
	//   ok    no carrier calls the number forged
	//   ok    it leaves within 5 min after the call, so quiet hours do not count
	//   ok    0 of 3 automatic texts to this caller in 24 h
	//   ok    0 of 5 texts in an hour to numbers like this one
	//   ok    0 of 10 texts in a minute
	//   ok    0 of 200 segments are used today, and this text takes 1
	//   ok    money has no daily limit
	//   ok    the way out is open
	//   ok    the caller has not got through since
	//   ok    nobody has called back since
	//   ok    the caller is not on a line
	//   ok    no other text went to this caller within 12 h
	//
	// Rules version 0f91d01b.
}

package number

import "testing"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		raw, region string
		want        Number
	}{
		{"+12025550143", "US", Number{External, "+12025550143", "US"}},
		{"2025550143", "US", Number{External, "+12025550143", "US"}},
		{"12025550143", "US", Number{External, "+12025550143", "US"}},
		{"(202) 555-0143", "US", Number{External, "+12025550143", "US"}},
		{"0301234567", "DE", Number{External, "+49301234567", "DE"}},
		{"0049301234567", "DE", Number{External, "+49301234567", "DE"}},
		{"49301234567", "DE", Number{External, "+49301234567", "DE"}},
		{"2025550143@203.0.113.7", "US", Number{External, "+12025550143", "US"}},
		{"+18765550123", "US", Number{External, "+18765550123", "JM"}}, // Jamaica shares +1: the region tells them apart
		{"442079460000", "US", Number{Kind: Junk}},                     // perhaps London, perhaps not: never guessed
		{"5551001", "US", Number{Kind: Junk}},
		{"+15555550100", "US", Number{Kind: Junk}},
		{"101", "US", Number{Kind: Internal}},
		{"911", "US", Number{Kind: Internal}},
		{"", "US", Number{Kind: Anonymous}},
		{"anonymous", "US", Number{Kind: Anonymous}},
		{"Anonymous@anonymous.invalid", "US", Number{Kind: Anonymous}},
		{"Restricted", "US", Number{Kind: Anonymous}},
		{"unknown", "US", Number{Kind: Anonymous}},
		{"No Caller ID", "US", Number{Kind: Anonymous}},
		{"V3091530130600012345", "US", Number{Kind: Junk}},
		{"sarah", "US", Number{Kind: Junk}},
		{"+", "US", Number{Kind: Junk}},
		{"0000000000", "US", Number{Kind: Junk}},
		{"99999999999999999999999999999999999999999999", "US", Number{Kind: Junk}},
		{"2025550143", "", Number{Kind: Junk}},
		{"+12025550143", "", Number{External, "+12025550143", "US"}},
	} {
		if got := Parse(c.raw, c.region); got != c.want {
			t.Errorf("Parse(%q, %q) = %+v, want %+v", c.raw, c.region, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"+12025550143", "anonymous", "101", "00", "+", "٣٤٥", "+1 (202) 555-0143"} {
		f.Add(s, "US")
	}
	f.Fuzz(func(t *testing.T, raw, region string) {
		n := Parse(raw, region)
		if (n.E164 != "") != (n.Kind == External) {
			t.Fatalf("Parse(%q, %q) = %+v: E164 and Kind disagree", raw, region, n)
		}
		if n.Kind == External {
			if again := Parse(n.E164, ""); again.E164 != n.E164 {
				t.Fatalf("Parse(%q) = %q, which reads back as %q", raw, n.E164, again.E164)
			}
		}
	})
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"+12025550143": "+12*******43", "12345": "12345", "Office": "Office", "": "",
		"1234567": "12***67", "(202) 555-0143": "(20*) ***-**43",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

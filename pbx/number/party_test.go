package number

import (
	"strings"
	"testing"
)

func TestParty(t *testing.T) {
	for _, c := range []struct {
		s, region string
		local     bool
		want      string
	}{
		{"+12025550143", "US", false, "+12025550143"},
		{" +12025550143 ", "DE", true, "+12025550143"},
		{"12025550143", "DE", false, "+12025550143"},
		{"0012025550143", "DE", false, "+12025550143"},
		{"2025550143", "US", false, "+12025550143"}, // no such number in Egypt
		{"6505551212", "US", true, "+16505551212"},
		{"015112345678", "DE", true, "+4915112345678"},
		{"15112345678", "DE", true, "+4915112345678"},
		{"442079460000", "US", true, "+442079460000"}, // not a number of the US
		{"72345", "US", false, "72345"},
		{"Miller Dental", "US", false, "Miller Dental"},
		{"", "US", false, ""},
		{"<script>", "US", false, ""},
		{"a\nb", "US", false, ""},
		{strings.Repeat("9", 400), "US", false, ""},
	} {
		if got := Party(c.s, c.region, c.local); got != c.want {
			t.Errorf("%q in %s: got %q, want %q", c.s, c.region, got, c.want)
		}
	}
}

package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"
)

// What the plans say is what the library says, of examples of every type in
// every region and of numbers near them.
func TestNumbersAgreeWithTheLibrary(t *testing.T) {
	seed := uint64(7)
	rnd := rand.New(rand.NewPCG(seed, seed))
	var regions []string
	for r := range phonenumbers.GetSupportedRegions() {
		regions = append(regions, r)
	}
	n := numbersOf(regions)
	valid, looked := 0, 0
	for _, region := range regions {
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.VOICEMAIL; kind++ {
			ex := phonenumbers.GetExampleNumberForType(region, kind)
			if ex == nil {
				continue
			}
			e164 := phonenumbers.Format(ex, phonenumbers.E164)
			for i := range 4 {
				if b := []byte(e164); i > 0 {
					b[len(b)-1-rnd.IntN(len(b)-3)] = byte('0' + rnd.IntN(10))
					e164 = string(b)
				}
				p, err := phonenumbers.Parse(e164, "")
				if err != nil || phonenumbers.Format(p, phonenumbers.E164) != e164 {
					continue // Call.Caller.Number is always in this form
				}
				looked++
				want := caller{phonenumbers.IsValidNumber(p), phonenumbers.GetRegionCodeForNumber(p), numberTypes[phonenumbers.GetNumberType(p)]}
				if want.valid {
					valid++
				}
				if got := n.look(e164); got != want {
					t.Errorf("%s: %+v, the library says %+v (seed %d)", e164, got, want, seed)
				}
			}
		}
	}
	if valid < 1000 || looked < valid+300 {
		t.Errorf("only %d numbers, %d of them valid", looked, valid)
	}
}

func TestForeignNumbers(t *testing.T) {
	n := numbersOf([]string{"US"})
	for e164, want := range map[string]caller{
		"+12025550143": {true, "US", "fixed_line_or_mobile"}, "+14165550123": {true, "CA", "fixed_line_or_mobile"}, "+18765550123": {true, "JM", "mobile"},
		"+18005550123": {true, "US", "toll_free"}, "+19005550123": {true, "US", "premium_rate"}, "+4915112345678": {true, "DE", "mobile"}, "+493012345678": {true, "DE", "fixed_line"},
		"+1202555": {}, "": {}, "12025550143": {}, "+": {}, "+1": {}, "+0": {}, "+999999999999999": {}, "+12025550143;ext=1": {}, "+99912345678901234567": {},
	} {
		if got := n.look(e164); got.valid != want.valid || want.valid && got != want {
			t.Errorf("%q: %+v, want %+v", e164, got, want)
		}
	}
}

// The zones of a number are those the library knows for its area code. One that
// may be anywhere in its region has all of the region's, not all of North America's.
func TestZonesOfNumbers(t *testing.T) {
	n := numbersOf([]string{"US", "CA", "DE", "ES", "AU", "BR", "KZ"})
	for _, c := range []struct {
		e164, region string
		want         []string
	}{
		{"+12025550143", "US", []string{"America/New_York"}},
		{"+18085550143", "US", []string{"Pacific/Honolulu"}},
		{"+16055550143", "US", []string{"America/Denver", "America/North_Dakota/Center"}}, // South Dakota lies in both
		{"+18005550123", "US", zonesOf["US"]},
		{"+14655550123", "US", zonesOf["US"]}, // an area code that the list does not have yet
		{"+4915112345678", "DE", []string{"Europe/Berlin"}},
		{"+34612345678", "ES", []string{"Atlantic/Canary", "Europe/Madrid"}},
		{"+61412345678", "AU", zonesOf["AU"]},
		{"+77012345678", "KZ", []string{"Asia/Almaty", "Asia/Aqtobe"}},
		{"+5511912345678", "BR", []string{"America/Sao_Paulo"}},
	} {
		got := n.zonesOfNumber(c.e164, c.region)
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.e164, got, c.want)
		}
	}
	for region, names := range n.regional {
		for _, name := range names {
			if n.zones[name] == nil {
				t.Errorf("%s of %s has not been read", name, region)
			}
		}
	}
	// Spain at 7:30 UTC in winter: half past eight in Madrid, half past seven on the Canaries.
	day := span{8 * 60, 20 * 60}
	at := time.Date(2026, 1, 15, 7, 30, 0, 0, time.UTC)
	if _, where := n.elsewhere("+34612345678", "ES", at, day); where != "Atlantic/Canary" {
		t.Errorf("too early in %q", where)
	}
	for _, x := range []struct {
		at   time.Time
		want string
	}{{at.Add(30 * time.Minute), ""}, {at.Add(11*time.Hour + 29*time.Minute), ""}, {at.Add(11*time.Hour + 30*time.Minute), "Europe/Madrid"}} {
		if _, where := n.elsewhere("+34612345678", "ES", x.at, day); where != x.want {
			t.Errorf("%v: %q, want %q", x.at, where, x.want)
		}
	}
	// A number of nowhere is not texted when quiet hours count.
	if _, where := n.elsewhere("+8835100012345", "001", at, day); where == "" {
		t.Error("a number without a zone is texted at any time")
	}
	// Nor is one of a zone that could not be read.
	lost := numbersOf([]string{"ES"})
	delete(lost.zones, "Atlantic/Canary")
	if z, where := lost.elsewhere("+34612345678", "ES", time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), day); z != nil || where != "Atlantic/Canary" {
		t.Errorf("%v %q", z, where)
	}
	for prefix := 2000000; prefix < 9990000; prefix += 1000 {
		for _, name := range n.zonesOfNumber(fmt.Sprintf("+1%d000", prefix), "US") {
			if n.zones[name] == nil {
				t.Fatalf("+1%d: %s has not been read", prefix, name)
			}
		}
	}
}

// The table's regions have no zone that the library does not know for their calling code.
func TestZonesOfRegions(t *testing.T) {
	for region, names := range zonesOf {
		n := numbersOf([]string{region})
		for _, name := range names {
			if n.zones[name] == nil {
				t.Errorf("%s: %s is no zone of its calling code", region, name)
			}
		}
	}
}

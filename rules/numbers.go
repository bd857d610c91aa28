package rules

import (
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nyaruka/phonenumbers"
)

// numberTypes are the words of number_types. US, CA, MX and others never tell a
// landline from a mobile (SMS.md, trap 6): theirs are fixed_line_or_mobile.
var numberTypes = map[phonenumbers.PhoneNumberType]string{
	phonenumbers.MOBILE: "mobile", phonenumbers.FIXED_LINE_OR_MOBILE: "fixed_line_or_mobile", phonenumbers.VOIP: "voip",
	phonenumbers.PERSONAL_NUMBER: "personal_number", phonenumbers.FIXED_LINE: "fixed_line", phonenumbers.TOLL_FREE: "toll_free",
	phonenumbers.PREMIUM_RATE: "premium_rate", phonenumbers.SHARED_COST: "shared_cost", phonenumbers.PAGER: "pager",
	phonenumbers.UAN: "uan", phonenumbers.VOICEMAIL: "voicemail",
}

// textable are the types that are texted unless number_types says otherwise.
var textable = []string{"mobile", "fixed_line_or_mobile", "voip", "personal_number"}

// caller is what a number's digits tell.
type caller struct {
	valid  bool
	region string
	kind   string // one of numberTypes
}

// numbers are the numbering plans of the regions that are texted, and the time
// zones of their numbers. The library's own functions make each regular
// expression's text anew, which takes longer than all the rest of Decide.
type numbers struct {
	plans    map[string][]territory // by calling code
	zones    map[string]*time.Location
	regional map[string][]string // all the zones of a region, by name
}

// territory is a region's plan. Regions that share a calling code are tried in
// the library's order.
type territory struct {
	region  string
	leading *regexp.Regexp // tells the region where it has one
	general pattern
	same    bool // mobiles and landlines have the same numbers
	fixed   pattern
	mobile  pattern
	others  []typed
}

type typed struct {
	kind phonenumbers.PhoneNumberType
	is   pattern
}

type pattern struct {
	lengths uint64
	re      *regexp.Regexp
}

func (p *pattern) matches(national string) bool {
	return p.re != nil && (p.lengths == 0 || p.lengths&(1<<len(national)) != 0) && p.re.MatchString(national)
}

var metadata = sync.OnceValue(func() map[string]*phonenumbers.PhoneMetadata {
	all, err := phonenumbers.MetadataCollection()
	if err != nil {
		panic(err) // it is part of the binary, and any use of the library would panic too
	}
	m := map[string]*phonenumbers.PhoneMetadata{}
	for _, t := range all.Metadata {
		m[t.GetId()] = t
	}
	return m
})

// territories by calling code, made once: reloads are frequent, new plans are not.
var territories sync.Map

func plan(code int) []territory {
	if p, ok := territories.Load(code); ok {
		return p.([]territory)
	}
	var p []territory
	for _, region := range phonenumbers.GetRegionCodesForCountryCode(code) {
		m := metadata()[region]
		if m == nil {
			continue
		}
		made := func(d *phonenumbers.PhoneNumberDesc) (p pattern) {
			if d.GetNationalNumberPattern() == "" || d.GetNationalNumberPattern() == "NA" {
				return p
			}
			for _, l := range d.PossibleLength {
				if l > 0 {
					p.lengths |= 1 << l
				}
			}
			p.re = regexp.MustCompile("^(?:" + d.GetNationalNumberPattern() + ")$")
			return p
		}
		t := territory{region: region, general: made(m.GetGeneralDesc()), same: m.GetSameMobileAndFixedLinePattern(), fixed: made(m.GetFixedLine()), mobile: made(m.GetMobile())}
		if l := m.GetLeadingDigits(); l != "" {
			t.leading = regexp.MustCompile("^(?:" + l + ")")
		}
		for _, o := range []typed{ // in the library's order: the first that fits is the type
			{phonenumbers.PREMIUM_RATE, made(m.GetPremiumRate())}, {phonenumbers.TOLL_FREE, made(m.GetTollFree())},
			{phonenumbers.SHARED_COST, made(m.GetSharedCost())}, {phonenumbers.VOIP, made(m.GetVoip())},
			{phonenumbers.PERSONAL_NUMBER, made(m.GetPersonalNumber())}, {phonenumbers.PAGER, made(m.GetPager())},
			{phonenumbers.UAN, made(m.GetUan())}, {phonenumbers.VOICEMAIL, made(m.GetVoicemail())},
		} {
			if o.is.re != nil {
				t.others = append(t.others, o)
			}
		}
		p = append(p, t)
	}
	territories.Store(code, p)
	return p
}

// kind is the type of a national number, ok false when it is none of this plan.
func (t *territory) kind(national string) (kind phonenumbers.PhoneNumberType, ok bool) {
	if len(national) >= 64 || !t.general.matches(national) {
		return phonenumbers.UNKNOWN, false
	}
	for i := range t.others {
		if t.others[i].is.matches(national) {
			return t.others[i].kind, true
		}
	}
	if t.fixed.matches(national) {
		if t.same || t.mobile.matches(national) {
			return phonenumbers.FIXED_LINE_OR_MOBILE, true
		}
		return phonenumbers.FIXED_LINE, true
	}
	if !t.same && t.mobile.matches(national) {
		return phonenumbers.MOBILE, true
	}
	return phonenumbers.UNKNOWN, false
}

// zones that have been read.
var zones sync.Map

// zone is a time zone by name, nil for one that this machine does not know.
func zone(name string) *time.Location {
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location)
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	zones.Store(name, z)
	return z
}

// numbersOf reads what is needed for callers of these regions.
func numbersOf(regions []string) numbers {
	n := numbers{plans: map[string][]territory{}, zones: map[string]*time.Location{}, regional: map[string][]string{}}
	for _, region := range regions {
		code := phonenumbers.GetCountryCodeForRegion(region)
		if code == 0 {
			continue // a problem already
		}
		key := strconv.Itoa(code)
		n.plans[key] = plan(code)
		names, _ := phonenumbers.GetTimezonesForPrefix(key) // of the whole country: all that its numbers can have
		n.regional[region] = names
		if some := zonesOf[region]; some != nil {
			n.regional[region] = some
		}
		for _, name := range names {
			if z := zone(name); z != nil {
				n.zones[name] = z
			}
		}
	}
	return n
}

// look tells what a number in E.164 is.
func (n *numbers) look(e164 string) caller {
	if len(e164) < 3 || e164[0] != '+' || len(e164) > 16 {
		return caller{}
	}
	for l := 1; l <= 3 && l+1 < len(e164); l++ {
		p, ok := n.plans[e164[1:1+l]]
		if !ok {
			continue
		}
		national := e164[1+l:]
		for i := range p {
			t := &p[i]
			if t.leading != nil && !t.leading.MatchString(national) {
				continue
			}
			kind, ok := t.kind(national)
			if ok || t.leading != nil || len(p) == 1 { // the region may be told although the number is not valid
				return caller{ok, t.region, numberTypes[kind]}
			}
		}
		return caller{}
	}
	return foreign(e164)
}

// foreign looks at a number of a country that is not texted. It is slow, and
// only needed to explain why.
func foreign(e164 string) caller {
	p, err := phonenumbers.Parse(e164, "")
	if err != nil {
		return caller{}
	}
	region := phonenumbers.GetRegionCodeForNumber(p)
	return caller{phonenumbers.IsValidNumberForRegion(p, region), region, numberTypes[phonenumbers.GetNumberType(p)]}
}

// zonesOf are regions that share their calling code with others, so that not all
// the zones of its numbers are theirs. Those of the zone database that show the
// same time are named once.
var zonesOf = map[string][]string{
	"US": {"America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage", "America/Adak", "Pacific/Honolulu"},
	"CA": {"America/St_Johns", "America/Halifax", "America/Toronto", "America/Winnipeg", "America/Regina", "America/Edmonton", "America/Vancouver"},
	"AU": {"Australia/Adelaide", "Australia/Brisbane", "Australia/Eucla", "Australia/Lord_Howe", "Australia/Perth", "Australia/Sydney"},
	"CX": {"Indian/Christmas"}, "CC": {"Indian/Cocos"},
	"RU": {"Europe/Bucharest", "Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk", "Asia/Krasnoyarsk", "Asia/Irkutsk", "Asia/Yakutsk", "Asia/Vladivostok", "Asia/Magadan", "Asia/Kamchatka"},
	"KZ": {"Asia/Almaty", "Asia/Aqtobe"},
	"RE": {"Indian/Reunion"}, "YT": {"Indian/Mayotte"},
}

// zonesOfNumber are the names of all time zones that the number may be in. In
// North America, Mexico and Brazil mobiles have area codes, and the library knows
// those. Elsewhere a mobile may be anywhere in its country: the library then names
// where most people live, which is early in the morning for others.
func (n *numbers) zonesOfNumber(e164, region string) []string {
	all := n.regional[region]
	if e164[1] != '1' && region != "MX" && region != "BR" {
		return all
	}
	names, err := phonenumbers.GetTimezonesForPrefix(e164)
	if err != nil || len(names) > len(all) { // an area code that it does not know, or a number without one
		return all
	}
	return names
}

// elsewhere returns the first of the zones in which it is not a time for texts.
func (n *numbers) elsewhere(e164, region string, t time.Time, s span) (zone *time.Location, name string) {
	names := n.zonesOfNumber(e164, region)
	for _, name := range names {
		z := n.zones[name]
		if z == nil || !s.within(t.In(z)) {
			return z, name
		}
	}
	if len(names) == 0 {
		return nil, "unknown"
	}
	return nil, ""
}

func knownType(word string) bool {
	for _, w := range numberTypes {
		if w == word {
			return true
		}
	}
	return false
}

// typeWords are the words of number_types, those that are texted by default first.
var typeWords = func() []string {
	words := slices.Clone(textable)
	for t := phonenumbers.FIXED_LINE; t <= phonenumbers.VOICEMAIL; t++ {
		if w := numberTypes[t]; w != "" && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return words
}()

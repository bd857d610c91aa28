package rules

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx"
	"textback/rules/gsm7"
	"textback/rules/strict"
)

func (r *Rules) check(rep *strict.Report, src []byte, beside func(string) ([]byte, error)) {
	f := &r.file
	switch {
	case !rep.Has("version"):
		rep.Problem("version", "put version: 1 at the top, so that a later textback knows how to read this")
	case f.Version != 1:
		rep.Problem("version", "version %d is not known here: this textback reads version 1", f.Version)
	}
	if f.Mode != "live" && f.Mode != "shadow" && !rep.Wrong("mode") {
		rep.OneOf("mode", "mode", f.Mode, "live", "shadow")
	}
	if f.Clock != "" && f.Clock != "24h" && f.Clock != "12h" && !rep.Wrong("clock") {
		rep.OneOf("clock", "clock", f.Clock, "24h", "12h")
	}
	r.zone = time.UTC
	if f.Zone == "" {
		if !rep.Wrong("timezone") {
			rep.Problem("timezone", "say where the office is: timezone: America/New_York")
		}
	} else if z := zoneNamed(rep, "timezone", f.Zone); z != nil {
		r.zone = z
	}
	f.Language = r.checkLanguage(rep, "language", f.Language)
	if len(f.Regions) == 0 && !rep.Wrong("regions") {
		rep.Problem("regions", "no region is left, so nobody would be texted: leave the key out for US, or name some")
	}
	checkRegions(rep, "regions", f.Regions)
	if len(f.NumberTypes) == 0 && !rep.Wrong("number_types") {
		rep.Problem("number_types", "no type is left, so nobody would be texted: leave the key out for those that can be texted")
	}
	for i, t := range f.NumberTypes {
		if !knownType(t) {
			rep.OneOf(strict.At("number_types").Index(i), "type", t, typeWords...)
		}
	}
	r.numbers = numbersOf(f.Regions)
	r.checkBusiness(rep)
	for _, d := range []struct {
		key string
		v   time.Duration
		max time.Duration
	}{{"delay", f.Defaults.Delay, time.Hour}, {"window", f.Defaults.Window, mostWindow}, {"fresh", f.Defaults.Fresh, 24 * time.Hour}} {
		r.checkDuration(rep, strict.At("defaults", d.key), d.v, d.max)
	}
	if f.Defaults.Delay >= f.Defaults.Fresh {
		rep.Problem(strict.At("defaults", "fresh"), "a text would be stale before its delay of %s is over: make fresh longer", human(f.Defaults.Delay))
	}
	r.checkGuards(rep)
	r.checkOffices(rep, beside)
	r.checkStaff(rep)
	used := map[string]bool{}
	r.checkRules(rep, used)
	r.checkMessages(rep, used, src)
}

// mostWindow is as long as an episode may stay open.
const mostWindow = 30 * 24 * time.Hour

func zoneNamed(rep *strict.Report, p strict.Path, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		rep.Problem(p, "%q is no time zone: use a name of the zone database, such as America/New_York or Europe/Berlin", name)
		return nil
	}
	return z
}

// checkRegions brings regions into their usual form.
func checkRegions(rep *strict.Report, p strict.Path, regions []string) {
	for i, reg := range regions {
		up := strings.ToUpper(reg)
		if phonenumbers.GetCountryCodeForRegion(up) == 0 && reg != "" {
			rep.Problem(p.Index(i), "%q is no region%s", reg, regionMeant(reg, "use the two letters of ISO 3166, such as US or DE"))
		}
		regions[i] = up
	}
}

// meantRegions are what people write for a region: what their country calls itself in short, codes of three letters, names.
var meantRegions = map[string]string{
	"UK": "GB", "GBR": "GB", "ENGLAND": "GB", "SCOTLAND": "GB", "WALES": "GB", "GREAT BRITAIN": "GB", "UNITED KINGDOM": "GB",
	"USA": "US", "U.S.": "US", "U.S.A.": "US", "AMERICA": "US", "UNITED STATES": "US", "CAN": "CA", "CANADA": "CA", "MEX": "MX", "MEXICO": "MX", "BRA": "BR", "BRAZIL": "BR",
	"AUS": "AU", "AUSTRALIA": "AU", "NZL": "NZ", "NEW ZEALAND": "NZ", "IRL": "IE", "IRELAND": "IE", "DEU": "DE", "GER": "DE", "GERMANY": "DE", "AUT": "AT", "AUSTRIA": "AT",
	"CHE": "CH", "SUI": "CH", "SWITZERLAND": "CH", "FRA": "FR", "FRANCE": "FR", "ESP": "ES", "SPAIN": "ES", "ITA": "IT", "ITALY": "IT", "PRT": "PT", "PORTUGAL": "PT",
	"NLD": "NL", "NETHERLANDS": "NL", "HOLLAND": "NL", "BEL": "BE", "BELGIUM": "BE", "DNK": "DK", "DENMARK": "DK", "SWE": "SE", "SWEDEN": "SE", "NOR": "NO", "NORWAY": "NO",
	"FIN": "FI", "FINLAND": "FI", "POL": "PL", "POLAND": "PL", "IND": "IN", "INDIA": "IN", "ZAF": "ZA", "SOUTH AFRICA": "ZA", "PRI": "PR", "PUERTO RICO": "PR",
}

// regionMeant asks for the region that was meant where that is sure, and says what regions are. EN is not sure: it is no
// country's, and may be meant for any that speaks English.
func regionMeant(s, what string) string {
	if r := meantRegions[strings.ToUpper(strings.TrimSpace(s))]; r != "" {
		return "; did you mean " + r + "? (" + what + ")"
	}
	return ": " + what
}

var languageTag = regexp.MustCompile(`^[a-z]{2,3}$`)

// checkLanguage returns the language in its usual form.
func (r *Rules) checkLanguage(rep *strict.Report, p strict.Path, s string) string {
	l := language(s)
	if !languageTag.MatchString(l) && !rep.Wrong(p) {
		rep.Problem(p, "%q is no language: use the two letters of ISO 639, such as en or es", s)
	}
	return l
}

func (r *Rules) checkBusiness(rep *strict.Report) {
	b, p := &r.file.Business, strict.At("business")
	if strings.TrimSpace(b.Name) == "" {
		rep.Problem(p.Key("name"), "the business needs a name: people must know who texts them")
	}
	if b.Phone != "" {
		r.checkPhone(rep, p.Key("phone"), b.Phone)
	}
	if b.Booking != "" {
		checkURL(rep, p.Key("booking"), strings.ReplaceAll(b.Booking, "{tag}", sampleTag))
	}
}

// checkPhone reports what nobody could call back.
func (r *Rules) checkPhone(rep *strict.Report, p strict.Path, phone string) {
	region := ""
	if len(r.file.Regions) > 0 {
		region = r.file.Regions[0]
	}
	if n, err := phonenumbers.Parse(phone, region); (err != nil || !phonenumbers.IsValidNumber(n)) && !rep.Wrong(p) {
		rep.Problem(p, "%q is no valid number: people are told to call it, so write it with + and the country code", phone)
	}
}

// checkURL reports what is no URL of the web, and braces that nothing fills.
func checkURL(rep *strict.Report, p strict.Path, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		rep.Problem(p, "this is no web address: write it like https://book.example/miller")
	case u.User != nil:
		rep.Problem(p, "leave the password out of the address: secrets do not stand in this file")
	case strings.ContainsAny(s, "{} "):
		rep.Problem(p, "this address holds a blank, or braces that nothing fills")
	}
}

func (r *Rules) checkGuards(rep *strict.Report) {
	g, p := &r.file.Guards, strict.At("guards")
	q, qp := &g.QuietHours, strict.At("guards", "quiet_hours")
	if !rep.Wrong(qp.Key("texts")) {
		q.span, _ = checkSpan(rep, qp.Key("texts"), q.Texts, func(from, to string) string {
			return fmt.Sprintf("texts is when texts may leave, and lies within one day, such as 8:00-20:00; if these are the hours of quiet, write the others: %s-%s", to, from)
		})
	}
	r.checkDuration(rep, qp.Key("after_call"), q.AfterCall, 24*time.Hour)
	if q.Strict && rep.Has(qp.Key("after_call")) {
		rep.Warning(qp.Key("after_call"), "after_call has no effect: strict binds every text")
	}
	prices := map[string]Money{}
	for region, m := range g.Prices {
		up := region
		if region != "default" {
			if up = strings.ToUpper(region); phonenumbers.GetCountryCodeForRegion(up) == 0 {
				rep.Problem(p.Key("prices", region), "%q is no region%s", region, regionMeant(region, "use the two letters of ISO 3166, such as US, or default for all others"))
			}
		}
		prices[up] = m
	}
	g.Prices = prices
	if !g.Budgets.MoneyPerDay.off && !rep.Wrong(p) {
		for _, region := range r.file.Regions {
			if r.Price(region, 1) == 0 {
				rep.Problem(p.Key("budgets", "money_per_day"), "nobody knows what a text to %s costs, so money cannot be counted: add prices: {%s: 0.0083}, or default:", region, region)
			}
		}
	}
}

// nextDay says how to write hours past midnight where each day has its own.
func nextDay(from, to string) string {
	if m, _ := minutes(to); m == 0 {
		return midnight(from)
	}
	return fmt.Sprintf("for a span past midnight, write %s-24:00 here and 0:00-%s at the next day", from, to)
}

// bothParts says how to write hours past midnight where a list holds for every day.
func bothParts(from, to string) string {
	if m, _ := minutes(to); m == 0 {
		return midnight(from)
	}
	return fmt.Sprintf(`for a span past midnight, write both of its parts: ["%s-24:00", "0:00-%s"]`, from, to)
}

func midnight(from string) string { return "the end of a day is 24:00, so write " + from + "-24:00" }

// checkSpan reads a part of a day. past says what to write in place of one that goes past midnight.
func checkSpan(rep *strict.Report, p strict.Path, s string, past func(from, to string) string) (span, bool) {
	from, to, ok := strings.Cut(s, "-")
	a, okA := minutes(from)
	b, okB := minutes(to)
	switch {
	case !ok || !okA || !okB:
		rep.Problem(p, "%q is not a time span: write it like 8:00-17:30", s)
		return span{}, false
	case a == 24*60:
		rep.Problem(p, "%q begins when the day ends: the beginning of a day is 0:00", s)
		return span{}, false
	case a == b:
		rep.Problem(p, "%q is no time at all: for the whole day, write 0:00-24:00", s)
		return span{}, false
	case a > b:
		rep.Problem(p, "%q ends before it begins: %s", s, past(strings.TrimSpace(from), strings.TrimSpace(to)))
		return span{}, false
	}
	return span{a, b}, true
}

// checkSpans reads the parts of a day, in order.
func checkSpans(rep *strict.Report, p strict.Path, list []string) (spans []span) {
	for i, s := range list {
		sp, ok := checkSpan(rep, p.Index(i), s, nextDay)
		if !ok {
			continue
		}
		for _, have := range spans {
			if sp.from < have.to && have.from < sp.to {
				rep.Problem(p.Index(i), "%q overlaps another span of this day", s)
			}
		}
		spans = append(spans, sp)
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	return spans
}

func (r *Rules) checkDuration(rep *strict.Report, p strict.Path, d, most time.Duration) {
	if d < 0 || d > most {
		rep.Problem(p, "%s is out of range: it may be up to %s", human(d), human(most))
	}
}

var clock = regexp.MustCompile(`^([01]?\d|2[0-4]):([0-5]\d)$`)

func minutes(s string) (int, bool) {
	m := clock.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	var h, min int
	_, _ = fmt.Sscan(m[1], &h)
	_, _ = fmt.Sscanf(m[2], "%d", &min)
	return h*60 + min, h*60+min <= 24*60
}

func (r *Rules) checkRules(rep *strict.Report, used map[string]bool) {
	if len(r.file.Rules) == 0 && !rep.Wrong("rules") {
		rep.Warning("rules", "there are no rules, so nothing is ever sent")
	}
	seen := map[string]int{}
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		if n := rep.Node(p); n != nil {
			ru.line = n.Line
		}
		if ru.Name == "" {
			ru.Name = fmt.Sprintf("rule %d", i+1)
		}
		ru.allows = "rule " + quote(ru.Name) + " says so, and nothing stands against it"
		if line, twice := seen[ru.Name]; twice {
			rep.Problem(p.Key("name"), "another rule is called %q already, in line %d: explain could not tell them apart", ru.Name, line)
		}
		seen[ru.Name] = ru.line
		r.checkText(rep, p, ru, used)
		r.checkBeside(rep, p, ru, used)
		if ru.Delay != nil {
			r.checkDuration(rep, p.Key("delay"), *ru.Delay, time.Hour)
			if *ru.Delay >= r.file.Defaults.Fresh {
				rep.Problem(p.Key("delay"), "the text would be stale (defaults.fresh is %s) before its delay is over", human(r.file.Defaults.Fresh))
			}
		}
		if ru.Window != nil {
			r.checkDuration(rep, p.Key("window"), *ru.Window, mostWindow)
			if w, all := *ru.Window, r.file.Defaults.Window; w > all && w <= mostWindow && all >= 0 && !rep.Has(p.Key("nothing")) {
				rep.Problem(p.Key("window"), "%s has no effect: an episode closes after defaults.window (%s), and the next call may be texted again; raise that one", human(w), human(all))
			}
		}
		r.checkWhen(rep, p.Key("when"), &ru.When)
	}
	r.checkDead(rep)
}

// checkText reports rules that say two things or nothing.
func (r *Rules) checkText(rep *strict.Report, p strict.Path, ru *rule, used map[string]bool) {
	other := ru.Task != nil || len(ru.Notify) > 0 || len(ru.Tags) > 0
	switch {
	case rep.Wrong(p.Key("send")) || rep.Wrong(p.Key("text")) || rep.Wrong(p.Key("nothing")):
	case ru.Send != "" && ru.Text != "":
		used[ru.Send] = true // who means this one must be told once, not twice
		rep.Problem(p.Key("text"), "at most one of send and text may be set: send names a message, text is one")
	case (ru.Send != "" || ru.Text != "") && rep.Has(p.Key("nothing")):
		used[ru.Send] = true
		rep.Problem(p.Key("nothing"), "at most one of send, text and nothing may be set")
	case rep.Has(p.Key("nothing")):
		for _, key := range []string{"delay", "window"} {
			if rep.Has(p.Key(key)) {
				rep.Warning(p.Key(key), "%s has no effect: rule %q sends nothing", key, ru.Name)
			}
		}
		if strings.TrimSpace(ru.Nothing) == "" {
			rep.Problem(p.Key("nothing"), "say why nothing is sent: people will ask, and explain answers with it")
		}
	case ru.Send == "" && ru.Text == "" && !other:
		rep.Problem(p, "rule %q does nothing and does not say so: add send: with a message's name, text: with one of its own, or nothing: with the reason", ru.Name)
	case ru.Send != "":
		r.checkSend(rep, p.Key("send"), ru.Send, used)
	}
}

// checkSend reports a message that does not exist.
func (r *Rules) checkSend(rep *strict.Report, p strict.Path, name string, used map[string]bool) {
	used[name] = true
	if _, ok := r.file.Messages.Get(name); !ok {
		var names []string
		for _, m := range r.file.Messages {
			names = append(names, m.Key)
		}
		slices.Sort(names)
		rep.OneOf(p, "message", name, names...)
	}
}

// longestFollowUp is as long as the sender keeps a job.
const longestFollowUp = 7 * 24 * time.Hour

// checkBeside checks what a rule does beside its text.
func (r *Rules) checkBeside(rep *strict.Report, p strict.Path, ru *rule, used map[string]bool) {
	within := func(p strict.Path, d time.Duration) {
		if d <= 0 || d > 30*24*time.Hour {
			rep.Problem(p.Key("within"), "%s is out of range: a deadline may be up to 30 days away", human(d))
		}
	}
	for i := range ru.FollowUps {
		fu, fp := &ru.FollowUps[i], p.Key("follow_ups").Index(i)
		if rep.Wrong(fp) {
			continue
		}
		n := 0
		for _, s := range []string{fu.Send, fu.Text, fu.Assign} {
			if s != "" {
				n++
			}
		}
		switch {
		case n != 1:
			rep.Problem(fp, "a follow-up does one thing: send: with a message's name, text: with one of its own, or assign: with one of the staff")
		case fu.Assign != "":
			r.checkStaffNamed(rep, fp.Key("assign"), fu.Assign)
			if !rep.Has(fp.Key("within")) {
				fu.Within = defaultWithin
			}
			within(fp, fu.Within)
		case ru.Send == "" && ru.Text == "":
			rep.Problem(fp, "this text follows no text: rule %q sends none, so only assign: is possible here", ru.Name)
		case rep.Has(fp.Key("within")):
			rep.Problem(fp.Key("within"), "within is the deadline of a task, and this follow-up is a text")
		}
		if fu.Send != "" {
			r.checkSend(rep, fp.Key("send"), fu.Send, used)
		}
		switch {
		case !rep.Has(fp.Key("after")):
			rep.Problem(fp, "say when: after: 15m")
		case fu.After < time.Minute || fu.After > longestFollowUp:
			rep.Problem(fp.Key("after"), "%s is out of range: a follow-up comes from 1 min to 7 days after the text", human(fu.After))
		case i > 0 && fu.After <= ru.FollowUps[i-1].After:
			rep.Problem(fp.Key("after"), "follow-ups stand in the order of their time, and this one is not after the one before it")
		}
	}
	if ru.Task != nil && !rep.Wrong(p.Key("task")) {
		if ru.Task.Owner == "" {
			rep.Problem(p.Key("task"), "say who calls back: owner: with one of the staff")
		} else {
			r.checkStaffNamed(rep, p.Key("task", "owner"), ru.Task.Owner)
		}
		within(p.Key("task"), ru.Task.Within)
	}
	for i, name := range ru.Notify {
		r.checkStaffNamed(rep, p.Key("notify").Index(i), name)
	}
	for i, t := range ru.Tags {
		if !tagWord.MatchString(t) {
			rep.Problem(p.Key("tags").Index(i), "%q is no tag: write one word of letters, digits, - and _", t)
		}
	}
}

var tagWord = regexp.MustCompile(`^[\pL\pN_-]{1,40}$`)

func (r *Rules) checkStaffNamed(rep *strict.Report, p strict.Path, name string) {
	if _, ok := r.file.Staff.Get(name); ok || rep.Wrong(p) {
		return
	}
	if len(r.file.Staff) == 0 {
		rep.Problem(p, "nobody is called %q: name people or desks as staff: at the top of the file", name)
		return
	}
	var names []string
	for _, s := range r.file.Staff {
		names = append(names, s.Key)
	}
	rep.Problem(p, "nobody on the staff is called %q%s (there are: %s)", name, strict.DidYouMean(name, names), strings.Join(names, ", "))
}

// checkStaff makes the list of those who are told of things.
func (r *Rules) checkStaff(rep *strict.Report) {
	for i := range r.file.Staff {
		name, s := r.file.Staff[i].Key, &r.file.Staff[i].Value
		p := strict.At("staff").Key(name)
		if !rep.Wrong(p) && s.Email == "" && s.Text == "" && s.Webhook == "" {
			rep.Problem(p, "there is no way to tell %s anything: add email:, text: with a mobile number, or webhook:", name)
		}
		if a, err := mail.ParseAddress(s.Email); s.Email != "" && (err != nil || a.Address != s.Email) {
			rep.Problem(p.Key("email"), "%q is no e-mail address", s.Email)
		}
		if s.Text != "" {
			n, err := phonenumbers.Parse(s.Text, "")
			if err != nil || !phonenumbers.IsValidNumber(n) {
				rep.Problem(p.Key("text"), "%q is no valid number: write it with + and the country code", s.Text)
			} else {
				s.Text = phonenumbers.Format(n, phonenumbers.E164)
			}
		}
		if s.Webhook != "" && !rep.Wrong(p.Key("webhook")) {
			checkURL(rep, p.Key("webhook"), s.Webhook)
		}
		if s.Language != "" {
			s.Language = r.checkLanguage(rep, p.Key("language"), s.Language)
		}
		r.staff = append(r.staff, Staff{Name: name, Email: s.Email, Text: s.Text, Webhook: s.Webhook, Language: cmp.Or(s.Language, r.file.Language)})
	}
}

// checkWhen checks a rule's conditions and makes of them what is asked.
func (r *Rules) checkWhen(rep *strict.Report, wp strict.Path, w *when) {
	var outcomes, reasons []string
	for _, o := range pbx.Outcomes {
		outcomes = append(outcomes, string(o))
	}
	for _, o := range pbx.Reasons {
		reasons = append(reasons, string(o))
	}
	for j, o := range w.Outcome {
		w.compiled.outcomes |= outcomeBit(pbx.Outcome(o))
		switch {
		case !slices.Contains(outcomes, o):
			if word := meant[strings.ToLower(o)]; word != "" {
				rep.Problem(wp.Key("outcome").Index(j), "unknown outcome %q; did you mean %s? (one of: %s)", o, word, strings.Join(outcomes[1:len(outcomes)-1], ", "))
				continue
			}
			rep.OneOf(wp.Key("outcome").Index(j), "outcome", o, outcomes[1:len(outcomes)-1]...)
		case o == string(pbx.Answered), o == string(pbx.Unknown):
			rep.Problem(wp.Key("outcome").Index(j), "a call that is %s is never texted, so this cannot match: leave it out", o)
		}
	}
	checkRegions(rep, wp.Key("region"), w.Region)
	for i, d := range w.Days {
		w.Days[i] = strings.ToLower(d)
	}
	for _, list := range []struct {
		key, what string
		have, of  []string
	}{
		{"reason", "reason", w.Reason, reasons}, {"contact", "kind of contact", w.Contact, contactWords}, {"attestation", "attestation", w.Attestation, attestations},
		{"hours", "state of the hours", w.Hours, hoursWords}, {"days", "day", w.Days, append(slices.Clone(weekdays[1:]), weekdays[0])},
	} {
		for j, s := range list.have {
			if s != "" && !slices.Contains(list.of, s) {
				rep.OneOf(wp.Key(list.key).Index(j), list.what, s, list.of...)
			}
		}
	}
	for _, d := range w.Days {
		if i := slices.Index(weekdays[:], d); i >= 0 {
			w.compiled.days |= 1 << i
		}
	}
	for j, s := range w.Dates {
		first, last, ranged := strings.Cut(s, "..")
		if !ranged {
			last = first
		}
		a, okA := parseDate(strings.TrimSpace(first))
		b, okB := parseDate(strings.TrimSpace(last))
		switch {
		case s == "":
		case !okA || !okB:
			rep.Problem(wp.Key("dates").Index(j), "%q is neither a date nor from one to another: write it like 2026-12-25 or 2026-12-20..2026-12-31", s)
		case b < a:
			rep.Problem(wp.Key("dates").Index(j), "%q ends before it begins", s)
		default:
			w.compiled.dates = append(w.compiled.dates, dates{a, b})
		}
	}
	for j, s := range w.Time {
		if s == "" {
			continue
		}
		if sp, ok := checkSpan(rep, wp.Key("time").Index(j), s, bothParts); ok {
			w.compiled.times = append(w.compiled.times, sp)
		}
	}
	for j := range w.PBX {
		p := wp.Key("pbx", w.PBX[j].Key)
		if len(w.PBX[j].Value) == 0 && !rep.Wrong(p) {
			rep.Problem(p, "say what %s must be: a device state such as INUSE, or a variable's value", w.PBX[j].Key)
		}
	}
	if !rep.Wrong(wp.Key("outcome")) && !rep.Wrong(wp.Key("reason")) {
		r.checkPossible(rep, wp, w)
	}
	r.checkEmpty(rep, wp, w)
	r.checkBetween(rep, wp.Key("ring"), w.Ring)
	r.checkBetween(rep, wp.Key("wait"), w.Wait)
	r.checkBetween(rep, wp.Key("queue_wait"), w.QueueWait)
	if a, p := w.Attempts, wp.Key("attempts"); a != nil && !rep.Wrong(p) {
		switch {
		case a.Under == nil && a.AtLeast == nil:
			rep.Problem(p, "say at_least: 2, under: 4, or both")
		case a.Under != nil && *a.Under < 2:
			rep.Problem(p.Key("under"), "every missed call is at least the first, so this cannot match")
		case a.AtLeast != nil && *a.AtLeast < 1:
			rep.Problem(p.Key("at_least"), "attempts are counted from 1")
		case a.Under != nil && a.AtLeast != nil && *a.AtLeast >= *a.Under:
			rep.Problem(p, "no number is at least %d and under %d", *a.AtLeast, *a.Under)
		}
	}
	for _, key := range []string{"open", "hours"} {
		switch {
		case !rep.Has(wp.Key(key)) || rep.Wrong(wp.Key(key)):
		case !r.hasHours():
			rep.Problem(wp.Key(key), "there are no hours in this file, so nobody knows when the office is open: add hours:")
		case !r.office.hours.any:
			rep.Warning(wp.Key(key), "only some lines have hours, so all others count as closed: add hours: for them at the top of the file, or line: here")
		}
	}
	r.checkNumbers(rep, wp, w)
}

// checkDead reports rules that no call can reach. Rules with problems of their
// own are left out: nobody knows what they are meant to match.
func (r *Rules) checkDead(rep *strict.Report) {
	var earlier []*rule
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		if rep.Wrong(p.Key("when")) || rep.Wrong(p) && !rep.Has(p.Key("when")) {
			continue
		}
		switch by := covering(earlier, &ru.When); len(by) {
		case 0:
		case 1:
			rep.Problem(p, "rule %q is never reached: rule %q in line %d matches every call that this one would; move this one above it, or delete it", ru.Name, by[0].Name, by[0].line)
		default:
			var names []string
			for _, b := range by {
				names = append(names, fmt.Sprintf("%q (line %d)", b.Name, b.line))
			}
			rep.Problem(p, "rule %q is never reached: rules %s together match every call that this one would; move this one above them, or delete it", ru.Name, strings.Join(names, ", "))
		}
		earlier = append(earlier, ru)
	}
}

// meant are words that people and PBXes use for an outcome.
var meant = map[string]string{
	"no_answer": "rang_out", "noanswer": "rang_out", "no answer": "rang_out", "unanswered": "rang_out", "missed": "rang_out", "timeout": "rang_out",
	"rejected": "declined", "refused": "declined", "reject": "declined", "cancelled": "abandoned", "canceled": "abandoned", "cancel": "abandoned",
	"hung_up": "abandoned", "hangup": "abandoned", "engaged": "busy", "offline": "unreachable", "unavailable": "unreachable", "dnd": "unreachable",
	"chanunavail": "unreachable", "congestion": "unreachable", "unregistered": "unreachable", "mailbox": "voicemail", "message": "voicemail",
	"menu": "unattended", "closed": "unattended", "not_tried": "unattended",
}

// A kind of call: what its outcome and reason are.
type kind struct {
	outcome pbx.Outcome
	reason  pbx.Reason
}

// kinds are all kinds of missed calls (CALLS.md, outcomes).
var kinds = func() (all []kind) {
	for _, o := range pbx.Outcomes {
		switch o {
		case pbx.Answered, pbx.Unknown:
		case pbx.Voicemail: // what it would have been without the mailbox
			for _, r := range pbx.Reasons {
				all = append(all, kind{o, r})
			}
		case pbx.Abandoned:
			all = append(all, kind{o, pbx.ReasonCallerHungUp})
		case pbx.Unattended:
			all = append(all, kind{o, pbx.ReasonNotTried})
		default:
			all = append(all, kind{o, pbx.Reason(o)})
		}
	}
	return all
}()

// rang tells whether a phone can have rung in such a call.
func (k kind) rang() bool {
	return k.reason != pbx.ReasonBusy && k.reason != pbx.ReasonUnreachable && k.reason != pbx.ReasonNotTried
}

// kinds are those that w lets in.
func (w *when) kinds() (some []kind) {
	for _, k := range kinds {
		if (len(w.Outcome) == 0 || slices.Contains(w.Outcome, string(k.outcome))) && (len(w.Reason) == 0 || slices.Contains(w.Reason, string(k.reason))) &&
			(w.MessageLeft == nil || k.outcome == pbx.Voicemail) { // no other call has a message
			some = append(some, k)
		}
	}
	return some
}

// checkPossible reports conditions that no call can fulfil together.
func (r *Rules) checkPossible(rep *strict.Report, wp strict.Path, w *when) {
	some := w.kinds()
	switch {
	case len(some) == 0 && w.MessageLeft != nil && len(w.Outcome) > 0 && !slices.Contains(w.Outcome, string(pbx.Voicemail)):
		rep.Problem(wp.Key("message_left"), "only a call with outcome voicemail has a message: add voicemail to outcome, or leave this out")
	case len(some) == 0 && len(w.Outcome) > 0 && len(w.Reason) > 0:
		rep.Problem(wp.Key("reason"), "a call with outcome %s never has reason %s: see the table of outcomes in the README", strings.Join(w.Outcome, " or "), strings.Join(w.Reason, " or "))
	case len(some) > 0 && w.Ring != nil && w.Ring.AtLeast != nil && *w.Ring.AtLeast > 0 && !slices.ContainsFunc(some, kind.rang):
		what := "outcome " + strings.Join(w.Outcome, " or ")
		if len(w.Reason) > 0 {
			what = "reason " + strings.Join(w.Reason, " or ")
		}
		rep.Problem(wp.Key("ring", "at_least"), "no phone rings in a call with %s, so this cannot match: leave ring out", what)
	}
}

// separators are what people write into numbers.
var separators = strings.NewReplacer(" ", "", "-", "", ".", "", "/", "", "(", "", ")", "", "\u00a0", "")

// looksLikeNumber tells whether s is digits and stars once separators are out.
func looksLikeNumber(s string) bool {
	s = strings.TrimPrefix(separators.Replace(s), "+")
	return s != "" && strings.Trim(s, "0123456789*") == ""
}

// checkNumbers reports patterns that no number can match as numbers are
// written here: a caller on such a list would be texted, or not, unnoticed.
func (r *Rules) checkNumbers(rep *strict.Report, wp strict.Path, w *when) {
	for _, list := range []struct {
		key  string
		list []string
	}{{"caller", w.Caller}, {"not_caller", w.NotCaller}} {
		for j, c := range list.list {
			p := wp.Key(list.key).Index(j)
			switch plain := separators.Replace(c); {
			case c == "":
			case !strings.HasPrefix(c, "+") && !strings.HasPrefix(c, "*"):
				rep.Problem(p, "%q is matched against numbers like +12025550143: begin with + and the country code", c)
			case !looksLikeNumber(c):
				rep.Problem(p, "%q is matched against numbers like +12025550143: only digits may follow, and * for any", c)
			case plain != c:
				rep.Problem(p, "%q matches no number, because numbers are written without blanks and signs here: write %s", c, plain)
			case !strings.Contains(c, "*"):
				if n, err := phonenumbers.Parse(c, ""); err != nil || !phonenumbers.IsValidNumber(n) {
					rep.Warning(p, "%s is no valid number, so no caller has it: look at its digits, or end it with * for all that begin so", c)
				}
			}
		}
	}
	for j, l := range w.Line {
		if plain := separators.Replace(l); strings.HasPrefix(l, "+") && plain != l && looksLikeNumber(l) {
			rep.Warning(wp.Key("line").Index(j), "%q is compared with the line's name and its number, and numbers are written without blanks and signs: write %s if this is one", l, plain)
		}
	}
	if len(w.Caller) > 0 && len(w.NotCaller) > 0 && !rep.Wrong(wp.Key("caller")) && !rep.Wrong(wp.Key("not_caller")) &&
		!slices.ContainsFunc(w.Caller, func(c string) bool { return !pbx.Match(w.NotCaller, c) }) {
		rep.Problem(wp.Key("not_caller"), "this takes out every number that caller lets in, so nothing is left to match")
	}
}

// checkEmpty reports conditions without a value: left alone they would match
// every call, which is hardly what they were written for.
func (r *Rules) checkEmpty(rep *strict.Report, wp strict.Path, w *when) {
	v := reflect.ValueOf(w).Elem()
	if n := rep.Node(wp); rep.Has(wp) && !rep.Wrong(wp) && len(n.Content) == 0 && n.Alias == nil {
		rep.Problem(wp, "when is empty, so the rule would match every call: give it conditions, or leave it out if that is meant")
	}
	for i := range v.NumField() {
		key, f := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		p := wp.Key(key)
		if key == "" || !rep.Has(p) || rep.Wrong(p) {
			continue
		}
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 {
			rep.Problem(p, "%s is empty: give it a value, or leave it out if any will do", key)
			continue
		}
		if list, ok := f.Interface().([]string); ok {
			for j, s := range list {
				if s == "" {
					rep.Problem(p.Index(j), "%s is empty here: give it a value, or leave it out if any will do", key)
				}
			}
		}
	}
}

func (r *Rules) hasHours() bool {
	return slices.ContainsFunc(r.offices(), func(o *office) bool { return o.hours.any })
}

func (r *Rules) checkBetween(rep *strict.Report, p strict.Path, b *between) {
	if b == nil {
		return
	}
	if b.Under == nil && b.AtLeast == nil && !rep.Wrong(p) {
		rep.Problem(p, "say under: 3s, at_least: 20s, or both")
	}
	if b.Under != nil && *b.Under <= 0 {
		rep.Problem(p.Key("under"), "no time is under %s", human(*b.Under))
	}
	if b.AtLeast != nil && *b.AtLeast < 0 {
		rep.Problem(p.Key("at_least"), "no time is less than nothing")
	}
	if b.Under != nil && b.AtLeast != nil && *b.AtLeast >= *b.Under {
		rep.Problem(p, "no time is at least %s and under %s", human(*b.AtLeast), human(*b.Under))
	}
}

func (r *Rules) checkMessages(rep *strict.Report, used map[string]bool, src []byte) {
	messages := slices.Clone(r.file.Messages)
	slices.SortFunc(messages, func(a, b strict.Item[languages]) int { return strings.Compare(a.Key, b.Key) })
	for _, item := range messages {
		name := item.Key
		p := strict.At("messages").Key(name)
		m := r.checkMessage(rep, p, src, name, item.Value)
		if m == nil {
			continue
		}
		r.messages[name] = m
		if !used[name] {
			rep.Warning(p, "message %q is used by no rule", name)
		}
	}
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		switch {
		case ru.Send != "":
			ru.msg = r.messages[ru.Send]
		case ru.Text != "":
			ru.msg = r.ownText(rep, p.Key("text"), src, "the text of rule "+quote(ru.Name), ru.Text)
		}
		for j := range ru.FollowUps {
			switch fu := &ru.FollowUps[j]; {
			case fu.Send != "":
				fu.msg = r.messages[fu.Send]
			case fu.Text != "":
				fu.msg = r.ownText(rep, p.Key("follow_ups").Index(j).Key("text"), src, fmt.Sprintf("follow-up %d of rule %q", j+1, ru.Name), fu.Text)
			}
		}
	}
}

// ownText is a rule's own text, nil when it has a problem.
func (r *Rules) ownText(rep *strict.Report, p strict.Path, src []byte, called, source string) *message {
	t := r.checkTemplate(rep, p, src, called, r.file.Language, source)
	if t == nil {
		return nil
	}
	return &message{called: called, one: t}
}

// checkMessage returns nil when one of the message's texts has a problem.
func (r *Rules) checkMessage(rep *strict.Report, p strict.Path, src []byte, name string, l languages) *message {
	if rep.Wrong(p) {
		return nil
	}
	m := &message{name: name, called: "message " + quote(name), texts: map[string]*text{}}
	if l.By == nil {
		if m.one = r.checkTemplate(rep, p, src, m.called, r.file.Language, l.All); m.one == nil {
			return nil
		}
		return m
	}
	bad := false
	for _, item := range l.By {
		lp := p.Key(item.Key)
		lang := r.checkLanguage(rep, lp, item.Key)
		if m.texts[lang] != nil {
			rep.Problem(lp, "%s has a text in %s already", m.called, lang)
		}
		if m.texts[lang] = r.checkTemplate(rep, lp, src, m.called+" in "+lang, lang, item.Value); m.texts[lang] == nil {
			bad = true
		}
	}
	if _, ok := m.texts[r.file.Language]; !ok && !rep.Wrong(p) {
		rep.Problem(p, "%s has no text in %s, which callers get whose language is not known (language: says which)", m.called, r.file.Language)
	}
	if bad || rep.Wrong(p) {
		return nil
	}
	return m
}

// checkTemplate returns nil when the template at p has a problem.
func (r *Rules) checkTemplate(rep *strict.Report, p strict.Path, src []byte, called, lang, source string) *text {
	if rep.Wrong(p) {
		return nil
	}
	t, faults := compile(called, lang, r.file.Clock == "12h", source)
	if len(faults) == 0 {
		faults = r.checkRendered(rep, p, src, source, t)
	}
	for _, f := range faults {
		rep.Near(p, src, f.near, "%s: %s", called, f.text)
	}
	if len(faults) > 0 {
		return nil
	}
	return t
}

// mostSegments is where a text is no text any more; providers refuse more.
const mostSegments = 10

// checkRendered renders the text in every way and warns of what costs or puzzles.
func (r *Rules) checkRendered(rep *strict.Report, p strict.Path, src []byte, source string, t *text) []fault {
	if slices.Contains(t.uses, "Booking") && r.file.Business.Booking == "" {
		return []fault{{"{{.Booking}} has nothing to show: add booking: with its address to business:", ".Booking"}}
	}
	most, longest := 0, ""
	all := r.extremes(t, r.longestNumber())
	for i := range all {
		body, err := t.render(&all[i])
		var f fault
		switch {
		case errors.As(err, &f):
			return []fault{f}
		case err != nil:
			return []fault{{err.Error(), ""}}
		}
		if n, _ := gsm7.Segments(body); n > most || n == most && len(body) > len(longest) {
			most, longest = n, body
		}
		if i == len(all)-1 && r.file.Business.Name != "" && !r.namesBusiness(body) {
			rep.Warning(p, "%s does not name the business: write {{.Business}}, people must know who texts them", t.called)
		}
	}
	if spoken[t.language] == nil && slices.ContainsFunc(t.uses, func(u string) bool { return u == "Wait" || u == "NextOpening" || u == "Hours" }) {
		rep.Warning(p, "%s: times have words in %s only, so {{.NextOpening}}, {{.Hours}} and {{.Wait}} are figures there", t.called, strings.Join(slices.Sorted(maps.Keys(spoken)), ", "))
	}
	switch c, foreign := gsm7.Foreign(longest); {
	case most > mostSegments:
		return []fault{{fmt.Sprintf("it takes up to %d segments; %d are the most that can be sent", most, mostSegments), ""}}
	case foreign:
		holds := "holds"
		if !strings.ContainsRune(source, c) {
			holds = "takes in a value that holds" // the business's name, for one
		}
		rep.NearWarning(p, src, string(c), "%s %s %q, which SMS can carry only in an encoding with 70 characters a segment: it takes up to %s; leave it out if you can", t.called, holds, c, segments(most))
	case most > 1:
		rep.Warning(p, "%s takes up to %s (%d characters when everything is long): each is paid for; 160 characters fit into one", t.called, segments(most), len([]rune(longest)))
	}
	return nil
}

// extremes are the values with which a text is longest, and shortest, on a line of that number.
func (r *Rules) extremes(t *text, number string) []values {
	always := []string{"Business"}
	if r.file.Business.Booking != "" {
		always = append(always, "Booking")
	}
	if r.file.Business.Phone != "" {
		always = append(always, "Phone")
	}
	return t.extremes(r.worst(t, number), always...)
}

// namesBusiness tells whether the text names the business, or what a line is called instead.
func (r *Rules) namesBusiness(body string) bool {
	return slices.ContainsFunc(r.offices(), func(o *office) bool { return strings.Contains(body, gsm7.Normalize(o.business)) })
}

// segments is "1 segment", "2 segments".
func segments(n int) string {
	if n == 1 {
		return "1 segment"
	}
	return fmt.Sprintf("%d segments", n)
}

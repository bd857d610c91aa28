package rules

import (
	"textback/pbx"
	"textback/rules/strict"
)

// Schema is the JSON Schema of rules.yaml, by which editors complete and check it.
func Schema() ([]byte, error) {
	f := empty()
	return strict.Schema("urn:textback:schema:rules:v1", "rules.yaml", &f, hints())
}

const (
	spanPattern = `^\s*([01]?\d|2[0-4]):[0-5]\d\s*-\s*([01]?\d|2[0-4]):[0-5]\d\s*$`
	datePattern = `^\d{4}-\d{2}-\d{2}$`
)

// hints describe the keys of rules.yaml.
func hints() strict.Hints {
	h := strict.Hints{}
	say := func(path, text string) { h[path] = strict.Hint{Text: text} }
	with := func(path, text, pattern string) { h[path] = strict.Hint{Text: text, Pattern: pattern} }
	words := func(path, text string, words ...string) { h[path] = strict.Hint{Text: text, Words: words} }

	h["version"] = strict.Hint{Text: "1: of this kind of file, so that a later textback knows how to read it.", Must: true}
	h["business"] = strict.Hint{Text: "Who texts.", Must: true}
	h["business.name"] = strict.Hint{Text: "{{.Business}} in messages.", Must: true}
	say("business.phone", "{{.Phone}} in messages: where to call back. Default: the line that was called.")
	say("business.booking", "{{.Booking}} in messages: a link. {tag} in it becomes a short hash of the call, so that clicks can be counted.")
	words("mode", "live, or shadow: decide and record, send nothing.", "live", "shadow")
	h["timezone"] = strict.Hint{Text: "Where the office is, by a name of the zone database.", Must: true, Example: "America/New_York"}
	say("language", "Of messages that have one text only: ISO 639-1. Default: en.")
	words("clock", "How texts tell times: 24h (17:30; the default) or 12h (5:30 PM, in English and Spanish).", "24h", "12h")
	say("regions", "Numbers of these regions are texted (ISO 3166), others never. Default: US.")
	words("number_types", "Which types of numbers are texted.", typeWords...)
	hours := func(prefix, text string) {
		say(prefix, text)
		for _, d := range []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"} {
			with(prefix+"."+d, "Spans such as 8:00-12:00; the time between two of them is the day's break. A day without any is closed.", spanPattern)
		}
	}
	hours("hours", "When the office is open, in its time zone.")
	say("exceptions", "Dates with other hours than their weekday; [] is closed.")
	with("exceptions.*", "The hours of this date; [] is closed.", spanPattern)
	with("closed_on", "Holidays, by date.", datePattern)
	say("holidays", "iCalendar files (.ics) beside this one: their all-day events are holidays.")
	say("lines", "What differs on a line, by its number or its name; * stands for any run of characters. What is not said here is as above.")
	say("lines.*", "What differs on this line.")
	say("lines.*.business", "{{.Business}} in messages about calls to this line.")
	say("lines.*.language", "Of messages about calls to this line.")
	say("lines.*.timezone", "Where this line's people are.")
	hours("lines.*.hours", "When this line is open.")
	say("lines.*.exceptions", "Dates on which this line has other hours.")
	with("lines.*.exceptions.*", "The hours of this date; [] is closed.", spanPattern)
	with("lines.*.closed_on", "Holidays of this line.", datePattern)
	say("lines.*.holidays", "iCalendar files of this line's holidays.")
	say("defaults", "What rules do unless they say otherwise.")
	say("defaults.delay", "How long after the call a text leaves; a caller who gets through by then gets none.")
	say("defaults.window", "One text per caller within this time, however often they call.")
	say("defaults.fresh", "No text about a call older than this, whatever delayed it.")
	say("guards", "What stands against a text, whatever the rules say. The defaults are safe.")
	say("guards.quiet_hours", "When texts may leave, in every time zone the number may be in. Outside they are dropped.")
	with("guards.quiet_hours.texts", "The time of day in which texts may leave.", spanPattern)
	say("guards.quiet_hours.strict", "true: for every text. Otherwise the answer to a call just made leaves at any hour.")
	say("guards.quiet_hours.after_call", "Not strict: how long after the call a text leaves at any hour.")
	const limit = ` 0 allows none, "off" sets no limit.`
	say("guards.budgets", "How many texts there may be.")
	say("guards.budgets.per_caller", "Automatic texts to one caller in 24 hours."+limit)
	say("guards.budgets.per_prefix", "Texts in an hour to numbers that differ in their last 4 digits only: diallers call from such."+limit)
	say("guards.budgets.per_minute", "Texts in a minute, to anybody; more wait."+limit)
	say("guards.budgets.segments_per_day", "Segments on one day, to anybody."+limit)
	say("guards.budgets.money_per_day", "Money on one day, by guards.prices."+limit)
	say("guards.weak_attestation", "Tighter budgets for callers whose number nobody vouches for (STIR/SHAKEN attestation C).")
	say("guards.weak_attestation.per_caller", "Automatic texts to one such caller in 24 hours.")
	say("guards.weak_attestation.per_prefix", "Texts in an hour to such numbers that differ in their last 4 digits only.")
	say("guards.weak_attestation.per_minute", "Texts in a minute when they would go to such callers.")
	say("guards.weak_attestation.absent", "true: also for calls without any attestation. Most PBXs do not say.")
	say("guards.prices", "What a segment costs, by region (US, CA) and default for the others; the currency is yours.")
	say("guards.prices.*", "The price of one segment.")
	say("staff", "Who is told of things and owns tasks, by name. Each needs one way to be told.")
	say("staff.*", "One person or desk.")
	say("staff.*.email", "Told by e-mail.")
	say("staff.*.text", "Told by a text to this number.")
	say("staff.*.webhook", "Told by a request to this https URL.")
	say("staff.*.language", "In which language.")
	say("messages", "What can be said, by name. Values: {{.Name}} {{.Business}} {{.Line}} and so on; {{with .Name}} {{.}}{{end}} leaves nothing when there is none.")
	say("messages.*", "One text for all, or one each by language: {en: …, es: …}.")
	say("messages.*.*", "The text in this language.")
	say("rules", "In their order: the first whose conditions hold decides, and no other is looked at.")
	say("rules.name", "What explain and reports call this rule.")
	say("rules.when", "All of these conditions must hold; without any the rule matches every missed call.")
	var outcomes, reasons []string
	for _, o := range pbx.Outcomes {
		if o != pbx.Answered && o != pbx.Unknown {
			outcomes = append(outcomes, string(o))
		}
	}
	for _, r := range pbx.Reasons {
		reasons = append(reasons, string(r))
	}
	const when = "rules.when."
	words(when+"outcome", "Where the call ended.", outcomes...)
	words(when+"reason", "Why nobody answered; for voicemail: what it would have been without the mailbox.", reasons...)
	say(when+"certain", "Whether it is proven that nobody answered. Calls that are not certain are never texted.")
	say(when+"line", "The line that was called: its name or number, * allowed.")
	with(when+"caller", "The caller's number, such as +12025550143 or +1202*.", "")
	say(when+"not_caller", "Numbers that do not match.")
	say(when+"anonymous", "Whether the caller withheld the number.")
	say(when+"internal", "Whether the caller is a phone of the office.")
	say(when+"region", "Of the caller's number: ISO 3166.")
	words(when+"contact", "new: never heard of. known: in an address book, or called or texted before.", contactWords...)
	say(when+"group", "A group of the address books, * allowed.")
	words(when+"attestation", "Who vouches for the caller's number (STIR/SHAKEN).", attestations...)
	between := func(path, text, unit string) {
		say(path, text)
		say(path+".under", "Less than this "+unit+".")
		say(path+".at_least", "This "+unit+" or more.")
	}
	between(when+"attempts", "Missed calls of this caller's episode, this one counted.", "number")
	between(when+"ring", "How long phones rang.", "time")
	between(when+"wait", "How long the caller waited.", "time")
	between(when+"queue_wait", "How long the caller was in the queue.", "time")
	say(when+"message_left", "Whether the caller left a message in the mailbox.")
	say(when+"open", "Whether the office was open when the call ended.")
	words(when+"hours", "What the hours of the line were when the call ended.", hoursWords...)
	with(when+"dates", "Dates, or from one to another: 2026-12-20..2026-12-31.", `^\s*\d{4}-\d{2}-\d{2}\s*(\.\.\s*\d{4}-\d{2}-\d{2}\s*)?$`)
	say(when+"days", "Days of the week: mon, tue, wed, thu, fri, sat, sun.")
	with(when+"time", "Times of day such as 17:00-20:00.", spanPattern)
	say(when+"queue", "The queue the caller was in, * allowed.")
	say(when+"menu", "Whether a menu was heard.")
	say(when+"forwarded", "Whether a phone sent the call on.")
	say(when+"tried", "A phone that was tried: extension, name or endpoint, * allowed.")
	say(when+"pbx", "Device states or variables as the PBX had them when the call ended; what is not known does not match.")
	say(when+"pbx.*", "The values that match, * allowed.")
	say("rules.send", "The name of a message.")
	say("rules.text", "A text of this rule's own.")
	say("rules.nothing", "Nothing is sent: why.")
	say("rules.delay", "How long after the call the text leaves. Default: defaults.delay.")
	say("rules.window", "One text per caller within this time. Default: defaults.window.")
	say("rules.follow_ups", "What comes later unless the caller replies, gets through, is called back or says stop.")
	say("rules.follow_ups.after", "How long after the first text.")
	say("rules.follow_ups.send", "The name of a message.")
	say("rules.follow_ups.text", "A text of its own.")
	say("rules.follow_ups.assign", "A callback task for one of the staff.")
	say("rules.follow_ups.within", "The task's deadline.")
	say("rules.task", "A callback task at once.")
	say("rules.task.owner", "One of the staff.")
	say("rules.task.within", "Its deadline.")
	say("rules.notify", "Those of the staff who are told at once.")
	say("rules.tags", "Words that the call's events carry, for those who read them.")
	return h
}

// Schema is how a limit may be written.
func (limit) Schema() map[string]any { return numberOrOff(`^\+?\d+$`, "integer") }

// Schema is how a budget may be written.
func (budget) Schema() map[string]any { return numberOrOff(moneyPattern, "number") }

// Schema is how an amount may be written.
func (Money) Schema() map[string]any {
	return map[string]any{"type": []string{"number", "string", "null"}, "minimum": 0, "pattern": moneyPattern}
}

const moneyPattern = `^\s*\d{1,9}(\.\d{0,6})?\s*$`

func numberOrOff(pattern, kind string) map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": kind, "minimum": 0},
		map[string]any{"type": "string", "pattern": pattern},
		map[string]any{"enum": []any{"off"}},
		map[string]any{"type": "string", "pattern": `^[oO][fF][fF]$`},
		map[string]any{"type": "null"},
	}}
}

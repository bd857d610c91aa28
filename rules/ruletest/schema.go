package ruletest

import (
	"textback/pbx"
	"textback/rules/strict"
)

// Schema is the JSON Schema of files with rule tests.
func Schema() ([]byte, error) {
	f := defaults()
	return strict.Schema("urn:textback:schema:ruletest:v1", "rules.test.yaml", &f, hints())
}

func hints() strict.Hints {
	h := strict.Hints{}
	say := func(path, text string) { h[path] = strict.Hint{Text: text} }
	pick := func(path, text string, words ...string) { h[path] = strict.Hint{Text: text, Words: words} }
	h["version"] = strict.Hint{Text: "1: of this kind of file.", Must: true}
	say("rules", "The file that is tested, beside this one.")
	say("region", "Where numbers without a country code are at home.")
	say("at", "When the first call of each test ends, in the office's time zone: 2026-11-23 10:00.")
	h["tests"] = strict.Hint{Text: "Each begins with a caller nobody has heard of.", Must: true}
	contact := func(p, text string) {
		say(p, text)
		say(p+".name", "In full.")
		say(p+".first_name", "{{.Name}}; made of the name unless it is given.")
		say(p+".language", "ISO 639-1: en, es.")
		say(p+".groups", "Groups of the address book.")
		say(p+".vip", "A VIP.")
		say(p+".do_not_text", "Wants no texts.")
		say(p+".blocked", "Blocked.")
	}
	say("contacts", "Address book of all tests, by number.")
	contact("contacts.*", "A caller in the address book.")
	call := func(p, text string) {
		say(p, text)
		pick(p+".outcome", "Where the call ended.", words(pbx.Outcomes)...)
		pick(p+".reason", "Why nobody answered; follows from the outcome unless it is given.", words(pbx.Reasons)...)
		say(p+".caller", "The caller's number.")
		say(p+".name", "The caller's name as the PBX shows it.")
		say(p+".line", "The line that was called: its number, or its name.")
		say(p+".line_name", "The line's name, where line is its number.")
		say(p+".ring", "How long phones rang; 20s where the outcome has them ring.")
		say(p+".wait", "How long the caller waited; as long as it rang.")
		say(p+".queue", "The queue the caller was in.")
		say(p+".queue_wait", "For how long; as long as the wait.")
		say(p+".menu", "A menu was heard.")
		say(p+".forwarded", "A phone sent the call on.")
		say(p+".message_left", "The caller left a message in the mailbox; not known unless it is given.")
		say(p+".certain", "It is proven that nobody answered; true unless it is given.")
		say(p+".anonymous", "The caller withheld the number.")
		pick(p+".attestation", "Who vouches for the number.", attestations...)
		say(p+".tried", "Phones that were tried: extensions, names or endpoints.")
		say(p+".pbx", "Device states and variables of the PBX.")
		say(p+".pbx.*", "Its value.")
		say(p+".attempts", "The how-many-th missed call of the episode it is; 0: as the steps before have it.")
		say(p+".known", "The caller has called or been texted before.")
		contact(p+".contact", "The caller is in the address book.")
		say(p+".opted_out", "The caller has said stop.")
		say(p+".machine", "Why whoever answers at this number is taken for a machine.")
		say(p+".on_line", "The caller is on another line for so long yet.")
		say(p+".down", "Why the way out is closed by its circuit breaker.")
		say(p+".spent", "What is used up of the budgets.")
		say(p+".spent.caller", "Texts to this caller in 24 hours.")
		say(p+".spent.prefix", "Texts in the last hour to numbers like this one.")
		say(p+".spent.minute", "Texts in the last minute.")
		say(p+".spent.segments", "Segments today.")
		say(p+".spent.money", "Money today.")
	}
	expect := func(p string) {
		say(p, "What is to be seen. What is not said is not looked at.")
		say(p+".rule", "The rule that decides.")
		say(p+".send", "The message that is sent.")
		say(p+".text", "The whole text that is sent.")
		say(p+".contains", "Parts of the text that is sent.")
		pick(p+".suppressed", "No text is sent: why.", suppressed...)
		pick(p+".guards", "Guards that stand against a text, beside others.", suppressed...)
		say(p+".language", "The text's language.")
		say(p+".segments", "How many segments the text takes.")
		say(p+".after", "How long after the call the text is due.")
		say(p+".at", "When it is due.")
		pick(p+".becomes", "What becomes of the text in the end: sent, or why not.", fates...)
		say(p+".follow_ups", "All follow-ups, in order.")
		say(p+".follow_ups.after", "How long after the first text.")
		say(p+".follow_ups.send", "The message.")
		say(p+".follow_ups.text", "The whole text.")
		say(p+".follow_ups.contains", "Parts of the text.")
		say(p+".follow_ups.assign", "Who has the task.")
		say(p+".follow_ups.within", "The task's deadline.")
		pick(p+".follow_ups.becomes", "What becomes of it in the end.", fates...)
		say(p+".task", "The callback task.")
		say(p+".task.owner", "Who has it.")
		say(p+".task.within", "Its deadline.")
		pick(p+".task.becomes", "What becomes of it in the end.", fates...)
		say(p+".notify", "Who is told, in order.")
		say(p+".tags", "The tags, in order.")
		say(p+".shadow", "Whether it is recorded only.")
	}
	call("call", "What all calls of this file have unless they say otherwise.")
	say("tests.name", "What a failure calls it.")
	say("tests.at", "When the first call of this test ends.")
	call("tests.call", "A test of one call.")
	expect("tests.expect")
	say("tests.steps", "What happens, one thing after the other.")
	say("tests.steps.at", "When: 2026-11-23 10:00, or 10:00 on the day of the step before.")
	say("tests.steps.after", "How long after the step before.")
	call("tests.steps.call", "A missed call.")
	say("tests.steps.reply", "The caller sends a text: this.")
	say("tests.steps.stop", "The caller says stop.")
	say("tests.steps.start", "The caller lifts it.")
	say("tests.steps.got_through", "The caller calls again, is answered, and talks for so long.")
	say("tests.steps.called_back", "The office calls the caller, who talks for so long.")
	say("tests.steps.by_hand", "Somebody in the office settles it.")
	say("tests.steps.from", "The number it is about; the last caller's unless it is given.")
	expect("tests.steps.expect")
	return h
}

package rules

import "regexp"

// In these expressions \b knows ASCII letters only: where a word may begin or end with another one, there stands none.

// ways are by what words a text offers a way to go on, by language. A language that is not
// here is not looked at.
var ways = map[string]map[string]*regexp.Regexp{
	"en": {
		"reply":     regexp.MustCompile(`(?i)\b(repl(y|ies|ied)|respond|answer here|text (us|back|me)|message us|write (us|back)|send us)\b`),
		"call back": regexp.MustCompile(`(?i)\b(call(ing)? (you|us|back|again|then|now|tomorrow)|(ring|phone) (you|us)|get back to you|return your call|be in touch|call \+?[\d(])`),
		"book":      regexp.MustCompile(`(?i)\b(book(ing)?|schedule|appointment online)\b|https?://`),
	},
	"es": {
		"reply":     regexp.MustCompile(`(?i)\b(respond(a|e|er|anos|enos)?|resp[oó]nd(a|e)(nos)?|conteste|contesta|escr[ií]b(a|e)(nos)?)\b`),
		"call back": regexp.MustCompile(`(?i)(llamar(emos|le|te)|ll[aá]m(a|e)(nos|mos)|devolver(emos)? (la|su|tu) llamada|le llamamos|te llamamos)`),
		"book":      regexp.MustCompile(`(?i)\b(reserv(a|e|ar)|agend(a|e|ar)|cita en l[ií]nea)\b|https?://`),
	},
	"de": {
		"reply":     regexp.MustCompile(`(?i)\b(antwort(en)?|schreib(en)?|hier melden)\b`),
		"call back": regexp.MustCompile(`(?i)(ruf(en|e)?\b.*\b(zurück|an)\b|rückruf|melden uns)`),
		"book":      regexp.MustCompile(`(?i)\b(buch(en|ung)?|termin online|vereinbaren)\b|https?://`),
	},
	"fr": {
		"reply":     regexp.MustCompile(`(?i)(^|[^\pL])(répond(ez|re|s)|repond(ez|re|s)|écrivez|ecrivez)`),
		"call back": regexp.MustCompile(`(?i)(rappel(ons|ez|erons|ler)|appelez)`),
		"book":      regexp.MustCompile(`(?i)(réserv(ez|er)|reserv(ez|er)|rendez-vous en ligne)|https?://`),
	},
}

// howToStop are the phrases by which a text says what to answer to get no more, by language. The languages are those of ways.
var howToStop = map[string]*regexp.Regexp{
	"en": regexp.MustCompile(`(?i)\b(repl(y|ies|ying)|respond(ing)?|answer(ing)?|text(ing)?|send(ing)?|write|writing)( us| back)?( with| the word)* ?["'“‘]?\b(stop|unsubscribe|help|info)\b["'”’]?`),
	"es": regexp.MustCompile(`(?i)\b(respond(a|e|er|iendo)|responde|conteste|contesta|env[ií](e|a|ar|ando)|escrib(a|e|ir)|mande|manda)(nos)?( con| la palabra| por)* ?["'“‘«]?\b(stop|alto|baja|parar|cancelar|ayuda)\b["'”’»]?`),
	"de": regexp.MustCompile(`(?i)\b((antwort(en?|et)?|schreib(en?|t)?|send(en?|et)?|schick(en?|t)?)( sie| uns)?( mit| das wort)* ?["'„“»]?\b(stopp?|hilfe|ende)\b["'“”«]?|(mit )?["'„“»]?\bstopp?\b["'“”«]? (an uns )?(antwort(en|et)?|schreib(en|t)?|send(en|et)?|schick(en|t)?)\b)`),
	"fr": regexp.MustCompile(`(?i)(^|[^\pL])(r[ée]pond(ez|re|s|ant)|[ée]crivez|envoyez|envoyer|tapez)(-nous)?( par| avec| le mot)* ?["'“‘«]?[\s\x{a0}]?\b(stop|arr[eê]t|aide)\b[\s\x{a0}]?["'”’»]?`),
}

// keywords are words that stand out as what to answer, in every language.
var keywords = regexp.MustCompile(`\b(STOP(P|ALL)?|UNSUBSCRIBE|OPT-?OUT|ALTO|BAJA|PARAR|ARRET|ABMELDEN|SAIR|PARE)\b|\bARRÊT`)

// stopping are phrases that say how to stop in words of their own, by language: "stop" alone may as well be "stop by our office".
var stopping = map[string]*regexp.Regexp{
	"en": regexp.MustCompile(`(?i)\b(stop|quit)["'”’]? (to|=|ends?|out)\b|\bstop(s|ping)? (these|our|all|further)? ?(texts?|messages?)\b|\bopt(s|ing)?[- ]?out\b|\bunsubscribe\b`),
	"es": regexp.MustCompile(`(?i)\b(stop|alto|parar|baja|cancelar)["'”’»]? (para|termina|cancela|y)\b|\bdar(se|te|me)? de baja\b|\bdesuscribir|\bno (quiere|desea|quieres|deseas)? ?recibir m[áa]s\b`),
	"de": regexp.MustCompile(`(?i)(^|[^\pL-])stopp?["'“”«]? (zum|um|beendet|genügt|reicht)\b|\b(abmeld(en|ung)|abbestell(en|ung)|austragen)\b|\bkeine (weiteren )?(sms|nachrichten)( mehr)?\b`),
	"fr": regexp.MustCompile(`(?i)\b(stop|arr[eê]t)["'”’»]? (pour|au|suffit|met)\b|d[ée]sabonn|d[ée]sinscri|\bne plus recevoir\b`),
}

// anyStop is enough in a language whose phrases are not known here.
var anyStop = regexp.MustCompile(`(?i)\b(stop|stopp|arret|arrêt|alto|baja|opt.?out|unsubscribe)\b`)

// saysStop tells whether a text says how to get no more of them.
func saysStop(text, language string) bool {
	if keywords.MatchString(text) {
		return true
	}
	if words := stopping[language]; words != nil {
		return words.MatchString(text) || howToStop[language].MatchString(text) && anyStop.MatchString(howToStop[language].FindString(text))
	}
	return anyStop.MatchString(text)
}

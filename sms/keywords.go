package sms

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Keyword is what a text of a caller's asks for, beside being read.
type Keyword string

const (
	NoKeyword Keyword = ""
	Stop      Keyword = "stop"  // no texts any more
	Start     Keyword = "start" // texts are welcome again
	Help      Keyword = "help"  // who is this?
)

// KeywordOptions say what is listened for.
type KeywordOptions struct {
	// Languages are ISO 639-1 codes; nil means all that Languages lists. STOP,
	// START, HELP and their English kin are heard in every case.
	Languages []string
	// Stop are more words that mean stop, as the whole text or its first word.
	Stop []string
	// YesStarts: YES lifts an opt-out too. It is an answer to so many questions that
	// it does not by default.
	YesStarts bool
}

// Keywords hears STOP, START and HELP in what people write. It is pure and safe
// for concurrent use.
//
// Doubt falls towards stop. Whoever is taken to have said stop by mistake misses
// a text, is told so at once, and comes back with START; whoever is not heard is
// texted against the law. So STOP as the first word counts whatever follows,
// except what people do at an office ("stop by tomorrow?"); words that also have
// to do with appointments (cancel, end, quit) count alone or with "please", "all",
// "messages" and the like. START, which undoes it, counts alone only.
type Keywords struct {
	whole   map[string]string // a folded text, to the language it is in
	strong  map[string]string // a first word that is enough
	weak    map[string]bool   // a first word that is enough with words of weakTail
	phrases []phrase
	auto    []phrase // of machines: see Auto
	start   map[string]string
	help    map[string]string
}

// words of one language. Everything is folded: lower case, no accents, no
// apostrophes. In phrases | separates alternatives, ? marks what may be missing,
// and * stands for up to three words.
type lexicon struct {
	whole, strong, weak, phrases, start, help []string
	auto                                      []string // phrases of machines that answer for people
}

// The words of SMS.md, FCC 24-24 (47 CFR 64.1200(a)(10): stop, quit, end, revoke,
// opt out, cancel, unsubscribe) and their kin.
var lexicons = map[string]lexicon{
	"en": {
		whole:  []string{"stop", "stopall", "stop all", "quit", "end", "revoke", "opt out", "optout", "cancel", "unsubscribe", "remove", "stop it", "stop this", "stop now", "enough", "no more", "leave me alone"},
		strong: []string{"stop", "stopall", "unsubscribe", "optout", "unsub", "stopping"},
		weak:   []string{"quit", "end", "cancel", "revoke", "remove", "opt"},
		phrases: []string{
			"stop|quit|cease|stopped|halt text|texting|texts|txting|messaging|messages|msgs|contacting|sending|spamming|bothering|harassing|smsing|calling|msging",
			"stop|quit|cease|end all|these|the|this|your|those|with ?the|these|your|all text|texts|messages|msgs|spam|sms|message|messaging|texting",
			"take|get|keep|pull me off * list|lists|database|texts|messages|system|contacts|this",
			"take|get|keep|pull my|this ?phone|cell number|name|phone|cell off|from|out",
			"remove|delete|drop|erase|scrub my|this ?cell|phone|mobile number|phone|name|contact|info|information|data|cell",
			"remove|delete|unlist|unsubscribe|unenroll me|us|this",
			"lose|forget|delete my|this number",
			"please|kindly|must unsubscribe|optout",
			"unsubscribe", "optout", "opt ?me out", "opting out",
			"do not text|txt|message|contact|msg|sms|spam|bother ?to me|us|this|here|again|anymore|ever|my",
			"never text|txt|message|contact|msg|sms|spam|bother me|us|this|here|again|my",
			"dont|dnt|wont text|txt|message|contact|msg|sms|spam|bother ?to me|us|this|here|again|anymore|ever|my|please",
			"do not send ?me|us ?any|more|these|those|this|your ?more texts|messages|msgs|sms|more",
			"dont|dnt send ?me|us ?any|more|these|those|this|your ?more texts|messages|msgs|sms|more",
			"do not want|wish|like|need ?to ?receive|get|be ?any|these|your|more|to ?more|be texts|messages|msgs|sms|texted|contacted|messaged",
			"dont|dnt want|wish|like|need ?to ?receive|get|be ?any|these|your|more|to ?more|be texts|messages|msgs|sms|texted|contacted|messaged",
			"no|zero more|further|additional texts|messages|msgs|text|sms|texting|messaging",
			"revoke|withdraw ?my|the|all consent|permission",
			"leave me|us alone",
		},
		start: []string{"start", "unstop", "resume", "start again", "restart", "opt in", "optin", "subscribe"},
		help:  []string{"help", "info", "information", "help me", "who is this"},
		auto: []string{"automatic reply", "auto reply", "autoreply", "automated reply|response|message", "out of office", "out of the office", "this is an automated", "automatically generated",
			"im|i driving ?right ?now", "sent from ?my car|carplay", "driving focus", "do not disturb while driving", "cannot receive ?sms|text messages", "does not accept ?text|sms messages|texts|replies",
			"unmonitored|unattended|not monitored", "your message|text has|was ?been received", "thank|thanks ?you for contacting|texting|messaging"},
	},
	"es": {
		whole:  []string{"alto", "parar", "pare", "paren", "baja", "basta", "cancelar", "detener", "detenga", "eliminar", "no mas", "ya no", "desuscribir", "desuscribirme", "darse de baja", "dejen de molestar"},
		strong: []string{"alto", "parar", "pare", "paren", "basta", "desuscribir", "desuscribirme"},
		weak:   []string{"cancelar", "baja", "detener", "detenga", "eliminar"},
		phrases: []string{
			"no me escriba|escriban|escribas|mande|manden|mandes|envie|envien|envies|contacte|contacten|contactes|moleste|molesten|molestes|textee|texteen|llame|llamen",
			"deja|deje|dejen|dejar|dejame|dejenme|pare|paren|para|cese de escribir|escribirme|mandar|mandarme|enviar|enviarme|molestar|molestarme|contactar|contactarme|textear|textearme|llamar|llamarme",
			"quite|quiten|quita|quitar|borre|borren|borra|borrar|elimine|eliminen|elimina|eliminar|saque|saquen|saca mi|este numero|telefono|contacto|nombre",
			"saqueme|saquenme|sacame|quiteme|quitenme|quitame|borreme|borrenme|borrame|elimineme|eliminenme * lista|listas|aqui|contactos",
			"darme|deme|denme|dame|dar de baja", "no mas|quiero mensajes|textos|sms", "no quiero|deseo ?recibir mas mensajes|textos|sms", "no quiero|deseo recibir ?mas|sus|estos mensajes|textos|sms|nada",
			"no quiero que me", "no mande|manden|envie|envien mas",
		},
		start: []string{"empezar", "iniciar", "comenzar", "alta", "reanudar"},
		help:  []string{"ayuda", "informacion"},
		auto:  []string{"respuesta automatica", "fuera de ?la oficina", "mensaje automatico", "estoy conduciendo|manejando"},
	},
	"fr": {
		whole:  []string{"arret", "arreter", "arretez", "stopper", "desabonner", "desabonnement", "se desabonner", "me desabonner", "desinscrire", "desinscription", "annuler", "supprimer", "retirer", "ca suffit", "assez"},
		strong: []string{"arret", "arretez", "arrete", "desabonner", "desabonnez", "desinscrire", "desinscrivez", "stopper", "stoppez"},
		weak:   []string{"annuler", "supprimer", "retirer"},
		phrases: []string{
			"ne mecrivez|mappelez|menvoyez|mecris plus|pas|rien", "ne me|nous contactez|textez|derangez|contacte|texte|derange|sollicitez plus|pas", "ne plus me|mecrire|menvoyer|recevoir",
			"plus de|aucun message|messages|texto|textos|sms ?svp|merci", "arretez|arrete|arreter|cessez|cesse de|les|vos|ces|denvoyer|decrire|tout",
			"retirez|enlevez|supprimez|effacez|otez moi|mon|ce ?numero", "desabonnez|desinscrivez ?moi", "me|vous desabonner|desinscrire|desinscris|desabonne", "je ne veux plus|pas recevoir|de|que|etre|vos",
			"laissez moi tranquille",
		},
		start: []string{"commencer", "reprendre", "debut", "demarrer"},
		help:  []string{"aide", "infos"},
		auto:  []string{"reponse automatique", "absent|absente du bureau", "message automatique", "je suis au volant", "je conduis"},
	},
	"de": {
		whole:  []string{"stopp", "abmelden", "abbestellen", "austragen", "aufhoren", "aufhoeren", "ende", "loschen", "loeschen", "schluss", "keine sms", "abmeldung"},
		strong: []string{"stopp", "abmelden", "abbestellen", "aufhoren", "aufhoeren", "austragen"},
		weak:   []string{"ende", "loschen", "loeschen", "schluss"},
		phrases: []string{
			"keine|keinerlei ?weiteren|weitere sms|nachrichten|texte|nachricht|mitteilungen|werbung ?mehr|bitte", "horen|hoeren|hort|hoert|hor|hoer sie|auf|bitte ?auf|damit",
			"schreiben|schicken|senden|kontaktieren|texten|simsen sie|ihr mir|mich * nicht|keine ?mehr|weiteren", "nicht mehr schreiben|kontaktieren|anschreiben|texten|simsen|kontaktiert|belastigen|belaestigen|anrufen",
			"loschen|loeschen|entfernen|streichen|nehmen sie|bitte ?bitte|sie meine|mich|diese ?nummer|daten", "meine nummer ?bitte loschen|loeschen|entfernen|streichen", "melden sie mich ?bitte ab", "ich mochte|moechte|will|wunsche|wuensche keine ?weiteren|weitere|mehr ?sms|nachrichten|texte|mehr",
			"lassen sie mich ?bitte in ruhe", "lasst mich ?bitte in ruhe", "von ?der|ihrer liste streichen|loschen|loeschen|nehmen|entfernen",
		},
		start: []string{"starten", "anmelden", "wieder anmelden", "fortsetzen"},
		help:  []string{"hilfe"},
		auto:  []string{"automatische antwort|nachricht", "abwesenheitsnotiz", "abwesenheitsnachricht", "nicht im buro|buero", "bin ?gerade am steuer", "fahre ?gerade auto"},
	},
	"pt": {
		whole:  []string{"parar", "pare", "parem", "sair", "cancelar", "chega", "remover", "descadastrar"},
		strong: []string{"parar", "pare", "parem", "descadastrar", "chega"},
		weak:   []string{"cancelar", "sair", "remover"},
		phrases: []string{"nao me mande|mandem|envie|enviem|escreva|escrevam|contate|contatem|incomode|incomodem", "pare|parem|para de mandar|enviar|escrever|incomodar|me", "nao quero ?mais|receber ?receber|mais mensagens|sms|mensagem",
			"remova|remover|retire|apague|exclua|tire meu|o|este numero|telefone", "tire|remova|retire me|eu da|desta|dessa lista"},
		start: []string{"iniciar", "comecar", "recomecar"},
		help:  []string{"ajuda"},
		auto:  []string{"resposta automatica", "fora do escritorio", "mensagem automatica"},
	},
	"it": {
		whole:  []string{"basta", "ferma", "fermati", "fermate", "cancella", "cancellami", "annulla", "disiscrivi", "disiscrivimi", "rimuovi", "smettila"},
		strong: []string{"basta", "disiscrivi", "disiscrivimi", "cancellami", "smettila", "smettetela", "fermatevi"},
		weak:   []string{"cancella", "annulla", "rimuovi", "ferma"},
		phrases: []string{"non scrivetemi|scrivermi|mandatemi|mandarmi|inviatemi|contattatemi|contattarmi|disturbatemi ?piu", "non voglio ?piu ricevere|messaggi|sms|essere", "smettete|smettetela|smetti|smettila di scrivermi|mandarmi|inviarmi|contattarmi|inviare|mandare|scrivere|disturbarmi",
			"cancellate|rimuovete|eliminate|togliete il ?mio numero", "cancellatemi|rimuovetemi|toglietemi"},
		start: []string{"inizia", "iniziare", "riprendi", "avvia"},
		help:  []string{"aiuto", "informazioni"},
		auto:  []string{"risposta automatica", "fuori ufficio", "messaggio automatico", "sto guidando"},
	},
	"nl": {
		whole:   []string{"afmelden", "uitschrijven", "stoppen", "opzeggen", "verwijderen", "genoeg"},
		strong:  []string{"afmelden", "uitschrijven", "stoppen"},
		weak:    []string{"verwijderen", "opzeggen"},
		phrases: []string{"geen ?verdere berichten|smsjes|sms|smsen|berichtjes ?meer|aub", "stop met ?het sturen|sms|smsen|berichten|appen|mij", "niet meer sturen|smsen|berichten|contacteren|benaderen", "verwijder|schrap|wis ?aub mijn|mij ?nummer", "haal mij|me ?aub van", "schrijf|meld mij|me ?aub uit|af", "laat me|mij met rust"},
		start:   []string{"starten", "aanmelden", "hervatten"},
		help:    []string{"hulp"},
		auto:    []string{"automatisch antwoord", "automatische reactie", "afwezigheidsmelding", "niet op kantoor", "ik rijd"},
	},
}

// Languages lists those whose words are known.
func Languages() []string { return slices.Sorted(maps.Keys(lexicons)) }

// What people put around a word without meaning more by it.
var (
	fillers = set("please pls plz kindly just now ok okay hi hello hey thanks thank thx you u can could would will this it all immediately already right asap god omg i said want to and but no yes sir maam guys everything " +
		"por favor gracias ya s v p svp merci bitte danke jetzt per favore grazie aub obrigado")
	weakTail = set("please pls plz now thanks thank thx you me all it this that everything everyone text texts texting message messages messaging msgs sms subscription service notifications alerts from list my the these your number out " +
		"por favor gracias todo mensajes s v p svp merci tout bitte danke alles per favore grazie tutto aub")
	thanks = set("please pls plz thanks thank you svp bitte gracias merci")
	// What follows "stop" when somebody is about to come over.
	visiting = set("by in at over off on into near outside through sign light watch and")
)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// NewKeywords compiles what shall be heard.
func NewKeywords(opt KeywordOptions) (*Keywords, error) {
	langs := opt.Languages
	if langs == nil {
		langs = Languages()
	}
	k := &Keywords{whole: map[string]string{}, strong: map[string]string{}, weak: map[string]bool{}, start: map[string]string{}, help: map[string]string{}}
	// English first: the words that every language borrows belong to none.
	for i, l := range append([]string{"en"}, langs...) {
		x, ok := lexicons[l]
		if !ok {
			return nil, fmt.Errorf("the words for stop in %q are not known: choose from %s, or list them yourself", l, strings.Join(Languages(), ", "))
		}
		if i > 0 && l == "en" {
			continue
		}
		lang := l
		if l == "en" {
			lang = ""
		}
		put(k.whole, lang, x.whole)
		put(k.strong, lang, x.strong)
		put(k.start, lang, x.start)
		put(k.help, lang, x.help)
		for _, w := range x.weak {
			k.weak[w] = true
		}
		for _, p := range x.phrases {
			k.phrases = append(k.phrases, compilePhrase(p, lang))
		}
		for _, p := range x.auto {
			k.auto = append(k.auto, compilePhrase(p, lang))
		}
	}
	for _, w := range opt.Stop {
		f := strings.Join(fold(w), " ")
		if f == "" {
			return nil, fmt.Errorf("%q cannot be a word for stop: it has no letters", w)
		}
		put(k.whole, "", []string{f})
		if !strings.Contains(f, " ") {
			put(k.strong, "", []string{f})
		}
	}
	if opt.YesStarts {
		put(k.start, "", []string{"yes"})
	}
	return k, nil
}

func put(m map[string]string, lang string, words []string) {
	for _, w := range words {
		if _, ok := m[w]; !ok {
			m[w] = lang
		}
	}
}

// Find tells what body asks for, and in which language if that can be told.
func (k *Keywords) Find(body string) (kw Keyword, lang string) {
	body = withoutQuotes(cut(body, maxHeard))
	if t := strings.TrimSpace(body); t == "🛑" || t == "⛔" {
		return Stop, ""
	}
	clauses := clausesOf(body)
	if len(clauses) == 0 {
		return NoKeyword, ""
	}
	all := slices.Concat(clauses...)
	for _, form := range bareForms(all) {
		if l, ok := k.whole[form]; ok {
			return Stop, l
		}
	}
	bare := strings.Join(all, " ")
	polite := strings.Join(without(all, fillers), " ")
	if l, ok := k.start[bare]; ok {
		return Start, l
	}
	if l, ok := k.help[bare]; ok {
		return Help, l
	}
	if l, ok := k.start[strings.TrimPrefix(strings.TrimSuffix(bare, " please"), "please ")]; ok {
		return Start, l
	}
	// "please stop", "ok stop it now": strong words with nothing that means more.
	if l, ok := k.strong[polite]; ok {
		return Stop, l
	}
	if l, ok := k.firstWord(body, clauses[0]); ok {
		return Stop, l
	}
	for _, c := range clauses {
		if l, ok := k.strong[strings.Join(without(c, fillers), " ")]; ok {
			return Stop, l
		}
		for _, p := range k.phrases {
			if p.in(c) {
				return Stop, p.lang
			}
		}
	}
	return NoKeyword, ""
}

// firstWord tells whether the text begins as one does that says stop.
func (k *Keywords) firstWord(body string, c []string) (lang string, ok bool) {
	rest := c[1:]
	if l, strong := k.strong[c[0]]; strong {
		if c[0] != "stop" || len(rest) == 0 || !visiting[rest[0]] || shouted(body) {
			return l, true
		}
		return "", false
	}
	if !k.weak[c[0]] || c[0] == "opt" {
		return "", false
	}
	for _, w := range rest {
		if !weakTail[w] {
			return "", false
		}
	}
	// "Cancel. See you" says what it says; "Cancel my 3 pm" is about an appointment.
	return "", true
}

// shouted reports whether the first word stands in capitals and the others do
// not: a person who types a keyword.
func shouted(body string) bool {
	first, rest, _ := strings.Cut(strings.TrimSpace(body), " ")
	return first == strings.ToUpper(first) && rest != strings.ToUpper(rest)
}

// bareForms are a text's spellings in which it may be a word of the list: with
// its spaces, and with none ("S T O P", "s.t.o.p").
func bareForms(words []string) []string {
	forms := []string{strings.Join(words, " "), strings.Join(without(words, thanks), " ")}
	single := len(words) > 1
	for _, w := range words {
		single = single && len(w) == 1
	}
	if single {
		forms = append(forms, strings.Join(words, ""))
	}
	return forms
}

func without(words []string, drop map[string]bool) []string {
	var out []string
	for _, w := range words {
		if !drop[w] {
			out = append(out, w)
		}
	}
	return out
}

// maxHeard bounds what is looked through: nobody says stop after that much.
const maxHeard = 4000

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// Phones report a reaction by quoting the text it is to (Liked “…”), and ours
// says "Reply STOP to opt out".
var (
	quoted     = regexp.MustCompile(`(?s)[“„«"]([^“”„«»"]*)[”“»"]`)
	ourOwnHint = regexp.MustCompile(`(?i)\b(reply|text|send|txt|répondez|responda|antworten sie mit|envoyez)\s+(with\s+)?["'“”]?(stop|arret|arrêt|alto|stopp|help|end)["'“”]?(\s+(to|pour|para|um)\s+\S+(\s+out)?)?`)
)

// withoutQuotes drops what is quoted, unless that is a word or three, and the
// hint that texts carry.
func withoutQuotes(s string) string {
	s = quoted.ReplaceAllStringFunc(s, func(q string) string {
		if len(strings.Fields(q)) <= 3 {
			return q
		}
		return " "
	})
	return ourOwnHint.ReplaceAllString(s, " ")
}

// fold makes words of s: lower case, without accents, apostrophes and marks.
func fold(s string) []string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(s) {
		switch {
		case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Cf, r), r == '\'', r == '’', r == '‘', r == '`', r == '´':
		case r == 'ß':
			b.WriteString("ss")
		case unicode.IsLetter(r), unicode.IsNumber(r):
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteByte(' ')
		}
	}
	return strings.Fields(b.String())
}

// clausesOf splits a text where people pause, and folds the parts.
func clausesOf(s string) [][]string {
	var out [][]string
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(".!?;:,\n\r()…–—", r) }) {
		if w := fold(part); len(w) > 0 {
			out = append(out, w)
		}
	}
	return out
}

// A phrase is a sequence of words to be found within one clause.
type phrase struct {
	lang  string
	parts []part
}

type part struct {
	words    []string
	optional bool
	gap      bool // up to three words, whatever they are
}

func compilePhrase(s, lang string) phrase {
	p := phrase{lang: lang}
	for _, f := range strings.Fields(s) {
		if f == "*" {
			p.parts = append(p.parts, part{gap: true})
			continue
		}
		f, optional := strings.CutPrefix(f, "?")
		p.parts = append(p.parts, part{words: strings.Split(f, "|"), optional: optional})
	}
	return p
}

// in reports whether the phrase stands in c, unless what stands before turns it
// round.
func (p phrase) in(c []string) bool {
	for i := range c {
		if match(p.parts, c[i:]) && !turned(c, i) {
			return true
		}
	}
	return false
}

func match(parts []part, c []string) bool {
	if len(parts) == 0 {
		return true
	}
	p := parts[0]
	if p.gap {
		for n := range 4 {
			if n <= len(c) && match(parts[1:], c[n:]) {
				return true
			}
		}
		return false
	}
	if p.optional && match(parts[1:], c) {
		return true
	}
	return len(c) > 0 && slices.Contains(p.words, c[0]) && match(parts[1:], c[1:])
}

// turned reports whether the words before c[i] make the phrase mean something
// else: "don't stop texting me", "did you stop sending them?", "I don't text".
func turned(c []string, i int) bool {
	before := c[max(0, i-2):i]
	has := func(words ...string) bool {
		return slices.ContainsFunc(before, func(w string) bool { return slices.Contains(words, w) })
	}
	switch c[i] {
	case "stop", "quit", "cease", "stopped", "halt", "end":
		return has("dont", "not", "never", "did", "didnt", "have", "havent", "bus", "cant", "cannot") && !slices.Contains(c[max(0, i-3):i], "why")
	case "dont", "dnt", "do", "wont", "never":
		// Whoever speaks of themselves; "I don't want texts" is another phrase's.
		return has("i", "we", "they", "he", "she") && !slices.ContainsFunc(c[i:min(i+3, len(c))], func(w string) bool {
			return slices.Contains([]string{"want", "wish", "like", "need"}, w)
		})
	case "unsubscribe", "optout", "opt", "opting":
		return has("not", "dont", "didnt", "never")
	}
	return false
}

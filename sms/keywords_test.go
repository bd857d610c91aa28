package sms

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func words(t testing.TB, opt KeywordOptions) *Keywords {
	t.Helper()
	k, err := NewKeywords(opt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeywords(t *testing.T) {
	k := words(t, KeywordOptions{})
	for want, bodies := range map[Keyword][]string{
		Stop: {
			// the list, however it is typed
			"STOP", "stop", "Stop.", " stop\n", "STOP!!!", "\"STOP\"", "“Stop”", "'stop'", "S T O P", "s.t.o.p", "STOPALL", "stop all", "Quit", "END", "revoke", "opt out", "Opt-Out", "optout", "cancel", "Unsubscribe", "remove",
			"ARRÊT", "arret", "arrêt", "st\u200bop", "ｓｔｏｐ", "🛑", "Stop 🛑", "stop 😡", "#stop", "stop it", "STOP\nSent from my iPhone",
			// as the first word
			"Stop please", "STOP texting me", "stop. who is this", "Stop, wrong number", "STOP by all means stop", "Stop the texts", "stop messaging this number", "Stop!! I have told you twice", "unsubscribe me", "STOP 2 END",
			"stop pls", "cancel please", "Cancel all", "quit texting", "Remove me", "remove my number", "end all messages", "cancel subscription", "opt me out",
			// with a polite word in front
			"please stop", "Pls stop", "please STOP.", "can you please stop", "just stop", "ok stop", "omg stop", "Please cancel", "I said stop", "hi, stop", "Thanks, but stop",
			// in a sentence
			"please stop texting me", "Could you stop texting me?", "Hey can you quit messaging me", "Take me off your list", "please take me off this list!", "take me off of your texting list", "take my number off your list", "Get me off this list",
			"remove me from your list", "Please remove my number", "pls remove my cell number from your system", "delete my number", "lose my number", "lose this number please", "I'd like to unsubscribe", "how do I unsubscribe?",
			"i want to opt out", "Please opt me out of these", "Don't text me again", "don’t text me", "do not text this number", "DO NOT CONTACT ME", "Please don't message me anymore", "never text me again", "please dont send me any more texts",
			"I don't want any more texts", "i dont want to receive texts", "I do not wish to be contacted", "No more texts please", "no more messages", "I revoke my consent", "leave me alone", "wrong number, stop texting", "why won't you stop texting me",
			"why can't you stop texting me", "Who is this? Stop texting me!", "this is not Sarah. please stop sending these",
			// other languages
			"ALTO", "Alto, no más mensajes", "baja", "Basta", "basta ya", "por favor no me escriban más", "dejen de mandarme mensajes", "deje de escribirme", "Quite mi número por favor", "quiero darme de baja", "no más mensajes", "no quiero recibir mensajes", "sáquenme de la lista",
			"Arrêtez", "arrêtez de m'écrire", "arrêtez de m’envoyer des textos", "ne me contactez plus", "Plus de SMS svp", "retirez mon numéro", "désabonnez-moi", "je veux me désabonner", "Je ne veux plus recevoir de messages",
			"Stopp", "STOPP!", "abmelden", "bitte abmelden", "Keine SMS mehr", "bitte keine weiteren Nachrichten", "Hören Sie auf", "hören sie bitte auf mir zu schreiben", "bitte nicht mehr schreiben", "Löschen Sie meine Nummer", "Bitte löschen Sie meine Nummer", "Schreiben Sie mir nicht mehr",
			"Ich möchte keine Nachrichten mehr", "Lassen Sie mich in Ruhe", "Parar", "pare de me mandar mensagens", "não me mandem mensagens", "non scrivetemi più", "smettetela", "Afmelden", "geen berichten meer", "stop met sms sturen",
		},
		Start: {"START", "start", "Unstop", "UNSTOP!", "start please", "Please start", "empezar", "resume", "opt in"},
		Help:  {"HELP", "help", "Info", "INFO?", "ayuda", "aide", "Hilfe", "who is this?"},
		NoKeyword: {
			"", " ", "👍", "…", "?",
			// somebody who comes over
			"stop by tomorrow?", "Stop by at 5?", "stop in later today ok?", "Can I stop by tomorrow?", "I'll stop by around noon", "We can stop at your office", "Should I stop over", "STOP BY TOMORROW?", "stop in at 3 then", "Where is the nearest bus stop", "is it near the bus stop?", "Which stop do I get off at",
			// appointments
			"Cancel my appointment", "cancel my 3pm please", "I need to cancel", "Can I cancel tomorrow", "please cancel my appointment for Sarah", "End of the day works", "at the end of the week", "Remove the old crown please", "Quit smoking program info?", "Can you remove a tooth", "I'd like to end my contract",
			"revoke the quote please and send another", "take me off the schedule for Monday", "Put me on the waiting list",
			// words in other senses
			"The pain won't stop", "my sink won't stop leaking", "I can't stop the bleeding", "don't stop texting me", "Please don't stop the reminders", "never stop texting me lol", "Did you stop texting people?", "I don't text much, call me", "sorry I dont text and drive", "I did not opt out",
			"I didn't unsubscribe", "non-stop noise", "text me", "please text me back", "send me more messages", "Starting Monday", "start at 8?", "When do you start", "help me book", "Can you help me? My tooth hurts", "I need information about prices", "YES", "yes", "ok", "Call me", "no", "No thanks",
			"Stopped by but you were closed", "unstoppable", "ended up going elsewhere", "Wrong number", "I have a stopped drain, can you come?", "is the alto sax repaired?", "Mañana para las 5", "Ça va, merci", "Ende der Woche passt", "Bitte um Rückruf", "Ich hätte gern einen Termin", "A fin de mes",
			// reactions of phones quote our text
			"Liked “Miller Dental: sorry we missed you. Reply STOP to opt out.”", "Laughed at \"Miller Dental: sorry we missed you. Reply STOP to opt out.\"", "Emphasized “Sorry we missed you! Reply STOP to unsubscribe”", "Le gustó “Miller Dental: responda ALTO para cancelar los mensajes”",
			"A aimé « Désolé ! Répondez STOP pour vous désabonner des messages »", "Miller Dental: sorry we missed you. Reply STOP to opt out",
			"Thanks for contacting Acme. Reply STOP to unsubscribe",
		},
	} {
		for _, b := range bodies {
			if got, _ := k.Find(b); got != want {
				t.Errorf("%q: %q, want %q", b, got, want)
			}
		}
	}
}

func TestKeywordLanguages(t *testing.T) {
	k := words(t, KeywordOptions{})
	for body, want := range map[string]string{"stop": "", "arrêt": "fr", "no me escriban": "es", "Stopp": "de", "ayuda": "es", "starten": "de"} {
		if _, lang := k.Find(body); lang != want {
			t.Errorf("%q is in %q, want %q", body, lang, want)
		}
	}
	// Only what is configured, and English.
	k = words(t, KeywordOptions{Languages: []string{"fr"}, Stop: []string{"Dość"}, YesStarts: true})
	for body, want := range map[string]Keyword{"arrêt": Stop, "STOP": Stop, "Stopp": NoKeyword, "keine SMS mehr": NoKeyword, "dosc!": Stop, "Dość tego": Stop, "yes": Start} {
		if got, _ := k.Find(body); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
	if _, err := NewKeywords(KeywordOptions{Languages: []string{"xx"}}); err == nil || !strings.Contains(err.Error(), "de, en, es") {
		t.Errorf("an unknown language: %v", err)
	}
	if _, err := NewKeywords(KeywordOptions{Stop: []string{"!!"}}); err == nil {
		t.Error("a word without letters is taken")
	}
}

// Whatever stands around the word, STOP in front is heard.
func FuzzKeywords(f *testing.F) {
	for _, s := range []string{"stop", "STOP texting", "take me off your list", "“quoted” words", "\xff\xfe", "arrêt", strings.Repeat("stop by ", 1000)} {
		f.Add(s)
	}
	k := words(f, KeywordOptions{})
	f.Fuzz(func(t *testing.T, body string) {
		kw, lang := k.Find(body)
		if kw == NoKeyword && lang != "" {
			t.Errorf("no keyword, in %s", lang)
		}
		if got, _ := k.Find("STOP. " + body); utf8.ValidString(body) && got != Stop {
			t.Errorf("STOP in front of %q is not heard: %q", body, got)
		}
		if again, _ := k.Find(strings.ToUpper(strings.TrimSpace(body))); isASCII(body) && kw == Stop && again != Stop && !strings.Contains(strings.ToLower(body), "stop ") {
			t.Errorf("%q is stop, in capitals it is %q", body, again)
		}
	})
}

func isASCII(s string) bool {
	for _, r := range s {
		if r > 126 || r < 32 && r != '\n' {
			return false
		}
	}
	return true
}

func BenchmarkKeywords(b *testing.B) {
	k := words(b, KeywordOptions{})
	for name, body := range map[string]string{"reply": "Hi, yes I called about my appointment on Monday, could you call me back after 3?", "longest": strings.Repeat("take me no dont send me ", 200)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				k.Find(body)
			}
		})
	}
}

package sms

import (
	"fmt"
	"strings"
)

// Answers are the words of the only automatic answers there are, by keyword and
// language. {{.Business}} and {{.Phone}} stand for the office's name and the
// number to call.
type Answers map[Keyword]map[string]string

// DefaultAnswers name the business, and say how to come back or to stop. Each
// fits one segment with a name of up to 40 characters.
func DefaultAnswers() Answers {
	return Answers{
		Stop: {
			"en": "{{.Business}}: you are unsubscribed and will get no more texts from us. Reply START to get them again.",
			"es": "{{.Business}}: ya no le escribiremos. Responda START para recibir mensajes de nuevo.",
			"fr": "{{.Business}} : désabonnement confirmé, nous ne vous écrirons plus. Répondez START pour recevoir à nouveau nos messages.",
			"de": "{{.Business}}: Sie erhalten keine SMS mehr von uns. Mit START erhalten Sie wieder welche.",
			"pt": "{{.Business}}: cancelado, sem mais mensagens nossas. Responda START para voltar a receber.",
			"it": "{{.Business}}: non riceverà più nostri SMS. Risponda START per riceverli di nuovo.",
			"nl": "{{.Business}}: u bent afgemeld en krijgt geen sms meer van ons. Antwoord START om ze weer te krijgen.",
		},
		Start: {
			"en": "{{.Business}}: you will get our texts again. Reply HELP for help, STOP to opt out.",
			"es": "{{.Business}}: le escribiremos de nuevo. Responda HELP para ayuda, STOP para cancelar.",
			"fr": "{{.Business}} : vous recevrez à nouveau nos messages. AIDE pour de l'aide, STOP pour ne plus en recevoir.",
			"de": "{{.Business}}: Sie erhalten wieder SMS von uns. HILFE für Hilfe, STOP zum Abmelden.",
			"pt": "{{.Business}}: vai voltar a receber as nossas mensagens. Responda HELP para ajuda, STOP para cancelar.",
			"it": "{{.Business}}: riceverà di nuovo i nostri SMS. HELP per aiuto, STOP per annullare.",
			"nl": "{{.Business}}: u krijgt weer sms van ons. HELP voor hulp, STOP om af te melden.",
		},
		Help: {
			"en": "{{.Business}}: we text you when we missed your call. Call us at {{.Phone}}. Msg&data rates may apply. Reply STOP to opt out.",
			"es": "{{.Business}}: le escribimos cuando no pudimos atender su llamada. Tel. {{.Phone}}. Responda STOP para cancelar.",
			"fr": "{{.Business}} : nous écrivons après un appel manqué. Tél. {{.Phone}}. Répondez STOP pour ne plus en recevoir.",
			"de": "{{.Business}}: wir schreiben, wenn wir Ihren Anruf verpasst haben. Telefon {{.Phone}}. STOP zum Abmelden.",
			"pt": "{{.Business}}: escrevemos quando perdemos a sua chamada. Ligue {{.Phone}}. Responda STOP para cancelar.",
			"it": "{{.Business}}: scriviamo quando perdiamo una sua chiamata. Chiami {{.Phone}}. STOP per annullare.",
			"nl": "{{.Business}}: wij sms'en als we uw oproep misten. Bel {{.Phone}}. Antwoord STOP om af te melden.",
		},
	}
}

// Check says what is wrong with words that an admin wrote; empty: nothing.
func (Answers) Check(text string) string {
	rest := strings.NewReplacer("{{.Business}}", "", "{{.Phone}}", "").Replace(text)
	switch {
	case strings.TrimSpace(text) == "":
		return "it is empty: leave the key out for the default"
	case strings.Contains(rest, "{{"):
		return "only {{.Business}} and {{.Phone}} can stand in an answer"
	case !strings.Contains(text, "{{.Business}}"):
		return "it does not name the business: put {{.Business}} into it"
	}
	return ""
}

// Text renders the answer to k in lang, else in fallback, else in English.
func (a Answers) Text(k Keyword, lang, fallback, business, phone string) (string, error) {
	for _, texts := range []map[string]string{a[k], DefaultAnswers()[k]} {
		for _, l := range []string{lang, fallback, "en"} {
			if t := texts[l]; t != "" && l != "" {
				t = strings.NewReplacer("{{.Business}}", business, "{{.Phone}}", phone).Replace(t)
				return strings.TrimSpace(strings.TrimPrefix(t, ": ")), nil
			}
		}
	}
	return "", fmt.Errorf("there is no answer to %s", k)
}

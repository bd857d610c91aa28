package contacts

import (
	"slices"
	"strings"

	"textback/rules"
)

// Fields are what a column can hold, by the names that contacts.columns uses.
var Fields = []string{"number", "name", "first_name", "last_name", "language", "groups", "vip", "do_not_text", "blocked"}

// headings are what address books call the fields, as fold leaves them. Numbers of
// fax machines are left out: several people share them.
var headings = func() map[string]string {
	m := map[string]string{}
	for field, words := range map[string]string{
		"number": `number phone phonenumber tel telephone telephonenumber mobile mobilephone mobilenumber cell cellphone cellular primaryphone homephone
			homephone2 businessphone businessphone2 workphone otherphone companymainphone assistantsphone carphone callback msisdn e164 callerid
			telefon telefonnummer rufnummer nummer handy handynummer mobil mobiltelefon mobilnummer mobiltelefonnummer telefonmobil telefonprivat telefongeschaftlich telefongeschaftlich2
			telefonprivat2 haupttelefon weiterestelefon telefonfirma telefonzentrale festnetz
			téléphone telephoneportable telephonemobile telmobile portable numero numerodetelephone numerodetel telephonedomicile telephonebureau telephoneprincipal
			telefono telefonomovil movil celular telefonocelular telefonoparticular telefonodeltrabajo telefonotrabajo telefonoprincipal telefonomobile cellulare telefonocasa telefonoufficio
			telefoon telefoonnummer mobiel mobielnummer gsm telefone telemovel telefonecelular komorka telefonkomorkowy`,
		"name": `name fullname displayname contact contactname customer customername patient patientname client clientname fileas vollername anzeigename
			kontakt kunde nomcomplet nombrecompleto nombreyapellidos nomecompleto nomecognome volledigenaam naam`,
		"first_name": `firstname givenname forename vorname prenom nombre nome voornaam imie primernombre primeironome`,
		"last_name":  `lastname familyname surname nachname familienname zuname nom nomdefamille apellido apellidos cognome achternaam sobrenome apelido nazwisko`,
		"language":   `language lang preferredlanguage locale sprache korrespondenzsprache langue idioma lingua taal jezyk`,
		"groups":     `group groups groupmembership labels label category categories tag tags gruppe gruppen kategorie kategorien groupe groupes categorie categoria categorias grupo grupos gruppo gruppi groep groepen`,
		"vip":        `vip important wichtig`,
		"do_not_text": `donottext dnt notext notexts nosms donotsms smsoptout optout optedout textoptout unsubscribed keinesms keinsms nichttexten smsgesperrt smsabgelehnt
			passms pasdesms nepasenvoyerdesms nosmsporfavor nodesms noenviarsms nientesms geensms`,
		"blocked": `blocked block blocklist blacklist blacklisted gesperrt blockiert bloque bloqueado bloccato geblokkeerd`,
	} {
		for _, w := range strings.Fields(words) {
			m[fold(w)] = field
		}
	}
	return m
}()

// heading tells the field of a column.
func heading(h string) string {
	f := fold(h)
	if field := headings[f]; field != "" {
		return field
	}
	// Google: "Phone 1 - Value", "Phone 2 - Value". Many others: "Phone 2".
	if digits, ok := strings.CutPrefix(strings.TrimSuffix(f, "value"), "phone"); ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
		return "number"
	}
	return ""
}

var yes = map[string]bool{"1": true, "x": true, "y": true, "yes": true, "true": true, "on": true, "vip": true, "j": true, "ja": true, "wahr": true, "oui": true, "o": true, "vrai": true,
	"si": true, "s": true, "sim": true, "verdadero": true, "vero": true, "waar": true, "tak": true, "✓": true, "✔": true}

var no = map[string]bool{"": true, "0": true, "n": true, "no": true, "false": true, "off": true, "none": true, "null": true, "nein": true, "falsch": true, "non": true, "faux": true, "nee": true,
	"nao": true, "falso": true, "onwaar": true, "nie": true}

// An answer is what stands in a place for yes or no.
type answer int

const (
	isNo answer = iota
	isYes
	isNeither
)

func answerOf(s string) answer {
	w := strings.TrimSpace(s)
	if f := fold(w); f != "" || w == "-" {
		w = f
	}
	switch {
	case yes[w]:
		return isYes
	case no[w]:
		return isNo
	}
	return isNeither
}

// languages by their names, for files that spell them out.
var languages = func() map[string]string {
	m := map[string]string{}
	for code, words := range map[string]string{
		"en": "english englisch anglais ingles inglese engels eng", "es": "spanish espanol castellano spanisch espagnol spagnolo spaans spa",
		"fr": "french francais franzosisch frances francese frans fra fre", "de": "german deutsch allemand aleman tedesco duits deu ger",
		"it": "italian italiano italienisch italien ita", "pt": "portuguese portugues portugiesisch portugais portoghese por",
		"nl": "dutch nederlands niederlandisch neerlandais holandes olandese nld dut", "pl": "polish polski polnisch polonais pol",
		"zh": "chinese 中文 mandarin cantonese chinesisch zho chi", "vi": "vietnamese tiengviet vie", "ru": "russian русский russisch rus",
		"ar": "arabic العربية arabisch ara", "ko": "korean 한국어 kor", "tr": "turkish turkce türkçe turkisch tur", "uk": "ukrainian українська ukrainisch ukr",
		"ht": "haitian creole kreyol hat", "tl": "tagalog filipino tgl", "ja": "japanese 日本語 jpn", "hi": "hindi हिन्दी hin",
	} {
		for _, w := range strings.Fields(words) {
			m[fold(w)] = code
		}
	}
	return m
}()

type language struct {
	code string
	ok   bool
}

func languageOf(s string) (l language) {
	l.code, l.ok = Language(s)
	return l
}

// Language is the ISO 639-1 code of a tag such as es-MX or of a language's name;
// ok is false when s is neither.
func Language(s string) (code string, ok bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", true
	}
	main, _, _ := strings.Cut(strings.ReplaceAll(s, "_", "-"), "-")
	if main = strings.ToLower(main); len(main) == 2 && main[0] >= 'a' && main[0] <= 'z' && main[1] >= 'a' && main[1] <= 'z' {
		return main, true
	}
	if code = languages[fold(s)]; code == "" {
		code = languages[fold(main)]
	}
	return code, code != ""
}

// A group is what it says of its members.
type group struct {
	name                    string
	vip, doNotText, blocked bool
}

// groupOf reads a group. Groups that are named like a flag set it too: vCards
// have no place of their own for it, and phones only have groups.
func groupOf(s string) group {
	g := group{name: clean(strings.TrimPrefix(strings.TrimSpace(s), "* "))} // Google's system groups: "* myContacts"
	switch f := fold(g.name); {
	case f == "" || f == "mycontacts" || f == "starred":
		return group{}
	case f == "vip":
		g.vip = true
	case headings[f] == "do_not_text":
		g.doNotText = true
	case headings[f] == "blocked":
		g.blocked = true
	}
	return g
}

// A groupList is what one value says. Nobody appends to names in place: they are clipped.
type groupList struct {
	all   []group
	names []string
}

// addGroups puts the contact into the groups of a list.
func addGroups(c *rules.Contact, list groupList) {
	for _, g := range list.all {
		c.VIP = c.VIP || g.vip
		c.DoNotText = c.DoNotText || g.doNotText
		c.Blocked = c.Blocked || g.blocked
	}
	if c.Groups == nil {
		c.Groups = list.names // shared by all rows that say the same
		return
	}
	for _, g := range list.all {
		if len(c.Groups) < maxGroups && !slices.ContainsFunc(c.Groups, func(have string) bool { return strings.EqualFold(have, g.name) }) {
			c.Groups = append(c.Groups, g.name)
		}
	}
}

const maxGroups = 50

// name fills the contact's names from what a row or a card says.
func name(c *rules.Contact, full, first, last string) {
	full, first, last = clean(full), clean(first), clean(last)
	switch {
	case full == "":
		c.Name = strings.TrimSpace(first + " " + last)
	case first != "" && last == "" && !strings.Contains(full, first) && !strings.Contains(fold(full), fold(first)):
		c.Name = first + " " + full // German lists: Name;Vorname
	default:
		c.Name = full
	}
	c.Name = clip(c.Name, maxName)
	// What is in a first name's place but is none (an address, two people) is not
	// greeted by.
	if len(strings.Fields(first)) <= 3 && !strings.ContainsAny(first, "@/&,;:0123456789") {
		c.FirstName = clip(first, 40)
	}
}

// groupsOf reads a list of groups in one value, and what they say of their members.
func groupsOf(s string) (list groupList) {
	for part := range strings.FieldsFuncSeq(strings.ReplaceAll(s, ":::", ";"), func(r rune) bool { return r == ';' || r == ',' || r == '\n' || r == '|' }) {
		g := groupOf(part)
		if g.name == "" || len(list.names) == maxGroups || slices.ContainsFunc(list.names, func(have string) bool { return strings.EqualFold(have, g.name) }) {
			continue
		}
		list.all, list.names = append(list.all, g), append(list.names, g.name)
	}
	list.names = slices.Clip(list.names)
	return list
}

// A memory knows what it has read once: tens of thousands of rows have the same
// few groups, languages and answers.
type memory[V any] map[string]V

func (m memory[V]) of(s string, read func(string) V) V {
	v, ok := m[s]
	if !ok {
		if v = read(s); len(m) < 1000 {
			m[strings.Clone(s)] = v
		}
	}
	return v
}

// FromFields makes a contact of what get tells of each of Fields but the number,
// with the same care as of a row. found is false when it tells nothing at all. What
// forbids is taken for said when it is neither yes nor no.
func FromFields(get func(field string) []string) (c rules.Contact, found bool) {
	one := func(field string) string {
		all := get(field)
		found = found || len(all) > 0
		if len(all) == 0 {
			return ""
		}
		return all[0]
	}
	name(&c, one("name"), one("first_name"), one("last_name"))
	c.Language, _ = Language(one("language"))
	for _, g := range get("groups") {
		found = true
		addGroups(&c, groupsOf(g))
	}
	for field, to := range map[string]*bool{"vip": &c.VIP, "do_not_text": &c.DoNotText, "blocked": &c.Blocked} {
		for _, v := range get(field) {
			found = true
			a := answerOf(v)
			*to = *to || a == isYes || a == isNeither && field != "vip"
		}
	}
	return c, found
}

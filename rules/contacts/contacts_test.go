package contacts

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx/number"
	"textback/rules"
	"textback/rules/strict"
)

func words(problems []strict.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func TestTables(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       map[string]rules.Contact
		problems   string
	}{
		{"our own", "number,name,first_name,language,groups,vip,do_not_text,blocked\n" +
			"+12025550143,Sarah Caller,Sarah,es,patients;staff,yes,,\n(202) 555-0144,Bob Stone,,English,,0,x,no\n\"1-202-555-0145\",,,,,,,1\n",
			map[string]rules.Contact{
				"+12025550143": {Name: "Sarah Caller", FirstName: "Sarah", Language: "es", Groups: []string{"patients", "staff"}, VIP: true},
				"+12025550144": {Name: "Bob Stone", Language: "en", DoNotText: true},
				"+12025550145": {Blocked: true},
			}, ""},
		{"German Excel: semicolons, CRLF, no UTF-8, surname as Name", "Name;Vorname;Mobiltelefon;Telefon (gesch\xe4ftlich);Sprache;Kategorien;SMS gesperrt\r\n" +
			"M\xfcller;J\xf6rg;0171 2345678;+49 (0)30 901820;Deutsch;Kunden;nein\r\n",
			map[string]rules.Contact{
				"+491712345678": {Name: "Jörg Müller", FirstName: "Jörg", Language: "de", Groups: []string{"Kunden"}},
				"+4930901820":   {Name: "Jörg Müller", FirstName: "Jörg", Language: "de", Groups: []string{"Kunden"}},
			}, "f.csv: warning: this file is not UTF-8 and is read as Windows-1252: if names look wrong, save it as \"CSV UTF-8\"\n"},
		{"Google", "\ufeffFirst Name,Middle Name,Last Name,Organization Name,Labels,E-mail 1 - Label,E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value,Phone 2 - Label,Phone 2 - Value\n" +
			"Ana,,Ruiz,,* myContacts ::: Patients ::: VIP,,a@example.com,Mobile,+1 202-555-0143 ::: +1 202-555-0144,Work,+1 202-555-0145\n",
			map[string]rules.Contact{
				"+12025550143": {Name: "Ana Ruiz", FirstName: "Ana", Groups: []string{"Patients", "VIP"}, VIP: true},
				"+12025550144": {Name: "Ana Ruiz", FirstName: "Ana", Groups: []string{"Patients", "VIP"}, VIP: true},
				"+12025550145": {Name: "Ana Ruiz", FirstName: "Ana", Groups: []string{"Patients", "VIP"}, VIP: true},
			}, ""},
		{"Outlook", "First Name,Last Name,Business Phone,Business Fax,Mobile Phone,Categories\n\"Al\",\"O\"\"Hara\",,2025550199,2025550143,\"do not text;Suppliers\"\n",
			map[string]rules.Contact{"+12025550143": {Name: `Al O"Hara`, FirstName: "Al", Groups: []string{"do not text", "Suppliers"}, DoNotText: true}}, ""},
		{"Excel's sep, formulas, value over two lines", "sep=;\r\nPhone;Name\r\n=\"+12025550143\";\"Ann\r\nLee\"\r\n'+12025550144;Bo\r\n",
			map[string]rules.Contact{"+12025550143": {Name: "Ann Lee"}, "+12025550144": {Name: "Bo"}}, ""},
		{"tabs", "Téléphone\tNom\tPrénom\n+33 6 12 34 56 78\tPetit\tZoé\n",
			map[string]rules.Contact{"+33612345678": {Name: "Zoé Petit", FirstName: "Zoé"}}, ""},
		{"bad rows are told of", "phone,name,language,vip,dnt\n12,Short,,,\nhello,Words,,,\n+12025550143,Ann,xx-klingon,perhaps,since May\n,Nobody,,,\n2.02555E+09,Round,,,\n+12025550144,A,B,C,D,E\n\"+12025550145,Open,,,\n+12025550146,Last,,,\n",
			map[string]rules.Contact{"+12025550143": {Name: "Ann", Language: "xx", DoNotText: true}, "+12025550146": {Name: "Last"}},
			`f.csv:2:1: warning: "##" is left out: it is an extension or a short code, and callers from outside do not show those
f.csv:2:1: warning: this contact is left out: none of its numbers could be read
f.csv:3:1: warning: "hello" is left out: it is no phone number
f.csv:3:1: warning: this contact is left out: none of its numbers could be read
f.csv:4:29: warning: vip: "perhaps" is neither yes nor no and is taken for no
f.csv:4:37: warning: do_not_text: "since May" is neither yes nor no and is taken for yes
f.csv:5:1: warning: this contact has no number and is left out
f.csv:6:1: warning: "#.#####E+##" is left out: a spreadsheet has rounded it: format the column as text and enter it again
f.csv:6:1: warning: this contact is left out: none of its numbers could be read
f.csv:7:22: warning: this row is skipped: it has 6 values and the heading names 5 columns; put values that hold a comma into quotes
f.csv:8:1: warning: this row is skipped: the quote that opens here is not closed
`},
		{"the same number twice", "number,name,groups,dnt,language\n+12025550143,Ann Lee,a,,en\n2025550143,Bob Lee,b,yes,es\n+12025550144,Eve,,,\n+12025550144,eve,x,,\n",
			map[string]rules.Contact{"+12025550143": {Name: "Ann Lee / Bob Lee", Groups: []string{"a", "b"}, DoNotText: true}, "+12025550144": {Name: "Eve", Groups: []string{"x"}}},
			"f.csv:3:1: warning: this number stands in line 2 of f.csv already: what they say is joined, and texts use neither name\n" +
				"f.csv:5:1: warning: this number stands in line 4 of f.csv already: what they say is joined\n"},
		{"no numbers", "name,e-mail\nAnn,ann@example.com\n", nil, "f.csv:1:1: no column holds phone numbers: head one \"number\", or name it in contacts.columns.number\n"},
		{"empty", "\n\n", nil, "f.csv: this file is empty: its first line should name the columns, such as number,name,language,groups,vip,do_not_text\n"},
		{"xlsx", "PK\x03\x04\x14\x00\xff", nil, "f.csv: this is a spreadsheet, not a CSV file: save it as \"CSV UTF-8\"\n"},
		{"binary", "phone\x00", nil, "f.csv: this is no text: want a CSV or vCard file\n"},
	} {
		region := "US"
		if strings.Contains(c.file, "Mobiltelefon") {
			region = "DE"
		}
		book, problems := Parse("f.csv", []byte(c.file), Options{Region: region})
		if got := words(problems); got != c.problems {
			t.Errorf("%s: problems\n%swant\n%s", c.name, got, c.problems)
		}
		compare(t, c.name, book, c.want)
	}
}

func compare(t *testing.T, name string, book *Book, want map[string]rules.Contact) {
	t.Helper()
	if (book == nil) != (want == nil) {
		t.Errorf("%s: book %v", name, book)
		return
	}
	if book.Len() != len(want) {
		t.Errorf("%s: %d numbers, want %d", name, book.Len(), len(want))
	}
	for n, w := range want {
		if got := book.Lookup(n); got == nil || !reflect.DeepEqual(*got, w) {
			t.Errorf("%s: %s is %+v, want %+v", name, n, got, w)
		}
	}
}

func TestCards(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       map[string]rules.Contact
		problems   string
	}{
		{"3.0, folded, groups of properties, several numbers", "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Caller;Sarah;;;\r\nFN:Sarah Ca\r\n ller\r\nitem1.TEL;TYPE=CELL,VOICE:(202) 555-0143\r\nTEL;TYPE=\"work;x\":+1 202\r\n  555 0144\r\nTEL;TYPE=FAX:+12025550145\r\n" +
			"CATEGORIES:Patients,Do not text\r\nPHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZ\r\n JRgABAQ==\r\nEND:VCARD\r\n",
			map[string]rules.Contact{
				"+12025550143": {Name: "Sarah Caller", FirstName: "Sarah", Groups: []string{"Patients", "Do not text"}, DoNotText: true},
				"+12025550144": {Name: "Sarah Caller", FirstName: "Sarah", Groups: []string{"Patients", "Do not text"}, DoNotText: true}}, ""},
		{"4.0", "BEGIN:VCARD\nVERSION:4.0\nFN:José Núñez\nN:Núñez;José;;;\nTEL;VALUE=uri;PREF=1;TYPE=\"voice,cell\":tel:+1-202-555-0143;ext=12\nTEL;VALUE=uri:tel:5550144;phone-context=+1202\nLANG;PREF=1:es-MX\nX-VIP:true\nEND:VCARD\n",
			map[string]rules.Contact{
				"+12025550143": {Name: "José Núñez", FirstName: "José", Language: "es", VIP: true},
				"+12025550144": {Name: "José Núñez", FirstName: "José", Language: "es", VIP: true}}, ""},
		{"2.1, quoted-printable", "BEGIN:VCARD\nVERSION:2.1\nN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FC=\nller;J=F6rg\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg=20M=C3=BC=\nller\nTEL;CELL:+49 171 2345678\nEND:VCARD\n",
			map[string]rules.Contact{"+491712345678": {Name: "Jörg Müller", FirstName: "Jörg"}}, ""},
		{"a company", "BEGIN:VCARD\nVERSION:3.0\nORG:Miller\\, Stone & Co;Sales\nTEL:+12025550143\nX-DO-NOT-TEXT:1\nX-BLOCKED:no\nEND:VCARD\n",
			map[string]rules.Contact{"+12025550143": {Name: "Miller, Stone & Co", DoNotText: true}}, ""},
		{"problems", "BEGIN:VCARD\nFN:Ann\nnonsense\nTEL:sip:ann@example.com\nBEGIN:VCARD\nFN:Bob\nTEL:+12025550143\nEND:VCARD\nTEL:+12025550144\nBEGIN:VCARD\nFN:Cut\nTEL:+12025550145\n",
			map[string]rules.Contact{"+12025550143": {Name: "Bob"}, "+12025550145": {Name: "Cut"}},
			"f.vcf:1:1: warning: this card has no END:VCARD before the next one begins\nf.vcf:1:1: warning: this contact is left out: none of its numbers could be read\n" +
				"f.vcf:3:1: warning: this line is skipped: a property looks like TEL:+12025550143\nf.vcf:4:1: warning: \"sip:ann@example.com\" is left out: it is no phone number\n" +
				"f.vcf:9:1: warning: this line stands outside of a card and is skipped\nf.vcf:10:1: warning: this card has no END:VCARD: the file may be cut off\n"},
		{"none", "number,name\n+12025550143,Ann\n", nil, "f.vcf: this is no vCard file: it does not begin with BEGIN:VCARD\n"},
	} {
		book, problems := Parse("f.vcf", []byte(c.file), Options{Region: "US"})
		if got := words(problems); got != c.problems {
			t.Errorf("%s: problems\n%swant\n%s", c.name, got, c.problems)
		}
		compare(t, c.name, book, c.want)
	}
}

func TestUTF16(t *testing.T) {
	b := []byte{0xFF, 0xFE}
	for _, u := range utf16.Encode([]rune("Phone\tName\r\n+12025550143\tZoë 😀\r\n")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	book, problems := Parse("f.txt", b, Options{Region: "US"})
	if c := book.Lookup("+12025550143"); len(problems) > 0 || c == nil || c.Name != "Zoë 😀" {
		t.Errorf("%v %+v", problems, c)
	}
}

func TestColumns(t *testing.T) {
	book, problems := Parse("f.csv", []byte("Kd-Nr,Anrufbar unter,Telefon,Anzeige,Werbung verboten\n7,+12025550143,+12025550199,Ann Lee,ja\n"),
		Options{Region: "US", Columns: map[string][]string{"number": {"Anrufbar unter"}, "name": {"Anzeige"}, "do_not_text": {"werbung verboten"}, "vip": {"Rang"}}})
	compare(t, "chosen columns", book, map[string]rules.Contact{"+12025550143": {Name: "Ann Lee", DoNotText: true}})
	if got, want := words(problems), "f.csv:1:1: warning: no column is headed \"Rang\", as contacts.columns.vip says\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	a := write("a.csv", "number,name\n+12025550143,Ann Lee\n")
	b := write("b.vcf", "BEGIN:VCARD\nFN:Ann Lee\nN:Lee;Ann\nTEL:+12025550143\nCATEGORIES:blocked\nEND:VCARD\n")
	book, problems := Open([]string{a, b}, Options{Region: "US"})
	compare(t, "two files", book, map[string]rules.Contact{"+12025550143": {Name: "Ann Lee", FirstName: "Ann", Groups: []string{"blocked"}, Blocked: true}})
	if got, want := words(problems), b+":4:1: warning: this number stands in line 2 of "+a+" already: what they say is joined\n"; got != want {
		t.Errorf("got %s", got)
	}
	missing := filepath.Join(dir, "c.csv")
	book, problems = Open([]string{a, missing, dir}, Options{Region: "US"})
	if got, want := words(problems), missing+": there is no such file\n"+dir+": this is not a file\n"; got != want || book != nil {
		t.Errorf("got %s", got)
	}
	book, problems = Open(nil, Options{Region: "US"})
	if book.Lookup("+12025550143") != nil || len(problems) > 0 || (*Book)(nil).Lookup("") != nil {
		t.Errorf("no files: %v", problems)
	}
}

// Problems of one kind are told of ten times, then counted.
func TestManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString("number,name\n+12025550143,Ann\n")
	for range 1000 {
		b.WriteString("none,Ann\n+12025550143,Ann\n")
	}
	_, problems := Parse("f.csv", []byte(b.String()), Options{Region: "US"})
	text := words(problems)
	if len(problems) != 33 || !strings.Contains(text, "f.csv: warning: 990 more of this kind: numbers that are none\n") || !strings.Contains(text, "990 more of this kind: numbers that stand twice") {
		t.Errorf("%d problems:\n%s", len(problems), text)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ region, in, want string }{
		{"US", "\u202a+1 (202) 555‑0143\u202c", "+12025550143"},
		{"US", "+1 202 555 0143 x12", "+12025550143"},
		{"US", "202-555-0143 ext. 7", "+12025550143"},
		{"US", "１２０２５５５０１４３", "+12025550143"},
		{"US", "011 49 30 901820", "+4930901820"},
		{"US", "+49 030 901820", "+4930901820"},
		{"US", "1-800-FLOWERS", ""},
		{"US", "+", ""},
		{"US", "", ""},
		{"US", "+12025550143+12025550144", ""},
		{"US", "202,555,0143", ""},
		{"US", "12025550143123456789012345", ""},
		{"DE", "030/901820", "+4930901820"},
		{"DE", "004930901820", "+4930901820"},
		{"IT", "06 6982 0001", "+390669820001"}, // Italy keeps its 0
		{"IT", "+39 06 6982 0001", "+390669820001"},
		{"GB", "(020) 7946 0018", "+442079460018"},
	} {
		if got, why := planOf(c.region).e164(c.in, false); got != c.want || (got == "") == (why == "") {
			t.Errorf("%s in %s: got %q (%s), want %q", c.in, c.region, got, why, c.want)
		}
	}
	if got, why := planOf("US").e164("+15555550100", true); got != "" || why != "no such number exists" {
		t.Errorf("thorough: %q %q", got, why)
	}
}

// step is how many digits are passed over between two tries: none, except under the
// race detector, which makes a minute of seconds.
var step = 1

// What is read by hand is what the numbering plans say, for every region and
// kind of number of theirs.
func TestFastNumbers(t *testing.T) {
	n := 0
	for region := range phonenumbers.GetSupportedRegions() {
		p := planOf(region)
		for kind := phonenumbers.FIXED_LINE; kind <= phonenumbers.UAN; kind++ {
			ex := phonenumbers.GetExampleNumberForType(region, kind)
			if ex == nil || !phonenumbers.IsValidNumber(ex) {
				continue
			}
			for _, format := range []phonenumbers.PhoneNumberFormat{phonenumbers.E164, phonenumbers.INTERNATIONAL, phonenumbers.NATIONAL} {
				s := phonenumbers.Format(ex, format)
				slow := number.Parse(s, region)
				if slow.Kind != number.External {
					continue
				}
				if got, why := planOf(region).e164(s, false); got != slow.E164 {
					t.Errorf("%s %d %q: by hand %q (%s), by the plan %q", region, kind, s, got, why, slow.E164)
				}
				// Thoroughly, numbers like it are found to exist where their plan has them, and only there.
				for at := 2; at < len(slow.E164); at += step {
					like := slow.E164[:at] + string(rune('0'+(at*7+n)%10)) + slow.E164[at+1:]
					want := number.Parse(like, region).E164
					if got, why := p.e164(like, true); got != want {
						t.Errorf("thorough, %s %q: got %q (%s), the plan %q", region, like, got, why, want)
					}
				}
				n++
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d numbers", n)
	}
}

func TestMerge(t *testing.T) {
	book := &rules.Contact{Name: "Ann Lee", Language: "en", Groups: []string{"a"}, DoNotText: true}
	crm := &rules.Contact{Name: "ANN LEE", FirstName: "Ann", Language: "es", Groups: []string{"b", "a"}, VIP: true, Blocked: true}
	want := rules.Contact{Name: "Ann Lee", FirstName: "Ann", Language: "en", Groups: []string{"a", "b"}, VIP: true, DoNotText: true, Blocked: true}
	if got := Merge(book, crm); !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v", got)
	}
	if got := Merge(book, &rules.Contact{Name: "Bob", FirstName: "Bob"}); got.Name != "Ann Lee" || got.FirstName != "" || !got.DoNotText {
		t.Errorf("got %+v", got)
	}
	if Merge(nil, crm) != crm || Merge(book, nil) != book || Merge(nil, nil) != nil {
		t.Error("nil")
	}
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"number,name\n+12025550143,Ann\n", "Name;Vorname;Mobil\n\"a\"\"b\";x;030 901820\n", "sep=;\nPhone;dnt\n1;x\n", "a\tphone\n\"\n", "\xff\xfea\x00", "phone\n\"1\"2,3\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { check(t, "f.csv", b) })
}

func FuzzCard(f *testing.F) {
	for _, s := range []string{"BEGIN:VCARD\nFN:A\nTEL;TYPE=\"x\":tel:+12025550143;ext=1\nEND:VCARD\n", "BEGIN:VCARD\nN;ENCODING=QUOTED-PRINTABLE;CHARSET=koi8-r:=C1=\n=C2\nTEL;CELL:1\n", "begin:vcard\n a\n\tb\nCATEGORIES:a\\,b,vip\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { check(t, "f.vcf", append([]byte("BEGIN:VCARD\n"), b...)) })
}

// check holds a file of anybody's against what must be true of every Book.
func check(t *testing.T, name string, b []byte) {
	book, problems := Parse(name, b, Options{Region: "US"})
	for _, p := range problems {
		if p.Text == "" || strings.ContainsAny(p.String(), "\n\r") || (p.Line == 0) != (p.Col == 0) {
			t.Errorf("a problem should be one line with its place: %q", p)
		}
	}
	if book == nil {
		return
	}
	for n, c := range book.people {
		if len(n) < 8 || len(n) > 17 || n[0] != '+' || strings.Trim(n[1:], "0123456789") != "" {
			t.Errorf("%q is no E.164", n)
		}
		for _, s := range append([]string{c.Name, c.FirstName, c.Language}, c.Groups...) {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x00\u202e") || utf8.RuneCountInString(s) > maxName {
				t.Errorf("%q should be one short line", s)
			}
		}
	}
}

// addressBook is n contacts as CSV.
func addressBook(n int, format string) []byte {
	var b strings.Builder
	b.WriteString("number,name,first_name,language,groups,vip,do_not_text,blocked\n")
	for i := range n {
		fmt.Fprintf(&b, format+",Caller%d Miller,Caller%d,es,patients;recall,,no,\n", 2000000+i, i, i)
	}
	return []byte(b.String())
}

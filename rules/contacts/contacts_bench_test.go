package contacts

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLoad reads 50,000 contacts, beside encoding/csv that only splits the
// same bytes.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct{ name, format string }{{"E164", "+1202%d"}, {"written", "(202) %d"}} {
		file := addressBook(50_000, c.format)
		b.Run("csv/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				book, problems := Parse("f.csv", file, Options{Region: "US"})
				if len(problems) > 0 || book.Len() != 50_000 {
					b.Fatal(book.Len(), problems)
				}
			}
		})
	}
	file := addressBook(50_000, "+1202%d")
	b.Run("encoding-csv-alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := csv.NewReader(bytes.NewReader(file))
			r.ReuseRecord = true
			for {
				if _, err := r.Read(); err != nil {
					break
				}
			}
		}
	})
	var cards strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&cards, "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Miller;Caller%d;;;\r\nFN:Caller%d Miller\r\nTEL;TYPE=CELL:+1202%d\r\nCATEGORIES:patients,recall\r\nEND:VCARD\r\n", i, i, 2000000+i)
	}
	b.Run("vcard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			book, problems := Parse("f.vcf", []byte(cards.String()), Options{Region: "US"})
			if len(problems) > 0 || book.Len() != 50_000 {
				b.Fatal(book.Len(), problems)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	book, _ := Parse("f.csv", addressBook(50_000, "+1202%d"), Options{Region: "US"})
	b.ReportAllocs()
	for b.Loop() {
		if book.Lookup("+12022012345") == nil || book.Lookup("+12025550143") != nil {
			b.Fatal("wrong")
		}
	}
}

func TestLookupAllocs(t *testing.T) {
	book, _ := Parse("f.csv", addressBook(100, "+1202%d"), Options{Region: "US"})
	if n := testing.AllocsPerRun(100, func() { book.Lookup("+12022000001") }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

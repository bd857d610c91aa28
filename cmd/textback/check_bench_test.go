package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCheck is "textback check" of 200 rules of all kinds and an address book of 50,000 people: everything is
// read, checked and linted, every rule held against those before it.
func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	write("ari_password", "secret\n")
	config := write("textback.yaml", "state_dir: /nonexistent/textback\nlines:\n  - {number: \"+12125550100\", name: Front desk}\ncontacts: {files: people.csv}\n")
	var book strings.Builder
	book.WriteString("name,phone,groups,language,vip\n")
	for i := range 50_000 {
		fmt.Fprintf(&book, "Person Number%d,+1202%07d,patients,en,%v\n", i, 2_000_000+i, i%100 == 0)
	}
	write("people.csv", book.String())
	var rules strings.Builder
	rules.WriteString(`version: 1
business: {name: Miller Dental, booking: "https://book.example/{tag}"}
timezone: America/New_York
hours: {mon: ["8:00-12:00", "13:00-17:00"], tue: "8:00-17:00"}
messages:
`)
	for i := range 20 {
		fmt.Fprintf(&rules, "  m%d: \"Hi{{with .Name}} {{.}}{{end}}, sorry! Reply or book at {{.Booking}}. {{.Business}}{{with .NextOpening}} opens {{.}}{{end}}. STOP to opt out\"\n", i)
	}
	rules.WriteString("rules:\n")
	for i := range 199 {
		when := []string{
			fmt.Sprintf("line: [\"+1212555%04d\", \"+1213555%04d\"]", i, i), fmt.Sprintf("caller: \"+1%03d*\", outcome: [busy, declined, rang_out]", 200+i),
			fmt.Sprintf("group: g%d, days: [mon, tue, sat], time: [\"8:00-12:00\"]", i), fmt.Sprintf("attempts: {at_least: %d}, queue: q%d", 2+i%3, i),
			fmt.Sprintf("ring: {at_least: %ds, under: %ds}, pbx: {K%d: \"1\"}", i%20, 30+i, i),
		}[i%5]
		fmt.Fprintf(&rules, "  - {name: r%d, when: {%s}, send: m%d}\n", i, when, i%20)
	}
	rules.WriteString("  - {name: the rest, send: m0}\n")
	write("rules.yaml", rules.String())
	b.ReportAllocs()
	spent := func() (t time.Duration) { // by this process, whatever else the machine does
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	for b.Loop() {
		var said strings.Builder
		if code := run([]string{"check", "--config", config}, console{strings.NewReader(""), io.Discard, &said}); code != 0 {
			b.Fatal(said.String())
		}
	}
	b.ReportMetric(float64((spent()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
}

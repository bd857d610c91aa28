package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"textback/rules/contacts"
	"textback/sms/directory"
)

func TestDirectory(t *testing.T) {
	dir := folder(t)
	write(t, filepath.Join(dir, "a.csv"), "Rufnummer 1\n", 0o600)
	write(t, filepath.Join(dir, "crm_token"), "hush-crm\n", 0o600)
	write(t, filepath.Join(dir, "crm_key"), "hush-api\n", 0o600)
	c := mustLoad(t, dir, `
region: DE
state_dir: /srv/textback
contacts:
  files: a.csv
  columns: {number: [Rufnummer 1], vip: Rang}
  lookup:
    url: https://crm.example.com/lookup/{digits}
    bearer_file: crm_token
    header_files: {x-api-key: crm_key}
    headers: {Accept-Language: en}
    fields: {name: person.name}
    timeout: 1s
`)
	hide := func(s string) string { return "hidden" + s }
	got := c.Directory(hide)
	if h := got.Lookup.Hide("1"); h != "hidden1" {
		t.Errorf("hide: %s", h)
	}
	got.Lookup.Hide = nil
	want := directory.Options{Files: []string{filepath.Join(dir, "a.csv")},
		Contacts: contacts.Options{Region: "DE", Columns: map[string][]string{"number": {"Rufnummer 1"}, "vip": {"Rang"}}},
		Lookup: &directory.LookupOptions{URL: "https://crm.example.com/lookup/{digits}",
			Headers: map[string]string{"Authorization": "Bearer hush-crm", "X-Api-Key": "hush-api", "Accept-Language": "en"}, Fields: map[string]string{"name": "person.name"},
			RefusalsFile: "/srv/textback/lookup-refusals.jsonl", Timeout: time.Second, Fresh: time.Hour, FreshNone: 5 * time.Minute, Stale: 24 * time.Hour, MaxCached: 10_000, Concurrent: 4}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.Lookup, want, want.Lookup)
	}
	if o := mustLoad(t, dir, "").Directory(nil); o.Lookup != nil || o.Files != nil {
		t.Errorf("nothing configured: %+v", o)
	}
}

// A server that is asked who must not be texted is not passed over in silence.
func TestSilenceForbids(t *testing.T) {
	dir := folder(t)
	for more, want := range map[string]bool{
		"": true, ", fields: {name: n}": false, ", fields: {name: n, do_not_text: d}": true, ", fields: {blocked: d}": true,
		", without_answer: text": false, ", fields: {name: n}, without_answer: no_text": true,
	} {
		if got := mustLoad(t, dir, "contacts: {lookup: {url: 'https://crm.example.com/{number}'"+more+"}}").Directory(nil).Lookup.SilenceForbids; got != want {
			t.Errorf("%s: %v", more, got)
		}
	}
}

func TestLookupURLs(t *testing.T) {
	dir := folder(t)
	for url, want := range map[string]string{
		"https://crm.example.com/{number}":             "",
		"http://127.0.0.1:8080/?n={digits}&x=1":        "",
		"http://crm.example.com/{number}":              "in the clear",
		"https://crm.example.com/{number}?api_key=abc": "api_key looks like a secret",
		"https://user:hush@crm.example.com/{number}":   "credentials do not belong",
		"https://crm.example.com/{nummer}":             "needs {number}",
		"https://crm.example.com/{number}/{x}":         "only {number}",
		"https://{number}/":                            "cannot be part of the host",
		"https://crm{digits}.example.com/":             "cannot be part of the host",
		"crm.example.com/{number}":                     "this is no web address",
		"":                                             "this is no web address",
	} {
		_, got := load(t, dir, "contacts: {lookup: {url: '"+url+"'}}")
		if strings.Count(got, "\n") != strings.Count(want+"\n", "\n") && want != "" || (want == "") != (got == "") || !strings.Contains(got, want) || strings.Contains(got, "hush") {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
		if want == "" {
			o := mustLoad(t, dir, "contacts: {lookup: {url: '"+url+"'}}").Directory(nil)
			o.Lookup.RefusalsFile = ""
			// What passes here passes in the package.
			if _, err := directory.NewLookup(*o.Lookup); err != nil {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
}

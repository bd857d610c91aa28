package config

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"textback/rules/contacts"
	"textback/rules/strict"
	"textback/sms/directory"
)

// Contacts says what is known of callers.
type Contacts struct {
	Files   []string            `yaml:"files"`   // paths
	Columns map[string][]string `yaml:"columns"` // headings by contacts.Fields
	Lookup  *Lookup             `yaml:"lookup"`  // nil: none
}

// Lookup is a server that knows callers.
type Lookup struct {
	URL           string            `yaml:"url"`
	BearerFile    string            `yaml:"bearer_file"`
	Headers       map[string]string `yaml:"headers"`
	HeaderFiles   map[string]string `yaml:"header_files"`
	Fields        map[string]string `yaml:"fields"`
	Timeout       time.Duration     `yaml:"timeout"`
	Cache         time.Duration     `yaml:"cache"`
	CacheUnknown  time.Duration     `yaml:"cache_unknown"`
	Stale         time.Duration     `yaml:"stale"`
	MaxCached     int               `yaml:"max_cached"`
	Concurrent    int               `yaml:"concurrent"`
	WithoutAnswer string            `yaml:"without_answer"` // WithoutAnswerText, WithoutAnswerNoText, or empty: see silenceForbids

	Secrets map[string]Secret `yaml:"-"` // headers
}

// The values of Lookup.WithoutAnswer.
const (
	WithoutAnswerText   = "text"
	WithoutAnswerNoText = "no_text"
)

// Defaults fills in what an empty contacts.lookup means.
func (l *Lookup) Defaults() {
	*l = Lookup{Timeout: 800 * time.Millisecond, Cache: time.Hour, CacheUnknown: 5 * time.Minute, Stale: 24 * time.Hour, MaxCached: 10_000, Concurrent: 4}
}

// silenceForbids tells whether callers are texted of whom the lookup never told
// while it is silent. A server that is asked who must not be texted is the one
// that knows: its silence is no permission.
func (l *Lookup) silenceForbids() bool {
	fields := l.Fields
	if fields == nil {
		fields = directory.DefaultFields
	}
	return l.WithoutAnswer == WithoutAnswerNoText || l.WithoutAnswer == "" && fields["do_not_text"]+fields["blocked"] != ""
}

// Directory returns what package directory must know. hide makes of a number
// what may stand in a file.
func (c *Config) Directory(hide func(e164 string) string) directory.Options {
	o := directory.Options{Files: c.Contacts.Files, Contacts: c.AddressBooks()}
	if l := c.Contacts.Lookup; l != nil {
		headers := map[string]string{}
		for k, v := range l.Headers {
			headers[k] = v
		}
		for k, v := range l.Secrets {
			headers[k] = v.Reveal()
		}
		o.Lookup = &directory.LookupOptions{URL: l.URL, Headers: headers, Fields: l.Fields, SilenceForbids: l.silenceForbids(),
			RefusalsFile: filepath.Join(c.StateDir, "lookup-refusals.jsonl"), Hide: hide,
			Timeout: l.Timeout, Fresh: l.Cache, FreshNone: l.CacheUnknown, Stale: l.Stale, MaxCached: l.MaxCached, Concurrent: l.Concurrent}
	}
	return o
}

// AddressBooks returns how the files are read.
func (c *Config) AddressBooks() contacts.Options {
	return contacts.Options{Region: c.Region, Columns: c.Contacts.Columns}
}

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	secretWord = regexp.MustCompile(`(?i)key|token|secret|passw|pwd|auth`)
)

func (c *Config) checkContacts(r *report) {
	where := strict.At("contacts")
	var there []string
	for i, name := range c.Contacts.Files {
		file := r.beside(name)
		if _, err := os.Stat(file); name == "" || err != nil {
			r.Problem(where.Key("files").Index(i), "there is no such file: want a CSV or vCard file beside textback.yaml, or its whole path")
			continue
		}
		there = append(there, file)
	}
	for field := range c.Contacts.Columns {
		if !slices.Contains(contacts.Fields, field) {
			r.OneOf(where.Key("columns", field), "field", field, contacts.Fields...)
			delete(c.Contacts.Columns, field)
		}
	}
	if len(c.Contacts.Columns) > 0 && len(c.Contacts.Files) == 0 {
		r.Problem(where.Key("columns"), "columns are of CSV files, and contacts.files names none")
	}
	c.Contacts.Files = there
	if c.Contacts.Lookup != nil {
		c.Contacts.Lookup.check(r, where.Key("lookup"))
	}
}

func (l *Lookup) check(r *report, where strict.Path) {
	filled := strings.NewReplacer("{number}", "1", "{digits}", "1").Replace(l.URL)
	switch u, err := url.Parse(filled); {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Fragment != "":
		r.Problem(where.Key("url"), "this is no web address: write it like https://crm.example.com/lookup?number={number}")
	case u.User != nil:
		r.Problem(where.Key("url"), "credentials do not belong in the URL: use bearer_file or header_files")
	case filled == l.URL:
		r.Problem(where.Key("url"), "the URL needs {number} where the caller's number goes (+12125550100, escaped), or {digits} (12125550100)")
	case strings.ContainsAny(filled, "{}"):
		r.Problem(where.Key("url"), "only {number} and {digits} are filled in: leave out all other braces")
	case u.Hostname() == "1" || strings.Contains(l.URL[:strings.Index(l.URL, "//")+2+len(u.Host)], "{"):
		r.Problem(where.Key("url"), "the number cannot be part of the host's name")
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		r.Warning(where.Key("url"), "callers' numbers cross the network in the clear: use https://%s", u.Host)
	default:
		for k := range u.Query() {
			if secretWord.MatchString(k) {
				r.Warning(where.Key("url"), "%s looks like a secret: proxies and the server's own log keep URLs; use header_files if the server takes it there", k)
			}
		}
	}
	l.Secrets = map[string]Secret{}
	if l.BearerFile != "" {
		if s := r.secret(where.Key("bearer_file"), l.BearerFile, "the token of contacts.lookup"); s != "" {
			l.Secrets["Authorization"] = "Bearer " + s
		}
	}
	seen := map[string]bool{"Authorization": l.BearerFile != ""}
	header := func(p strict.Path, name string) {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !headerName.MatchString(name) || canonical == "Host" || canonical == "Content-Length":
			r.Problem(p, "%q is no header that can be set", name)
		case seen[canonical]:
			r.Problem(p, "%s is set twice: bearer_file sets Authorization", canonical)
		}
		seen[canonical] = true
	}
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		v := l.Headers[name]
		header(where.Key("headers", name), name)
		if strings.ContainsAny(v, "\r\n\x00") {
			r.Problem(where.Key("headers", name), "a header has one line: leave out the line break")
		}
		if secretWord.MatchString(name) && name != "" {
			r.Problem(where.Key("headers", name), "secrets do not belong here: put it into a file and name that in header_files")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.HeaderFiles)) {
		header(where.Key("header_files", name), name)
		l.Secrets[http.CanonicalHeaderKey(name)] = r.secret(where.Key("header_files", name), l.HeaderFiles[name], "the value of header "+name)
	}
	for field, path := range l.Fields {
		if field == "number" || !slices.Contains(contacts.Fields, field) {
			r.OneOf(where.Key("fields", field), "field", field, contacts.Fields[1:]...)
		} else if strings.TrimSpace(path) == "" {
			r.Problem(where.Key("fields", field), "want the place in the answer, such as person.name or results.0.name; leave out what the server does not tell")
		}
	}
	if l.Fields != nil && len(l.Fields) == 0 {
		r.Problem(where.Key("fields"), "no field is taken from the answer: leave the key out for the usual names")
	}
	between := func(key string, d, low, high time.Duration, what string) {
		if d < low || d > high {
			r.Problem(where.Key(key), "%s is out of range: %s; use %s to %s", d, what, low, high)
		}
	}
	between("timeout", l.Timeout, 10*time.Millisecond, 10*time.Second, "a text waits for the answer this long")
	between("cache", l.Cache, time.Second, 7*24*time.Hour, "an answer holds this long")
	between("cache_unknown", l.CacheUnknown, time.Second, 24*time.Hour, "this long nobody is asked for again")
	between("stale", l.Stale, time.Second, 30*24*time.Hour, "answers up to this old are used while they are asked for again")
	if l.MaxCached < 1 || l.MaxCached > 1_000_000 {
		r.Problem(where.Key("max_cached"), "%d is out of range: use 1 to 1000000", l.MaxCached)
	}
	if l.Concurrent < 1 || l.Concurrent > 100 {
		r.Problem(where.Key("concurrent"), "%d is out of range: use 1 to 100", l.Concurrent)
	}
	switch l.WithoutAnswer {
	case "", WithoutAnswerText, WithoutAnswerNoText:
	default:
		r.OneOf(where.Key("without_answer"), "choice", l.WithoutAnswer, WithoutAnswerText, WithoutAnswerNoText)
	}
}

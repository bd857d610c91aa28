package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"textback/rules/strict"
	"textback/sms"
	"textback/sms/once"
)

// program is a Spec that has been checked.
type program struct {
	method      string
	url         template
	base        int // pieces of url that {url} takes: 1 or 0
	query, form []pair
	headers     []pair
	back        []pair // of the callback's query
	json        *node
	xml, text   *template
	auth        string
	user        template
	numbers     string
	needsSender bool

	accepted           match
	id, segments, code finder
	codes              map[string]sms.Class
	refused            []refusal
	statuses           map[int]sms.Class

	inbound, receipt *event
	deliveries       map[string]sms.Delivery
	receiptCodes     map[string]sms.Class
}

type pair struct {
	name  string
	value template
}

// match is a Match whose expressions are compiled.
type match struct {
	status []int
	json   map[string]*regexp.Regexp
	text   *regexp.Regexp
}

func (m match) met(a once.Answer) bool {
	if m.status == nil && m.json == nil && m.text == nil {
		return false
	}
	if m.status != nil && !slices.Contains(m.status, a.Status) {
		return false
	}
	if m.text != nil && !m.text.Match(a.Body) {
		return false
	}
	if len(m.json) > 0 && !json.Valid(a.Body) {
		return false
	}
	for path, want := range m.json {
		v := gjson.GetBytes(a.Body, path)
		if !v.Exists() || v.IsObject() || v.IsArray() || !want.MatchString(v.String()) {
			return false
		}
	}
	return true
}

type refusal struct {
	match
	class sms.Class
}

// finder takes one short word out of an answer.
type finder struct {
	json, header string
	text         *regexp.Regexp
}

func (f finder) set() bool { return f.json != "" || f.header != "" || f.text != nil }

// word returns what f finds, or nothing: an id or code is short and has no blanks.
func (f finder) word(a once.Answer) string {
	s := ""
	switch {
	case f.header != "":
		s = a.Header.Get(f.header)
	case f.text != nil:
		if m := f.text.FindSubmatch(a.Body); m != nil {
			s = string(m[1])
		}
	case f.json != "" && json.Valid(a.Body):
		if v := gjson.GetBytes(a.Body, f.json); !v.IsObject() && !v.IsArray() {
			s = v.String()
		}
	}
	return once.Word(s).Clean()
}

// event is an Event that has been checked.
type event struct {
	Event
	when map[string]*regexp.Regexp
}

// problem is something wrong with a Spec, at a path below it.
type problem struct {
	at   strict.Path
	text string
}

// compiler collects problems.
type compiler struct {
	known    []string
	problems []problem
}

func (c *compiler) problem(at strict.Path, format string, args ...any) {
	c.problems = append(c.problems, problem{at: at, text: fmt.Sprintf(format, args...)})
}

// oneOf reports a word that is none of words; empty is the first.
func (c *compiler) oneOf(at strict.Path, what, got string, words ...string) string {
	if got == "" {
		return words[0]
	}
	if !slices.Contains(words, got) {
		if words[0] == "" {
			words = words[1:]
		}
		c.problem(at, "unknown %s %q%s (one of: %s)", what, got, strict.DidYouMean(got, words), strings.Join(words, ", "))
	}
	return got
}

func (c *compiler) template(at strict.Path, s string) template {
	t, err := parse(s, c.known)
	if err != nil {
		c.problem(at, "%v", err)
	}
	return t
}

func (c *compiler) pairs(at strict.Path, m map[string]string) (out []pair) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{name, c.template(at.Key(name), m[name])})
	}
	return out
}

// longestExpression bounds what an answer or webhook is held against.
const longestExpression = 500

// expression compiles a regular expression; whole: all of the value must meet it.
func (c *compiler) expression(at strict.Path, s string, whole bool) *regexp.Regexp {
	if len(s) > longestExpression {
		c.problem(at, "this regular expression is too long: use at most %d characters", longestExpression)
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		c.problem(at, "not a regular expression: %v", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	if whole {
		re = regexp.MustCompile("^(?s:" + s + ")$") // it has just been read
	}
	return re
}

func (c *compiler) expressions(at strict.Path, m map[string]string) map[string]*regexp.Regexp {
	var out map[string]*regexp.Regexp
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if re := c.expression(at.Key(name), m[name], true); re != nil {
			if out == nil {
				out = map[string]*regexp.Regexp{}
			}
			out[name] = re
		}
	}
	return out
}

func (c *compiler) match(at strict.Path, m Match) match {
	out := match{status: m.Status, json: c.expressions(at.Key("json"), m.JSON)}
	if m.Text != "" {
		out.text = c.expression(at.Key("text"), m.Text, false)
	}
	for i, s := range m.Status {
		if s < 100 || s > 599 {
			c.problem(at.Key("status").Index(i), "%d is no HTTP status", s)
		}
	}
	return out
}

func (c *compiler) finder(at strict.Path, s string) (f finder) {
	if s == "" {
		return f
	}
	kind, rest, _ := strings.Cut(s, ":")
	switch {
	case rest == "":
	case kind == "json":
		f.json = rest
		return f
	case kind == "header":
		f.header = rest
		return f
	case kind == "text":
		if f.text = c.expression(at, rest, false); f.text != nil && f.text.NumSubexp() != 1 {
			c.problem(at, "put the part that is meant into one pair of brackets, and others into (?:…)")
			f.text = nil
		}
		return f
	}
	c.problem(at, "%q says not where it stands: write json:PATH, text:REGEX with one pair of brackets, or header:NAME", s)
	return f
}

func (c *compiler) class(at strict.Path, s string) sms.Class {
	if !slices.Contains(classes, s) {
		c.problem(at, "unknown class %q%s (one of: %s)", s, strict.DidYouMean(s, classes), strings.Join(classes, ", "))
	}
	return sms.Class(s)
}

func (c *compiler) classes(at strict.Path, m map[string]string) map[string]sms.Class {
	out := map[string]sms.Class{}
	for _, code := range slices.Sorted(maps.Keys(m)) {
		out[code] = c.class(at.Key(code), m[code])
	}
	return out
}

// compile checks s, whose configuration fills the names in known.
func compile(s Spec, known []string) (program, []problem) {
	c := &compiler{known: known}
	var p program
	if s.Request == nil {
		c.problem("request", "say what a request looks like: request.url, and request.query, form, json, xml or text")
	} else {
		c.request(&p, *s.Request)
	}
	if s.Response == nil {
		c.problem("response", "say how an answer is read: response.accepted at least")
	} else {
		c.response(&p, *s.Response)
	}
	if s.Inbound != nil {
		c.inbound(&p, *s.Inbound)
	}
	if s.Receipt != nil {
		c.receipt(&p, *s.Receipt)
	}
	if s.Verify != nil {
		c.verify(*s.Verify)
	} else if s.Inbound != nil || s.Receipt != nil {
		c.problem("verify", "say how a webhook proves where it comes from, or anybody could reply in a customer's name: verify.secret, verify.signature, or both")
	}
	if s.PerMinute < 0 {
		c.problem("per_minute", "%d is out of range: texts a minute, 0 for no limit", s.PerMinute)
	}
	if s.MaxSegments < 0 {
		c.problem("max_segments", "%d is out of range: segments of one text, 0 for no limit", s.MaxSegments)
	}
	return p, c.problems
}

var methods = []string{"POST", "GET", "PUT"}

func (c *compiler) request(p *program, r Request) {
	at := strict.At("request")
	p.method = c.oneOf(at.Key("method"), "method", r.Method, methods...)
	p.auth = c.oneOf(at.Key("auth"), "auth", r.Auth, "", "basic", "bearer", "vonage")
	p.numbers = c.oneOf(at.Key("numbers"), "form of numbers", r.Numbers, "plus", "digits", "00")
	if r.User == "" {
		r.User = "{user}"
	} else if p.auth != "basic" && p.auth != "vonage" {
		c.problem(at.Key("user"), "the user is for auth: basic")
	}
	p.user = c.template(at.Key("user"), r.User)
	p.url = c.template(at.Key("url"), r.URL)
	switch {
	case r.URL == "":
		c.problem(at.Key("url"), "say where texts are handed in, such as {url}/send")
	case len(p.url.pieces) > 0 && p.url.pieces[0].name == "url" && len(p.url.pieces[0].filters) == 0:
		p.base = 1
	case !strings.HasPrefix(r.URL, "https://"):
		c.problem(at.Key("url"), "begin with {url}, which sms.http.url gives, or with https://")
	}
	for i, piece := range p.url.pieces {
		switch {
		case piece.name == "url" && i > 0:
			c.problem(at.Key("url"), "{url} can stand at the beginning only")
		case piece.name == "body":
			c.problem(at.Key("url"), "{body} cannot stand in the URL: put it into query, form, json, xml or text")
		}
	}
	p.query = c.pairs(at.Key("query"), r.Query)
	p.headers = c.pairs(at.Key("headers"), r.Headers)
	for _, h := range p.headers {
		w := at.Key("headers", h.name)
		switch {
		case !headerName.MatchString(h.name):
			c.problem(w, "%q cannot be the name of a header", h.name)
		case strings.EqualFold(h.name, "Idempotency-Key"), strings.EqualFold(h.name, "X-Idempotency-Key"):
			c.problem(w, "Go's HTTP client takes this header as leave to send a request twice: no text may be")
		case h.value.has("body"):
			c.problem(w, "a text cannot travel in a header: it may have several lines")
		}
	}
	p.back = c.pairs(at.Key("callback"), r.Callback)
	for _, b := range p.back {
		if b.value.has("callback") || b.value.has("body") || b.value.has("secret") {
			c.problem(at.Key("callback", b.name), "only what tells the text again belongs here, such as {id}")
		}
	}
	bodies := 0
	if r.Form != nil {
		bodies++
		p.form = c.pairs(at.Key("form"), r.Form)
	}
	if r.JSON != "" {
		bodies++
		n, err := parseJSON(r.JSON, c.known)
		if err != nil {
			c.problem(at.Key("json"), "%v", err)
		}
		p.json = &n
	}
	for key, b := range map[string]struct {
		from string
		to   **template
	}{"xml": {r.XML, &p.xml}, "text": {r.Text, &p.text}} {
		if b.from != "" {
			bodies++
			t := c.template(at.Key(key), b.from)
			*b.to = &t
		}
	}
	switch {
	case bodies > 1:
		c.problem(at, "at most one of form, json, xml and text may be the body of a request")
	case bodies > 0 && p.method == "GET":
		c.problem(at.Key("method"), "a GET has no body: put everything into query, or use POST")
	}
	uses := func(name string) bool {
		has := func(p pair) bool { return p.value.has(name) }
		return p.url.has(name) || slices.ContainsFunc(p.query, has) || slices.ContainsFunc(p.headers, has) || slices.ContainsFunc(p.form, has) ||
			p.json != nil && p.json.has(name) || p.xml != nil && p.xml.has(name) || p.text != nil && p.text.has(name)
	}
	if !slices.ContainsFunc(c.problems, func(q problem) bool { return strings.HasPrefix(string(q.at), "request") }) {
		for _, name := range []string{"to", "body"} {
			if !uses(name) {
				c.problem(at, "{%s} stands nowhere in the request: every text would be the same", name)
			}
		}
	}
	p.needsSender = uses("from")
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (c *compiler) response(p *program, r Response) {
	at := strict.At("response")
	p.accepted = c.match(at.Key("accepted"), r.Accepted)
	if r.Accepted.Status == nil && r.Accepted.JSON == nil && r.Accepted.Text == "" {
		c.problem(at.Key("accepted"), "say by what a yes is known: accepted.status, accepted.json or accepted.text; everything else is then no, or not known")
	}
	p.id, p.segments, p.code = c.finder(at.Key("id"), r.ID), c.finder(at.Key("segments"), r.Segments), c.finder(at.Key("code"), r.Code)
	p.codes = c.classes(at.Key("codes"), r.Codes)
	if len(r.Codes) > 0 && r.Code == "" {
		c.problem(at.Key("codes"), "codes are looked up, but response.code does not say where a code stands")
	}
	for i, f := range r.Refused {
		w := at.Key("refused").Index(i)
		m := Match{f.Status, f.JSON, f.Text}
		if f.Status == nil && f.JSON == nil && f.Text == "" {
			c.problem(w, "say by what this refusal is known: status, json or text")
		}
		p.refused = append(p.refused, refusal{c.match(w, m), c.class(w.Key("class"), f.Class)})
	}
	p.statuses = map[int]sms.Class{}
	for _, s := range slices.Sorted(maps.Keys(r.Statuses)) {
		w := at.Key("statuses", s)
		n, err := strconv.Atoi(s)
		if err != nil || n < 100 || n > 599 {
			c.problem(w, "%q is no HTTP status", s)
		}
		p.statuses[n] = c.class(w, r.Statuses[s])
	}
}

func (c *compiler) event(at strict.Path, e Event) *event {
	e.Format = c.oneOf(at.Key("format"), "format", e.Format, "form", "query", "json")
	if len(e.Method) == 0 {
		e.Method = []string{"POST"}
	}
	for i, m := range e.Method {
		c.oneOf(at.Key("method").Index(i), "method", m, methods...)
		if m == "GET" && e.Format != "query" {
			c.problem(at.Key("format"), "a GET has no body: format is query then")
		}
	}
	if e.Each != "" && e.Format != "json" {
		c.problem(at.Key("each"), "lists of events come in json only")
	}
	if e.Time == "" && e.TimeFormat != "" {
		c.problem(at.Key("time_format"), "time does not say which field it is about")
	}
	if _, err := layout(e.TimeFormat); err != nil {
		c.problem(at.Key("time_format"), "%v", err)
	}
	return &event{Event: e, when: c.expressions(at.Key("when"), e.When)}
}

func (c *compiler) inbound(p *program, i Inbound) {
	at := strict.At("inbound")
	p.inbound = c.event(at.Key("event"), i.Event)
	c.oneOf(at.Key("numbers"), "kind of numbers", i.Numbers, "international", "local")
	for key, field := range map[string]string{"from": i.From, "text": i.Text} {
		if field == "" {
			c.problem(at.Key(key), "say which field this is")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(i.Keywords)) {
		c.oneOf(at.Key("keywords", k), "keyword", i.Keywords[k], "STOP", "START", "HELP")
	}
	if len(i.Keywords) > 0 && i.Keyword == "" {
		c.problem(at.Key("keywords"), "keyword does not say which field this is about")
	}
	if i.Parts != nil && (i.Parts.Ref == "" || i.Parts.Number == "" || i.Parts.Total == "") {
		c.problem(at.Key("parts"), "parts are put together by ref, number and total: name all three fields")
	}
}

var deliveries = []string{string(sms.EnRoute), string(sms.Delivered), string(sms.Undelivered)}

func (c *compiler) receipt(p *program, r Receipt) {
	at := strict.At("receipt")
	p.receipt = c.event(at.Key("event"), r.Event)
	if r.ID == "" && r.MessageID == "" {
		c.problem(at, "say by what a receipt names its text: id (the provider's) or message_id (ours, where it is given back)")
	}
	if r.Status == "" {
		c.problem(at.Key("status"), "say which field this is")
	}
	p.deliveries = map[string]sms.Delivery{}
	final := false
	for _, s := range slices.Sorted(maps.Keys(r.Statuses)) {
		c.oneOf(at.Key("statuses", s), "delivery", r.Statuses[s], deliveries...)
		p.deliveries[s] = sms.Delivery(r.Statuses[s])
		final = final || r.Statuses[s] == string(sms.Delivered)
	}
	if !final {
		c.problem(at.Key("statuses"), "no status means delivered: no text would ever count as such")
	}
	p.receiptCodes = c.classes(at.Key("codes"), r.Codes)
	if len(r.Codes) > 0 && r.Code == "" {
		c.problem(at.Key("codes"), "code does not say which field this is about")
	}
}

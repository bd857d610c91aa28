package config

import (
	"maps"
	"regexp"
	"strings"

	"textback/configs"
	"textback/rules/strict"
)

// Schema is the JSON Schema of textback.yaml. Its descriptions are the comments of
// the shipped file, which shows every key: they are written once.
func Schema() ([]byte, error) {
	c := defaults()
	hints := strict.Hints{}
	for key, text := range descriptions(strict.Keys(c), string(configs.Wiring)) {
		hints[key] = strict.Hint{Text: text}
	}
	for key, words := range map[string][]string{"sms.transport": transportNames(), "log.level": levelWords, "log.format": formats,
		customHTTP + "request.method": {"POST", "GET", "PUT"}, customHTTP + "request.auth": {"basic", "bearer", "vonage"}, customHTTP + "request.numbers": {"plus", "digits", "00"},
		customHTTP + "inbound.event.format": {"form", "query", "json"}, customHTTP + "receipt.event.format": {"form", "query", "json"},
		customHTTP + "verify.hash": {"sha256", "sha1", "sha512"}, customHTTP + "verify.encoding": {"hex", "base64"}} {
		h := hints[key]
		h.Words = words
		hints[key] = h
	}
	return strict.Schema("urn:textback:schema:config:v1", "textback.yaml", c, hints)
}

const customHTTP = "sms.http.custom."

// descriptions are what the example file says of each key. Of a provider
// described by an admin it shows each kind of key once: receipts are matched as
// replies are, and refusals as acceptance is.
func descriptions(keys []string, file string) map[string]string {
	said := comments(file)
	all := map[string]string{}
	for _, key := range keys {
		all[key] = said[key]
		last := key[strings.LastIndexByte(key, '.')+1:]
		for _, same := range keys {
			if all[key] == "" && strings.HasPrefix(key, customHTTP) && strings.HasPrefix(same, customHTTP) && strings.HasSuffix(same, "."+last) {
				all[key] = said[same]
			}
		}
	}
	maps.DeleteFunc(all, func(_, text string) bool { return text == "" })
	return all
}

var keyLine = regexp.MustCompile(`^( *)(# )?( *)(- )?([a-z_]+):( .*)?$`)

// comments are the descriptions of keys in an example file: what stands above a key
// and behind it. A key that is commented out counts like any other.
func comments(file string) map[string]string {
	type open struct {
		indent int
		key    string
		text   string // what stands above it
	}
	all := map[string]string{}
	var above []string
	blank := false
	var in []open
	for line := range strings.Lines(file) {
		line = strings.TrimRight(line, "\n")
		m := keyLine.FindStringSubmatch(line)
		if m == nil {
			if text, is := strings.CutPrefix(strings.TrimLeft(line, " "), "#"); is {
				above = append(above, strings.TrimSpace(strings.TrimLeft(text, "# ")))
			} else {
				above, blank = nil, true
			}
			continue
		}
		indent := len(m[1]) + len(m[3]) + len(m[4])
		shared := "" // a comment speaks of the keys that follow without one, and a group's of its members
		for len(in) > 0 && in[len(in)-1].indent >= indent {
			shared = in[len(in)-1].text
			in = in[:len(in)-1]
		}
		if blank {
			shared = ""
		}
		if shared == "" && len(in) > 0 {
			shared = in[len(in)-1].text
		}
		in = append(in, open{indent, m[5], ""})
		var path []string
		for _, o := range in {
			path = append(path, o.key)
		}
		text := strings.Join(above, "\n")
		if _, behind, has := strings.Cut(m[6], " # "); has {
			text = strings.TrimSpace(text + "\n" + strings.TrimSpace(behind))
		}
		if text == "" {
			text = shared
		}
		in[len(in)-1].text = text
		above, blank = nil, false
		if key := strings.Join(path, "."); text != "" && all[key] == "" {
			all[key] = text
		}
	}
	return all
}

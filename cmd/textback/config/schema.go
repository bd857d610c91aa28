package config

import (
	"regexp"
	"slices"
	"strings"

	"textback/configs"
	"textback/rules/strict"
)

// Schema is the JSON Schema of textback.yaml. Its descriptions are the comments of
// the shipped file, which shows every key: they are written once.
func Schema() ([]byte, error) {
	c := defaults()
	hints := strict.Hints{}
	keys := strict.Keys(c)
	for key, text := range comments(string(configs.Wiring)) {
		if slices.Contains(keys, key) { // and not a word with a colon in a sentence
			hints[key] = strict.Hint{Text: text}
		}
	}
	for key, words := range map[string][]string{"sms.transport": transports, "log.level": levelWords, "log.format": formats} {
		h := hints[key]
		h.Words = words
		hints[key] = h
	}
	return strict.Schema("urn:textback:schema:config:v1", "textback.yaml", c, hints)
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

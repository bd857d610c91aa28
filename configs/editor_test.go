package configs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"textback/sms/smstest"
)

// What editors use to check and complete YAML (VS Code's YAML extension, and others).
const languageServer = "yaml-language-server@1.19.2"

type place struct {
	Line      int `json:"line"` // from 0, as editors count
	Character int `json:"character"`
}

type opened struct {
	Path     string `json:"path"`
	Text     string `json:"text"`
	Complete *place `json:"complete,omitempty"`
	Hover    *place `json:"hover,omitempty"`
}

// at finds the place of | in a text and takes it out.
func at(text string) (string, *place) {
	before, after, found := strings.Cut(text, "|")
	if !found {
		return text, nil
	}
	return before + after, &place{strings.Count(before, "\n"), len(before) - strings.LastIndex(before, "\n") - 1}
}

// A real editor's engine finds the schema by the line in the file, takes what is shipped,
// marks what is wrong, and completes keys and words.
func TestEditor(t *testing.T) {
	dir := smstest.NPM(t, languageServer)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []opened
	shipped, _ := filepath.Glob("*.yaml")
	for _, f := range shipped {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, opened{Path: filepath.Join(here, f), Text: string(b)})
	}
	const rules, config, test = "# yaml-language-server: $schema=rules.schema.json\n", "# yaml-language-server: $schema=textback.schema.json\n", "# yaml-language-server: $schema=rules.test.schema.json\n"
	const head = rules + "version: 1\nbusiness: {name: X}\ntimezone: UTC\n"
	for _, c := range []struct{ name, text string }{
		{"typo", head + "rules:\n  - name: a\n    wen: {outcome: busy}\n"},
		{"word", head + "rules:\n  - name: a\n    when: {outcome: bussy}\n"},
		{"key", head + "rules:\n  - name: a\n    when:\n      o|\n"},
		{"completed word", head + "rules:\n  - name: a\n    when:\n      outcome: |\n"},
		{"config", config + "sms:\n  transprot: log\n"},
		{"config key", config + "sms:\n  t|\n"},
		{"test key", test + "version: 1\ntests:\n  - name: a\n    call: {outcome: busy}\n    expect:\n      s|\n"},
	} {
		text, where := at(c.text)
		files = append(files, opened{Path: filepath.Join(here, "editor-"+strings.ReplaceAll(c.name, " ", "-")+".yaml"), Text: text, Complete: where})
	}
	files = append(files, opened{Path: filepath.Join(here, "editor-hover.yaml"), Text: config + "site: x\n", Hover: &place{1, 1}})
	var out []struct {
		Found []struct {
			Line    int    `json:"line"`
			Message string `json:"message"`
		} `json:"found"`
		Labels []string `json:"labels"`
		Hover  string   `json:"hover"`
	}
	smstest.Node(t, dir, "testdata/editor.js", map[string]any{"server": dir, "files": files}, &out)
	if len(out) != len(files) {
		t.Fatalf("%d answers for %d files", len(out), len(files))
	}
	for i, f := range shipped {
		for _, p := range out[i].Found {
			t.Errorf("%s:%d: an editor says: %s", f, p.Line, p.Message)
		}
	}
	out = out[len(shipped):]
	for i, c := range []struct {
		line  int
		says  string
		label string
	}{{7, "wen", ""}, {7, "", ""}, {0, "", "outcome"}, {0, "", "rang_out"}, {3, "transprot", ""}, {0, "", "transport"}, {0, "", "suppressed"}} {
		name := filepath.Base(files[len(shipped)+i].Path)
		if c.line > 0 && (len(out[i].Found) == 0 || out[i].Found[0].Line != c.line || !strings.Contains(out[i].Found[0].Message, c.says)) {
			t.Errorf("%s: the engine finds %+v", name, out[i].Found)
		}
		if c.label != "" && !slices.Contains(out[i].Labels, c.label) {
			t.Errorf("%s: %s is not offered among %v", name, c.label, out[i].Labels)
		}
	}
	if h := out[len(out)-1].Hover; !strings.Contains(h, "name of this office") {
		t.Errorf("hovering over site says %s", h)
	}
}

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"textback/rules/strict"
)

// A Problem is one thing an admin should mend.
type Problem = strict.Problem

// Load reads and checks the file at name, and the secrets it names. It returns
// every problem it finds, in the file's order; the Config is usable when none
// is more than a warning.
func Load(name string) (*Config, []Problem) { return loadFile(name, false) }

// LoadOpen is Load without the secrets, for whoever has no business with them
// and may not be able to read them.
func LoadOpen(name string) (*Config, []Problem) { return loadFile(name, true) }

func loadFile(name string, open bool) (*Config, []Problem) {
	b, err := os.ReadFile(name)
	if err != nil {
		text := plainPath(err).Error()
		if errors.Is(err, fs.ErrNotExist) {
			text = "there is no such file: begin with configs/textback.yaml, or name another one with --config"
		} else if text = strings.TrimPrefix(text, name); text != "" {
			text = strings.TrimLeft(text, ": ")
		}
		c := defaults()
		c.Rules = inside(dirOf(name), c.Rules)
		return c, []Problem{{File: name, Text: text}}
	}
	return parse(name, b, open)
}

// parse is Load of a file whose bytes are b; name says where other files are
// looked for.
func parse(name string, b []byte, open bool) (*Config, []Problem) {
	c := defaults()
	read, ok := strict.Parse(name, b, c)
	r := &report{Report: read, dir: dirOf(name), open: open}
	c.Rules = r.beside(c.Rules)
	if !ok {
		return c, r.Problems
	}
	// With neither witness configured this host watches an Asterisk of its own, unless it is
	// one that only sends what others put on an external server.
	if c.PBX.Asterisk == nil && (c.PBX.SIP == nil && c.NATS.URL == "" || r.Has(strict.At("pbx", "asterisk"))) {
		c.PBX.Asterisk = new(Asterisk)
		c.PBX.Asterisk.Defaults()
	}
	c.check(r)
	r.Sort()
	c.file, c.dir, c.named = read, r.dir, r.named
	return c, r.Problems
}

// dirOf is the folder that a file lies in.
func dirOf(name string) string {
	dir := filepath.Dir(name)
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// report knows too where the files lie that the configuration names.
type report struct {
	*strict.Report
	dir   string
	open  bool // secrets are not read
	named []namedFile
}

// beside returns name as a path, relative ones beside the file.
func (r *report) beside(name string) string { return inside(r.dir, name) }

// path finds the file that a …_file key names and returns its path.
func (r *report) path(p strict.Path, name string) string {
	if name == "" {
		return ""
	}
	r.named = append(r.named, namedFile{p, name})
	found, _, err := find(name, r.dir)
	if err != nil {
		r.Problem(p, "%v", err)
	}
	return found
}

// secret reads the file that a …_file key names. what says what belongs into it.
func (r *report) secret(p strict.Path, name, what string) Secret {
	if r.open {
		return ""
	}
	r.named = append(r.named, namedFile{p, name})
	s, warning, err := readSecret(name, r.dir)
	if err != nil {
		r.Problem(p, "%v: it should hold %s", err, what)
	}
	if warning != "" {
		r.Warning(p, "%s: chmod 600 it", warning)
	}
	return s
}

// pem reads the file that a …_file key names, which may have several lines.
func (r *report) pem(p strict.Path, name, what string) Secret {
	if r.open {
		return ""
	}
	r.named = append(r.named, namedFile{p, name})
	s, warning, err := readSecretLines(name, r.dir)
	if err != nil {
		r.Problem(p, "%v: it should hold %s, in PEM form", err, what)
	}
	if warning != "" && strings.Contains(string(s), "PRIVATE KEY") {
		r.Warning(p, "%s: chmod 600 it", warning)
	}
	return s
}

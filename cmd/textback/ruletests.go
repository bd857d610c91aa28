package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"textback/rules"
	"textback/rules/ruletest"
)

type testCmd struct {
	Rules string   `placeholder:"FILE" help:"Test these rules instead of those that the tests name."`
	Files []string `arg:"" name:"file" help:"Rule tests (YAML), such as configs/rules.test.yaml."`
}

// Run runs an admin's rule tests. It sends nothing.
func (c testCmd) Run(con console) error {
	bad := false
	matched, covered := map[string]map[string]bool{}, map[string]*rules.Rules{}
	tests, failed := 0, 0
	for _, name := range c.Files {
		b, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(con.err, plain(name, err))
			bad = true
			continue
		}
		suite, problems := ruletest.Parse(name, b)
		for _, p := range problems {
			fmt.Fprintln(con.err, p)
		}
		if suite == nil {
			bad = true
			continue
		}
		path := c.Rules
		if path == "" {
			if path = suite.Rules; !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(name), path)
			}
		}
		r := covered[path]
		if r == nil {
			if r, problems = rules.Load(path); r == nil {
				for _, p := range problems {
					fmt.Fprintln(con.err, p)
				}
				bad = true
				continue
			}
			covered[path], matched[path] = r, map[string]bool{}
		}
		res := suite.Run(r)
		for _, p := range res.Problems {
			fmt.Fprintln(con.err, p)
		}
		for _, f := range res.Failures {
			fmt.Fprintln(con.out, f)
		}
		bad = bad || len(res.Problems) > 0 || len(res.Failures) > 0
		tests, failed = tests+res.Tests, failed+res.Failed()
		for rule := range res.Matched {
			matched[path][rule] = true
		}
	}
	for _, path := range sorted(covered) {
		if tests == 0 {
			break // none could be read
		}
		not := slices.DeleteFunc(covered[path].RuleNames(), func(n string) bool { return matched[path][n] })
		for i, n := range not {
			not[i] = fmt.Sprintf("%q", n)
		}
		if len(not) > 0 {
			fmt.Fprintf(con.out, "%s: no test comes to %s\n", path, plural(len(not), "rule "+not[0], fmt.Sprintf("%d rules: %s", len(not), strings.Join(not, ", "))))
		}
	}
	if tests > 0 {
		fmt.Fprintf(con.out, "%d tests, %d failed\n", tests, failed)
	}
	if bad {
		return errNotOK
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// plain says that a file cannot be read, without naming it twice.
func plain(name string, err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return name + ": it cannot be read: " + err.Error()
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"textback": func() {
		os.Exit(run(os.Args[1:], console{os.Stdin, os.Stdout, os.Stderr}))
	}})
}

// The subcommands, as terminal sessions (testdata/script).
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: func(e *testscript.Env) error {
		e.Setenv("ROOT", root)
		e.Setenv("TZ", "UTC")
		return nil
	}})
}

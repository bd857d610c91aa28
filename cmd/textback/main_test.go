package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what sessions print into them")

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
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *update, Setup: func(e *testscript.Env) error {
		e.Setenv("ROOT", root)
		e.Setenv("TZ", "UTC")
		return nil
	}})
}

// Command textback watches a PBX, knows within milliseconds when a caller from
// outside reached nobody and why, publishes that as an event on NATS, and sends
// the caller the right text under rules that an admin edits.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // rules name time zones; a minimal host may have no zone database

	"github.com/alecthomas/kong"
)

// version is set by the Makefile; a plain build says so.
var version = "devel"

// Exit codes of every subcommand.
const (
	exitOK    = 0 // all is well
	exitNotOK = 1 // what was asked about is not fine, or cannot be read
	exitUsage = 2 // the command line is wrong
)

// cli is the whole command line; each member lives in a file of its own.
type cli struct {
	Serve    serveCmd    `cmd:"" help:"Run the daemon: watch the PBX, publish calls, send texts."`
	Replay   replayCmd   `cmd:"" help:"Put recordings through the tracker and print the calls. No NATS, no texts."`
	Check    checkCmd    `cmd:"" help:"Read all configuration as serve would and print every problem with its place and mend."`
	Explain  explainCmd  `cmd:"" help:"Tell what would become of a call: which rule, every guard, the text. Sends nothing."`
	Test     testCmd     `cmd:"" help:"Run rule tests: given a call and a clock, expect this text. Sends nothing."`
	Backtest backtestCmd `cmd:"" help:"Put stored calls through the rules, or through others: what would have been sent, to whom, at what cost. Sends nothing."`
	Schema   schemaCmd   `cmd:"" help:"Print the JSON Schema by which editors complete and check rules.yaml, textback.yaml or rule tests."`
	Doctor   doctorCmd   `cmd:"" help:"Look at everything that must work: Asterisk, NATS, the daemon, the provider."`
	Status   statusCmd   `cmd:"" help:"Ask the running daemon how it is and who is on the phone."`
	Calls    callsCmd    `cmd:"" help:"List stored calls and what was decided for each."`
	Texts    textsCmd    `cmd:"" help:"List texts; cancel one that is still to come; settle those whose fate is not known."`
	Tasks    tasksCmd    `cmd:"" help:"List the callbacks that are owed, and end them."`
	Replies  repliesCmd  `cmd:"" help:"List what callers have written lately, or the conversation with one of them."`
	Export   exportCmd   `cmd:"" help:"Print all that is known of a number, as JSON."`
	Forget   forgetCmd   `cmd:"" help:"Forget a number: its calls, texts and words. Its opt-out stays."`
	Optout   optoutCmd   `cmd:"" help:"Keep the list of numbers that are never texted."`
	Demo     demoCmd     `cmd:"" help:"Play recorded calls of a real PBX through everything; the texts are printed."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// console is where a subcommand reads and writes, so that tests can too.
type console struct {
	in       io.Reader
	out, err io.Writer
}

// errNotOK ends a subcommand with exit code 1 after it has said why itself.
var errNotOK = errors.New("not fine")

// errUsage ends a subcommand with exit code 2: wrong usage that only the configuration shows, such
// as a number that is none in its region. What needs no configuration is said by Validate.
var errUsage = errors.New("wrong usage")

// usage makes err one of wrong usage. Its words stay.
func usage(err error) error { return usageError{err} }

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (u usageError) Unwrap() error      { return u.error }

func main() { os.Exit(run(os.Args[1:], console{os.Stdin, os.Stdout, os.Stderr})) }

func run(args []string, con console) int {
	var c cli
	// kong would exit the process itself for --help; usage keeps control here.
	exited := -1
	parser, err := kong.New(&c, kong.Name("textback"),
		kong.Description("Texts back the callers that an office missed. See 'textback COMMAND --help'."),
		kong.Writers(con.out, con.err), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(code int) { exited = code }))
	if err != nil {
		fmt.Fprintln(con.err, "textback:", err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(con.err, "textback: %v\n", err)
		var pe *kong.ParseError
		if errors.As(err, &pe) {
			_ = pe.Context.PrintUsage(true)
		}
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	kctx.BindTo(ctx, (*context.Context)(nil))
	switch err := kctx.Run(con); {
	case err == nil:
		return exitOK
	case errors.Is(err, errNotOK):
		return exitNotOK
	default:
		fmt.Fprintf(con.err, "textback: %v\n", err)
		if errors.Is(err, errUsage) {
			return exitUsage
		}
		return exitNotOK
	}
}

type versionCmd struct{}

func (versionCmd) Run(con console) error {
	_, err := fmt.Fprintln(con.out, "textback", version)
	return err
}

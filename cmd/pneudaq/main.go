// Command pneudaq acquires, stores and delivers the record of rigs for
// pneumatic components. Its verbs wire the packages together and hold no logic.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// Exit codes: those of sysexits.h, and the verdicts' 0, 1, 3 and 4.
const (
	exitOK           = 0
	exitFail         = 1 // any verdict fail
	exitInconclusive = 3
	exitInvalid      = 4
	exitUsage        = 64
	exitData         = 65
	exitUnavailable  = 69
	exitIO           = 74
	exitLocked       = 75
	exitConfig       = 78
)

// exitError carries the exit code of an error to main.
type exitError struct {
	code int
	err  error
}

// Error returns the message for the person at the terminal.
func (e *exitError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

func fails(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// terminal is what a verb may talk to.
type terminal struct {
	in     io.Reader
	out    io.Writer // results
	err    io.Writer // progress, logs and errors
	logger *slog.Logger
	lang   string // "en" or "zh"
}

func (t *terminal) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) } //nolint:errcheck // a closed terminal ends the program by its signal

type verb struct {
	name  string
	args  string
	about string
	run   func(ctx context.Context, t *terminal, args []string) error
}

func verbs() []verb {
	return []verb{
		{"demo", "[--data DIR] [--for 60s]", "show everything at work with a simulated rig; needs nothing", runDemo},
		{"serve", "RIG...", "acquire the rigs of the files, store and deliver", runServe},
		{"simulate", "RIG...", "stand in for the hardware of the rigs", runSimulate},
		{"check", "FILE...", "check rig, model and instrument files; print plan, bus load, store size", runCheck},
		{"runs", "list|show|start|stop|audit|export|evaluate ...", "work with recordings", runRuns},
		{"evaluate", "METHOD FILE", "judge a CSV, .xlsx or Parquet file by a method of the standards", runEvaluate},
		{"probe", "URL", "ask one bus who answers and what its registers may mean", runProbe},
		{"discover", "URL|NETWORK", "search a bus or a network for devices", runDiscover},
		{"reconcile", "[RECORDING]", "compare the database with the store and send again what it lacks", runReconcile},
		{"completion", "bash|zsh|fish", "print the completions of a shell", runCompletion},
		{"schema", "rig|model|wire|instrument", "print the JSON Schema of a kind of file", runSchema},
		{"version", "", "print version and build", runVersion},
	}
}

func main() {
	os.Exit(start())
}

func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		// The first signal asks for a clean stop, the second ends at once.
		<-ctx.Done()
		stop()
	}()
	t := &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, lang: language(os.Getenv)}
	level := slog.LevelInfo
	if os.Getenv("PNEUDAQ_DEBUG") != "" {
		level = slog.LevelDebug
	}
	t.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return run(ctx, t, os.Args[1:])
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, t *terminal, args []string) int {
	err := dispatch(ctx, t, args)
	if err == nil {
		return exitOK
	}
	e, ok := errors.AsType[*exitError](err)
	if ok && e.err == nil {
		return e.code
	}
	fmt.Fprintln(t.err, "pneudaq:", err) //nolint:errcheck // nobody is left to tell
	if ok {
		return e.code
	}
	return exitIO
}

func dispatch(ctx context.Context, t *terminal, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(t.out)
		if len(args) == 0 {
			return &exitError{code: exitUsage}
		}
		return nil
	}
	all := verbs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == args[0] })
	if i < 0 {
		return fails(exitUsage, "there is no command %q; `pneudaq help` lists them", args[0])
	}
	err := all[i].run(ctx, t, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

func usage(w io.Writer) {
	fmt.Fprint(w, "pneudaq acquires, stores and delivers the record of rigs for pneumatic components.\n\nUsage: pneudaq COMMAND [arguments]\n\n") //nolint:errcheck // as above
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-11s %s\n", v.name, v.about) //nolint:errcheck // as above
	}
	fmt.Fprint(w, "\n`pneudaq COMMAND --help` says more.\n") //nolint:errcheck // as above
}

// flags returns a flag set for a verb. Flags may stand before and after the
// other arguments: parse collects these.
func flags(t *terminal, name, args string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(t.err)
	f.Usage = func() {
		fmt.Fprintf(t.err, "Usage: pneudaq %s %s\n", name, args) //nolint:errcheck // as above
		f.PrintDefaults()
	}
	return f
}

func parse(f *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err //nolint:wrapcheck // the caller asks for it
			}
			return nil, &exitError{code: exitUsage, err: err}
		}
		args = f.Args()
		if len(args) == 0 {
			return rest, nil
		}
		rest = append(rest, args[0])
		args = args[1:]
	}
}

// language reads the operator's language from the environment.
func language(getenv func(string) string) string {
	for _, k := range []string{"PNEUDAQ_LANG", "LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(k); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			return "en"
		}
	}
	return "en"
}

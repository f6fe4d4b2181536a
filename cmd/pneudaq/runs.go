package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/storage"
	"pneudaq/web"
)

// recordings is what the commands need, from the store or from the service
// that runs on it.
type recordings interface {
	Recordings(ctx context.Context, q web.RecordingQuery) ([]web.Recording, error)
	Recording(ctx context.Context, id string) (web.RecordingDetail, error)
	Start(ctx context.Context, n web.NewRecording) (web.RecordingDetail, error)
	Stop(ctx context.Context, id, by string) (web.RecordingDetail, error)
}

// open finds the service that runs on the data directory, else opens the store.
func (d *dataFlags) open(ctx context.Context, t *terminal) (*archive, *remote, func() error, error) {
	nothing := func() error { return nil }
	if d.server != "" {
		r, err := newRemote(d.server, os.Getenv("PNEUDAQ_TOKEN"))
		return nil, r, nothing, err
	}
	dir, err := d.directory()
	if err != nil {
		return nil, nil, nothing, err
	}
	if s, ok, err := readServerFile(dir); err != nil {
		return nil, nil, nothing, err
	} else if ok {
		r, err := newRemote(s.URL, s.Token)
		if err == nil && r.alive(ctx) {
			return nil, r, nothing, nil
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, nil, nothing, fails(exitUnavailable, "there is no store in %s: start `pneudaq serve` or `pneudaq demo` first, or name the directory with --data", dir)
	}
	store, err := storage.Open(ctx, storage.Options{Dir: dir, Logger: t.logger, Compile: configs.Compile})
	if err != nil {
		return nil, nil, nothing, storeError(dir, err)
	}
	return &archive{store: store}, nil, store.Close, nil
}

func runRuns(ctx context.Context, t *terminal, args []string) error {
	const about = "list|show|start|stop|audit|export|evaluate [ID] [METHOD] [flags]"
	if len(args) == 0 {
		return fails(exitUsage, "say what to do: pneudaq runs %s", about)
	}
	what, args := args[0], args[1:]
	f := flags(t, "runs "+what, about)
	var d dataFlags
	d.add(f)
	var n web.NewRecording
	length := time.Duration(0)
	limit := 100
	var judge evaluateFlags
	var x exportFlags
	switch what {
	case "list":
		f.StringVar(&n.Rig, "rig", "", "only this `rig`")
		f.IntVar(&limit, "limit", limit, "at most so many, newest first")
	case "start":
		f.StringVar(&n.Note, "note", "", "`text` for whoever reads it later")
		f.StringVar(&n.Owner, "owner", os.Getenv("USER"), "who records")
		f.Func("group", "record only this `group`; may be repeated", func(s string) error { n.Groups = append(n.Groups, s); return nil })
		f.DurationVar(&length, "for", 0, "stop after this `time` and wait for it")
	case "export":
		x.add(f)
	case "evaluate":
		judge.add(f)
		f.StringVar(&judge.rig, "rig", "", "`file` of the rig, for accuracies and certificates, when no service runs")
	case "show", "stop", "audit":
	default:
		return fails(exitUsage, "there is no `runs %s`; there are %s", what, about)
	}
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	local, far, done, err := d.open(ctx, t)
	if err != nil {
		return err
	}
	var r recordings = local
	if far != nil {
		r = far
	}
	err = func() error {
		if what == "list" {
			return listRuns(ctx, t, r, web.RecordingQuery{Rig: n.Rig, Limit: limit}, d.json)
		}
		if len(rest) == 0 {
			return fails(exitUsage, "name the %s", map[bool]string{true: "rig to record", false: "recording; `pneudaq runs list` shows them, `last` is the newest"}[what == "start"])
		}
		if what == "start" {
			n.Rig = rest[0]
			if far == nil {
				return fails(exitUnavailable, "no service runs on this data directory, so nothing can be recorded: start `pneudaq serve`")
			}
			return startRun(ctx, t, r, n, length, d.json)
		}
		id, err := theRecording(ctx, r, rest[0])
		if err != nil {
			return err
		}
		switch what {
		case "show":
			return showRun(ctx, t, r, id, d.json)
		case "stop":
			doc, err := r.Stop(ctx, id, os.Getenv("USER"))
			if err != nil {
				return err
			}
			return printRun(t, doc, d.json)
		case "audit":
			return auditRun(ctx, t, local, far, id, d.json)
		case "export":
			return x.run(ctx, t, local, far, id)
		case "evaluate":
			if len(rest) != 2 {
				return fails(exitUsage, "name the method; `pneudaq evaluate methods` lists them")
			}
			return evaluateRun(ctx, t, local, far, id, rest[1], &judge, d.json)
		}
		return nil
	}()
	return errors.Join(asExit(err), done())
}

// asExit gives problems of the interfaces their exit codes.
func asExit(err error) error {
	var p *web.Problem
	var e *exitError
	if err == nil || errors.As(err, &e) || !errors.As(err, &p) {
		return err
	}
	return &exitError{code: exitData, err: err}
}

func theRecording(ctx context.Context, r recordings, id string) (string, error) {
	if id != "last" {
		return id, nil
	}
	all, err := r.Recordings(ctx, web.RecordingQuery{Limit: 1})
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", fails(exitData, "there is no recording yet")
	}
	return all[0].ID, nil
}

func listRuns(ctx context.Context, t *terminal, r recordings, q web.RecordingQuery, asJSON bool) error {
	all, err := r.Recordings(ctx, q)
	if err != nil {
		return err
	}
	if asJSON {
		if all == nil {
			all = []web.Recording{}
		}
		return writeJSON(t, all)
	}
	if len(all) == 0 {
		t.printf("no recordings yet\n")
		return nil
	}
	w := tabwriter.NewWriter(t.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTART\tLENGTH\tSTORED\tMISSING\tUNEXPLAINED\tEND") //nolint:errcheck // flushed below
	for _, x := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", x.ID, local(x.Start), length(x), x.Stored, x.Missing, x.Unexplained, end(x)) //nolint:errcheck // as above
	}
	return w.Flush() //nolint:wrapcheck // the terminal's own error
}

func local(t web.Time) string { return time.Unix(0, int64(t)).Format("2006-01-02 15:04:05 -07:00") }

func length(r web.Recording) string {
	stop := int64(r.Stop)
	if stop == 0 {
		stop = time.Now().UnixNano()
	}
	return time.Duration(stop - int64(r.Start)).Round(100 * time.Millisecond).String()
}

func end(r web.Recording) string {
	e := r.End
	if r.Stop == 0 {
		e = "open"
	}
	if r.Simulated {
		e += " (SIMULATED)"
	}
	return e
}

func printRun(t *terminal, doc web.RecordingDetail, asJSON bool) error {
	if asJSON {
		return writeJSON(t, doc)
	}
	t.printf("%s  rig %s  start %s  length %s  %s\n", doc.ID, doc.Rig, local(doc.Start), length(doc.Recording), end(doc.Recording))
	if doc.Note != "" || doc.Owner != "" {
		t.printf("owner %s  %s\n", doc.Owner, doc.Note)
	}
	t.printf("planned %d slots: stored %d, missing with a reason %d, unexplained %d\n", doc.Planned, doc.Stored, doc.Missing, doc.Unexplained)
	w := tabwriter.NewWriter(t.out, 0, 4, 2, ' ', 0)
	for _, g := range doc.Content {
		for _, c := range g.Channels {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", g.Name, c.Name, c.Unit, c.Device, c.Address) //nolint:errcheck // flushed below
		}
	}
	return w.Flush() //nolint:wrapcheck // the terminal's own error
}

func showRun(ctx context.Context, t *terminal, r recordings, id string, asJSON bool) error {
	doc, err := r.Recording(ctx, id)
	if err != nil {
		return err
	}
	return printRun(t, doc, asJSON)
}

func startRun(ctx context.Context, t *terminal, r recordings, n web.NewRecording, length time.Duration, asJSON bool) error {
	doc, err := r.Start(ctx, n)
	if err != nil {
		return err
	}
	if length <= 0 {
		return printRun(t, doc, asJSON)
	}
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
	doc, err = r.Stop(context.WithoutCancel(ctx), doc.ID, n.Owner)
	if err != nil {
		return err
	}
	return printRun(t, doc, asJSON)
}

func auditRun(ctx context.Context, t *terminal, local *archive, far *remote, id string, asJSON bool) error {
	var report web.AuditReport
	var err error
	if far != nil {
		report, err = far.Audit(ctx, id)
	} else {
		report, err = local.Audit(ctx, id)
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(t, report)
	} else {
		err = printAudit(t, &report)
	}
	if err == nil && !report.Balanced {
		err = fails(exitInvalid, "%d slots are unexplained: the record is not whole", report.Recording.Unexplained)
	}
	return err
}

func printAudit(t *terminal, a *web.AuditReport) error {
	t.printf("recording %s  %s\n", a.Recording.ID, length(a.Recording))
	w := tabwriter.NewWriter(t.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "GROUP\tBY\tPLANNED\tSTORED\tMISSING\tUNEXPLAINED\tREASONS") //nolint:errcheck // flushed below
	for i := range a.Accounts {
		x := &a.Accounts[i]
		missing := uint64(0)
		var why []string
		for r, n := range x.Gaps {
			missing += n
			why = append(why, fmt.Sprintf("%s %d", r, n))
		}
		slices.Sort(why)
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", x.Group, x.Completeness, x.Planned, x.Stored, missing, x.Unexplained, strings.Join(why, ", ")) //nolint:errcheck // as above
		for _, c := range x.Channels {
			if bad := samples(c.Bad); bad != "" {
				fmt.Fprintf(w, "  %s\tbad\t\t\t\t\t%s\n", c.Channel, bad) //nolint:errcheck // as above
			}
			if odd := samples(c.Uncertain); odd != "" {
				fmt.Fprintf(w, "  %s\tuncertain\t\t\t\t\t%s\n", c.Channel, odd) //nolint:errcheck // as above
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err //nolint:wrapcheck // the terminal's own error
	}
	for _, s := range a.Sinks {
		t.printf("%s: stored %d = delivered %d + waiting %d + refused %d\n", s.Name, s.Stored, s.Delivered, s.Waiting, s.Refused)
	}
	if a.Balanced {
		t.printf("balanced: every planned slot is stored or has one gap with a reason\n")
	}
	return nil
}

func samples(m map[acquisition.Reason]uint64) string {
	var all []string
	for r, n := range m {
		all = append(all, fmt.Sprintf("%s %d", r, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

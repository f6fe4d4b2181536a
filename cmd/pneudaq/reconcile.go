package main

import (
	"context"
	"net/http"

	"pneudaq/web"
)

// runReconcile compares the sinks of a running service with its store.
func runReconcile(ctx context.Context, t *terminal, args []string) error {
	f := flags(t, "reconcile", "[RECORDING] [--resend=false]")
	var d dataFlags
	d.add(f)
	resend := f.Bool("resend", true, "send again what the database lacks")
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	_, far, done, err := d.open(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	if far == nil {
		return fails(exitUnavailable, "no service runs on this data directory: start `pneudaq serve`, whose forwarders know the database")
	}
	q := web.ReconcileQuery{Resend: *resend}
	if len(rest) > 0 {
		if q.Recording, err = theRecording(ctx, far, rest[0]); err != nil {
			return err
		}
	}
	var answer struct {
		Reports []web.ReconcileReport `json:"reports"`
	}
	if err := far.do(ctx, http.MethodPost, "/api/v1/reconcile", q, &answer); err != nil {
		return err
	}
	reports := answer.Reports
	if d.json {
		if reports == nil {
			reports = []web.ReconcileReport{}
		}
		if err := writeJSON(t, reports); err != nil {
			return err
		}
	} else if len(reports) == 0 {
		t.printf("no rig delivers to a database\n")
	}
	agree := true
	for _, r := range reports {
		agree = agree && r.Agrees
		if d.json {
			continue
		}
		t.printf("%s: %d groups, %d windows, %d readings compared; waiting %d, refused %d\n", r.Sink, r.Groups, r.Windows, r.Samples, r.Waiting, r.Refused)
		if r.Problem != "" {
			t.printf("  %s\n", r.Problem)
		}
		for _, x := range r.Differences {
			t.printf("  %s %s %s to %s: %s\n", x.Group, x.Channel, x.From, x.To, x.Kind)
		}
		if r.Agrees {
			t.printf("  store and database agree\n")
		} else if r.Resent > 0 {
			t.printf("  %d blocks are sent again\n", r.Resent)
		}
	}
	if !agree {
		return fails(exitData, "store and database differ")
	}
	return nil
}

package main

import (
	"context"

	"pneudaq/configs"
)

func runCheck(_ context.Context, t *terminal, args []string) error {
	f := flags(t, "check", "FILE... [--json] [--lang en|zh]")
	asJSON := f.Bool("json", false, "print JSON")
	f.StringVar(&t.lang, "lang", t.lang, "`language` of the report: en or zh")
	files, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fails(exitUsage, "name the files to check")
	}
	report, problems := configs.Check(files...)
	if *asJSON {
		if problems == nil {
			problems = configs.Problems{}
		}
		if err := writeJSON(t, map[string]any{"report": report, "problems": problems}); err != nil {
			return err
		}
	} else {
		printProblems(t, problems)
		if report != nil {
			t.printf("%s", report.Text(configs.Language(t.lang)))
		}
	}
	if len(problems) > 0 {
		return fails(exitConfig, "%s", counted(len(problems), "problem", "problems"))
	}
	return nil
}

func runSchema(_ context.Context, t *terminal, args []string) error {
	f := flags(t, "schema", "rig|model|wire|instrument|service")
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return fails(exitUsage, "name one kind of file of %v", configs.Kinds())
	}
	data, err := configs.Schema(configs.Kind(rest[0]))
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	t.printf("%s\n", data)
	return nil
}

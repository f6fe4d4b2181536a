package main

import (
	"context"
	"path/filepath"
	"strings"

	"pneudaq/configs"
)

func runCheck(_ context.Context, t *terminal, args []string) error {
	f := flags(t, "check", "FILE... [--json] [--lang en|zh]")
	asJSON := f.Bool("json", false, "print JSON")
	f.StringVar(&t.lang, "lang", t.lang, "`language` of the report: en or zh")
	table := f.Bool("table", false, "turn a register table (.csv, .xlsx) into a rig or model file and back, on standard output")
	name := f.String("name", "", "`name` of the rig or model that a table becomes (default: the file's)")
	xlsx := f.Bool("xlsx", false, "with --table: write .xlsx instead of CSV")
	files, err := parse(f, args)
	if err != nil {
		return err
	}
	if *table {
		return checkTable(t, files, *name, *xlsx)
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
		return fails(exitConfig, "%s", counted(len(problems)))
	}
	return nil
}

// checkTable converts between a table and a file, in the direction that the
// name of the file says.
func checkTable(t *terminal, files []string, name string, xlsx bool) error {
	if len(files) != 1 {
		return fails(exitUsage, "name one table (.csv, .xlsx) or one rig or model file")
	}
	ext := strings.ToLower(filepath.Ext(files[0]))
	if ext != ".csv" && ext != ".xlsx" {
		table, problems := configs.TableOf(files[0])
		if len(problems) > 0 {
			printProblems(t, problems)
			return fails(exitConfig, "%s", counted(len(problems)))
		}
		var err error
		if xlsx {
			err = table.WriteXLSX(t.out)
		} else {
			err = table.WriteCSV(t.out, false)
		}
		if err != nil {
			return fails(exitIO, "write the table: %w", err)
		}
		return nil
	}
	table, problems := configs.ReadTable(files[0])
	if len(problems) > 0 {
		printProblems(t, problems)
		return fails(exitConfig, "%s", counted(len(problems)))
	}
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(files[0]), filepath.Ext(files[0]))
	}
	t.printf("%s", table.YAML(name))
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

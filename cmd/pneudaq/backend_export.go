package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pneudaq/acquisition"
	"pneudaq/configs"
	"pneudaq/storage/export"
	"pneudaq/web"
)

// exporter writes recordings as files of other programs.
type exporter struct{ a *archive }

// tableFormat is a format with one table a file.
type tableFormat struct {
	media string
	write func(io.Writer, export.Blocks, export.Options) (export.Summary, error)
}

func tableFormats() map[string]tableFormat {
	return map[string]tableFormat{
		"csv":     {"text/csv; charset=utf-8", export.CSV},
		"jsonl":   {"application/jsonl", export.JSONLines},
		"parquet": {"application/vnd.apache.parquet", export.Parquet},
	}
}

// tables is what an export has: groups with the columns wanted of each.
type tables struct {
	r       acquisition.Recording
	groups  []*acquisition.Group
	columns [][]acquisition.Channel
}

func (e exporter) tables(q web.ExportQuery) (*tables, error) {
	r, err := e.a.find(q.Recording)
	if err != nil {
		return nil, err
	}
	t := &tables{r: r}
	found := map[string]bool{}
	all := e.a.groups(r)
	for _, g := range all {
		if len(q.Groups) > 0 && !slices.Contains(q.Groups, g.Name) {
			continue
		}
		columns := g.Channels
		if len(q.Channels) > 0 {
			columns = nil
			for i := range g.Channels {
				if slices.Contains(q.Channels, g.Channels[i].Name) {
					columns = append(columns, g.Channels[i])
					found[g.Channels[i].Name] = true
				}
			}
		}
		if len(columns) > 0 {
			t.groups, t.columns = append(t.groups, g), append(t.columns, columns)
		}
	}
	for _, name := range q.Groups {
		if !slices.ContainsFunc(all, func(g *acquisition.Group) bool { return g.Name == name }) {
			return nil, web.NotFound("group", name)
		}
	}
	for _, name := range q.Channels {
		if !found[name] {
			return nil, web.NotFound("channel", name)
		}
	}
	if len(t.groups) == 0 {
		return nil, web.Refuse("recording "+r.ID+" has no groups", "look whether its rig stored anything")
	}
	return t, nil
}

// Describe says what a file will be. Several groups are several tables: sheets
// of a workbook, else files of an archive.
func (e exporter) Describe(_ context.Context, q web.ExportQuery) (web.ExportFile, bool, error) {
	format, table := tableFormats()[q.Format]
	if !table && q.Format != workbook {
		return web.ExportFile{}, false, nil
	}
	t, err := e.tables(q)
	switch {
	case err != nil:
		return web.ExportFile{}, true, err
	case !table:
		return web.ExportFile{Media: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Extension: workbook}, true, nil
	case len(t.groups) == 1:
		return web.ExportFile{Media: format.media, Extension: q.Format}, true, nil
	}
	return web.ExportFile{Media: "application/zip", Extension: q.Format + ".zip"}, true, nil
}

const workbook = "xlsx"

// Export writes the file.
func (e exporter) Export(ctx context.Context, w io.Writer, q web.ExportQuery) error {
	t, err := e.tables(q)
	if err != nil {
		return err
	}
	o := export.Options{From: t.r.Start, To: e.a.stop(t.r, e.a.store.Now()), Location: time.Local, Compile: configs.Compile, BOM: q.BOM}
	if len(t.groups) == 1 {
		o.Channels = t.columns[0]
	}
	format, table := tableFormats()[q.Format]
	switch {
	case !table && q.Format == workbook:
		var sheets []export.Table
		for _, g := range t.groups {
			sheets = append(sheets, export.Table{Name: g.Name, Blocks: e.a.blocks(ctx, t.r, g)})
		}
		_, err = export.XLSX(w, sheets, o)
		return err
	case !table:
		return web.Refuse("there is no format "+q.Format, "use csv, parquet, xlsx or jsonl")
	case len(t.groups) == 1:
		_, err = format.write(w, e.a.blocks(ctx, t.r, t.groups[0]), o)
		return err
	}
	z := zip.NewWriter(w)
	for i, g := range t.groups {
		file, err := z.CreateHeader(&zip.FileHeader{Name: g.Name + "." + q.Format, Method: zip.Deflate, Modified: time.Unix(0, t.r.Start)})
		if err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		o.Channels = t.columns[i]
		if _, err := format.write(file, e.a.blocks(ctx, t.r, g), o); err != nil {
			return errors.Join(err, z.Close())
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

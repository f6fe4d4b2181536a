package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"pneudaq/web"
)

// exportFlags say what `runs export` writes, and where.
type exportFlags struct {
	format   string
	out      string
	channels string
	bom      bool
}

func (x *exportFlags) add(f *flag.FlagSet) {
	f.StringVar(&x.format, "format", "", "csv, parquet, xlsx or jsonl (default: by the name of --out, else csv)")
	f.StringVar(&x.out, "out", "", "`file` to write (default: standard output)")
	f.StringVar(&x.channels, "channels", "", "only these channels, separated by commas")
	f.BoolVar(&x.bom, "bom", false, "begin a CSV with a byte-order mark, for Excel and WPS")
}

func (x *exportFlags) run(ctx context.Context, t *terminal, local *archive, far *remote, id string) (err error) {
	q := web.ExportQuery{Recording: id, Format: x.format, BOM: x.bom, Language: web.Language(t.lang)}
	if q.Format == "" {
		q.Format = "csv"
		if ext := strings.TrimPrefix(filepath.Ext(x.out), "."); ext != "" && ext != "zip" {
			q.Format = strings.ToLower(ext)
		}
	}
	if x.channels != "" {
		q.Channels = strings.Split(x.channels, ",")
	}
	w := t.out
	if x.out != "" {
		f, err := os.OpenFile(x.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			return fails(exitData, "%s is there already: name another file, nothing is overwritten", x.out)
		}
		if err != nil {
			return fails(exitIO, "export: %w", err)
		}
		defer func() {
			if e := f.Close(); e != nil && err == nil {
				err = fails(exitIO, "export: %w", e)
			}
		}()
		w = f
	}
	if q.Format != "xlsx" && strings.ToLower(filepath.Ext(x.out)) != ".zip" {
		w = &single{w: w}
	}
	if far != nil {
		return far.export(ctx, w, q)
	}
	return (exporter{local}).Export(ctx, w, q)
}

// single refuses an archive where one table was asked for: a recording with
// several groups has several.
type single struct {
	w    io.Writer
	seen bool
}

// Write passes the bytes on unless they begin an archive.
func (s *single) Write(p []byte) (int, error) {
	if !s.seen && len(p) > 0 {
		s.seen = true
		if strings.HasPrefix(string(p), "PK") {
			return 0, fails(exitUsage, "the recording has several groups, each a table of its own: name an archive with --out FILE.zip --format csv, one workbook with --out FILE.xlsx, or the channels of one group with --channels")
		}
	}
	return s.w.Write(p) //nolint:wrapcheck // the terminal's or the file's own error
}

func (r *remote) export(ctx context.Context, w io.Writer, q web.ExportQuery) error {
	v := url.Values{"format": {q.Format}}
	if q.BOM {
		v.Set("bom", "1")
	}
	if len(q.Channels) > 0 {
		v.Set("channels", strings.Join(q.Channels, ","))
	}
	resp, err := r.request(ctx, http.MethodGet, "/api/v1/recordings/"+url.PathEscape(q.Recording)+"/export?"+v.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fails(exitIO, "export: %w", err)
	}
	return nil
}

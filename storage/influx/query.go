package influx

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pneudaq/acquisition"
)

// queryFields is for how many channels one query asks: five columns each.
const queryFields = 50

// maxResult bounds what is read of a query's result.
const maxResult = 64 << 20

// wholeRange is a window that holds every range.
const wholeRange = time.Duration(1 << 62)

// Digests says what the database holds of a group: for each channel and window
// that is not empty, count, first, last and sum of the values and the count of
// quality fields. Windows begin at multiples of the window since the Unix epoch
// and are cut to [from, to), Unix ns. It asks by InfluxQL, which InfluxDB 1.8
// always and 2.x usually understands, and by Flux where that is not there.
func (s *Sink) Digests(ctx context.Context, g *acquisition.Group, from, to int64, window time.Duration) ([]acquisition.Digest, error) {
	if from >= to || window <= 0 {
		return nil, fmt.Errorf("digest of %s: the range [%d, %d) with windows of %v is empty", g.Key(), from, to, window)
	}
	var all []acquisition.Digest
	for first := 0; first < len(g.Channels); first += queryFields {
		part := *g
		part.Channels = g.Channels[first:min(first+queryFields, len(g.Channels))]
		d, err := s.byInfluxQL(ctx, &part, from, to, window)
		if err != nil && ctx.Err() == nil {
			var other error
			if d, other = s.byFlux(ctx, &part, from, to, window); other != nil {
				err = fmt.Errorf("digest of %s: by InfluxQL: %w; by Flux: %w", g.Key(), err, other)
			} else {
				err = nil
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, d...)
	}
	return all, nil
}

// Count returns how many values of one field of a series the database holds
// in [from, to), Unix ns.
func (s *Sink) Count(ctx context.Context, measurement string, tags map[string]string, field string, from, to int64) (uint64, error) {
	g := &acquisition.Group{
		Rig: tags["rig"], Site: tags["site"], Name: tags["group"], Measurement: measurement, Tags: tags,
		Channels: []acquisition.Channel{{Name: field}},
	}
	all, err := s.Digests(ctx, g, from, to, wholeRange)
	n := uint64(0)
	for _, d := range all {
		n += d.Count
	}
	return n, err
}

// seriesTags returns the tags of a group's series, also those that it must not
// have.
func seriesTags(g *acquisition.Group) map[string]string {
	tags := maps.Clone(g.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	tags["site"], tags["rig"], tags["group"] = g.Site, g.Rig, g.Name
	return tags
}

// endpoint returns the address of a path below the base.
func (s *Sink) endpoint(path string, query url.Values) string {
	u := *s.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	u.RawQuery = query.Encode()
	return u.String()
}

// ask sends a query and returns the body of a good answer.
func (s *Sink) ask(ctx context.Context, path string, query url.Values, contentType, accept, body string) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodPost, s.endpoint(path, query), strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", s.where, err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", accept)
	resp, err := s.query.Do(req)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", s.where, err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResult+1))
	err = errors.Join(err, resp.Body.Close())
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("query %s: %w", s.where, newAnswer(resp.StatusCode, resp.Header, text[:min(len(text), maxAnswer)]))
	case err != nil:
		return nil, fmt.Errorf("query %s: %w", s.where, err)
	case len(text) > maxResult:
		return nil, fmt.Errorf("query %s: the result is larger than %d MiB; ask for a shorter time", s.where, maxResult>>20)
	case !strings.HasPrefix(resp.Header.Get("Content-Type"), accept):
		return nil, fmt.Errorf("query %s: the answer is %q, not %s", s.where, resp.Header.Get("Content-Type"), accept)
	}
	return text, nil
}

// ident quotes a name for InfluxQL.
func ident(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// literal quotes a string for InfluxQL.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(s) + "'"
}

// influxQL returns the statement: columns c, f, l, s and q with the number of
// the channel.
func influxQL(g *acquisition.Group, policy string, from, to int64, window time.Duration) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	for i := range g.Channels {
		if i > 0 {
			b.WriteString(", ")
		}
		name, q := ident(clean(g.Channels[i].Name)), ident(clean(g.Channels[i].Name+QualitySuffix))
		fmt.Fprintf(&b, `count(%s) AS "c%d", first(%[1]s) AS "f%[2]d", last(%[1]s) AS "l%[2]d", sum(%[1]s) AS "s%[2]d", count(%[3]s) AS "q%[2]d"`, name, i, q)
	}
	b.WriteString(" FROM ")
	if policy != "" {
		b.WriteString(ident(policy) + ".")
	}
	fmt.Fprintf(&b, "%s WHERE time >= %d AND time < %d", ident(clean(g.Measurement)), from, to)
	tags := seriesTags(g)
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		v := tags[k]
		if v != "" {
			v = clean(v)
		}
		fmt.Fprintf(&b, " AND %s = %s", ident(clean(k)), literal(v))
	}
	if window < wholeRange {
		fmt.Fprintf(&b, " GROUP BY time(%dns) fill(none)", int64(window))
	}
	return b.String()
}

// byInfluxQL asks the /query endpoint.
func (s *Sink) byInfluxQL(ctx context.Context, g *acquisition.Group, from, to int64, window time.Duration) ([]acquisition.Digest, error) {
	form := url.Values{"q": {influxQL(g, s.policy, from, to, window)}, "db": {s.database}, "epoch": {"ns"}}
	if s.policy != "" {
		form.Set("rp", s.policy)
	}
	text, err := s.ask(ctx, "/query", nil, "application/x-www-form-urlencoded", "application/json", form.Encode())
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   string `json:"error"`
		Results []struct {
			Error  string `json:"error"`
			Series []struct {
				Columns []string        `json:"columns"`
				Values  [][]json.Number `json:"values"`
				Partial bool            `json:"partial"`
			} `json:"series"`
			Partial bool `json:"partial"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("read result of %s: %w", s.where, err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("query %s: %s", s.where, answer.Error)
	}
	var all []acquisition.Digest
	for _, r := range answer.Results {
		if r.Error != "" {
			return nil, fmt.Errorf("query %s: %s", s.where, r.Error)
		}
		for _, series := range r.Series {
			if series.Partial || r.Partial {
				return nil, fmt.Errorf("query %s: the server cut the result; ask for a shorter time", s.where)
			}
			for _, row := range series.Values {
				d, err := digestRow(g, series.Columns, row)
				if err != nil {
					return nil, fmt.Errorf("read result of %s: %w", s.where, err)
				}
				all = append(all, d...)
			}
		}
	}
	return all, nil
}

// digestRow reads one window of all channels.
func digestRow(g *acquisition.Group, columns []string, row []json.Number) ([]acquisition.Digest, error) {
	if len(row) != len(columns) || len(row) == 0 {
		return nil, fmt.Errorf("%d values in %d columns", len(row), len(columns))
	}
	at, err := row[0].Int64()
	if err != nil {
		return nil, fmt.Errorf("read time: %w", err)
	}
	all := make([]acquisition.Digest, len(g.Channels))
	for i := range all {
		all[i].Channel, all[i].From = g.Channels[i].Name, at
	}
	for j, name := range columns[1:] {
		text := row[j+1]
		if text == "" { // null
			continue
		}
		i, err := strconv.Atoi(name[1:])
		if err != nil || i >= len(all) {
			return nil, fmt.Errorf("column %q was not asked for", name)
		}
		v, err := text.Float64()
		if err != nil {
			return nil, fmt.Errorf("read column %s: %w", name, err)
		}
		set(&all[i], name[0], v)
	}
	return slices.DeleteFunc(all, func(d acquisition.Digest) bool { return d.Count == 0 && d.Flagged == 0 }), nil
}

func set(d *acquisition.Digest, column byte, v float64) {
	switch column {
	case 'c':
		d.Count = uint64(v)
	case 'q':
		d.Flagged = uint64(v)
	case 'f':
		d.First = v
	case 'l':
		d.Last = v
	case 's':
		d.Sum = v
	}
}

// fluxText quotes a string for Flux.
func fluxText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "${", `\${`).Replace(s) + `"`
}

func fluxTime(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339Nano) }

// flux returns the script: one table for each aggregate, field and window.
func flux(g *acquisition.Group, bucket string, from, to int64, window time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "data = from(bucket: %s)\n |> range(start: %s, stop: %s)\n |> filter(fn: (r) => r._measurement == %s",
		fluxText(bucket), fluxTime(from), fluxTime(to), fluxText(clean(g.Measurement)))
	tags := seriesTags(g)
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if tags[k] != "" {
			fmt.Fprintf(&b, " and r[%s] == %s", fluxText(clean(k)), fluxText(clean(tags[k])))
		} else {
			fmt.Fprintf(&b, " and not exists r[%s]", fluxText(clean(k)))
		}
	}
	// The range of InfluxDB 1.8 holds its stop.
	fmt.Fprintf(&b, " and r._time < %s)\n", fluxTime(to))
	for _, set := range []struct{ name, suffix string }{{"values", ""}, {"flags", QualitySuffix}} {
		fmt.Fprintf(&b, "%s = data |> filter(fn: (r) => ", set.name)
		for i := range g.Channels {
			if i > 0 {
				b.WriteString(" or ")
			}
			b.WriteString("r._field == " + fluxText(clean(g.Channels[i].Name+set.suffix)))
		}
		b.WriteString(")\n")
	}
	for _, q := range []struct{ set, fn, name string }{
		{"values", "count", "c"}, {"values", "first", "f"}, {"values", "last", "l"}, {"values", "sum", "s"}, {"flags", "count", "q"},
	} {
		b.WriteString(q.set)
		if window < wholeRange {
			fmt.Fprintf(&b, " |> window(every: %dns)", int64(window))
		}
		fmt.Fprintf(&b, " |> %s() |> duplicate(column: \"_start\", as: \"_time\") |> keep(columns: [\"_time\", \"_field\", \"_value\"]) |> yield(name: %q)\n", q.fn, q.name)
	}
	return b.String()
}

// byFlux asks the /api/v2/query endpoint.
func (s *Sink) byFlux(ctx context.Context, g *acquisition.Group, from, to int64, window time.Duration) ([]acquisition.Digest, error) {
	text, err := s.askFlux(ctx, flux(g, s.o.Bucket, from, to, window))
	if err != nil {
		return nil, err
	}
	all, err := fluxDigests(g, text, from, window)
	if err != nil {
		return nil, fmt.Errorf("read result of %s: %w", s.where, err)
	}
	return all, nil
}

// askFlux runs a script.
func (s *Sink) askFlux(ctx context.Context, script string) ([]byte, error) {
	query := url.Values{}
	if s.o.Org != "" {
		query.Set("org", s.o.Org)
	}
	body, err := json.Marshal(map[string]any{
		"query": script, "type": "flux",
		"dialect": map[string]any{"header": true, "delimiter": ",", "annotations": []string{}},
	})
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", s.where, err)
	}
	return s.ask(ctx, "/api/v2/query", query, "application/json", "text/csv", string(body))
}

// fluxDigests reads the tables of a result: one value for each aggregate, field
// and window.
func fluxDigests(g *acquisition.Group, text []byte, from int64, window time.Duration) ([]acquisition.Digest, error) {
	type place struct {
		field string
		at    int64
	}
	found := map[place]*acquisition.Digest{}
	err := fluxRows(text, func(cell func(name string) string) error {
		result, field := cell("result"), cell("_field")
		if result == "" || field == "" {
			return nil
		}
		at, err := time.Parse(time.RFC3339Nano, cell("_time"))
		if err != nil {
			return fmt.Errorf("read time: %w", err)
		}
		v, err := strconv.ParseFloat(cell("_value"), 64)
		if err != nil {
			return fmt.Errorf("read value: %w", err)
		}
		if result == "q" {
			field = strings.TrimSuffix(field, QualitySuffix)
		}
		start := from
		if window < wholeRange { // the first window is cut
			start = at.UnixNano()
			start -= (start%int64(window) + int64(window)) % int64(window)
		}
		p := place{field, start}
		if found[p] == nil {
			found[p] = &acquisition.Digest{From: start}
		}
		set(found[p], result[0], v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []acquisition.Digest
	for i := range g.Channels {
		name := clean(g.Channels[i].Name)
		for p, d := range found {
			if p.field == name {
				d.Channel = g.Channels[i].Name
				all = append(all, *d)
			}
		}
	}
	slices.SortFunc(all, func(a, b acquisition.Digest) int {
		return cmp.Or(strings.Compare(a.Channel, b.Channel), cmp.Compare(a.From, b.From))
	})
	return all, nil
}

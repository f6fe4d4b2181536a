package influx

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Gateways returns when each gateway last wrote its state for a rig since the
// given time, Unix ns. A second name says that two gateways write one rig. The
// state is what [AppendGateway] writes; it must have the figure "up".
func (s *Sink) Gateways(ctx context.Context, rig string, since int64) (map[string]int64, error) {
	found, err := s.gatewaysByInfluxQL(ctx, rig, since)
	if err == nil || ctx.Err() != nil {
		return found, err
	}
	found, other := s.gatewaysByFlux(ctx, rig, since)
	if other != nil {
		return nil, fmt.Errorf("gateways of rig %s: by InfluxQL: %w; by Flux: %w", rig, err, other)
	}
	return found, nil
}

func (s *Sink) gatewaysByInfluxQL(ctx context.Context, rig string, since int64) (map[string]int64, error) {
	from := ident(GatewayMeasurement)
	if s.policy != "" {
		from = ident(s.policy) + "." + from
	}
	q := fmt.Sprintf(`SELECT last("up") FROM %s WHERE "rig" = %s AND time >= %d GROUP BY "gateway"`, from, literal(clean(rig)), since)
	form := url.Values{"q": {q}, "db": {s.database}, "epoch": {"ns"}}
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
				Tags   map[string]string `json:"tags"`
				Values [][]json.Number   `json:"values"`
			} `json:"series"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("read result of %s: %w", s.where, err)
	}
	found := map[string]int64{}
	for _, r := range answer.Results {
		if r.Error != "" {
			return nil, fmt.Errorf("query %s: %s", s.where, r.Error)
		}
		for _, series := range r.Series {
			for _, row := range series.Values {
				if at, err := row[0].Int64(); err == nil {
					found[series.Tags["gateway"]] = at
				}
			}
		}
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("query %s: %s", s.where, answer.Error)
	}
	return found, nil
}

func (s *Sink) gatewaysByFlux(ctx context.Context, rig string, since int64) (map[string]int64, error) {
	script := fmt.Sprintf("from(bucket: %s) |> range(start: %s) |> filter(fn: (r) => r._measurement == %s and r._field == \"up\" and r.rig == %s) |> last() |> keep(columns: [\"_time\", \"gateway\"])",
		fluxText(s.o.Bucket), fluxTime(since), fluxText(GatewayMeasurement), fluxText(clean(rig)))
	text, err := s.askFlux(ctx, script)
	if err != nil {
		return nil, err
	}
	found := map[string]int64{}
	err = fluxRows(text, func(cell func(name string) string) error {
		at, err := time.Parse(time.RFC3339Nano, cell("_time"))
		if err != nil {
			return fmt.Errorf("read time: %w", err)
		}
		found[cell("gateway")] = max(found[cell("gateway")], at.UnixNano())
		return nil
	})
	return found, err
}

// fluxRows calls f for each row of the tables of a result in CSV.
func fluxRows(text []byte, f func(cell func(name string) string) error) error {
	r := csv.NewReader(strings.NewReader(string(text)))
	r.FieldsPerRecord = -1
	var names []string
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read CSV: %w", err)
		}
		if slices.Contains(row, "table") || slices.Contains(row, "error") {
			names = row
			continue
		}
		cell := func(name string) string {
			if i := slices.Index(names, name); i >= 0 && i < len(row) {
				return row[i]
			}
			return ""
		}
		if e := cell("error"); e != "" {
			return fmt.Errorf("flux: %s", e)
		}
		if err := f(cell); err != nil {
			return err
		}
	}
}

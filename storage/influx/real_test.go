package influx_test

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pneudaq/acquisition"
	"pneudaq/acquisition/acqtest"
	"pneudaq/storage/influx"
	"pneudaq/storage/influx/influxtest"
)

const window = 10 * time.Second

// expected digests blocks as the store does.
func expected(t *testing.T, blocks []*acquisition.Block, from, to int64) map[string]acquisition.Digest {
	t.Helper()
	out := map[string]acquisition.Digest{}
	for _, b := range blocks {
		d, err := acquisition.NewDecoder(b.Group, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := len(b.Group.Channels)
		values, quality := make([]float64, n), make([]acquisition.Quality, n)
		for i, at := range b.Times {
			if at < from || at >= to {
				continue
			}
			d.Decode(b.ScanWords(i), b.ScanNumbers(i), b.ScanQuality(i), values, quality)
			for c := range values {
				name := b.Group.Channels[c].Name
				start := at - at%int64(window)
				key := fmt.Sprint(name, " ", start)
				x, ok := out[key]
				if !ok {
					x = acquisition.Digest{Channel: name, From: start}
				}
				if quality[c] != acquisition.Good {
					x.Flagged++
				}
				if quality[c].Class() != acquisition.ClassBad {
					if x.Count == 0 {
						x.First = values[c]
					}
					x.Count++
					x.Last = values[c]
					x.Sum += values[c]
				}
				out[key] = x
			}
		}
	}
	return out
}

func compareDigests(t *testing.T, want map[string]acquisition.Digest, got []acquisition.Digest) {
	t.Helper()
	found := map[string]acquisition.Digest{}
	for _, d := range got {
		d.From -= d.From % int64(window)
		found[fmt.Sprint(d.Channel, " ", d.From)] = d
	}
	if diff := cmp.Diff(want, found, cmp.Comparer(func(a, b float64) bool {
		return a == b || math.Abs(a-b) < 1e-9*(math.Abs(a)+math.Abs(b))
	})); diff != "" {
		t.Errorf("digests (-store +database):\n%s", diff)
	}
}

// awkward is a group whose names need every escape there is.
func awkward(blocks []*acquisition.Block) *acquisition.Group {
	g := *blocks[0].Group
	g.Measurement, g.Rig, g.Site = `m "x", y=z`, `rig 'one', two=2\3`, "宁波"
	g.Tags = map[string]string{"line no": `a "b"`}
	g.Channels = []acquisition.Channel{g.Channels[0], g.Channels[1]}
	g.Channels[0].Name, g.Channels[1].Name = `p 1,"abs"=x`, `Δp\'2'`
	for _, b := range blocks {
		b.Group = &g
	}
	return &g
}

func TestRealInfluxDB(t *testing.T) {
	for _, withFlux := range []bool{false, true} {
		t.Run(fmt.Sprintf("flux enabled %v", withFlux), func(t *testing.T) {
			server := influxtest.StartReal(t, influxtest.RealOptions{Flux: withFlux})
			s := open(t, server.URL, func(o *influx.Options) { o.Gzip = withFlux })
			t.Run("F056 database missing, then created", func(t *testing.T) {
				blocks := acqtest.Blocks("first", 1, 10)
				_, err := s.Write(t.Context(), blocks)
				if h := hold(t, err); h.Status != http.StatusNotFound || !strings.Contains(h.Do, `CREATE DATABASE "pneudaq"`) {
					t.Errorf("hold %+v", h)
				}
				server.Query("", "CREATE DATABASE pneudaq")
				if _, err := s.Write(t.Context(), blocks); err != nil {
					t.Errorf("after CREATE DATABASE: %v", err)
				}
				other := open(t, server.URL, func(o *influx.Options) { o.Bucket = "pneudaq/nosuch" })
				_, err = other.Write(t.Context(), blocks)
				if h := hold(t, err); !strings.Contains(h.Do, `CREATE RETENTION POLICY "nosuch"`) {
					t.Errorf("hold %+v", h)
				}
			})
			t.Run("suite", func(t *testing.T) {
				acqtest.Sink(t, acqtest.SinkCase{
					Open: func(t *testing.T) acquisition.Sink {
						t.Helper()
						return open(t, server.URL)
					},
					Stored: func(_ *testing.T, g *acquisition.Group, channel string) map[int64]float64 {
						out := map[int64]float64{}
						for _, row := range server.Query("pneudaq", fmt.Sprintf(`SELECT %q FROM %q WHERE "group"='%s'`, channel, g.Measurement, g.Name)) {
							var at int64
							var v float64
							fmt.Sscan(fmt.Sprint(row[0]), &at)
							fmt.Sscan(fmt.Sprint(row[1]), &v)
							out[at] = v
						}
						return out
					},
				})
			})
			t.Run("digests", func(t *testing.T) {
				for _, name := range []string{"plain", "awkward"} {
					blocks := acqtest.Blocks(name, 6, 1000)
					g := blocks[0].Group
					if name == "awkward" {
						g = awkward(blocks)
					}
					if refused, err := s.Write(t.Context(), blocks); err != nil || len(refused) > 0 {
						t.Fatal(refused, err)
					}
					from, to := blocks[0].Times[500], blocks[5].Times[700]
					got, err := s.Digests(t.Context(), g, from, to, window)
					if err != nil {
						t.Fatal(err)
					}
					compareDigests(t, expected(t, blocks, from, to), got)
					n, err := s.Count(t.Context(), g.Measurement, map[string]string{"rig": g.Rig, "site": g.Site, "group": g.Name, "line no": g.Tags["line no"]}, g.Channels[0].Name, from, to)
					if err != nil || n != 5200 {
						t.Errorf("count %d, %v; want 5200", n, err)
					}
					n, err = s.Count(t.Context(), g.Measurement, map[string]string{"rig": g.Rig, "site": "elsewhere"}, g.Channels[0].Name, from, to)
					if err != nil || n != 0 {
						t.Errorf("count of a series that is not there: %d, %v", n, err)
					}
				}
			})
			if withFlux {
				t.Run("digests by Flux where InfluxQL is not there", func(t *testing.T) { fluxOnly(t, server) })
			}
			t.Run("F058 conflict of types", func(t *testing.T) {
				blocks := acqtest.Blocks("conflict", 2, 50)
				g := *blocks[0].Group
				g.Measurement = "conflicting"
				for _, b := range blocks {
					b.Group = &g
				}
				at := blocks[0].Times[0] // conflicts are within a shard: about the same time
				if err := s.Send(t.Context(), fmt.Appendf(nil, "conflicting,group=x b=\"text\" %d\n", at)); err != nil {
					t.Fatal(err)
				}
				refused, err := s.Write(t.Context(), append(blocks, acqtest.Blocks("fine", 1, 20)...))
				if err != nil {
					t.Fatal(err)
				}
				want := 0
				for _, b := range blocks {
					for _, slot := range b.Slots {
						if slot%7 != 0 { // those with a value for b
							want++
						}
					}
				}
				if len(refused) != want || !strings.Contains(refused[0].Reason, "field type conflict") {
					t.Errorf("%d refused, want %d: %+v", len(refused), want, refused[0])
				}
				rows := server.Query("pneudaq", `SELECT count("a") FROM "pneumatics" WHERE "group"='fine'`)
				if len(rows) != 1 || fmt.Sprint(rows[0][1]) != "20" {
					t.Errorf("the good lines beside them: %v", rows)
				}
			})
			t.Run("F060 outside retention", func(t *testing.T) {
				server.Query("", "CREATE RETENTION POLICY short ON pneudaq DURATION 1h REPLICATION 1")
				short := open(t, server.URL, func(o *influx.Options) { o.Bucket = "pneudaq/short" })
				refused, err := short.Write(t.Context(), acqtest.Blocks("old", 2, 50))
				if err != nil {
					t.Fatal(err)
				}
				if len(refused) != 100 || !strings.Contains(refused[0].Reason, "retention policy") {
					t.Errorf("%d refused: %+v", len(refused), refused[0])
				}
			})
			t.Run("gaps, events and gateways", func(t *testing.T) {
				blocks := acqtest.Blocks("gappy", 1, 3)
				blocks[0].Gaps = []acquisition.Gap{{From: blocks[0].Slots[2] + 1, To: blocks[0].Slots[2] + 5, Reason: acquisition.ReasonTimeout}}
				if refused, err := s.Write(t.Context(), blocks); err != nil || len(refused) > 0 {
					t.Fatal(refused, err)
				}
				rows := server.Query("pneudaq", `SELECT "count", "reason", "to_slot" FROM pneudaq_gap WHERE "group"='gappy'`)
				if want := fmt.Sprintf("4 timeout %d", blocks[0].Slots[2]+5); len(rows) != 1 || fmt.Sprint(rows[0][1], " ", rows[0][2], " ", rows[0][3]) != want {
					t.Errorf("gap rows %v, want %s", rows, want)
				}
				now := time.Now().UnixNano()
				lines := influx.AppendGateway(nil, "site", "rig 1", "gw-a", map[string]float64{"up": 1}, map[string]string{"version": "0.1"}, now-5e9)
				lines = influx.AppendGateway(lines, "site", "rig 1", "gw-a", map[string]float64{"up": 1}, nil, now)
				lines = influx.AppendGateway(lines, "site", "rig 1", "gw-b", map[string]float64{"up": 1}, nil, now-1e9)
				lines = influx.AppendGateway(lines, "site", "rig 1", "gw-old", map[string]float64{"up": 1}, nil, now-3600e9)
				lines = influx.AppendGateway(lines, "site", "rig 2", "gw-c", map[string]float64{"up": 1}, nil, now)
				lines = influx.AppendEvent(lines, "site", acquisition.Event{Time: now, Rig: "rig 1", Code: "bus_up", Detail: "line\nbreak"})
				if err := s.Send(t.Context(), lines); err != nil {
					t.Fatal(err)
				}
				got, err := s.Gateways(t.Context(), "rig 1", now-60e9)
				if diff := cmp.Diff(map[string]int64{"gw-a": now, "gw-b": now - 1e9}, got); err != nil || diff != "" {
					t.Errorf("F064 the other gateway is not seen: %v %s", err, diff)
				}
				if withFlux {
					got, err := open(t, onlyFlux(t, server)).Gateways(t.Context(), "rig 1", now-60e9)
					if diff := cmp.Diff(map[string]int64{"gw-a": now, "gw-b": now - 1e9}, got); err != nil || diff != "" {
						t.Errorf("F064 by Flux: %v %s", err, diff)
					}
				}
			})
		})
	}
}

// onlyFlux returns the address of a proxy that has no /query.
func onlyFlux(t *testing.T, server *influxtest.Real) string {
	t.Helper()
	return proxy(t, server.URL, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/query" {
			http.NotFound(w, r)
			return true
		}
		return false
	})
}

func fluxOnly(t *testing.T, server *influxtest.Real) {
	t.Helper()
	s := open(t, onlyFlux(t, server))
	for _, name := range []string{"viaflux", "awkward flux"} {
		blocks := acqtest.Blocks(name, 6, 1000)
		g := blocks[0].Group
		if strings.HasPrefix(name, "awkward") {
			g = awkward(blocks)
			g.Measurement = `m "f"`
		}
		if refused, err := s.Write(t.Context(), blocks); err != nil || len(refused) > 0 {
			t.Fatal(refused, err)
		}
		from, to := blocks[0].Times[500], blocks[5].Times[700]
		got, err := s.Digests(t.Context(), g, from, to, window)
		if err != nil {
			t.Fatal(err)
		}
		compareDigests(t, expected(t, blocks, from, to), got)
	}
}

func TestRealInfluxDBWithUsers(t *testing.T) {
	server := influxtest.StartReal(t, influxtest.RealOptions{Auth: true})
	server.Query("", "CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
	server.User = "admin:secret"
	server.Query("", "CREATE DATABASE pneudaq")
	server.Query("", "CREATE USER rig WITH PASSWORD 'rigpass'")
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, server.URL, func(o *influx.Options) { o.Token, o.TokenFile = nil, file })
	blocks := acqtest.Blocks("flow", 2, 10)
	put("rig:wrong")
	_, err := s.Write(t.Context(), blocks)
	if h := hold(t, err); h.Status != 401 {
		t.Errorf("F055 wrong password: %+v", h)
	}
	put("rig:rigpass")
	_, err = s.Write(t.Context(), blocks)
	if h := hold(t, err); h.Status != 403 || !strings.Contains(h.Do, `GRANT ALL ON "pneudaq"`) {
		t.Errorf("F055 no permission: %+v", h)
	}
	server.Query("", "GRANT ALL ON pneudaq TO rig")
	if _, err := s.Write(t.Context(), blocks); err != nil {
		t.Errorf("F055 after GRANT: %v", err)
	}
	d, err := s.Digests(t.Context(), blocks[0].Group, blocks[0].Times[0], blocks[1].Times[9]+1, time.Hour)
	if err != nil || len(d) != 2 || d[0].Count != 20 {
		t.Errorf("digests with a token: %+v %v", d, err)
	}
}

func TestRealInfluxDBTooLarge(t *testing.T) {
	server := influxtest.StartReal(t, influxtest.RealOptions{MaxBody: 5000})
	server.Query("", "CREATE DATABASE pneudaq")
	s := open(t, server.URL)
	if refused, err := s.Write(t.Context(), acqtest.Blocks("flow", 4, 100)); err != nil || len(refused) > 0 {
		t.Fatalf("F059: %v %v", refused, err)
	}
	rows := server.Query("pneudaq", `SELECT count("a") FROM "pneumatics"`)
	if len(rows) != 1 || fmt.Sprint(rows[0][1]) != "400" {
		t.Errorf("F059: %v, want 400 points", rows)
	}
}

func TestRealInfluxDBRestarts(t *testing.T) {
	server := influxtest.StartReal(t, influxtest.RealOptions{})
	server.Query("", "CREATE DATABASE pneudaq")
	s := open(t, server.URL)
	blocks := acqtest.Blocks("flow", 2, 100)
	if _, err := s.Write(t.Context(), blocks[:1]); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	var retry *influx.RetryError
	if _, err := s.Write(t.Context(), blocks[1:]); err == nil || !errorsAs(err, &retry) {
		t.Errorf("F050 database killed: %v, want a RetryError", err)
	}
	server.Start()
	if _, err := s.Write(t.Context(), blocks[1:]); err != nil {
		t.Errorf("F050 database back: %v", err)
	}
	rows := server.Query("pneudaq", `SELECT count("a") FROM "pneumatics"`)
	if len(rows) != 1 || fmt.Sprint(rows[0][1]) != "200" {
		t.Errorf("F050: %v, want 200 points", rows)
	}
}

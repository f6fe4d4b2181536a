package iso_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// evaluator computes the results of one vector under the keys of its expected
// member; what it computes beyond them is not compared. A result may hold
// numbers, bool, string, nil and slices and maps with string keys of these.
type evaluator func(v vector) (map[string]any, error)

// vector is one file of the schema pneuvec/1. Truth is for what a definition
// itself takes from it ("m fixed at its true value"), never for an answer.
type vector struct {
	Schema     string          `json:"schema"`
	ID         string          `json:"id"`
	Evaluator  string          `json:"evaluator"`
	Definition string          `json:"definition"`
	Inputs     json.RawMessage `json:"inputs"`
	Truth      json.RawMessage `json:"truth"`
	Expected   json.RawMessage `json:"expected"`
}

// arguments gives the plain numbers under key in the list of rows at path of
// the expected member: a table's arguments (the t of {"t": 0.5, "p": {...}})
// stand nowhere else in the file. A row or list that is absent gives nothing.
func (v vector) arguments(key string, path ...string) []float64 {
	var node any
	if json.Unmarshal(v.Expected, &node) != nil {
		return nil
	}
	for _, name := range path {
		object, _ := node.(map[string]any)
		node = object[name]
	}
	rows, _ := node.([]any)
	var list []float64
	for _, row := range rows {
		object, _ := row.(map[string]any)
		if x, ok := object[key].(float64); ok {
			list = append(list, x)
		}
	}
	return list
}

// TestVectors judges every file of every folder named in PNEUDAQ_VECTORS, or
// the copies in testdata. An evaluator that nobody has is a failure.
func TestVectors(t *testing.T) {
	folders := filepath.SplitList(os.Getenv("PNEUDAQ_VECTORS"))
	if len(folders) == 0 {
		folders = []string{filepath.Join("testdata", "vectors")}
	}
	evaluators := isoEvaluators()
	maps.Copy(evaluators, simEvaluators())
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatalf("list vectors of %s: %v", folder, err)
		}
		if len(files) == 0 {
			t.Errorf("folder %s holds no vectors", folder)
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".json")
			t.Run(name, func(t *testing.T) { judgeVector(t, file, evaluators) })
		}
	}
}

func judgeVector(t *testing.T, file string, evaluators map[string]evaluator) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	if v.Schema != "pneuvec/1" {
		t.Fatalf("schema %q, want pneuvec/1", v.Schema)
	}
	evaluate, ok := evaluators[v.Evaluator]
	if !ok {
		t.Fatalf("unknown evaluator %q", v.Evaluator)
	}
	// A refused input answers with its reason: some vectors expect that.
	got, err := evaluate(v)
	if err != nil {
		t.Logf("%s: %v", v.Evaluator, err)
		if got, err = refusal(err); err != nil {
			t.FailNow()
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(v.Expected))
	decoder.UseNumber()
	var want map[string]any
	if err := decoder.Decode(&want); err != nil {
		t.Fatalf("read expected of %s: %v", file, err)
	}
	var c comparison
	c.object("expected", want, got)
	for _, fault := range c.faults {
		t.Error(fault)
	}
	if c.leaves == 0 {
		t.Error("no expected value was compared")
	}
}

// follow replaces a pointer to a number by the number; nil is null.
func follow(got *any) {
	if x, ok := (*got).(*float64); ok {
		*got = nil
		if x != nil {
			*got = *x
		}
	}
}

// comparison walks an expected member and what an evaluator answered.
type comparison struct {
	leaves int
	faults []string
}

func (c *comparison) faultf(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *comparison) object(path string, want map[string]any, got any) {
	value := reflect.ValueOf(got)
	if value.Kind() != reflect.Map || value.Type().Key().Kind() != reflect.String {
		c.faultf("%s: got %T, want an object", path, got)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		entry := value.MapIndex(reflect.ValueOf(key))
		if !entry.IsValid() {
			if _, prose := want[key].(string); prose && isNote(key) {
				continue
			}
			c.faultf("%s.%s: not computed", path, key)
			continue
		}
		c.any(path+"."+key, want[key], entry.Interface())
	}
}

// isNote tells remarks for the reader from answers.
func isNote(key string) bool {
	return strings.HasSuffix(key, "note") || key == "grid" || strings.HasSuffix(key, "_check")
}

func (c *comparison) any(path string, want, got any) {
	follow(&got)
	switch want := want.(type) {
	case map[string]any:
		leaf, ok := want["value"]
		if !ok {
			c.object(path, want, got)
			return
		}
		tol := func(x float64) float64 {
			rel, _ := number(want["tol_rel"])
			abs, _ := number(want["tol_abs"])
			return max(abs, rel*math.Abs(x), 1e-12*math.Abs(x))
		}
		c.leaf(path, leaf, got, tol)
	case json.Number:
		c.leaf(path, want, got, func(x float64) float64 {
			if strings.Contains(path, ".published") {
				return rounding(want.String())
			}
			return 1e-12 * math.Abs(x)
		})
	case []any:
		c.list(path, want, got, c.any)
	default: // string, bool, null
		c.leaves++
		if value := reflect.ValueOf(got); value.Kind() == reflect.String {
			got = value.String()
		}
		if want != got {
			c.faultf("%s: got %v, want %v", path, got, want)
		}
	}
}

func (c *comparison) list(path string, want []any, got any, each func(path string, want, got any)) {
	value := reflect.ValueOf(got)
	if value.Kind() != reflect.Slice || value.Len() != len(want) {
		c.faultf("%s: got %v, want a list of %d", path, got, len(want))
		return
	}
	for i := range want {
		each(path+"["+strconv.Itoa(i)+"]", want[i], value.Index(i).Interface())
	}
}

// leaf compares a number, a list of numbers or null.
func (c *comparison) leaf(path string, want, got any, tol func(float64) float64) {
	switch want := want.(type) {
	case []any:
		c.list(path, want, got, func(path string, want, got any) { c.leaf(path, want, got, tol) })
	case json.Number:
		c.leaves++
		w, err := want.Float64()
		if err != nil {
			c.faultf("%s: %v", path, err)
			return
		}
		follow(&got)
		g, ok := number(got)
		if !ok {
			c.faultf("%s: got %v, want %v", path, got, want)
			return
		}
		if limit := tol(w); !(math.Abs(g-w) <= limit) {
			c.faultf("%s: got %.12g, want %.12g within %.3g (off by %.3g)", path, g, w, limit, g-w)
		}
	default:
		c.any(path, want, got)
	}
}

// rounding is half a unit of the last digit that a source printed. A whole
// number that was stored as a float ends in ".0", which nobody printed from
// 100 on.
func rounding(literal string) float64 {
	digits, _, _ := strings.Cut(strings.ToLower(literal), "e")
	_, fraction, _ := strings.Cut(digits, ".")
	x, _ := strconv.ParseFloat(literal, 64)
	if fraction == "0" && math.Abs(x) >= 100 {
		fraction = ""
	}
	exponent := 0
	if _, e, ok := strings.Cut(strings.ToLower(literal), "e"); ok {
		exponent, _ = strconv.Atoi(e)
	}
	return 0.5 * math.Pow(10, float64(exponent-len(fraction))) * (1 + 1e-9)
}

func number(x any) (float64, bool) {
	if n, ok := x.(json.Number); ok {
		f, err := n.Float64()
		return f, err == nil
	}
	switch value := reflect.ValueOf(x); {
	case !value.IsValid():
		return 0, false
	case value.CanFloat():
		return value.Float(), true
	case value.CanInt():
		return float64(value.Int()), true
	}
	return 0, false
}

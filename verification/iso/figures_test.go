package iso_test

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/figures.json from this build's figures")

// longestFigureList keeps traces out of the figures: their values are inputs.
const longestFigureList = 30

// flatten puts every number of a result under its path.
func flatten(path string, x any, into map[string]float64) {
	follow(&x)
	if f, ok := number(x); ok {
		into[path] = f
		return
	}
	value := reflect.ValueOf(x)
	if value.Kind() == reflect.Map {
		for _, key := range value.MapKeys() {
			flatten(path+"."+key.String(), value.MapIndex(key).Interface(), into)
		}
	}
	if value.Kind() == reflect.Slice {
		for i := range min(value.Len(), longestFigureList) {
			flatten(path+"."+strconv.Itoa(i), value.Index(i).Interface(), into)
		}
	}
}

// TestFigures compares every figure of every local vector with those of the
// build that recorded them: all platforms agree within 1e-6, whatever the
// tolerance of the vector is.
func TestFigures(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	got := map[string]float64{}
	evaluators := isoEvaluators()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		evaluate, ok := evaluators[v.Evaluator]
		if !ok {
			continue // the simulator's, judged by TestVectors
		}
		result, err := evaluate(v)
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		flatten(v.ID, result, got)
	}
	golden := filepath.Join("testdata", "figures.json")
	if *update {
		for path, x := range got {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				delete(got, path)
			}
		}
		text, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]float64
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for path, w := range want {
		g, ok := got[path]
		// What is 0 but for rounding has no digits to agree in. Residuals of
		// exact data are such.
		floor := 1e-14
		switch {
		case strings.HasSuffix(path, "rms_rel"):
			floor = 1e-13
		case strings.HasSuffix(path, ".dpc"):
			floor = 1e-6 // Pa, of a component that has none
		}
		if d := math.Abs(g - w); !ok || d > max(1e-6*math.Abs(w), floor) {
			t.Errorf("%s: got %.15g, want %.15g", path, g, w)
		} else if d > floor {
			worst = max(worst, d/math.Abs(w))
		}
	}
	t.Logf("%d figures, worst relative difference %.2g", len(want), worst)
}

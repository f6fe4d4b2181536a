package configs_test

import (
	"bytes"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"pneudaq/configs"
)

func compiledSchema(t *testing.T, k configs.Kind) *jsonschema.Schema {
	t.Helper()
	data, err := configs.Schema(k)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	name := "urn:pneudaq:schema:" + string(k) + ":1"
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatalf("%s: %v", k, err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestSchemaAcceptsTheBundle(t *testing.T) {
	t.Parallel()
	for dir, k := range map[string]configs.Kind{"rigs": configs.KindRig, "models": configs.KindModel, "wires": configs.KindWire} {
		s := compiledSchema(t, k)
		files, err := fs.ReadDir(configs.Bundle(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := valid(t, s, bundledText(t, path.Join(dir, f.Name()))); err != nil {
				t.Errorf("%s: %v", f.Name(), err)
			}
		}
	}
}

func TestSchemaOfEveryKindAcceptsAndRefuses(t *testing.T) {
	t.Parallel()
	good := map[configs.Kind]string{
		configs.KindInstrument: "version: 1\ninstrument: SN1\nunit: kPa_a\nrange: [0, 1000]\ncertificates:\n  - number: C1\n    laboratory: Lab\n    date: \"2026-03-31\"\n    due: \"2027-03-31\"\n    points:\n      - { reference: 0, indication: 0.1, U: 0.2 }\n",
		configs.KindService:    "version: 1\nservice: gateway\nrigs: [flow-bench, valve-stand]\ncommit: 1s\nmemory: 64MiB\nstore: { keep: always, size: 20GB }\n",
		configs.KindRig:        "version: 1\nrig: r\ngroups: { g: { period: 100ms } }\nchannels: { p: { group: g, device: d, holding: 0x10, type: uint16 } }\n",
		configs.KindModel:      "version: 1\nmodel: m\nsource: { document: d, page: p, revision: r, date: x }\ntrust: documented\naddress_base: 0\nregisters: { A: { holding: 0, type: uint16, unit: [bar_a, bar_g] } }\n",
		configs.KindWire:       "version: 1\nwire: w\naddress_base: 0\nregisters: { A: { coil: 0 } }\n",
	}
	for _, k := range configs.Kinds() {
		s := compiledSchema(t, k)
		if err := valid(t, s, good[k]); err != nil {
			t.Errorf("%s: %v", k, err)
		}
		if err := valid(t, s, good[k]+"colour: red\n"); err == nil {
			t.Errorf("%s: an unknown key is accepted", k)
		}
		if err := valid(t, s, strings.Replace(good[k], "version: 1", "version: 2", 1)); err == nil {
			t.Errorf("%s: version 2 is accepted", k)
		}
	}
	rig := compiledSchema(t, configs.KindRig)
	for _, wrong := range []string{"period: 100", "period: fast", "type: flaot32", "perod: 1s"} {
		text := strings.Replace(good[configs.KindRig], "period: 100ms", wrong, 1)
		if strings.HasPrefix(wrong, "type") {
			text = strings.Replace(good[configs.KindRig], "type: uint16", wrong, 1)
		}
		if err := valid(t, rig, text); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
	if _, err := configs.Schema("campaign-x"); err == nil {
		t.Error("an unknown kind has a schema")
	}
}

package configs_test

import (
	"testing"

	"pneudaq/configs"
)

func TestBundledRigsLoad(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"flow-bench"} {
		rigs, problems := configs.Load(name)
		if problems != nil {
			t.Fatalf("%s:\n%s", name, problems.Text(configs.English))
		}
		if len(rigs) != 1 || rigs[0].Name != name {
			t.Fatalf("%s: got %d rigs", name, len(rigs))
		}
		for _, w := range rigs[0].Warnings {
			t.Error(w.Text(configs.English))
		}
		if _, err := rigs[0].Simulator(); err != nil {
			t.Error(err)
		}
	}
}

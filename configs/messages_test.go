package configs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pneudaq/configs"
)

// codeNames returns the constants of codes with their values, and where else
// in the package each is used.
func codeNames(t *testing.T) (codes map[string]string, used map[string]bool) {
	t.Helper()
	codes, used = map[string]string{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.ValueSpec); ok && len(s.Values) == 1 && strings.HasPrefix(s.Names[0].Name, "pd") {
				if v, ok := s.Values[0].(*ast.BasicLit); ok && v.Kind == token.STRING {
					text, err := strconv.Unquote(v.Value)
					if err != nil {
						t.Fatal(err)
					}
					codes[s.Names[0].Name] = text
					return false
				}
			}
			if id, ok := n.(*ast.Ident); ok && name != "messages.go" {
				used[id.Name] = true
			}
			return true
		})
	}
	return codes, used
}

func TestEveryCodeIsUsedOnceAndTranslated(t *testing.T) {
	t.Parallel()
	codes, used := codeNames(t)
	if len(codes) < 100 {
		t.Fatalf("%d codes were found in the source", len(codes))
	}
	values := map[string]string{}
	for name, code := range codes {
		if other, twice := values[code]; twice {
			t.Errorf("%s belongs to %s and %s", code, name, other)
		}
		values[code] = name
		if !regexp.MustCompile(`^PD[0-9]{4}$`).MatchString(code) {
			t.Errorf("%s: code %q is not PD and four digits", name, code)
		}
		if !used[name] {
			t.Errorf("%s (%s) is used nowhere", name, code)
		}
	}
	all := configs.Messages()
	if !slices.IsSortedFunc(all, func(a, b configs.Message) int { return strings.Compare(string(a.Code), string(b.Code)) }) {
		t.Error("the catalogue is not in the order of its codes")
	}
	seen := map[configs.Code]bool{}
	for _, m := range all {
		if seen[m.Code] {
			t.Errorf("%s stands in the catalogue twice", m.Code)
		}
		seen[m.Code] = true
		delete(values, string(m.Code))
		checkMessage(t, &m)
	}
	for code, name := range values {
		t.Errorf("%s (%s) has no message", name, code)
	}
}

func checkMessage(t *testing.T, m *configs.Message) {
	t.Helper()
	for what, text := range map[string]string{"WhatEN": m.WhatEN, "DoEN": m.DoEN, "WhatZH": m.WhatZH, "DoZH": m.DoZH} {
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s: %s is empty", m.Code, what)
		}
	}
	han := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r >= 0x4e00 && r <= 0x9fff })
	}
	if !han(m.WhatZH) || !han(m.DoZH) {
		t.Errorf("%s: the Chinese text is not Chinese: %s; %s", m.Code, m.WhatZH, m.DoZH)
	}
	if han(m.WhatEN) || han(m.DoEN) {
		t.Errorf("%s: the English text is Chinese", m.Code)
	}
	arguments := func(s ...string) []string {
		found := regexp.MustCompile(`\{[0-9]\}`).FindAllString(strings.Join(s, " "), -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	if en, zh := arguments(m.WhatEN, m.DoEN), arguments(m.WhatZH, m.DoZH); !slices.Equal(en, zh) {
		t.Errorf("%s: the languages use different arguments: %v and %v", m.Code, en, zh)
	}
}

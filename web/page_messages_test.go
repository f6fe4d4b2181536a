package web_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"pneudaq/acquisition"
)

// pageMessages reads the words of the page: key to English and Chinese.
func pageMessages(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("page/messages.js")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^  "([^"]+)": (\[.*\]),$`)
	out := map[string][2]string{}
	for _, m := range line.FindAllSubmatch(text, -1) {
		var words []string
		if err := json.Unmarshal(m[2], &words); err != nil || len(words) != 2 {
			t.Errorf("message %s has not two texts: %s", m[1], m[2])
			continue
		}
		if _, twice := out[string(m[1])]; twice {
			t.Errorf("message %s is there twice", m[1])
		}
		out[string(m[1])] = [2]string{words[0], words[1]}
	}
	if n := bytes.Count(text, []byte(": [")); n != len(out) || n < 100 {
		t.Fatalf("page/messages.js has %d entries, of which %d are one to a line", n, len(out))
	}
	return out
}

func pageScripts(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS("page"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".js" || strings.HasPrefix(name, "vendor/") || name == "messages.js" {
			return err
		}
		text, err := os.ReadFile(path.Join("page", name))
		out[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPageMessagesAreInBothLanguages(t *testing.T) {
	place := regexp.MustCompile(`\{\d\}`)
	han := regexp.MustCompile(`\p{Han}`)
	for key, words := range pageMessages(t) {
		if words[0] == "" || words[1] == "" {
			t.Errorf("message %s is not in both languages: %q", key, words)
		}
		if !han.MatchString(words[1]) && key != "rec.uncertainty" {
			t.Errorf("message %s has no Chinese: %q", key, words[1])
		}
		if strings.ContainsFunc(words[0], func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Errorf("message %s has Chinese where English belongs: %q", key, words[0])
		}
		count := func(s string) map[string]int {
			n := map[string]int{}
			for _, p := range place.FindAllString(s, -1) {
				n[p]++
			}
			return n
		}
		en, zh := count(words[0]), count(words[1])
		for p := range en {
			if zh[p] == 0 {
				t.Errorf("message %s lacks %s in Chinese", key, p)
			}
		}
		for p := range zh {
			if en[p] == 0 {
				t.Errorf("message %s lacks %s in English", key, p)
			}
		}
	}
}

func TestPageUsesOnlyMessagesThatExist(t *testing.T) {
	have := pageMessages(t)
	whole := regexp.MustCompile(`\bt\("([^"]+)"(\s*\+)?`)
	quoted := regexp.MustCompile(`"([a-zA-Z]+)"`)
	used := map[string]bool{}
	prefixes := map[string]bool{}
	all := ""
	for name, text := range pageScripts(t) {
		all += text
		for _, m := range whole.FindAllStringSubmatch(text, -1) {
			if m[2] != "" {
				prefixes[m[1]] = true
				continue
			}
			used[m[1]] = true
			if _, ok := have[m[1]]; !ok {
				t.Errorf("%s uses message %s, which is not in page/messages.js", name, m[1])
			}
		}
	}
	if len(used) < 100 {
		t.Fatalf("only %d messages are used; is the pattern still right?", len(used))
	}
	words := map[string]bool{}
	for _, m := range quoted.FindAllStringSubmatch(all, -1) {
		words[m[1]] = true
	}
	for key := range have {
		prefix, rest, _ := strings.Cut(key, ".")
		built := prefixes[prefix+"."] && (words[rest] || words[strings.TrimSuffix(rest, "Why")] || prefix == "reason" || prefix == "event" || prefix == "completeness" || strings.Contains(all, rest))
		if !used[key] && !built && !strings.Contains(all, `"`+key+`"`) {
			t.Errorf("message %s is used nowhere", key)
		}
	}
	for prefix := range prefixes {
		found := false
		for key := range have {
			found = found || strings.HasPrefix(key, prefix)
		}
		if !found {
			t.Errorf("the page builds messages %s..., of which there is none", prefix)
		}
	}
}

func TestPageKnowsEveryReason(t *testing.T) {
	have := pageMessages(t)
	for _, r := range acquisition.Reasons() {
		if got, want := have["reason."+r.Name], [2]string{r.EN, r.ZH}; got != want {
			t.Errorf("reason %s of the page is %q, of the service %q", r.Name, got, want)
		}
	}
}

func TestPageIsSmallAndItsOwn(t *testing.T) {
	const most = 150_000 // compressed bytes of a first load
	total := 0
	foreign := regexp.MustCompile(`(?:src|href)="(?:https?:)?//|@import|url\(|\bon[a-z]+="|style="|<style|<script>|\beval\(|new Function`)
	err := fs.WalkDir(os.DirFS("page"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path.Join("page", name))
		if err != nil {
			return err
		}
		switch path.Ext(name) {
		case ".js", ".css", ".html", ".svg":
		default:
			return nil
		}
		if !strings.HasPrefix(name, "vendor/") {
			if found := foreign.Find(text); found != nil {
				t.Errorf("%s has %q: the page is its own and without inline code", name, found)
			}
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(text)
		if err := z.Close(); err != nil {
			return err
		}
		total += b.Len()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > most || total < 20_000 {
		t.Errorf("a first load is %d bytes compressed; at most %d", total, most)
	}
	t.Logf("first load: %d bytes compressed", total)
}

func TestVendoredFilesAreUnchanged(t *testing.T) {
	sums, err := os.ReadFile("page/vendor/uplot/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		text, err := os.ReadFile(path.Join("page/vendor/uplot", name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not the file that was vendored", name)
		}
		n++
	}
	if n != 3 {
		t.Errorf("SHA256SUMS names %d files, not 3", n)
	}
}

package configs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Language of what a person reads.
type Language string

// The languages of the message catalogue.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// Code names a kind of problem for good: PD and four digits.
type Code string

// Place is where in a file something is written. Line and Column count from 1,
// Column in characters; both are 0 for a problem of the file as a whole.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String returns file:line:column as far as it is known.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that a person must put right, with its place, what it
// means and what to do.
type Problem struct { //nolint:errname // what a person reads of is a problem
	Code  Code   `json:"code"`
	Place        // of what is wrong
	Where string `json:"where,omitempty"` // bus, device, channel or register, for example "channel p1"
	What  string `json:"what"`            // in English; [Problem.In] has the others
	Do    string `json:"do"`

	subject subject
	args    []string
	line    string // the line of the file
}

// subject is what a problem is about: a kind of thing and its name.
type subject struct{ kind, name string }

func (s subject) in(l Language) string {
	if s.kind == "" {
		return s.name
	}
	kind := s.kind
	if l == Chinese {
		if zh, ok := kindsChinese()[kind]; ok {
			kind = zh
		}
	}
	return strings.TrimSpace(kind + " " + s.name)
}

// In returns the problem with its texts in a language.
func (p Problem) In(l Language) Problem {
	m, ok := lookupMessage(p.Code)
	if !ok {
		return p
	}
	p.Where = p.subject.in(l)
	p.What, p.Do = expand(m.what(l), p.args), expand(m.do(l), p.args)
	return p
}

// Error returns place, code, subject, meaning and remedy in one line.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Place.String() + ": ") //nolint:staticcheck // String of the place, not of the problem
	b.WriteString(string(p.Code))
	b.WriteByte(' ')
	if p.Where != "" {
		b.WriteString(p.Where)
		b.WriteString(": ")
	}
	b.WriteString(p.What)
	if p.Do != "" {
		b.WriteString("; ")
		b.WriteString(p.Do)
	}
	return b.String()
}

// Text returns the problem over several lines, with the line of the file and
// a caret under the place.
func (p Problem) Text(l Language) string {
	q := p.In(l)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s ", q.Place, q.Code)
	if q.Where != "" {
		b.WriteString(q.Where + ": ")
	}
	b.WriteString(q.What + "\n")
	if p.Line > 0 && p.line != "" {
		number := strconv.Itoa(p.Line)
		line, column := shorten(p.line, p.Column)
		fmt.Fprintf(&b, "  %s | %s\n", number, line)
		fmt.Fprintf(&b, "  %s | %s^\n", strings.Repeat(" ", len(number)), margin(line, column))
	}
	if q.Do != "" {
		b.WriteString("  = " + q.Do + "\n")
	}
	return b.String()
}

// excerptWidth is how many characters of a line are shown at most.
const excerptWidth = 120

// shorten cuts a long line around a column.
func shorten(line string, column int) (cut string, at int) {
	r := []rune(line)
	if len(r) <= excerptWidth {
		return line, column
	}
	from := min(max(0, column-excerptWidth/2), len(r)-1)
	to := min(len(r), from+excerptWidth)
	return string(r[from:to]), column - from
}

// margin returns blanks as wide as what stands before a column: tabs stay
// tabs and wide characters take two.
func margin(line string, column int) string {
	var b strings.Builder
	for i, r := range []rune(line) {
		if i >= column-1 {
			break
		}
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xffe6):
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// Problems is all that is wrong, in the order of files and lines.
type Problems []Problem //nolint:errname // as above

// Error returns all problems in English, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems as an error, nil if there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Text returns all problems with their excerpts.
func (p Problems) Text(l Language) string {
	var b strings.Builder
	for i := range p {
		b.WriteString(p[i].Text(l))
	}
	return b.String()
}

// JSON returns the problems as an array of objects with the texts of a
// language.
func (p Problems) JSON(l Language) ([]byte, error) {
	all := make([]Problem, len(p))
	for i := range p {
		all[i] = p[i].In(l)
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode problems: %w", err)
	}
	return data, nil
}

// sorted orders by file, line and column and drops repeats.
func (p Problems) sorted(files []string) Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		if a.File != b.File {
			return slices.Index(files, a.File) - slices.Index(files, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.CompactFunc(p, func(a, b Problem) bool {
		return a.Code == b.Code && a.Place == b.Place && a.Where == b.Where && slices.Equal(a.args, b.args)
	})
}

// list collects problems.
type list struct {
	errors   Problems
	warnings Problems
	files    map[string]*document
	order    []string
}

func newList() *list { return &list{files: map[string]*document{}} }

func (l *list) make(at Place, s subject, c Code, args ...string) Problem {
	p := Problem{Code: c, Place: at, subject: s, args: args}
	if d := l.files[at.File]; d != nil && at.Line > 0 && at.Line <= len(d.lines) {
		p.line = shown(d.lines[at.Line-1])
	}
	return p.In(English)
}

// shown returns a line of a file as it may be printed: secrets and what a
// terminal would obey become marks of the same width.
func shown(line string) string {
	line = strings.ToValidUTF8(line, "?")
	line = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, line)
	for _, e := range []*regexp.Regexp{
		regexp.MustCompile(`(?i)(?:password|token|secret|api_?key)["']?\s*:\s*(?:"[^"]*"|'[^']*'|[^\s,}]+)`), regexp.MustCompile(`://[^/\s"']*@`),
	} {
		line = e.ReplaceAllStringFunc(line, func(s string) string {
			at := strings.Index(s, ":") + 1
			if strings.HasPrefix(s, "://") {
				at = 3
			}
			return s[:at] + strings.Map(func(r rune) rune {
				if strings.ContainsRune(` "'@`, r) {
					return r
				}
				return '*'
			}, s[at:])
		})
	}
	return line
}

// maxProblems is how many problems are kept: a person reads the first ones.
const maxProblems = 200

func (l *list) add(at Place, s subject, c Code, args ...string) {
	if len(l.errors) >= maxProblems {
		return
	}
	l.errors = append(l.errors, l.make(at, s, c, args...))
}

func (l *list) warn(at Place, s subject, c Code, args ...string) {
	if len(l.warnings) >= maxProblems {
		return
	}
	l.warnings = append(l.warnings, l.make(at, s, c, args...))
}

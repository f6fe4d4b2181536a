package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a file may be at most. A real rig of 500 channels takes 100 KiB.
const (
	MaxFile  = 1 << 20 // bytes
	MaxNodes = 100_000 // nodes, aliases expanded
	MaxLines = 10_000  // lines; the parser takes a time that grows with their square
	maxDepth = 40      // levels; the parser is recursive
	maxLine  = 4096    // bytes of one line, because each level takes at least one column
)

// nodeKind tells the nodes of a file apart.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	scalarNode
	mappingNode
	sequenceNode
)

// node is one value of a file with its place.
type node struct {
	kind   nodeKind
	text   string
	quoted bool // a scalar in quotes or a block is always text
	at     Place
	pairs  []pair
	items  []*node
}

// pair is one key of a mapping.
type pair struct {
	key   string
	at    Place
	value *node
}

// get returns the value of a key, nil if it is not there.
func (n *node) get(key string) *node {
	for i := range n.pairs {
		if n.pairs[i].key == key {
			return n.pairs[i].value
		}
	}
	return nil
}

// document is one file as read.
type document struct {
	name  string
	lines []string
	root  *node
}

// readFile reads a file, at most MaxFile bytes of it, and notes what is wrong.
func readFile(fsys fs.FS, name, shown string, l *list) *document {
	at := Place{File: shown}
	if _, seen := l.files[shown]; !seen {
		l.order = append(l.order, shown)
		l.files[shown] = nil
	}
	f, err := fsys.Open(name)
	if err != nil {
		l.add(at, subject{}, pdOpen, plainError(err))
		return nil
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		l.add(at, subject{}, pdOpen, plainError(err))
		return nil
	}
	if info.IsDir() {
		l.add(at, subject{}, pdDirectory)
		return nil
	}
	if info.Size() > MaxFile {
		l.add(at, subject{}, pdTooLarge, strconv.FormatInt(info.Size(), 10), strconv.Itoa(MaxFile))
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		l.add(at, subject{}, pdOpen, plainError(err))
		return nil
	}
	return parse(shown, data, l)
}

// plainError returns an error's text without the name of the file, which the
// place says already.
func plainError(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// parse turns the bytes of a file into nodes. It returns nil if there is
// nothing to work with.
func parse(name string, data []byte, l *list) *document {
	at := Place{File: name}
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if len(data) > MaxFile {
		l.add(at, subject{}, pdTooLarge, "> "+strconv.Itoa(MaxFile), strconv.Itoa(MaxFile))
		return nil
	}
	d := &document{name: name, lines: strings.Split(text, "\n")}
	l.files[name] = d
	if n := len(d.lines); n > MaxLines {
		l.add(at, subject{}, pdLines, strconv.Itoa(n), strconv.Itoa(MaxLines))
		return nil
	}
	if !checkText(text, d, l) {
		return nil
	}
	file, bad := parseYAML(text)
	if bad != nil {
		p := at
		if bad.token != nil && bad.token.Position != nil {
			p = d.place(bad.token)
		}
		l.add(p, subject{}, pdSyntax, bad.message)
		return nil
	}
	var bodies []*ast.DocumentNode
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc)
		}
	}
	if len(bodies) == 0 {
		l.add(at, subject{}, pdEmpty)
		return nil
	}
	if len(bodies) > 1 {
		l.add(d.place(bodies[1].Body.GetToken()), subject{}, pdDocuments)
		return nil
	}
	c := &converter{d: d, l: l, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	d.root = c.node(bodies[0].Body, 0)
	if c.full || c.holes || d.root == nil {
		return nil // what is missing would only lead to more problems
	}
	if d.root.kind != mappingNode {
		l.add(d.root.at, subject{}, pdNotMapping)
		return nil
	}
	return d
}

// checkText refuses what the parser would choke on or a person could not see.
func checkText(text string, d *document, l *list) bool {
	if !utf8.ValidString(text) {
		for i, line := range d.lines {
			if !utf8.ValidString(line) {
				good := strings.ToValidUTF8(line, "\ufffd")
				l.add(Place{File: d.name, Line: i + 1, Column: 1 + utf8.RuneCountInString(good[:strings.IndexRune(good, '\ufffd')])}, subject{}, pdUTF8)
				return false
			}
		}
	}
	depth := 0
	for i, line := range d.lines {
		if len(line) > maxLine {
			l.add(Place{File: d.name, Line: i + 1, Column: 1}, subject{}, pdLongLine, strconv.Itoa(len(line)), strconv.Itoa(maxLine))
			return false
		}
		blank := true
		entries := 0
		for j, r := range line {
			at := Place{File: d.name, Line: i + 1, Column: 1 + utf8.RuneCountInString(line[:j])}
			switch {
			case r == '\t' && blank:
				l.add(at, subject{}, pdTab)
				return false
			case r < ' ' && r != '\t' || r == 0x7f:
				l.add(at, subject{}, pdControl, fmt.Sprintf("U+%04X", r))
				return false
			case r == '[' || r == '{':
				depth++
			case r == ']' || r == '}':
				depth = max(0, depth-1)
			case (r == '-' || r == '?') && blank:
				entries++
			}
			if depth > maxDepth || entries > maxDepth || blank && j > 4*maxDepth && r != ' ' && r != '#' {
				l.add(at, subject{}, pdDepth, strconv.Itoa(maxDepth))
				return false
			}
			if r != ' ' && r != '-' && r != '?' {
				blank = false
			}
		}
	}
	return true
}

// syntaxError is what the parser said.
type syntaxError struct {
	message string
	token   *token.Token
}

// parseYAML parses. The parser is not ours and the text is anybody's, so a
// panic in it is a syntax error of the file and not the end of the service.
func parseYAML(text string) (file *ast.File, bad *syntaxError) {
	defer func() {
		if r := recover(); r != nil {
			file, bad = nil, &syntaxError{message: fmt.Sprint("the text confuses the reader: ", r)}
		}
	}()
	tokens := lexer.Tokenize(text)
	if t := tokens.InvalidToken(); t != nil {
		return nil, &syntaxError{message: t.Error, token: t}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if e, ok := errors.AsType[yaml.Error](err); ok {
			return nil, &syntaxError{message: e.GetMessage(), token: e.GetToken()}
		}
		return nil, &syntaxError{message: err.Error()}
	}
	return file, nil
}

// place returns where a token begins. The reader counts columns in characters
// from 1.
func (d *document) place(t *token.Token) Place {
	if t == nil || t.Position == nil {
		return Place{File: d.name}
	}
	return Place{File: d.name, Line: max(1, t.Position.Line), Column: max(1, t.Position.Column)}
}

// converter turns the parser's tree into nodes.
type converter struct {
	d       *document
	l       *list
	anchors map[string]ast.Node
	open    map[string]bool // aliases that are being expanded
	count   int
	full    bool
	holes   bool // something was left out
}

func (c *converter) node(n ast.Node, depth int) *node {
	if c.full || n == nil {
		return nil
	}
	at := c.d.place(n.GetToken())
	if c.count++; c.count > MaxNodes {
		c.full = true
		c.l.add(at, subject{}, pdNodes, strconv.Itoa(MaxNodes))
		return nil
	}
	if depth > maxDepth {
		c.full = true
		c.l.add(at, subject{}, pdDepth, strconv.Itoa(maxDepth))
		return nil
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(n, at, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(n, at, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		s := &node{kind: sequenceNode, at: at}
		for _, v := range n.Values {
			if item := c.node(v, depth+1); item != nil {
				s.items = append(s.items, item)
			}
		}
		if n.Start != nil {
			s.at = c.d.place(n.Start)
		}
		return s
	case *ast.NullNode:
		return &node{kind: nullNode, at: at}
	case *ast.StringNode:
		quoted := n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
		return &node{kind: scalarNode, text: n.Value, quoted: quoted, at: at}
	case *ast.LiteralNode:
		return &node{kind: scalarNode, text: n.Value.Value, quoted: true, at: at}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: scalarNode, text: n.GetToken().Value, at: at}
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		c.anchors[name] = n.Value
		return c.node(n.Value, depth)
	case *ast.AliasNode:
		return c.alias(n, at, depth)
	}
	c.holes = true
	c.l.add(at, subject{}, pdUnsupported, strings.ToLower(n.Type().String()))
	return nil
}

func (c *converter) alias(n *ast.AliasNode, at Place, depth int) *node {
	name := n.Value.GetToken().Value
	v, ok := c.anchors[name]
	if !ok || c.open[name] {
		c.holes = true
		c.l.add(at, subject{}, pdAlias, name)
		return nil
	}
	c.open[name] = true
	defer delete(c.open, name)
	return c.node(v, depth+1)
}

func (c *converter) mapping(n ast.Node, at Place, values []*ast.MappingValueNode, depth int) *node {
	m := &node{kind: mappingNode, at: at}
	if f, ok := n.(*ast.MappingNode); ok && f.IsFlowStyle && f.Start != nil {
		m.at = c.d.place(f.Start)
	} else if len(values) > 0 {
		m.at = c.d.place(values[0].Key.GetToken())
	}
	for _, v := range values {
		place := c.d.place(v.Key.GetToken())
		if v.Key.IsMergeKey() {
			c.holes = true
			c.l.add(place, subject{}, pdUnsupported, "merge key")
			continue
		}
		s, ok := v.Key.(ast.ScalarNode)
		if !ok {
			c.l.add(place, subject{}, pdKeyText)
			continue
		}
		key := s.GetToken().Value
		if before := c.find(m, key); before != nil {
			c.l.add(place, subject{}, pdDuplicateKey, key, strconv.Itoa(before.at.Line), strconv.Itoa(before.at.Column))
			continue
		}
		value := c.node(v.Value, depth+1)
		if value == nil {
			value = &node{kind: nullNode, at: place}
		}
		if value.kind == nullNode {
			value.at = place
		}
		m.pairs = append(m.pairs, pair{key: key, at: place, value: value})
	}
	return m
}

func (*converter) find(m *node, key string) *pair {
	for i := range m.pairs {
		if m.pairs[i].key == key {
			return &m.pairs[i]
		}
	}
	return nil
}

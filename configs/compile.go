package configs

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"pneudaq/acquisition"
)

// What an expression may be at most.
const (
	maxExpression = 1000 // characters
	maxTerms      = 200  // nodes
)

// ExpressionError says where in an expression something is wrong. Line and
// Column count from 1, in characters of the expression.
type ExpressionError struct {
	Text         string
	Line, Column int
	Message      string
}

// Error returns the expression with place and meaning.
func (e *ExpressionError) Error() string {
	return fmt.Sprintf("expression %q, line %d column %d: %s", e.Text, e.Line, e.Column, e.Message)
}

// evaluate computes from the values of a group's channels.
type evaluate func(values []float64) float64

// functionNames are the functions of expressions and how many arguments they
// take, -1 for one or more.
func functionNames() map[string]int {
	return map[string]int{"abs": 1, "sqrt": 1, "exp": 1, "log": 1, "pow": 2, "min": -1, "max": -1, "mean": -1}
}

// Compile turns an expression over named channels into a function: numbers,
// channels, + - * / **, comparisons, and or not, a ? b : c, and the functions
// abs, min, max, sqrt, exp, log, pow, mean. A condition is 1 where it holds and
// 0 where not. It implements [acquisition.Compile]; the function allocates
// nothing and may be shared. Errors are [*ExpressionError].
func Compile(text string, channels []string) (acquisition.Expression, error) {
	fail := func(line, column int, format string, a ...any) (acquisition.Expression, error) {
		return acquisition.Expression{}, &ExpressionError{Text: text, Line: line, Column: column, Message: fmt.Sprintf(format, a...)}
	}
	if strings.TrimSpace(text) == "" {
		return fail(1, 1, "it is empty")
	}
	if utf8.RuneCountInString(text) > maxExpression {
		return fail(1, 1, "it is longer than %d characters", maxExpression)
	}
	env := make(map[string]any, len(channels))
	for _, c := range channels {
		env[c] = 0.0
	}
	options := []expr.Option{expr.Env(env), expr.DisableAllBuiltins(), expr.Optimize(false), expr.MaxNodes(maxTerms)}
	for name, n := range functionNames() {
		var shape any = new(func(...float64) float64)
		switch n {
		case 1:
			shape = new(func(float64) float64)
		case 2:
			shape = new(func(float64, float64) float64)
		}
		options = append(options, expr.Function(name, func(...any) (any, error) { return 0.0, nil }, shape))
	}
	program, err := expr.Compile(text, options...)
	if err != nil {
		if e, ok := errors.AsType[*file.Error](err); ok {
			return fail(max(1, e.Line), e.Column+1, "%s", explain(e.Message, channels))
		}
		return fail(1, 1, "%s", err)
	}
	c := &compiler{channels: channels}
	f := c.node(program.Node())
	if c.bad != nil {
		line, column := lineOf(text, c.at)
		return fail(line, column, "%s", c.bad)
	}
	if len(c.operands) == 0 {
		return fail(1, 1, "it uses no channel of the group: there are %s", strings.Join(channels, ", "))
	}
	slices.Sort(c.operands)
	return acquisition.Expression{Operands: c.operands, Eval: f}, nil
}

// explain makes what the checker says useful to the author of a rig file.
func explain(message string, channels []string) string {
	name, ok := strings.CutPrefix(message, "unknown name ")
	if !ok {
		return message
	}
	known := slices.Clone(channels)
	for f := range functionNames() {
		known = append(known, f)
	}
	slices.Sort(known)
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("%s is no channel of the group; did you mean %s?", name, near)
	}
	return fmt.Sprintf("%s is no channel of the group: there are %s", name, strings.Join(channels, ", "))
}

// lineOf turns an offset in characters into line and column.
func lineOf(text string, offset int) (line, column int) {
	line, column = 1, 1
	for i, r := range []rune(text) {
		if i >= offset {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}

// compiler turns the checked tree into nested functions.
type compiler struct {
	channels []string
	operands []int
	bad      error
	at       int
}

func (c *compiler) fail(n ast.Node, format string, a ...any) evaluate {
	if c.bad == nil {
		c.bad, c.at = fmt.Errorf(format, a...), n.Location().From
	}
	return func([]float64) float64 { return math.NaN() }
}

func (c *compiler) node(n ast.Node) evaluate {
	switch n := n.(type) {
	case *ast.FloatNode:
		v := n.Value
		return func([]float64) float64 { return v }
	case *ast.IntegerNode:
		v := float64(n.Value)
		return func([]float64) float64 { return v }
	case *ast.BoolNode:
		v := truth(n.Value)
		return func([]float64) float64 { return v }
	case *ast.IdentifierNode:
		i := slices.Index(c.channels, n.Value)
		if i < 0 {
			return c.fail(n, "%s is no channel of the group", n.Value)
		}
		if !slices.Contains(c.operands, i) {
			c.operands = append(c.operands, i)
		}
		return func(v []float64) float64 { return v[i] }
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		when, then, other := c.node(n.Cond), c.node(n.Exp1), c.node(n.Exp2)
		return func(v []float64) float64 {
			if when(v) != 0 {
				return then(v)
			}
			return other(v)
		}
	case *ast.CallNode:
		name, ok := n.Callee.(*ast.IdentifierNode)
		if !ok {
			return c.fail(n, "only abs, min, max, sqrt, exp, log, pow and mean may be called")
		}
		return c.call(n, name.Value, n.Arguments)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	}
	return c.fail(n, "this is not part of expressions here: use numbers, channels, + - * / **, comparisons, and, or, not, a ? b : c and functions")
}

func truth(b bool) float64 { //nolint:revive // a bool as a number
	if b {
		return 1
	}
	return 0
}

func (c *compiler) unary(n *ast.UnaryNode) evaluate {
	f := c.node(n.Node)
	switch n.Operator {
	case "-":
		return func(v []float64) float64 { return -f(v) }
	case "+":
		return f
	case "!", "not":
		return func(v []float64) float64 { return truth(f(v) == 0) }
	}
	return c.fail(n, "operator %s is not part of expressions here", n.Operator)
}

func (c *compiler) binary(n *ast.BinaryNode) evaluate {
	a, b := c.node(n.Left), c.node(n.Right)
	switch n.Operator {
	case "+":
		return func(v []float64) float64 { return a(v) + b(v) }
	case "-":
		return func(v []float64) float64 { return a(v) - b(v) }
	case "*":
		return func(v []float64) float64 { return a(v) * b(v) }
	case "/":
		return func(v []float64) float64 { return a(v) / b(v) }
	case "**", "^":
		return func(v []float64) float64 { return math.Pow(a(v), b(v)) }
	case "<":
		return func(v []float64) float64 { return truth(a(v) < b(v)) }
	case "<=":
		return func(v []float64) float64 { return truth(a(v) <= b(v)) }
	case ">":
		return func(v []float64) float64 { return truth(a(v) > b(v)) }
	case ">=":
		return func(v []float64) float64 { return truth(a(v) >= b(v)) }
	case "==":
		return func(v []float64) float64 { return truth(a(v) == b(v)) }
	case "!=":
		return func(v []float64) float64 { return truth(a(v) != b(v)) }
	case "and", "&&":
		return func(v []float64) float64 { return truth(a(v) != 0 && b(v) != 0) }
	case "or", "||":
		return func(v []float64) float64 { return truth(a(v) != 0 || b(v) != 0) }
	}
	return c.fail(n, "operator %s is not part of expressions here", n.Operator)
}

func (c *compiler) call(n ast.Node, name string, arguments []ast.Node) evaluate {
	want, ok := functionNames()[name]
	if !ok {
		return c.fail(n, "function %s is not one of abs, min, max, sqrt, exp, log, pow, mean", name)
	}
	if len(arguments) == 0 || want > 0 && len(arguments) != want {
		return c.fail(n, "%s takes %d argument(s), not %d", name, max(1, want), len(arguments))
	}
	args := make([]evaluate, len(arguments))
	for i := range arguments {
		args[i] = c.node(arguments[i])
	}
	a := args[0]
	switch name {
	case "abs":
		return func(v []float64) float64 { return math.Abs(a(v)) }
	case "sqrt":
		return func(v []float64) float64 { return math.Sqrt(a(v)) }
	case "exp":
		return func(v []float64) float64 { return math.Exp(a(v)) }
	case "log":
		return func(v []float64) float64 { return math.Log(a(v)) }
	case "pow":
		b := args[1]
		return func(v []float64) float64 { return math.Pow(a(v), b(v)) }
	case "min":
		return fold(args, math.Min)
	case "max":
		return fold(args, math.Max)
	}
	sum := fold(args, func(x, y float64) float64 { return x + y })
	count := float64(len(args))
	return func(v []float64) float64 { return sum(v) / count }
}

func fold(args []evaluate, f func(x, y float64) float64) evaluate {
	return func(v []float64) float64 {
		r := args[0](v)
		for _, a := range args[1:] {
			r = f(r, a(v))
		}
		return r
	}
}

// expressions compiles what is derived and what is watched.
func (o *loader) expressions(r *Rig) {
	for i := range r.file.Derived.V {
		e := &r.file.Derived.V[i]
		if c := r.Channel(e.Key); c != nil && c.Origin == FromExpression && e.V.Expr.Set && r.Group(c.Group) != nil {
			o.expression(r, e.V.Expr, c.Group, e.Key, subject{"channel", e.Key})
		}
	}
	for i := range r.file.Limits.V {
		e := &r.file.Limits.V[i]
		f := &e.V
		s := subject{"limit", e.Key}
		l := Limit{Name: e.Key, Group: f.Group.V, When: f.When.V, For: f.For.V, Do: f.Do.V, Text: f.Text.V, Place: e.At}
		if l.Do == "" {
			l.Do = "warn"
		}
		if l.Do == "safe" && len(r.file.Safe.V) == 0 {
			o.l.add(f.Do.At, s, pdNoSafeState)
		}
		if f.Group.Set && reference(o, f.Group, s, "group", r.Groups, func(g *Group) string { return g.Name }) != nil && f.When.Set {
			o.expression(r, f.When, l.Group, "", s)
		}
		r.Limits = append(r.Limits, l)
	}
}

// expression compiles over the channels of a group and places the error in
// the file.
func (o *loader) expression(r *Rig, text value[string], group, self string, s subject) {
	var names []string
	for i := range r.Channels {
		c := &r.Channels[i]
		if c.Group == group && c.Name != self && c.Origin != FromExpression {
			names = append(names, c.Name)
		}
	}
	_, err := Compile(text.V, names)
	if err == nil {
		return
	}
	e, ok := errors.AsType[*ExpressionError](err)
	if !ok {
		return
	}
	at := text.At
	if d := o.l.files[at.File]; d != nil && e.Line == 1 && at.Line <= len(d.lines) {
		line := []rune(d.lines[at.Line-1])
		if at.Column <= len(line) {
			if c := line[at.Column-1]; c == '"' || c == '\'' {
				at.Column++
			}
		}
		at.Column += e.Column - 1
	}
	// A name that exists in another group is the most frequent mistake.
	word, _, _ := strings.Cut(e.Message, " ")
	for i := range r.Channels {
		c := &r.Channels[i]
		if c.Name == word && c.Group != group {
			o.l.add(at, s, pdOtherGroup, word, c.Group, group)
			return
		}
		if c.Name == word && c.Origin == FromExpression {
			o.l.add(at, s, pdDerivedOfDerived, word)
			return
		}
	}
	o.l.add(at, s, pdExpression, e.Message)
}

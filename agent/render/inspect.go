package render

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"text/template"
	"text/template/parse"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Bounds of a template as it is written.
const (
	maxSource  = 256 << 10
	maxNesting = 60 // of actions within one another, and of pipelines in parentheses
	maxDepth   = 60 // of templates that use templates
)

// inspect looks at every branch of the template, also those that no trial
// takes, for functions with a wrong number of arguments, fields and templates
// that do not exist, and notes which functions are called and which texts are
// written in it.
func (t *Template) inspect() (err error) {
	t.literals = map[string]bool{}
	t.note(step, enter, leave)
	look := func(n parse.Node, depth int) {
		if depth > maxNesting && err == nil {
			err = fmt.Errorf("is nested more than %d deep", maxNesting)
		}
		var bad error
		switch n := n.(type) {
		case *parse.StringNode:
			t.literals[n.Text] = true
		case *parse.IdentifierNode:
			if every[n.Ident] != nil {
				t.note(n.Ident)
			}
		case *parse.PipeNode:
			if bad = wrongPipe(n); bad == nil {
				t.asks.note(n)
			}
		case *parse.TemplateNode:
			if in := t.t.Lookup(n.Name); in == nil || in.Tree == nil {
				bad = fmt.Errorf("template %q is not defined", n.Name)
			}
		}
		if err == nil {
			err = bad
		}
	}
	for _, tmpl := range t.t.Templates() {
		if tmpl.Tree != nil {
			walk(tmpl.Root, 0, look)
		}
	}
	return err
}

// Asks is what a template asks of Parameter Store and Secrets Manager, as far as
// that is written in it.
type Asks struct {
	Named  facts.References // what it names, each once
	Unsaid []string         // the functions of which it makes a name when it is rendered
}

// Add returns what a and b ask for together, in order.
func (a Asks) Add(b Asks) Asks {
	a.Named = slices.SortedFunc(slices.Values(slices.Concat(a.Named, b.Named)), facts.ParameterRef.Compare)
	a.Unsaid = slices.Sorted(slices.Values(slices.Concat(a.Unsaid, b.Unsaid)))
	return Asks{slices.Compact(a.Named), slices.Compact(a.Unsaid)}
}

func (a *Asks) note(p *parse.PipeNode) {
	for i, c := range p.Cmds {
		fn, ok := c.Args[0].(*parse.IdentifierNode)
		if !ok || !slices.Contains([]string{facts.SSMParameter, facts.SSMTree, facts.ASecret}, fn.Ident) {
			continue
		}
		var name parse.Node
		switch {
		case len(c.Args) > 1:
			name = c.Args[1]
		case i > 0:
			name = p.Cmds[i-1]
		}
		if text, written := literal(name); written {
			*a = a.Add(Asks{Named: facts.References{{Kind: fn.Ident, Name: text}}})
		} else {
			*a = a.Add(Asks{Unsaid: []string{fn.Ident}})
		}
	}
}

func (t *Template) note(names ...string) {
	for _, name := range names {
		if !slices.Contains(t.calls, name) {
			t.calls = append(t.calls, name)
		}
	}
}

// lighten leaves only those functions with the template that it calls: each
// rendering copies them.
func (t *Template) lighten() error {
	called := template.FuncMap{}
	for _, name := range t.calls {
		called[name] = every[name]
	}
	light := template.New(t.name).Option("missingkey=error").Funcs(called)
	for _, one := range t.t.Templates() {
		if one.Tree == nil {
			continue
		}
		if _, err := light.AddParseTree(one.Name(), one.Tree); err != nil {
			return err
		}
	}
	t.t = light
	return nil
}

// wrongPipe says what is wrong with a pipeline as it is written.
func wrongPipe(p *parse.PipeNode) error {
	for i, c := range p.Cmds {
		var piped parse.Node
		if i > 0 {
			piped = p.Cmds[i-1]
		}
		for k, arg := range c.Args {
			fn, ok := arg.(*parse.IdentifierNode)
			if !ok {
				continue
			}
			var err error
			if k == 0 {
				err = wrongCall(fn.Ident, c.Args[1:], piped)
			} else { // as an argument, a function is called without any
				err = wrongCall(fn.Ident, nil, nil)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// builtins are the functions of text/template that are taken as they are, with
// the least and the greatest number of their arguments; -1: any.
var builtins = map[string][2]int{
	"and": {1, -1}, "or": {1, -1}, "not": {1, 1}, "len": {1, 1}, "index": {1, -1}, "slice": {1, 4},
	"eq": {2, -1}, "ne": {2, 2}, "lt": {2, 2}, "le": {2, 2}, "gt": {2, 2}, "ge": {2, 2}, "call": {1, -1},
}

// atMost is how many arguments functions take whose type would take more.
var atMost = map[string]int{"tag": 2, "ssm": 2, "secret": 2}

func wrongCall(name string, args []parse.Node, piped parse.Node) error {
	given := len(args)
	if piped != nil {
		given++
	}
	least, most := builtins[name][0], builtins[name][1]
	fn := every[name]
	if fn != nil {
		f := reflect.TypeOf(fn)
		if least, most = f.NumIn(), f.NumIn(); f.IsVariadic() {
			least, most = least-1, -1
		}
		if n, bounded := atMost[name]; bounded {
			most = n
		}
	}
	switch {
	case given < least && least == most:
		return fmt.Errorf("wrong number of args for %s: want %d got %d", name, least, given)
	case given < least:
		return fmt.Errorf("wrong number of args for %s: want at least %d got %d", name, least, given)
	case most >= 0 && given > most && fn != nil && most > least:
		return fmt.Errorf("wrong number of args for %s: it takes at most one default or key", name)
	case most >= 0 && given > most:
		return fmt.Errorf("wrong number of args for %s: want %d got %d", name, most, given)
	case given == 0:
		return nil
	}
	first := piped
	if len(args) > 0 {
		first = args[0]
	}
	text, isText := literal(first)
	if !isText {
		return nil
	}
	switch name {
	case "node":
		if !isField(text) {
			return unknownField(text)
		}
	case "ssm", "ssmTree", "secret":
		_, err := refOf(name, text)
		return err
	case "file":
		return checkFileName(text)
	}
	return nil
}

// literal is the text that a node is, in parentheses or not.
func literal(n parse.Node) (string, bool) {
	switch n := n.(type) {
	case *parse.StringNode:
		return n.Text, true
	case *parse.CommandNode:
		if len(n.Args) == 1 {
			return literal(n.Args[0])
		}
	case *parse.PipeNode:
		if len(n.Cmds) == 1 && len(n.Decl) == 0 {
			return literal(n.Cmds[0])
		}
	}
	return "", false
}

func checkFileName(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("file %q: expected a name below the directory of files, without dots that climb", name)
	}
	return nil
}

// Names of functions that are put into templates: at the head of each turn of a
// loop, and at the head and the end of each template that is used.
const (
	step  = "_step"
	enter = "_enter"
	leave = "_leave"
	weigh = "_weigh"
)

var errTooDeep = errors.New("has templates that use each other without end")

// countSteps makes every turn of a loop, and every use of a template, count with
// what is in it, and what is compared with its length.
func (t *Template) countSteps() {
	for _, tmpl := range t.t.Templates() {
		if tmpl.Tree == nil {
			continue
		}
		walk(tmpl.Root, 0, func(n parse.Node, _ int) {
			if c, ok := n.(*parse.CommandNode); ok {
				t.weighed(c)
			}
			if loop, ok := n.(*parse.RangeNode); ok {
				prepend(loop.List, fmt.Sprintf("{{ %s %d }}", step, cost(loop.List)))
			}
		})
		price := cost(tmpl.Root)
		prepend(tmpl.Root, fmt.Sprintf("{{ %s %d }}", enter, price))
		tmpl.Root.Nodes = append(tmpl.Root.Nodes, action("{{ "+leave+" }}"))
	}
}

// weighed makes a comparison count with the length of its first argument.
func (t *Template) weighed(c *parse.CommandNode) {
	fn, ok := c.Args[0].(*parse.IdentifierNode)
	if !ok || len(c.Args) < 2 || !slices.Contains([]string{"eq", "ne", "lt", "le", "gt", "ge"}, fn.Ident) {
		return
	}
	t.note(weigh)
	pipe := action("{{ " + weigh + " 0 }}").(*parse.ActionNode).Pipe
	pipe.Cmds[0].Args[1] = c.Args[1]
	c.Args[1] = pipe
}

// cost is what going through a list once is as good as, in bytes.
func cost(l *parse.ListNode) int {
	const perNode = 64
	n := 1
	walk(l, 0, func(parse.Node, int) { n++ })
	return n * perNode
}

func prepend(l *parse.ListNode, src string) { l.Nodes = slices.Insert(l.Nodes, 0, action(src)) }

func action(src string) parse.Node {
	trees, err := parse.Parse("step", src, "", "", every)
	if err != nil {
		panic(err) // it is written above
	}
	return trees["step"].Root.Nodes[0]
}

// walk calls f for n and every node below it, with how deep it stands.
func walk(n parse.Node, depth int, f func(n parse.Node, depth int)) {
	f(n, depth)
	depth++
	pipe := func(p *parse.PipeNode) {
		if p != nil {
			walk(p, depth, f)
		}
	}
	list := func(l *parse.ListNode) {
		if l != nil {
			walk(l, depth, f)
		}
	}
	branch := func(b *parse.BranchNode) { pipe(b.Pipe); list(b.List); list(b.ElseList) }
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			walk(c, depth, f)
		}
	case *parse.ActionNode:
		pipe(n.Pipe)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			walk(c, depth, f)
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			walk(a, depth, f)
		}
	case *parse.ChainNode: // (pipeline).Field
		walk(n.Node, depth, f)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.TemplateNode:
		pipe(n.Pipe)
	}
}

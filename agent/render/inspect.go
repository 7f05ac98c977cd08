package render

import (
	"fmt"
	"reflect"
	"slices"
	"text/template"
	"text/template/parse"
)

// inspect looks at every branch of the template, also those that no trial
// takes, for functions with a wrong number of arguments and fields that do not
// exist, and notes which functions are called.
func (t *Template) inspect() (err error) {
	note := func(name string) {
		if !slices.Contains(t.calls, name) {
			t.calls = append(t.calls, name)
		}
	}
	note(step)
	for _, tmpl := range t.t.Templates() {
		if tmpl.Tree == nil {
			continue
		}
		walk(tmpl.Root, func(c *parse.CommandNode, piped bool) {
			for _, arg := range c.Args {
				if fn, ok := arg.(*parse.IdentifierNode); ok && every[fn.Ident] != nil {
					note(fn.Ident)
				}
			}
			if err == nil {
				err = wrong(c, piped)
			}
		})
	}
	return err
}

// lighten leaves only those functions with the template that it calls: each
// rendering copies them.
func (t *Template) lighten() (err error) {
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

// wrong says what is wrong with a command as it is written.
func wrong(c *parse.CommandNode, piped bool) error {
	fn, ok := c.Args[0].(*parse.IdentifierNode)
	if !ok || every[fn.Ident] == nil {
		return nil
	}
	given := len(c.Args) - 1
	if piped {
		given++
	}
	f := reflect.TypeOf(every[fn.Ident])
	switch least := f.NumIn(); {
	case f.IsVariadic() && given < least-1:
		return fmt.Errorf("wrong number of args for %s: want at least %d got %d", fn.Ident, least-1, given)
	case !f.IsVariadic() && given != least:
		return fmt.Errorf("wrong number of args for %s: want %d got %d", fn.Ident, least, given)
	}
	if piped || given == 0 {
		return nil
	}
	arg, isText := c.Args[1].(*parse.StringNode)
	if !isText {
		return nil
	}
	switch fn.Ident {
	case "node":
		if !isField(arg.Text) {
			return unknownField(arg.Text)
		}
	case "ssm", "ssmTree", "secret":
		_, err := refOf(fn.Ident, arg.Text)
		return err
	}
	return nil
}

// countSteps makes every turn of a loop, and every use of a template, count.
func (t *Template) countSteps() {
	for _, tmpl := range t.t.Templates() {
		if tmpl.Tree == nil {
			continue
		}
		count(tmpl.Root)
		lists(tmpl.Root, func(n *parse.RangeNode) { count(n.List) })
	}
}

// count puts a call of step, with what the list costs, at its head.
func count(l *parse.ListNode) {
	const perNode = 64 // bytes that a step of a template is as good as
	call := fmt.Sprintf("{{ %s %d }}", step, perNode*(1+len(l.Nodes)))
	trees, err := parse.Parse("step", call, "", "", every)
	if err != nil {
		panic(err) // it is written above
	}
	l.Nodes = slices.Insert(l.Nodes, 0, trees["step"].Root.Nodes[0])
}

// lists calls f for every loop below n.
func lists(n parse.Node, f func(*parse.RangeNode)) {
	both := func(b *parse.BranchNode) {
		lists(b.List, f)
		if b.ElseList != nil {
			lists(b.ElseList, f)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			lists(c, f)
		}
	case *parse.RangeNode:
		f(n)
		both(&n.BranchNode)
	case *parse.IfNode:
		both(&n.BranchNode)
	case *parse.WithNode:
		both(&n.BranchNode)
	}
}

// walk calls f for every command below n; piped says that it gets one more
// argument from the command before it.
func walk(n parse.Node, f func(c *parse.CommandNode, piped bool)) {
	pipe := func(p *parse.PipeNode) {
		if p != nil {
			walk(p, f)
		}
	}
	list := func(l *parse.ListNode) {
		if l != nil {
			walk(l, f)
		}
	}
	branch := func(b *parse.BranchNode) { pipe(b.Pipe); list(b.List); list(b.ElseList) }
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			walk(c, f)
		}
	case *parse.ActionNode:
		pipe(n.Pipe)
	case *parse.PipeNode:
		for i, c := range n.Cmds {
			f(c, i > 0)
			for _, a := range c.Args {
				walk(a, f)
			}
		}
	case *parse.ChainNode: // (pipeline).Field
		walk(n.Node, f)
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

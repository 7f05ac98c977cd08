// Package render turns templates over facts into text.
//
// Rendering is pure: it reads no clock, file or network, and the same inputs
// give the same bytes. What a template asks for and the inputs do not have is
// returned as a [MissingError], for the caller to decide about.
package render

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// MaxOutput bounds what one template may yield, in bytes.
const MaxOutput = 1 << 20

// Inputs are what templates may ask for.
type Inputs struct {
	Instance facts.Instance
	// Cluster is the ECS cluster the node's agent joins; empty: not known yet.
	Cluster string
}

// Missing is one thing that a template asked for in vain.
type Missing struct {
	What     string         // as written in the template: `tag "env"`
	Presence facts.Presence // facts.Absent or facts.Unavailable
	Why      string         // where it was looked for, or why nobody could
}

func (m Missing) String() string {
	if m.Presence == facts.Absent {
		return fmt.Sprintf("%s is absent (%s)", m.What, m.Why)
	}
	return fmt.Sprintf("%s is not known (%s)", m.What, m.Why)
}

// MissingError lists all that one rendering lacked, in the order of asking.
type MissingError []Missing

func (m MissingError) Error() string {
	all := make([]string, len(m))
	for i, one := range m {
		all[i] = one.String()
	}
	return strings.Join(all, ", ")
}

// Is makes a MissingError one of facts.ErrUnavailable if anything in it could
// not be looked for, and of facts.ErrAbsent if all of it is known to be absent.
func (m MissingError) Is(target error) bool {
	unavailable := false
	for _, one := range m {
		unavailable = unavailable || one.Presence == facts.Unavailable
	}
	return unavailable && target == facts.ErrUnavailable || !unavailable && target == facts.ErrAbsent
}

// Template is a parsed template. The functions it may call are
//
//	tag "KEY"             the value of an instance tag
//	tag "KEY" "DEFAULT"   the same, or DEFAULT where the tag is known to be absent
//	hasTag "KEY"          whether the tag is there
//	node "FIELD"          a field of the instance: see [Fields]
//	shellquote TEXT       one word of a POSIX shell, whatever TEXT holds
//	json VALUE            VALUE as JSON, a text with its quotes
//	default, lower, upper, trim, replace   as in sprig
//
// and those of text/template.
type Template struct {
	name string
	t    *template.Template
}

// Parse parses src and tries it once on made-up facts with sample as its data,
// so that a wrong function, field or number of arguments is found at once.
func Parse(name, src string, sample any) (*Template, error) {
	r := &run{}
	t, err := template.New(name).Option("missingkey=error").Funcs(r.funcs()).Parse(src)
	if err != nil {
		return nil, clean(name, err)
	}
	if err := checkFields(t); err != nil {
		return nil, err
	}
	tmpl := &Template{name, t}
	if _, err := tmpl.execute(&run{trial: true}, sample); err != nil {
		return nil, err
	}
	return tmpl, nil
}

// Render executes the template with data as its dot. The error is a
// [MissingError] if inputs lack something, and then the text is empty.
func (t *Template) Render(in Inputs, data any) (string, error) {
	r := &run{in: in}
	out, err := t.execute(r, data)
	if err != nil {
		return "", err
	}
	if len(r.missing) > 0 {
		return "", r.missing
	}
	return out, nil
}

func (t *Template) execute(r *run, data any) (string, error) {
	tmpl, err := t.t.Clone() // functions are bound to one run
	if err != nil {
		return "", fmt.Errorf("cannot render %s: %w", t.name, err)
	}
	var out limited
	if err := tmpl.Funcs(r.funcs()).Execute(&out, data); err != nil {
		return "", clean(t.name, err)
	}
	return out.String(), nil
}

// limited refuses to grow beyond MaxOutput.
type limited struct{ strings.Builder }

var errTooLong = fmt.Errorf("yields more than %d bytes", MaxOutput)

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > MaxOutput {
		return 0, errTooLong
	}
	return l.Builder.Write(p)
}

var _ io.Writer = (*limited)(nil)

// clean turns text/template's "template: NAME:1:3: executing "NAME" at <x>: …"
// into one short sentence.
func clean(name string, err error) error {
	if errors.Is(err, errTooLong) {
		return errTooLong
	}
	msg := strings.TrimPrefix(err.Error(), "template: "+name+":")
	at, rest, ok := strings.Cut(msg, ": ")
	if !ok {
		return errors.New(strings.TrimSpace(msg))
	}
	rest = strings.TrimPrefix(rest, fmt.Sprintf("executing %q ", name))
	if line, _, _ := strings.Cut(at, ":"); line != "1" {
		rest = "line " + line + ": " + rest
	}
	return errors.New(rest)
}

// checkFields refuses `node "x"` where there is no such field: at parse time,
// and not only on the branch that the trial took.
func checkFields(t *template.Template) error {
	var err error
	for _, tmpl := range t.Templates() {
		if tmpl.Tree == nil {
			continue
		}
		walk(tmpl.Root, func(c *parse.CommandNode) {
			if len(c.Args) != 2 || err != nil {
				return
			}
			fn, isIdent := c.Args[0].(*parse.IdentifierNode)
			arg, isString := c.Args[1].(*parse.StringNode)
			if isIdent && isString && fn.Ident == "node" && !isField(arg.Text) {
				err = unknownField(arg.Text)
			}
		})
	}
	return err
}

// walk calls f for every command below n.
func walk(n parse.Node, f func(*parse.CommandNode)) {
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
		for _, c := range n.Cmds {
			walk(c, f)
		}
	case *parse.CommandNode:
		f(n)
		for _, a := range n.Args {
			if p, ok := a.(*parse.PipeNode); ok {
				walk(p, f)
			}
		}
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

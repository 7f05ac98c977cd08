package nodeconfig

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Data is the dot of a file's template.
type Data struct {
	Variables []Variable // in the order in which they should be written
	sample    bool       // which of them there are is not known
}

// Get returns the value of one variable: {{ .Get "MY_ENVIRONMENT" }}.
func (d Data) Get(name string) (string, error) {
	i := slices.IndexFunc(d.Variables, func(v Variable) bool { return v.Name == name })
	switch {
	case i < 0 && d.sample:
		return "x", nil
	case i < 0:
		return "", fmt.Errorf("there is no variable %q", name)
	}
	return d.Variables[i].Value, nil
}

// Rendered is the content of one file.
type Rendered struct {
	Body      []byte
	Variables []Variable
	Warnings  []string // what an operator should know though nothing is wrong
}

// Render returns the content of f over in, with source as its template. It
// reports all that is wrong at once; what is merely not known yet is
// [duty.ErrNotReady]. Nothing of a file that is in doubt is returned.
func Render(f File, source string, in render.Inputs) (Rendered, error) {
	c := collect(f, in)
	if f.Format != PlainText {
		c.refuseNUL()
	}
	if len(c.problems) > 0 {
		return Rendered{}, problems(c.problems)
	}
	body, err := execute(source, Data{Variables: c.vars}, in)
	if err == nil && f.Format != PlainText {
		err = check(body, source, c.vars)
	}
	if err != nil && f.Template != "" {
		err = fmt.Errorf("template %s: %w", f.Template, err)
	}
	if err != nil {
		return Rendered{}, err
	}
	return Rendered{[]byte(body), c.vars, c.warnings}, nil
}

func (c *collected) refuseNUL() {
	for _, v := range c.vars {
		if strings.Contains(v.Value, "\x00") {
			c.problem("%s: the value has a NUL byte, which no shell variable can hold", v.Name)
		}
	}
}

// ParseTemplate parses the template of f and tries it on the names of variables
// that do not depend on the node.
func ParseTemplate(f File, source string) (*render.Template, error) {
	sample := Data{sample: true}
	for _, s := range standard {
		sample.Variables = append(sample.Variables, Variable{s.name, "x"})
	}
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		sample.Variables = append(sample.Variables, Variable{name, "x"})
	}
	return render.Parse("file", source, sample)
}

// execute renders the template, which may ask for tags by itself.
func execute(source string, data Data, in render.Inputs) (string, error) {
	t, err := render.Parse("file", source, data)
	if err != nil {
		return "", err
	}
	body, err := t.Render(in, data)
	switch {
	case errors.Is(err, facts.ErrUnavailable):
		return "", duty.WaitingFor("%v", err)
	case errors.Is(err, facts.ErrAbsent):
		return "", fmt.Errorf(`%w; set it, or give the template a default: {{ tag "KEY" "DEFAULT" }}`, err)
	}
	return body, err
}

// problems are several things that are wrong with one file, on one line.
type problems []error

func (p problems) Error() string {
	all := make([]string, len(p))
	for i, err := range p {
		all[i] = err.Error()
	}
	return strings.Join(all, "; ")
}

func (p problems) Unwrap() []error { return p }

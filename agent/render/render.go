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
	"slices"
	"strings"
	"text/template"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// MaxOutput bounds what one template may yield, in bytes.
const MaxOutput = 1 << 20

// Inputs are what templates may ask for.
type Inputs struct {
	Instance facts.Instance
	// Cluster is the ECS cluster the node's agent joins; empty: not known yet.
	Cluster    string
	Parameters facts.Parameters
	// Secrets says that what is rendered may hold secrets; otherwise one that
	// is asked for is an [ErrSecret].
	Secrets bool
	// File reads a file that came with the configuration; nil: there are none.
	File func(name string) ([]byte, error)
	// Trace, unless nil, learns what was asked for.
	Trace *Trace
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
//	tag "KEY"                   the value of an instance tag
//	tag "KEY" "DEFAULT"         the same, or DEFAULT where the tag is known to be absent
//	hasTag "KEY"                whether the tag is there
//	node "FIELD"                a field of the instance: see [Fields]
//	ssm "NAME" ["DEFAULT"]      a parameter of Parameter Store
//	ssmTree "/PATH/"            all parameters below a path, by the rest of their names
//	secret "NAME" ["KEY"]       a secret of Secrets Manager, or one key of its JSON object
//	file "NAME"                 a file that came with the configuration
//	shellquote TEXT             one word of a POSIX shell, whatever TEXT holds
//	envfilequote TEXT           the value in a line of an environment file
//
// those of text/template, and from sprig [fromSprig] and the rest of this
// package's table; there what sprig takes for zero or empty without a word (text
// that is no number, no JSON, no base64) is an error.
type Template struct {
	name     string
	t        *template.Template
	calls    []string        // functions, each once
	literals map[string]bool // texts that are written in it
	asks     Asks
}

// Parse parses src and tries it on made-up facts with sample as its data, so
// that a wrong function, field or number of arguments is found at once. It is
// tried twice: text that differs each time is refused.
func Parse(name, src string, sample any) (*Template, error) {
	if len(src) > maxSource {
		return nil, fmt.Errorf("is longer than %d bytes", maxSource)
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(every).Parse(src)
	if err != nil {
		return nil, clean(name, err)
	}
	tmpl := &Template{name: name, t: t}
	if err := tmpl.inspect(); err != nil {
		return nil, err
	}
	tmpl.countSteps()
	if err := tmpl.lighten(); err != nil {
		return nil, clean(name, err)
	}
	first, doubtful, err := tmpl.try(sample)
	if err != nil {
		if doubtful {
			return tmpl, nil
		}
		return nil, err
	}
	if again, _, _ := tmpl.try(sample); again != first {
		return nil, errors.New("gives another text each time")
	}
	return tmpl, nil
}

// try renders with made-up facts. An error means nothing if it is doubtful: some
// were handed out before, and the template may have judged them. That the dot has
// no such field is beyond doubt.
func (t *Template) try(sample any) (text string, doubtful bool, err error) {
	_, none := sample.(struct{})
	r := &run{trial: true, left: Work, literals: t.literals, doubtful: !none}
	text, err = t.execute(r, sample)
	switch {
	case errors.Is(err, errTooLong), errors.Is(err, errTooMuch), errors.Is(err, errTooDeep):
		return text, false, err
	case err != nil && strings.Contains(err.Error(), "can't evaluate field ") && strings.Contains(err.Error(), fmt.Sprintf(" in type %T", sample)),
		err != nil && !none && strings.Contains(err.Error(), "map has no entry for key"):
		return text, false, err
	}
	return text, r.doubtful, err
}

// Calls reports whether the template, on any of its branches, calls the function.
func (t *Template) Calls(name string) bool { return slices.Contains(t.calls, name) }

// Asks returns what the template, on any of its branches, asks of Parameter Store
// and Secrets Manager.
func (t *Template) Asks() Asks { return t.asks }

// Render executes the template with data as its dot. The error is a
// [MissingError] if inputs lack something, and then the text is empty. An error
// of a template that read a secret does not say what it was about.
func (t *Template) Render(in Inputs, data any) (string, error) {
	r := &run{in: in, left: Work, literals: t.literals}
	out, err := t.execute(r, data)
	switch {
	case len(r.missing) > 0:
		return "", r.missing // also where it is why something else fails
	case err != nil && len(r.secrets) > 0 && !errors.Is(err, ErrSecret):
		return "", withoutValues(err)
	case err != nil:
		return "", err
	}
	return out, nil
}

func (t *Template) execute(r *run, data any) (string, error) {
	tmpl, err := t.t.Clone() // functions are bound to one run
	if err != nil {
		return "", fmt.Errorf("cannot render %s: %w", t.name, err)
	}
	var out limited
	if err := tmpl.Funcs(r.bound(t.calls)).Execute(&out, data); err != nil {
		return "", clean(t.name, err)
	}
	return out.String(), nil
}

// withoutValues keeps of an error where it is: the words of the template.
func withoutValues(err error) error {
	where, _, _ := strings.Cut(err.Error(), ">: ")
	if where == err.Error() {
		return errors.New("it fails, and what is wrong is not shown: a secret was read")
	}
	return errors.New(where + ">: what is wrong is not shown: a secret was read")
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
	for _, bare := range []error{errTooLong, errTooMuch, errTooDeep} {
		if errors.Is(err, bare) {
			return bare
		}
	}
	msg := strings.TrimPrefix(err.Error(), "template: "+name+":")
	at, rest, ok := strings.Cut(msg, ": ")
	if !ok {
		return errors.New(strings.TrimSpace(msg))
	}
	rest = strings.TrimPrefix(rest, fmt.Sprintf("executing %q ", name))
	if where, what, ok := strings.Cut(rest, ">: error calling "); ok {
		if _, why, ok := strings.Cut(what, ": "); ok {
			rest = where + ">: " + why
		}
	}
	if line, _, _ := strings.Cut(at, ":"); line != "1" {
		rest = "line " + line + ": " + rest
	}
	if errors.Is(err, ErrSecret) {
		return &cleaned{rest, err}
	}
	return errors.New(rest)
}

// cleaned is an error in other words.
type cleaned struct {
	msg string
	err error
}

func (c *cleaned) Error() string { return c.msg }
func (c *cleaned) Unwrap() error { return c.err }

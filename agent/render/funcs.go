package render

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// run is one execution of a template.
type run struct {
	in       Inputs
	trial    bool     // every tag and field is there, with a made-up value
	doubtful bool     // in a trial, something made up was handed out
	secrets  []string // that were read
	left     budget
	depth    int // of templates within templates
	literals map[string]bool
	missing  MissingError
}

// function returns what a name stands for in this run.
func (r *run) function(name string) any {
	switch name {
	case "tag":
		return r.left.metered(r.tag)
	case "hasTag":
		return r.left.metered(r.hasTag)
	case "node":
		return r.left.metered(r.node)
	case "ssm":
		return r.left.metered(r.ssm)
	case "ssmTree":
		return r.left.metered(r.ssmTree)
	case "secret":
		return r.left.metered(r.secretOf)
	case "file":
		return r.left.metered(r.file)
	case step:
		return r.step
	case enter:
		return r.enter
	case leave:
		return r.leave
	case weigh:
		return r.weigh
	}
	return r.left.metered(plain[name])
}

// ofNode are the names of the functions that ask the inputs.
var ofNode = []string{"tag", "hasTag", "node", "ssm", "ssmTree", "secret", "file", step, enter, leave, weigh}

// every has all functions, for parsing and for a count of their arguments. None
// of them works: each run binds those that are called.
var every = func() template.FuncMap {
	all := template.FuncMap{}
	for _, name := range ofNode {
		all[name] = (&run{}).function(name)
	}
	maps.Copy(all, plain)
	for name, fn := range all {
		all[name] = reflect.MakeFunc(reflect.TypeOf(fn), func([]reflect.Value) []reflect.Value {
			panic("render: " + name + " is not bound to a run")
		}).Interface()
	}
	return all
}()

// bound returns the functions that a template calls, bound to this run.
func (r *run) bound(names []string) template.FuncMap {
	all := make(template.FuncMap, len(names))
	for _, name := range names {
		all[name] = r.function(name)
	}
	return all
}

func (r *run) step(cost int) string { r.left.spend(cost); return "" }

func (r *run) enter(cost int) (string, error) {
	r.left.spend(cost)
	if r.depth++; r.depth > maxDepth {
		return "", errTooDeep
	}
	return "", nil
}

func (r *run) leave() string { r.depth--; return "" }

func (r *run) weigh(v any) any { r.left.spend(size(reflect.ValueOf(v))); return v }

// madeUp is what a trial hands out: whatever a template makes of it means
// nothing.
func (r *run) madeUp() string { r.doubtful = true; return "x" }

// conceal keeps a value from being shown as a part of a name.
func (r *run) conceal(secret string) {
	if !slices.Contains(r.secrets, secret) {
		r.secrets = append(r.secrets, secret)
	}
}

// question is before each question to the inputs: what is asked for is shown and
// written down, and so must not be a secret.
func (r *run) question(name string) error {
	r.left.spend(1 << 10)
	for _, s := range r.secrets {
		if s == name || len(s) >= 4 && strings.Contains(name, s) {
			return errors.New("a secret cannot be part of what is asked for")
		}
	}
	return nil
}

func (r *run) tag(key string, fallback ...string) (string, error) {
	if len(fallback) > 1 {
		return "", fmt.Errorf("tag takes a key and at most one default")
	}
	if r.trial {
		return r.madeUp(), nil
	}
	if err := r.question(key); err != nil {
		return "", err
	}
	v, presence := r.in.Instance.Tags.Lookup(key)
	switch {
	case presence == facts.Present:
		return v, nil
	case presence == facts.Absent && len(fallback) == 1:
		return fallback[0], nil
	}
	r.miss(fmt.Sprintf("tag %q", key), presence)
	return "", nil
}

func (r *run) hasTag(key string) (bool, error) {
	if r.trial {
		r.doubtful = true
		return true, nil
	}
	if err := r.question(key); err != nil {
		return false, err
	}
	_, presence := r.in.Instance.Tags.Lookup(key)
	if presence == facts.Unavailable {
		r.miss(fmt.Sprintf("tag %q", key), presence)
	}
	return presence == facts.Present, nil
}

func (r *run) miss(what string, presence facts.Presence) {
	why := "tags read from " + r.in.Instance.Tags.Source
	if presence == facts.Unavailable {
		why = r.in.Instance.Tags.Why
		if why == "" {
			why = "tags have not been read yet"
		}
	}
	r.lack(Missing{what, presence, why})
}

// lack notes what is missing, each thing once.
func (r *run) lack(m Missing) {
	if !slices.Contains(r.missing, m) && len(r.missing) < maxMissing {
		r.missing = append(r.missing, m)
	}
}

// maxMissing bounds what is told of one rendering.
const maxMissing = 20

// Fields returns the names that `node "NAME"` takes.
func Fields() []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

var fields = []struct {
	name string
	get  func(Inputs) string
}{
	{"instance_id", func(in Inputs) string { return in.Instance.ID }},
	{"instance_type", func(in Inputs) string { return in.Instance.Type }},
	{"region", func(in Inputs) string { return in.Instance.Region }},
	{"availability_zone", func(in Inputs) string { return in.Instance.Zone }},
	{"availability_zone_id", func(in Inputs) string { return in.Instance.ZoneID }},
	{"lifecycle", func(in Inputs) string { return in.Instance.Lifecycle }},
	{"account_id", func(in Inputs) string { return in.Instance.AccountID }},
	{"image_id", func(in Inputs) string { return in.Instance.ImageID }},
	{"architecture", func(in Inputs) string { return in.Instance.Architecture }},
	{"private_ip", func(in Inputs) string { return in.Instance.PrivateIP }},
	{"hostname", func(in Inputs) string { return in.Instance.Hostname }},
	{"placement_group", func(in Inputs) string { return in.Instance.PlacementGroup }},
	{"placement_partition", func(in Inputs) string { return in.Instance.PlacementPart }},
	{"placement_host_id", func(in Inputs) string { return in.Instance.PlacementHostID }},
	{"cluster", func(in Inputs) string { return in.Cluster }},
}

func isField(name string) bool {
	for _, f := range fields {
		if f.name == name {
			return true
		}
	}
	return false
}

func unknownField(name string) error {
	return fmt.Errorf("node %q: there is no such field; there are %s", name, strings.Join(Fields(), ", "))
}

// node returns a field of the instance. An empty field is absent: the instance
// has no such thing. The cluster is not known until ecs.config names one.
func (r *run) node(field string) (string, error) {
	for _, f := range fields {
		if f.name != field {
			continue
		}
		v := f.get(r.in)
		switch {
		case r.trial:
			return r.madeUp(), nil
		case v == "" && field == "cluster":
			r.lack(Missing{`node "cluster"`, facts.Unavailable, "ecs.config names no cluster yet"})
		case v == "":
			r.lack(Missing{fmt.Sprintf("node %q", field), facts.Absent, "instance metadata has none"})
		}
		return v, nil
	}
	return "", unknownField(field)
}

// ShellQuote returns s as one word of a POSIX shell, in single quotes: nothing
// in it is expanded. A NUL byte has no such form: the caller must refuse it.
func ShellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

package render

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// run is one execution of a template.
type run struct {
	in       Inputs
	trial    bool // every tag and field is there, with a made-up value
	doubtful bool // in a trial, something judged a made-up value
	secret   bool // a secret was read
	left     budget
	missing  MissingError
}

// function returns what a name stands for in this run.
func (r *run) function(name string) any {
	switch name {
	case "tag":
		return r.tag
	case "hasTag":
		return r.hasTag
	case "node":
		return r.node
	case "ssm":
		return r.ssm
	case "ssmTree":
		return r.ssmTree
	case "secret":
		return r.secretOf
	case "file":
		return r.file
	case step:
		return r.step
	}
	fn := r.left.metered(plain[name])
	if r.trial && judges[name] {
		return r.doubt(fn)
	}
	return fn
}

// ofNode are the names of the functions that ask the inputs.
var ofNode = []string{"tag", "hasTag", "node", "ssm", "ssmTree", "secret", "file", step}

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

// doubt returns fn, whose errors on made-up values mean nothing.
func (r *run) doubt(fn any) any {
	f := reflect.ValueOf(fn)
	call := f.Call
	if f.Type().IsVariadic() {
		call = f.CallSlice
	}
	return reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
		r.doubtful = true
		return call(args)
	}).Interface()
}

// step is called once for each turn of a loop and each template that is used.
const step = "_step"

func (r *run) step(cost int) string { r.left.spend(cost); return "" }

func (r *run) tag(key string, fallback ...string) (string, error) {
	if len(fallback) > 1 {
		return "", fmt.Errorf("tag takes a key and at most one default")
	}
	if r.trial {
		return "x", nil
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

func (r *run) hasTag(key string) bool {
	if r.trial {
		return true
	}
	_, presence := r.in.Instance.Tags.Lookup(key)
	if presence == facts.Unavailable {
		r.miss(fmt.Sprintf("tag %q", key), presence)
	}
	return presence == facts.Present
}

func (r *run) miss(what string, presence facts.Presence) {
	why := "tags read from " + r.in.Instance.Tags.Source
	if presence == facts.Unavailable {
		why = r.in.Instance.Tags.Why
		if why == "" {
			why = "tags have not been read yet"
		}
	}
	r.missing = append(r.missing, Missing{what, presence, why})
}

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
			return "x", nil
		case v == "" && field == "cluster":
			r.missing = append(r.missing, Missing{`node "cluster"`, facts.Unavailable, "ecs.config names no cluster yet"})
		case v == "":
			r.missing = append(r.missing, Missing{fmt.Sprintf("node %q", field), facts.Absent, "instance metadata has none"})
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

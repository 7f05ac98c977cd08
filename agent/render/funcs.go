package render

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// run is one execution of a template.
type run struct {
	in      Inputs
	trial   bool // every tag and field is there, with a made-up value
	missing MissingError
}

func (r *run) funcs() template.FuncMap {
	return template.FuncMap{
		"tag":        r.tag,
		"hasTag":     r.hasTag,
		"node":       r.node,
		"shellquote": ShellQuote,
		// As in sprig, with its order of arguments.
		"default": func(def, v string) string {
			if v == "" {
				return def
			}
			return v
		},
		"lower":   strings.ToLower,
		"upper":   strings.ToUpper,
		"trim":    strings.TrimSpace,
		"replace": func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
		"json": func(v any) (string, error) {
			text, err := json.Marshal(v)
			return string(text), err
		},
	}
}

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

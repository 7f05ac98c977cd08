package nodeconfig

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Variable is one variable of a file.
type Variable struct{ Name, Value string }

// version is the value of NODE_CONFIG_VERSION. It grows when a standard
// variable changes its meaning or goes; a new one is no reason.
const version = "1"

// standard are the variables that every file starts with. What the instance
// does not have is written as the empty string, so that scripts under set -u
// live.
var standard = []struct {
	name string
	get  func(render.Inputs) string
}{
	{"NODE_CONFIG_VERSION", func(render.Inputs) string { return version }},
	{"NODE_INSTANCE_ID", func(in render.Inputs) string { return in.Instance.ID }},
	{"NODE_INSTANCE_TYPE", func(in render.Inputs) string { return in.Instance.Type }},
	{"NODE_REGION", func(in render.Inputs) string { return in.Instance.Region }},
	{"NODE_AVAILABILITY_ZONE", func(in render.Inputs) string { return in.Instance.Zone }},
	{"NODE_AVAILABILITY_ZONE_ID", func(in render.Inputs) string { return in.Instance.ZoneID }},
	{"NODE_LIFECYCLE", func(in render.Inputs) string { return in.Instance.Lifecycle }},
	{"NODE_CLUSTER", func(in render.Inputs) string { return in.Cluster }},
	{"NODE_ACCOUNT_ID", func(in render.Inputs) string { return in.Instance.AccountID }},
	{"NODE_IMAGE_ID", func(in render.Inputs) string { return in.Instance.ImageID }},
	{"NODE_ARCHITECTURE", func(in render.Inputs) string { return in.Instance.Architecture }},
	{"NODE_PRIVATE_IP", func(in render.Inputs) string { return in.Instance.PrivateIP }},
	{"NODE_HOSTNAME", func(in render.Inputs) string { return in.Instance.Hostname }},
	{"NODE_PLACEMENT_GROUP", func(in render.Inputs) string { return in.Instance.PlacementGroup }},
	{"NODE_PLACEMENT_PARTITION", func(in render.Inputs) string { return in.Instance.PlacementPart }},
	{"NODE_PLACEMENT_HOST_ID", func(in render.Inputs) string { return in.Instance.PlacementHostID }},
}

// identity are the standard variables that are never empty, with what is
// missing where one is.
var identity = map[string]string{
	"NODE_INSTANCE_ID":       "instance metadata has not told the instance id yet",
	"NODE_REGION":            "instance metadata has not told the region yet",
	"NODE_AVAILABILITY_ZONE": "instance metadata has not told the availability zone yet",
	"NODE_CLUSTER":           "ecs.config names no cluster yet",
}

func isStandard(name string) bool {
	for _, s := range standard {
		if s.name == name {
			return true
		}
	}
	return false
}

// collected is what goes into one file, in order: standard variables, values by
// name, tags by the name of their variable.
type collected struct {
	vars     []Variable
	warnings []string
	problems []error
	from     map[string]string // where a name comes from, for messages
}

// newCollected knows the names that f takes before any tag does.
func newCollected(f File) *collected {
	c := &collected{from: map[string]string{}}
	for name := range f.Values {
		c.from[name] = "the value"
	}
	for _, s := range standard {
		c.from[s.name] = "a standard variable"
	}
	return c
}

func collect(f File, in render.Inputs) *collected {
	c := newCollected(f)
	c.addStandard(in)
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		c.addValue(name, f.Values[name], in)
	}
	c.addTags(f.Tags, in.Instance.Tags)
	return c
}

func (c *collected) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

func (c *collected) addStandard(in render.Inputs) {
	for _, s := range standard {
		v := s.get(in)
		if why, must := identity[s.name]; must && v == "" {
			c.problems = append(c.problems, duty.WaitingFor("%s: %s", s.name, why))
		}
		c.vars = append(c.vars, Variable{s.name, v})
	}
}

func (c *collected) addValue(name string, v Value, in render.Inputs) {
	if why := refuseValueName(name); why != "" {
		c.problem("value %q %s", name, why)
		return
	}
	text, err := v.render(in)
	switch {
	case errors.Is(err, facts.ErrUnavailable):
		c.problems = append(c.problems, duty.WaitingFor("%s: %v", name, err))
	case errors.Is(err, facts.ErrAbsent):
		c.problem(`%s: %w; set it, or "missing: default" or "missing: empty" for this value`, name, err)
	case err != nil:
		c.problem("%s: %w", name, err)
	}
	c.vars = append(c.vars, Variable{name, text})
}

// render applies the policy to what is known to be absent, and to nothing else.
func (v Value) render(in render.Inputs) (string, error) {
	text, err := v.Value.Render(in)
	if !errors.Is(err, facts.ErrAbsent) {
		return text, err
	}
	switch v.Missing {
	case UseDefault:
		return v.Default, nil
	case UseEmpty:
		return "", nil
	}
	return "", err
}

func (c *collected) addTags(want Tags, tags facts.Tags) {
	if len(want.Include) == 0 && len(want.Names) == 0 {
		return
	}
	if tags.Source == "" {
		why := cmp.Or(tags.Why, "tags have not been read yet")
		c.problems = append(c.problems, duty.WaitingFor("tags are not known (%s)", why))
		return
	}
	if want.Prefix == "" && want.hasPattern() {
		c.problem("tags: %s", patternNeedsPrefix)
		return
	}
	first := len(c.vars)
	expected := want.expected()
	for _, key := range expected { // before those that only a pattern lets in
		if value, presence := tags.Lookup(key); presence == facts.Present {
			c.addTag(key, want.variableFor(key), value, true)
		}
	}
	for _, key := range tags.Keys() {
		if want.included(key) && !slices.Contains(expected, key) {
			c.addTag(key, want.variableFor(key), tags.Values[key], false)
		}
	}
	slices.SortFunc(c.vars[first:], func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
	for _, key := range expected {
		if _, presence := tags.Lookup(key); presence == facts.Absent {
			c.warnings = append(c.warnings, fmt.Sprintf("tag %q is absent (tags read from %s): %s is not written", key, tags.Source, want.variableFor(key)))
		}
	}
}

// addTag makes a variable of a tag. What is wrong with one that the operator
// named is a problem; one that only a pattern let in is left out, because
// whoever may tag an instance must not keep it out by a tag.
func (c *collected) addTag(key, name, value string, named bool) {
	tag := fmt.Sprintf("tag %q", key)
	if !named {
		if why := refuseTagName(name); why != "" {
			c.warnings = append(c.warnings, fmt.Sprintf("%s is left out: the variable %q %s", tag, name, why))
			return
		}
		if other, taken := c.from[name]; taken {
			c.warnings = append(c.warnings, fmt.Sprintf("%s is left out: %s is the name of %s: give one another name in tags.names", tag, name, other))
			return
		}
	}
	if why := refuseTagName(name); why != "" {
		c.problem("%s: the variable %q %s: name another one for it in tags.names", tag, name, why)
		return
	}
	if other, taken := c.from[name]; taken {
		c.problem("%s: %s and %s share the name: give one another name in tags.names", name, other, tag)
		return
	}
	c.from[name] = tag
	c.vars = append(c.vars, Variable{name, value})
}

const patternNeedsPrefix = "a pattern needs a prefix: without one, whoever may set a tag could set any variable"

// refuseValueName says why a value of the operator's must not have this name.
func refuseValueName(name string) string {
	switch {
	case !isName(name):
		return "is no name of a shell variable: letters, digits and _, and no digit first"
	case isShellOwned(name):
		return "belongs to the shells: one of them sets it or refuses to"
	case isStandard(name):
		return "is taken by a standard variable"
	case isReserved(name):
		return "begins with " + reserved + ", which is kept for standard variables; choose another"
	}
	return ""
}

// refuseTagName says why a variable made from a tag must not have this name,
// other variables apart.
func refuseTagName(name string) string {
	switch {
	case steers(name):
		return "tells shells or the dynamic linker what to run, which is not for whoever may set a tag"
	case isStandard(name):
		return ""
	}
	return refuseValueName(name)
}

package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// source is where a value comes from in ecsnode.yaml.
type source struct {
	template string // of the setting; "": it cannot be set
	note     string // for the operator to judge
}

// sourceOf finds what a value comes from: a tag that has its name, a tag whose
// name is part of it, what the instance is; else it is a literal. What merely has
// the same value is not taken for its source, but said.
func sourceOf(name, value string, in render.Inputs) source {
	if value != "" {
		if key := tagNamed(name, value, in.Instance.Tags, sameName); key != "" {
			return source{template: templateOf("tag", key)}
		}
		if key := tagNamed(name, value, in.Instance.Tags, partOfName); key != "" {
			return source{template: templateOf("tag", key)}
		}
		if field := fieldOf(name, value, in); field != "" {
			return source{template: templateOf("node", field)}
		}
	}
	s := source{template: literalText(value), note: "the same on every node"}
	if keys := tagsWith(value, in.Instance.Tags); value != "" && len(keys) > 0 {
		s.note += fmt.Sprintf(`; the tag %q has this value too`, keys[0])
	}
	return s
}

func templateOf(function, key string) string {
	return "{{ " + function + " " + strconv.Quote(key) + " }}"
}

// words are the parts of a name, in small letters.
func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

func sameName(variable, key string) bool {
	return strings.Join(words(variable), "") == strings.Join(words(key), "")
}

// partOfName: env is part of MY_ENVIRONMENT, and cluster of APP_CLUSTER_NAME.
func partOfName(variable, key string) bool {
	all := words(key)
	if len(all) == 0 {
		return false
	}
	return !slices.ContainsFunc(all, func(w string) bool {
		return len(w) < 3 || !slices.ContainsFunc(words(variable), func(v string) bool {
			return strings.HasPrefix(v, w) || len(v) >= 3 && strings.HasPrefix(w, v)
		})
	})
}

// tagNamed returns the key of the one tag with this value whose name fits.
func tagNamed(name, value string, tags facts.Tags, fits func(variable, key string) bool) string {
	var keys []string
	for _, key := range tags.Keys() {
		if tags.Values[key] == value && fits(name, key) && utf8.ValidString(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) != 1 {
		return ""
	}
	return keys[0]
}

func tagsWith(value string, tags facts.Tags) (keys []string) {
	for _, key := range tags.Keys() {
		if tags.Values[key] == value {
			keys = append(keys, key)
		}
	}
	return keys
}

// telling are the fields of an instance whose value alone tells them: no two
// things have the same one by chance. Of others the name must speak too.
var telling = []string{"instance_id", "region", "availability_zone", "availability_zone_id", "account_id", "image_id", "private_ip", "hostname", "placement_host_id"}

func fieldOf(name, value string, in render.Inputs) string {
	for _, field := range render.Fields() {
		text, err := render.NewText(templateOf("node", field)).Render(in)
		if err != nil || text != value {
			continue
		}
		last := words(field)[len(words(field))-1]
		if isOne(field, telling) || slices.Contains(words(name), last) || sameName(name, field) {
			return field
		}
	}
	return ""
}

// literalText is a setting that renders as just this value.
func literalText(value string) string {
	plain := value != "" && utf8.ValidString(value) && !strings.Contains(value, "{{") && !strings.ContainsFunc(value, func(r rune) bool {
		return !unicode.IsPrint(r)
	})
	if plain {
		return value
	}
	return "{{ " + strconv.QuoteToASCII(value) + " }}"
}

// Variable is one variable of node.config, before and after.
type Variable struct {
	Name  string `json:"name"`
	State string `json:"state"` // same, added, changed, missing, not exported
	// Values without secrets; nil: it is not set.
	Before *string `json:"before,omitempty"`
	After  *string `json:"after,omitempty"`
}

// States of a variable.
const (
	same        = "same"
	added       = "added"
	changed     = "changed"
	missing     = "missing"
	notExported = "not exported" // to what is run, as it was before
)

// Differs reports whether whoever sources the file notices; one more variable is
// noticed by nobody.
func (v Variable) Differs() bool { return v.State != same && v.State != added }

// compare compares two files as a shell sees them.
func compare(before, after []nodeconfig.Assignment) []Variable {
	was, is := last(before), last(after)
	var all []Variable
	for _, name := range slices.Sorted(maps.Keys(was)) {
		v := Variable{Name: name, State: same, Before: shown(name, was[name].Value)}
		switch now, there := is[name]; {
		case !there:
			v.State = missing
		case now.Value != was[name].Value:
			v.State, v.After = changed, shown(name, now.Value)
		case was[name].Exported && !now.Exported:
			v.State, v.After = notExported, shown(name, now.Value)
		default:
			v.After = shown(name, now.Value)
		}
		all = append(all, v)
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if _, there := was[name]; !there {
			all = append(all, Variable{Name: name, State: added, After: shown(name, is[name].Value)})
		}
	}
	slices.SortStableFunc(all, func(a, b Variable) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

func rank(v Variable) int {
	return slices.Index([]string{changed, missing, notExported, same, added}, v.State)
}

// last returns what counts of each variable: its last value, exported once it
// ever was.
func last(all []nodeconfig.Assignment) map[string]nodeconfig.Assignment {
	by := map[string]nodeconfig.Assignment{}
	for _, a := range all {
		a.Exported = a.Exported || by[a.Name].Exported
		by[a.Name] = a
	}
	return by
}

func shown(name, value string) *string {
	if secret(name) {
		value = "(hidden)"
	}
	return &value
}

// secret reports whether a variable's value is not for people.
func secret(name string) bool { return ecsconfig.IsSecret(name) }

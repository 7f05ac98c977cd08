package facts_test

import (
	"reflect"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
)

func instance() facts.Instance {
	return facts.Instance{ID: "i-1", Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod"}}}
}

// A field that Equal forgets is a change that wakes nobody.
func TestInstancesThatDifferInOneFieldAreNotEqual(t *testing.T) {
	if !instance().Equal(instance()) {
		t.Fatal("not equal to itself")
	}
	for i := range reflect.TypeFor[facts.Instance]().NumField() {
		field := reflect.TypeFor[facts.Instance]().Field(i)
		other := instance()
		if field.Type.Kind() == reflect.String {
			reflect.ValueOf(&other).Elem().Field(i).SetString("else")
		} else {
			other.Tags.Values = map[string]string{"env": "staging"}
		}
		if instance().Equal(other) || other.Equal(instance()) {
			t.Errorf("%s is not compared", field.Name)
		}
	}
}

func TestTags(t *testing.T) {
	read := facts.Tags{Source: facts.TagsFromEC2, Values: map[string]string{"env": "prod", "empty": ""}}
	none := facts.Tags{Source: facts.TagsFromIMDS}
	unknown := facts.Tags{Why: "imds: 503"}
	for name, c := range map[string]struct {
		tags  facts.Tags
		key   string
		value string
		want  facts.Presence
	}{
		"there":                    {read, "env", "prod", facts.Present},
		"there and empty":          {read, "empty", "", facts.Present},
		"not there":                {read, "team", "", facts.Absent},
		"an instance without tags": {none, "env", "", facts.Absent},
		"nobody could look":        {unknown, "env", "", facts.Unavailable},
		"nobody has looked":        {facts.Tags{}, "env", "", facts.Unavailable},
	} {
		if v, p := c.tags.Lookup(c.key); v != c.value || p != c.want {
			t.Errorf("%s: %q, %v", name, v, p)
		}
	}
	if none.Equal(unknown) || !none.Equal(facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{}}) {
		t.Error("no tags and unknown tags are the same, or two instances without tags are not")
	}
}

package render_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

func inputs() render.Inputs {
	return render.Inputs{
		Cluster: "web",
		Instance: facts.Instance{
			ID: "i-0123456789abcdef0", Region: "eu-west-1", Lifecycle: facts.Spot,
			Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod", "empty": "", "odd": "it's $(x)"}},
		},
	}
}

func TestText(t *testing.T) {
	for name, c := range map[string]struct{ src, want, err string }{
		"plain":                          {src: "web", want: "web"},
		"nothing":                        {src: "", want: ""},
		"a tag":                          {src: `{{ tag "env" }}-{{ node "region" }}`, want: "prod-eu-west-1"},
		"an empty tag is present":        {src: `<{{ tag "empty" "x" }}>`, want: "<>"},
		"an absent tag with a default":   {src: `{{ tag "team" "platform" }}`, want: "platform"},
		"an absent tag":                  {src: `{{ tag "team" }}`, err: `tag "team" is absent (tags read from imds)`},
		"all that is missing":            {src: `{{ tag "a" }}{{ node "hostname" }}{{ tag "b" }}`, err: `tag "a" is absent (tags read from imds), node "hostname" is absent (instance metadata has none), tag "b" is absent (tags read from imds)`},
		"a condition":                    {src: `{{ if hasTag "team" }}yes{{ else }}no{{ end }}`, want: "no"},
		"quoted for a shell":             {src: `{{ tag "odd" | shellquote }}`, want: `'it'\''s $(x)'`},
		"default, lower, upper, replace": {src: `{{ tag "empty" | default "Dev" | lower | upper | replace "E" "e" }}`, want: "DeV"},
		"the cluster":                    {src: `{{ node "cluster" }}`, want: "web"},
	} {
		t.Run(name, func(t *testing.T) {
			var text render.Text
			if err := text.UnmarshalText([]byte(c.src)); err != nil {
				t.Fatal(err)
			}
			got, err := text.Render(inputs())
			if c.err != "" {
				if err == nil || err.Error() != c.err || !errors.Is(err, facts.ErrAbsent) || errors.Is(err, facts.ErrUnavailable) {
					t.Fatalf("err = %v", err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestUnavailableIsNotAbsent(t *testing.T) {
	in := inputs()
	in.Instance.Tags = facts.Tags{Why: "imds: 503"}
	in.Cluster = ""
	for src, want := range map[string]string{
		`{{ tag "env" }}`:                       `tag "env" is not known (imds: 503)`,
		`{{ tag "env" "dev" }}`:                 `tag "env" is not known (imds: 503)`, // a default is for what is known to be absent
		`{{ if hasTag "env" }}yes{{ end }}`:     `tag "env" is not known (imds: 503)`,
		`{{ node "cluster" }}{{ node "zone" }}`: "",
		`{{ node "cluster" }}`:                  `node "cluster" is not known (ecs.config names no cluster yet)`,
	} {
		var text render.Text
		if err := text.UnmarshalText([]byte(src)); err != nil {
			if want != "" {
				t.Errorf("%s: %v", src, err)
			}
			continue
		}
		got, err := text.Render(in)
		if err == nil || err.Error() != want || !errors.Is(err, facts.ErrUnavailable) || errors.Is(err, facts.ErrAbsent) || got != "" {
			t.Errorf("%s: %q, %v", src, got, err)
		}
	}
}

func TestBadTemplatesAreRefusedBeforeTheyAreUsed(t *testing.T) {
	for name, c := range map[string]struct{ src, msg string }{
		"unknown function":      {`{{ tga "env" }}`, `function "tga" not defined`},
		"unclosed":              {`{{ tag "env" `, "unclosed action"},
		"no key":                {`{{ tag }}`, "wrong number of args for tag"},
		"a number as key":       {`{{ tag 3 }}`, "expected string"},
		"too many defaults":     {`{{ tag "a" "b" "c" }}`, "at most one default"},
		"unknown field":         {`{{ node "zone" }}`, `node "zone": there is no such field; there are instance_id`},
		"on a branch not taken": {`{{ if not (hasTag "x") }}{{ node "zone" }}{{ end }}`, "no such field"},
		"a field of nothing":    {`{{ .Env }}`, "can't evaluate field Env"},
		"on the third line":     {"a\nb\n{{ nope }}", "line 3: function"},
		"endless output":        {`{{ range 100000000 }}xxxxxxxxxxxxxxxxx{{ end }}`, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var text render.Text
			err := text.UnmarshalText([]byte(c.src))
			if err == nil || !strings.Contains(err.Error(), c.msg) || strings.Contains(err.Error(), "template:") {
				t.Errorf("err = %v, want one with %q", err, c.msg)
			}
		})
	}
}

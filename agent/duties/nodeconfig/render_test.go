package nodeconfig_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/templates"
)

func TestTheDefaultFile(t *testing.T) {
	t.Parallel()
	f := nodeconfig.Default().Files["node.config"]
	golden(t, "default.golden", string(mustRender(t, f, inputs(map[string]string{"env": "prod"})).Body))
}

func TestAFileWithEverything(t *testing.T) {
	t.Parallel()
	in := inputs(map[string]string{
		"env": "prod", "team": "it's ours", "app:role": "web\nfront", "app:tier/2": `$(id) \0 \x00`, "Name": "ignored",
		"cost center": "42", "umlaut-ä": "größe 😀",
	})
	// What an instance outside of a placement group and without a zone id has.
	in.Instance.ZoneID, in.Instance.Hostname = "", ""
	f := file(func(f *nodeconfig.File) {
		f.Values["Z_LAST"] = value("constant", nodeconfig.Fail, "")
		f.Values["A_FIRST"] = value(`{{ tag "team" | upper }} in {{ node "region" }}`, nodeconfig.Fail, "")
		f.Values["M_DEFAULT"] = value(`{{ tag "nope" }}`, nodeconfig.UseDefault, "dev")
		f.Values["M_EMPTY"] = value(`{{ node "placement_group" }}`, nodeconfig.UseEmpty, "")
		f.Tags.Include = []string{"app:*", "umlaut-?"}
		f.Tags.Names = map[string]string{"cost center": "COST_CENTER"}
	})
	golden(t, "everything.golden", string(mustRender(t, f, in).Body))
}

func TestNoTimeAndNoOrderOfMapsGetsIntoTheFile(t *testing.T) {
	t.Parallel()
	tags := map[string]string{}
	f := file(func(f *nodeconfig.File) { f.Tags.Include = []string{"*"} })
	for i := range 50 {
		tags[fmt.Sprint("t", i)] = "x"
		f.Values[fmt.Sprint("V", i)] = value("y", nodeconfig.Fail, "")
	}
	first := mustRender(t, f, inputs(tags)).Body
	for range 20 {
		if got := mustRender(t, f, inputs(tags)).Body; string(got) != string(first) {
			t.Fatalf("-first +later:\n%s", cmp.Diff(string(first), string(got)))
		}
	}
}

func TestTagsBecomeVariables(t *testing.T) {
	t.Parallel()
	tags := map[string]string{"env": "1", "app:role": "2", "app/a/b": "3", "Größe": "4", "9lives": "5", "app": "6"}
	for name, c := range map[string]struct {
		tags nodeconfig.Tags
		want string
	}{
		"none is the default":               {nodeconfig.Tags{Prefix: "TAG_"}, ""},
		"by key":                            {nodeconfig.Tags{Prefix: "TAG_", Include: []string{"env", "app"}}, "TAG_APP=6 TAG_ENV=1"},
		"a star does not stop at a slash":   {nodeconfig.Tags{Prefix: "TAG_", Include: []string{"app*"}}, "TAG_APP=6 TAG_APP_A_B=3 TAG_APP_ROLE=2"},
		"a question mark is one character":  {nodeconfig.Tags{Prefix: "TAG_", Include: []string{"app?role", "Gr??e"}}, "TAG_APP_ROLE=2 TAG_GR__E=4"},
		"a class":                           {nodeconfig.Tags{Prefix: "TAG_", Include: []string{"app[:/]*"}}, "TAG_APP_A_B=3 TAG_APP_ROLE=2"},
		"a digit first is hidden by prefix": {nodeconfig.Tags{Prefix: "T_", Include: []string{"9*"}}, "T_9LIVES=5"},
		"a name needs no include":           {nodeconfig.Tags{Prefix: "TAG_", Names: map[string]string{"env": "stage"}}, "stage=1"},
		"a key without a prefix":            {nodeconfig.Tags{Include: []string{"app:role"}}, "APP_ROLE=2"},
		"a name goes before the prefix":     {nodeconfig.Tags{Prefix: "TAG_", Include: []string{"app*"}, Names: map[string]string{"app": "APP"}}, "APP=6 TAG_APP_A_B=3 TAG_APP_ROLE=2"},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustRender(t, file(func(f *nodeconfig.File) { f.Tags = c.tags }), inputs(tags))
			var got []string
			for _, v := range r.Variables {
				if !strings.HasPrefix(v.Name, "NODE_") {
					got = append(got, v.Name+"="+v.Value)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatIsListedButAbsentIsAWarning(t *testing.T) {
	t.Parallel()
	f := file(func(f *nodeconfig.File) {
		f.Tags.Include = []string{"env", "team", "none*"}
		f.Tags.Names = map[string]string{"cost": "COST"}
	})
	r := mustRender(t, f, inputs(map[string]string{"env": "prod"}))
	want := []string{
		`tag "cost" is absent (tags read from imds): COST is not written`,
		`tag "team" is absent (tags read from imds): TAG_TEAM is not written`,
	}
	if diff := cmp.Diff(want, r.Warnings); diff != "" {
		t.Error(diff)
	}
}

// refusal is what Render says of a file it does not yield.
type refusal struct {
	file    nodeconfig.File
	in      render.Inputs
	own     string // template, if not the built-in one
	want    string // the error
	waiting bool
}

func (c refusal) check(t *testing.T) {
	t.Helper()
	source := templates.NodeConfig()
	if c.own != "" {
		source, c.file.Template = c.own, "/t"
	}
	r, err := nodeconfig.Render(c.file, source, c.in)
	if err == nil {
		t.Fatalf("rendered:\n%s", r.Body)
	}
	if r.Body != nil || r.Variables != nil {
		t.Error("content beside an error")
	}
	if err.Error() != c.want {
		t.Errorf("got  %s\nwant %s", err, c.want)
	}
	if waits := errors.Is(err, duty.ErrNotReady); waits != c.waiting {
		t.Errorf("waiting = %v", waits)
	}
}

func TestWhatIsMissing(t *testing.T) {
	t.Parallel()
	unavailable := func() render.Inputs {
		in := inputs(nil)
		in.Instance.Tags = facts.Tags{Why: "imds: 503"}
		return in
	}
	noCluster := inputs(map[string]string{})
	noCluster.Cluster = ""
	noRegion := inputs(map[string]string{})
	noRegion.Instance.Region = ""
	noZone := inputs(map[string]string{})
	noZone.Instance.Zone = ""
	env := func(p nodeconfig.Policy) nodeconfig.File {
		return file(func(f *nodeconfig.File) { f.Values["E"] = value(`{{ tag "env" }}`, p, "dev") })
	}
	tags := func(include ...string) nodeconfig.File {
		return file(func(f *nodeconfig.File) { f.Tags.Include = include })
	}
	text := env(nodeconfig.UseEmpty)
	text.Format = nodeconfig.PlainText
	for name, c := range map[string]refusal{
		"a tag that is absent fails": {
			file: env(nodeconfig.Fail), in: inputs(map[string]string{}),
			want: `E: tag "env" is absent (tags read from imds); set it, or "missing: default" or "missing: empty" for this value`,
		},
		"the zero policy is fail": {
			file: env(""), in: inputs(map[string]string{}),
			want: `E: tag "env" is absent (tags read from imds); set it, or "missing: default" or "missing: empty" for this value`,
		},
		"unavailable waits under fail":    {file: env(nodeconfig.Fail), in: unavailable(), want: `E: tag "env" is not known (imds: 503)`, waiting: true},
		"unavailable waits under default": {file: env(nodeconfig.UseDefault), in: unavailable(), want: `E: tag "env" is not known (imds: 503)`, waiting: true},
		"unavailable waits under empty":   {file: env(nodeconfig.UseEmpty), in: unavailable(), want: `E: tag "env" is not known (imds: 503)`, waiting: true},
		"included tags are waited for":    {file: tags("*"), in: unavailable(), want: "tags are not known (imds: 503)", waiting: true},
		"an unknown cluster is waited for": {
			file: tags(), in: noCluster,
			want: "NODE_CLUSTER: ecs.config names no cluster yet", waiting: true,
		},
		"identity is never empty": {
			file: tags(), in: noRegion,
			want: "NODE_REGION: instance metadata has not told the region yet", waiting: true,
		},
		"an unknown zone is waited for": {
			file: tags(), in: noZone,
			want: "NODE_AVAILABILITY_ZONE: instance metadata has not told the availability zone yet", waiting: true,
		},
		"all at once, and a failure among it": {
			file: env(nodeconfig.Fail), in: noCluster, waiting: true,
			want: `NODE_CLUSTER: ecs.config names no cluster yet; E: tag "env" is absent (tags read from imds); set it, or "missing: default" or "missing: empty" for this value`,
		},
		"a template that asks by itself fails": {
			file: tags(), own: `E={{ tag "env" | shellquote }}`, in: inputs(map[string]string{}),
			want: `template /t: tag "env" is absent (tags read from imds); set it, or give the template a default: {{ tag "KEY" "DEFAULT" }}`,
		},
		"a template that asks by itself waits": {
			file: tags(), own: `E={{ tag "env" "dev" | shellquote }}`, in: unavailable(),
			want: `template /t: tag "env" is not known (imds: 503)`, waiting: true,
		},
		"text waits as well": {file: text, own: `{{ .Get "E" }}`, in: unavailable(), want: `E: tag "env" is not known (imds: 503)`, waiting: true},
	} {
		t.Run(name, func(t *testing.T) { c.check(t) })
	}
}

func TestPoliciesForWhatIsAbsent(t *testing.T) {
	t.Parallel()
	f := file(func(f *nodeconfig.File) {
		f.Values["D"] = value(`{{ tag "env" }}-{{ tag "team" }}`, nodeconfig.UseDefault, "dev")
		f.Values["E"] = value(`{{ tag "env" }}`, nodeconfig.UseEmpty, "")
		f.Values["P"] = value(`{{ tag "blank" }}`, nodeconfig.UseDefault, "never: an empty tag is there")
	})
	got := values(mustRender(t, f, inputs(map[string]string{"team": "ours", "blank": ""})))
	for name, want := range map[string]string{"D": "dev", "E": "", "P": "", "NODE_PLACEMENT_GROUP": ""} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %q, %v", name, v, ok)
		}
	}
}

func TestNamesThatCollideOrAreRefused(t *testing.T) {
	t.Parallel()
	const names = "give one another name in tags.names"
	tagged := func(tags nodeconfig.Tags) nodeconfig.File {
		return file(func(f *nodeconfig.File) {
			f.Tags = tags
			f.Values["MY_ENV"] = value("x", nodeconfig.Fail, "")
		})
	}
	with := func(prefix string, include ...string) nodeconfig.Tags {
		return nodeconfig.Tags{Prefix: prefix, Include: include}
	}
	in := func(keys ...string) render.Inputs {
		m := map[string]string{}
		for _, k := range keys {
			m[k] = "$(id)"
		}
		return inputs(m)
	}
	for name, c := range map[string]refusal{
		"two tags named one by one": {
			file: tagged(with("TAG_", "a b", "A-B")), in: in("a b", "A-B"),
			want: `TAG_A_B: tag "A-B" and tag "a b" share the name: ` + names,
		},
		"a mapped tag": {
			file: tagged(nodeconfig.Tags{Prefix: "TAG_", Names: map[string]string{"e": "MY_ENV"}}), in: in("e"),
			want: `MY_ENV: the value and tag "e" share the name: ` + names,
		},
		"a tag that would steer the shell": {
			file: tagged(with("", "path")), in: in("path"),
			want: `tag "path": the variable "PATH" tells shells or the dynamic linker what to run, which is not for whoever may set a tag: name another one for it in tags.names`,
		},
		"a tag that no shell lets be set": {
			file: tagged(with("", "uid")), in: in("uid"),
			want: `tag "uid": the variable "UID" belongs to the shells: one of them sets it or refuses to: name another one for it in tags.names`,
		},
		"a key that is no name": {
			file: tagged(with("", "9lives")), in: in("9lives"),
			want: `tag "9lives": the variable "9LIVES" is no name of a shell variable: letters, digits and _, and no digit first: name another one for it in tags.names`,
		},
		"a pattern without a prefix, although Validate was not asked": {
			file: tagged(with("", "*")), in: in(),
			want: "tags: a pattern needs a prefix: without one, whoever may set a tag could set any variable",
		},
		"a value with a standard name, although Validate was not asked": {
			file: file(func(f *nodeconfig.File) { f.Values["NODE_REGION"] = value("x", nodeconfig.Fail, "") }), in: in(),
			want: `value "NODE_REGION" is taken by a standard variable`,
		},
		"a value with a name that is code, although Validate was not asked": {
			file: file(func(f *nodeconfig.File) { f.Values["A=1;id;B"] = value("x", nodeconfig.Fail, "") }), in: in(),
			want: `value "A=1;id;B" is no name of a shell variable: letters, digits and _, and no digit first`,
		},
	} {
		t.Run(name, func(t *testing.T) { c.check(t) })
	}
}

// Whoever may tag an instance must not keep it out of its cluster by a tag that
// a pattern lets in.
func TestATagThatOnlyAPatternLetsInIsLeftOutWhereItsNameIsNoGood(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prefix  string
		include []string
		keys    []string
		want    map[string]string // variables and values that must be there
		warning string
	}{
		"two tags share a name": {
			"TAG_",
			[]string{"*"},
			[]string{"a b", "A-B"},
			map[string]string{"TAG_A_B": "of A-B"},
			`tag "a b" is left out: TAG_A_B is the name of tag "A-B": give one another name in tags.names`,
		},
		"one of them is named": {
			"TAG_",
			[]string{"*", "a b"},
			[]string{"a b", "A-B"},
			map[string]string{"TAG_A_B": "of a b"},
			`tag "A-B" is left out: TAG_A_B is the name of tag "a b": give one another name in tags.names`,
		},
		"a value has the name": {
			"MY_",
			[]string{"*"},
			[]string{"env"},
			map[string]string{"MY_ENV": "x"},
			`tag "env" is left out: MY_ENV is the name of the value: give one another name in tags.names`,
		},
		"a standard variable has it": {
			"NODE_",
			[]string{"*"},
			[]string{"region"},
			map[string]string{"NODE_REGION": "eu-west-1"},
			`tag "region" is left out: NODE_REGION is the name of a standard variable: give one another name in tags.names`,
		},
		"it steers the dynamic linker": {
			"LD_",
			[]string{"*"},
			[]string{"preload"},
			nil,
			`tag "preload" is left out: the variable "LD_PRELOAD" tells shells or the dynamic linker what to run, which is not for whoever may set a tag`,
		},
		"its name is kept for standard variables": {
			"NODE_",
			[]string{"*"},
			[]string{"rack"},
			nil,
			`tag "rack" is left out: the variable "NODE_RACK" begins with NODE_, which is kept for standard variables; choose another`,
		},
		"it steers the C library": {
			"GCONV_",
			[]string{"*"},
			[]string{"path"},
			nil,
			`tag "path" is left out: the variable "GCONV_PATH" tells shells or the dynamic linker what to run, which is not for whoever may set a tag`,
		},
		"it steers an interpreter": {
			"NODE_",
			[]string{"*"},
			[]string{"options"},
			nil,
			`tag "options" is left out: the variable "NODE_OPTIONS" tells shells or the dynamic linker what to run, which is not for whoever may set a tag`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := file(func(f *nodeconfig.File) {
				f.Tags = nodeconfig.Tags{Prefix: c.prefix, Include: c.include}
				f.Values["MY_ENV"] = value("x", nodeconfig.Fail, "")
			})
			tags := map[string]string{}
			for _, key := range c.keys {
				tags[key] = "of " + key
			}
			r, err := nodeconfig.Render(f, templates.NodeConfig(), inputs(tags))
			if err != nil || len(r.Warnings) != 1 || r.Warnings[0] != c.warning {
				t.Fatalf("warnings %q, %v", r.Warnings, err)
			}
			got := values(r)
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s = %q, want %q", name, got[name], want)
				}
			}
			if _, there := got["LD_PRELOAD"]; there || got["NODE_OPTIONS"] != "" {
				t.Error("a tag steers what containers run")
			}
		})
	}
}

func TestAnOperatorMaySetWhatATagMayNot(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"PATH", "LD_PRELOAD", "IFS", "ENV", "BASH_ENV", "PS4"} {
		f := file(func(f *nodeconfig.File) { f.Values[name] = value("/opt/bin", nodeconfig.Fail, "") })
		if got := values(mustRender(t, f, inputs(nil)))[name]; got != "/opt/bin" {
			t.Errorf("%s = %q", name, got)
		}
	}
}

func TestANULIsRefusedByName(t *testing.T) {
	t.Parallel()
	refusal{
		file: file(func(f *nodeconfig.File) { f.Tags.Include = []string{"*"} }),
		in:   inputs(map[string]string{"a": "x\x00y", "b": `\0 \x00 are only text`}),
		want: "TAG_A: the value has a NUL byte, which no shell variable can hold",
	}.check(t)
}

func TestOwnTemplates(t *testing.T) {
	t.Parallel()
	f := file(func(f *nodeconfig.File) { f.Values["MY_ENV"] = value(`{{ tag "env" }}`, nodeconfig.Fail, "") })
	in := inputs(map[string]string{"env": "prod", "motto": "it's $5"})
	for name, c := range map[string]struct{ own, want string }{
		"only what is needed": {`MY_ENV={{ .Get "MY_ENV" | shellquote }}`, "MY_ENV='prod'"},
		"exported": {`{{ range .Variables }}{{ if eq .Name "MY_ENV" "NODE_REGION" }}export {{ .Name }}={{ .Value | shellquote }}
{{ end }}{{ end }}`, "export NODE_REGION='eu-west-1'\nexport MY_ENV='prod'\n"},
		"variables of its own": {
			`MY_ENV={{ tag "env" | shellquote }}
readonly MOTTO={{ tag "motto" | shellquote }} ZONE={{ node "availability_zone" }} # literal`,
			"MY_ENV='prod'\nreadonly MOTTO='it'\\''s $5' ZONE=eu-west-1a # literal",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := f
			f.Template = "/t"
			r, err := nodeconfig.Render(f, c.own, in)
			if err != nil || string(r.Body) != c.want {
				t.Errorf("got %q, %v", r.Body, err)
			}
		})
	}
}

func TestOwnTemplatesThatForgetToQuote(t *testing.T) {
	t.Parallel()
	f := file(func(f *nodeconfig.File) { f.Values["MY_ENV"] = value(`{{ tag "env" }}`, nodeconfig.Fail, "") })
	const bare = "MY_ENV={{ .Get \"MY_ENV\" }}\n"
	const own = "MY_ENV={{ .Get \"MY_ENV\" | shellquote }}\nOWN={{ tag \"env\" }}\n"
	for name, c := range map[string]struct{ own, env, want string }{
		"a space makes a command":        {bare, "a id", "line 1: only assignments of literal values are allowed, with or without export or readonly"},
		"a substitution":                 {bare, "$(id)", "line 1: MY_ENV: the value is not literal: a shell would expand something in it"},
		"backticks":                      {bare, "`id`", "line 1: MY_ENV: the value is not literal: a shell would expand something in it"},
		"a variable":                     {bare, "${HOME}", "line 1: MY_ENV: the value is not literal: a shell would expand something in it"},
		"a second command":               {bare, "a;id", "line 1: only assignments of literal values are allowed, with or without export or readonly"},
		"a second line":                  {bare, "a\nid", "line 2: only assignments of literal values are allowed, with or without export or readonly"},
		"a redirection":                  {bare, "a>/etc/passwd", "line 1: MY_ENV: only assignments of literal values are allowed, with or without export or readonly"},
		"a background command":           {bare, "a&", "line 1: MY_ENV: only assignments of literal values are allowed, with or without export or readonly"},
		"a quote":                        {bare, "it's", "line 1: MY_ENV: a single quote is never closed"},
		"a tilde":                        {bare, "~root", `line 1: MY_ENV: "~" must be in quotes`},
		"what is not ASCII":              {bare, "größe", `line 1: MY_ENV: "\xc3" must be in quotes`},
		"a carriage return":              {bare, "a\r", "line 1: MY_ENV: there is a carriage return outside of quotes: lines must end in LF alone"},
		"quotes that vanish":             {bare, `"prod"`, "line 1: MY_ENV does not come back as it went in: in the template, pass it through shellquote"},
		"a backslash that vanishes":      {bare, `a\b`, "line 1: MY_ENV does not come back as it went in: in the template, pass it through shellquote"},
		"an assignment of another name":  {bare, "a\nLD_PRELOAD=/tmp/x", "line 1: MY_ENV does not come back as it went in: in the template, pass it through shellquote"},
		"the same, by the template":      {own, "a\nLD_PRELOAD=/tmp/x", "line 4: LD_PRELOAD is assigned, but it is neither a variable of the file nor written as LD_PRELOAD= in the template: is a shellquote missing?"},
		"a second assignment":            {own, "a\nMY_ENV=b", "line 4: MY_ENV is assigned a second time"},
		"a standard variable as a value": {own, "a\nNODE_REGION=b", "line 4: NODE_REGION does not come back as it went in: in the template, pass it through shellquote"},
		"a value that is left out":       {"OWN=1", "a", "MY_ENV is not in the rendered file: the template must write every value and tag"},
		"a comment only":                 {"# {{ .Get \"MY_ENV\" }}", "a", "MY_ENV is not in the rendered file: the template must write every value and tag"},
		"a misspelt variable":            {`MY_ENV={{ .Get "MY_ENB" }}`, "a", `at <.Get>: there is no variable "MY_ENB"`},
		"a bad template":                 {"\n{{ nope }}", "a", `line 2: function "nope" not defined`},
	} {
		t.Run(name, func(t *testing.T) {
			refusal{file: f, own: c.own, in: inputs(map[string]string{"env": c.env}), want: "template /t: " + c.want}.check(t)
		})
	}
}

func TestTextIsNotCheckedAsShell(t *testing.T) {
	t.Parallel()
	f := file(func(f *nodeconfig.File) {
		f.Format = nodeconfig.PlainText
		f.Values["E"] = value(`{{ tag "env" }}`, nodeconfig.Fail, "")
	})
	r, err := nodeconfig.Render(f, `{"env": {{ .Get "E" | printf "%q" }}, "of": {{ len .Variables }}}`, inputs(map[string]string{"env": "$(id)"}))
	if want := `{"env": "$(id)", "of": 17}`; err != nil || string(r.Body) != want {
		t.Errorf("got %q, %v", r.Body, err)
	}
}

func TestTheBuiltInTemplateWritesEveryVariableOnce(t *testing.T) {
	t.Parallel()
	f := file(func(f *nodeconfig.File) { f.Tags.Include = []string{"*"} })
	r := mustRender(t, f, inputs(map[string]string{"a": "1"}))
	var names []string
	for line := range strings.Lines(string(r.Body)) {
		if name, _, ok := strings.Cut(line, "="); ok {
			names = append(names, name)
		}
	}
	var want []string
	for _, v := range r.Variables {
		want = append(want, v.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

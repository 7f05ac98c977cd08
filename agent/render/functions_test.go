package render_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

func parse(t *testing.T, src string) *render.Template {
	t.Helper()
	tmpl, err := render.Parse("t", src, struct{}{})
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return tmpl
}

func TestFunctionsOfSprig(t *testing.T) {
	for src, want := range map[string]string{
		`{{ "a,b,c" | splitList "," | join "-" }}`:                        "a-b-c",
		`{{ list "b" "a" | sortAlpha | first }}`:                          "a",
		`{{ "x" | quote }}{{ "y" | squote }}`:                             `"x"'y'`,
		`{{ "a\nb" | indent 2 }}{{ "c" | nindent 1 }}`:                    "  a\n  b\n c",
		`{{ int "12" | add 30 }} {{ div 7 2 }} {{ mod "7" 2 }}`:           "42 3 1",
		`{{ mul 2 3 4 }} {{ sub 1 2 }} {{ max 1 3 2 }}`:                   "24 -1 3",
		`{{ (fromJson "{\"n\": 3, \"s\": [\"x\"]}").n | int }}`:           "3",
		`{{ dict "b" 1 "a" 2 | keys | join "" }}`:                         "ab",
		`{{ dict "b" 1 | toJson }}{{ json "x" }}`:                         `{"b":1}"x"`,
		`{{ "hi" | b64enc }}{{ "aGk=" | b64dec }}`:                        "aGk=hi",
		`{{ ternary "yes" "no" (hasPrefix "ap" "apple") }}`:               "yes",
		`{{ coalesce "" "x" }}{{ "" | default "d" }}{{ empty "" }}`:       "xdtrue",
		`{{ "/a/../b/c.d" | clean | base }}{{ dir "/a/b" }}`:              "c.d/a",
		`{{ "aXbX" | replace "X" "-" | trimSuffix "-" }}`:                 "a-b",
		`{{ printf "%03d|%-4s|%q" 7 "ab" "c" }}`:                          `007|ab  |"c"`,
		`{{ sha256sum "x" | trunc 8 }}{{ substr 1 3 "abcd" }}`:            "2d711642bc",
		`{{ range $i, $v := list "a" "b" }}{{ $i }}{{ $v }}{{ end }}`:     "0a1b",
		`{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" "in" }}`:       "<in>",
		`{{ "k v" | camelcase }} {{ "aB" | snakecase }}`:                  "KV a_b",
		`{{ has "a" (list "a" "b") }}{{ (dict "a" "1") | hasKey }}`:       "",
		`{{ range $k, $v := dict "b" 1 "a" 2 }}{{ $k }}{{ $v }}{{ end }}`: "a2b1",
	} {
		tmpl, err := render.Parse("t", src, struct{}{})
		if want == "" {
			if err == nil {
				t.Errorf("%s: hasKey with too few arguments was taken", src)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := tmpl.Render(render.Inputs{}, struct{}{}); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", src, got, err, want)
		}
	}
}

func TestWhatSprigSwallowsIsAnError(t *testing.T) {
	in := inputs()
	for src, want := range map[string]string{
		`{{ tag "env" | int }}`:                             `"prod" is no whole number`,
		`{{ add (tag "env") 1 }}`:                           `"prod" is no whole number`,
		`{{ div 1 (len (tag "empty")) }}`:                   "a division by zero",
		`{{ (tag "env" | fromJson).x }}`:                    "invalid character",
		`{{ tag "env" | printf "%s!" | b64dec }}`:           "illegal base64",
		`{{ if ne (tag "env") "x" }}{{ fail "no" }}{{end}}`: "no",
		`{{ tag "env" | printf "a\n%s" | envfilequote }}`:   "line break",
	} {
		_, err := parse(t, src).Render(in, struct{}{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}

// Each of them would take minutes, or all the memory.
func TestATemplateCannotTakeTheNodesTimeOrMemory(t *testing.T) {
	in := withParameters()
	in.Secrets = true
	in.File = func(string) ([]byte, error) { return []byte(strings.Repeat("é", 200<<10)), nil }
	in.Instance.Tags.Values["big"] = strings.Repeat("a", 200)
	for name, src := range map[string]string{
		"a loop without output":       `{{ range 1000000000 }}{{ end }}`,
		"loops in loops":              `{{ range 30000 }}{{ range 30000 }}{{ range 30000 }}{{ end }}{{ end }}{{ end }}`,
		"a text doubled again":        `{{ $x := "aaaaaaaa" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}`,
		"a list doubled again":        `{{ $x := list "a" }}{{ range 60 }}{{ $x = list $x $x }}{{ end }}`,
		"many replacements":           `{{ $x := "a" }}{{ range 12 }}{{ $x = replace "a" (tag "big") $x }}{{ end }}`,
		"a width of a million":        `{{ printf "%999999d" 1 }}`,
		"a width as argument":         `{{ printf "%*d" 999999 1 }}`,
		"an argument a thousandfold":  `{{ $x := tag "big" }}{{ range 12 }}{{ $x = printf "%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s" $x }}{{ end }}`,
		"an indentation":              `{{ indent 100000000 "a" }}`,
		"templates that call two":     `{{ define "a" }}{{ if gt . 0 }}{{ template "a" (sub . 1) }}{{ template "a" (sub . 1) }}{{ end }}{{ end }}{{ template "a" 60 }}`,
		"a template that calls it":    `{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`,
		"a hundred megabytes":         `{{ range 100000000 }}x{{ end }}`,
		"a list in a width":           `{{ $s := ",,,,,,,,,,,,,,,," }}{{ range 14 }}{{ $s = print $s $s }}{{ end }}{{ printf "%999s" (splitList "," $s) }}`,
		"a template in many branches": "{{ define \"a\" }}" + strings.Repeat("{{ if true }}", 20) + "{{ template \"a\" }}" + strings.Repeat("{{ end }}", 20) + "{{ end }}{{ template \"a\" }}",
		"one that a tag sets off":     `{{ define "a" }}{{ if ne . "x" }}{{ template "a" . }}{{ end }}{{ end }}{{ template "a" (tag "env") }}`,
		"actions without end":         strings.Repeat("{{ if true }}", 100) + strings.Repeat("{{ end }}", 100),
		"a thousand things in a loop": `{{ range 100000 }}{{ if true }}` + strings.Repeat(`{{ $x := 1 }}`, 1000) + `{{ end }}{{ end }}`,
		"files again and again":       `{{ range 100000 }}{{ $x := file "big" }}{{ end }}`,
		"secrets again and again":     `{{ range 100000 }}{{ $x := secret "db" "port" }}{{ end }}`,
		"long texts compared":         `{{ $s := file "big" }}{{ range 100000 }}{{ if eq $s $s }}{{ end }}{{ end }}`,
		"a long list of what to trim": `{{ $s := file "big" }}{{ trimAll $s $s }}`,
		"a source of half a megabyte": strings.Repeat("x", 512<<10),
		"a separator that multiplies": `{{ $x := tag "big" }}{{ range 6 }}{{ $x = join $x (splitList "" $x) }}{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, err := render.Parse("t", src, struct{}{})
			if err == nil {
				_, err = tmpl.Render(in, struct{}{})
			}
			if err == nil {
				t.Error("it was rendered")
			}
		})
	}
}

func TestWhatWouldDifferEachTimeIsNotThere(t *testing.T) {
	for _, name := range []string{"now", "date", "uuidv4", "randAlphaNum", "shuffle", "env", "expandenv", "getHostByName", "genCA", "htpasswd", "repeat", "until", "set", "merge", "values"} {
		if _, err := render.Parse("t", "{{ "+name+" }}", struct{}{}); err == nil || !strings.Contains(err.Error(), "not defined") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheNumberOfArgumentsIsCheckedOnEveryBranch(t *testing.T) {
	for src, want := range map[string]string{
		`{{ if false }}{{ replace "a" "b" }}{{ end }}`:       "wrong number of args for replace: want 3 got 2",
		`{{ if false }}{{ "x" | replace "a" "b" }}{{ end }}`: "",
		`{{ if false }}{{ print (ssm) }}{{ end }}`:           "wrong number of args for ssm: want at least 1 got 0",
		`{{ if false }}{{ ssm "a b" }}{{ end }}`:             "nothing can have this name",
		`{{ if false }}{{ ssmTree "a" }}{{ end }}`:           "nothing can have this name",
		`{{ with false }}{{ else }}{{ upper }}{{ end }}`:     "wrong number of args for upper",
		`{{ if false }}{{ upper tag }}{{ end }}`:             "wrong number of args for tag: want at least 1 got 0",
		`{{ if false }}{{ tag "a" "b" "c" }}{{ end }}`:       "wrong number of args for tag",
		`{{ if false }}{{ "zone" | node }}{{ end }}`:         "no such field",
		`{{ if false }}{{ node ("zone") }}{{ end }}`:         "no such field",
		`{{ if false }}{{ file "../x" }}{{ end }}`:           "dots that climb",
		`{{ if false }}{{ len "a" "b" }}{{ end }}`:           "wrong number of args for len: want 1 got 2",
		`{{ if false }}{{ template "nosuch" }}{{ end }}`:     `template "nosuch" is not defined`,
	} {
		_, err := render.Parse("t", src, struct{}{})
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.Contains(got, want) {
			t.Errorf("%s: %v", src, err)
		}
	}
}

func TestWhatATemplateMakesOfAFactIsNotJudgedBeforeItIsKnown(t *testing.T) {
	for _, src := range []string{
		`{{ index (dict "dev" "a" "prod" "b") (tag "env") | upper }}`,
		`{{ $d := dict "prod" (dict "n" "1") }}{{ (index $d (tag "env")).n }}`,
		`{{ $sizes := dict "m5.large" 8 }}{{ if gt (index $sizes (node "instance_type")) 4 }}big{{ end }}`,
		`{{ define "p" }}{{ upper . }}{{ end }}{{ template "p" (index (dict "prod" "b") (tag "env")) }}`,
		`{{ $r := "" }}{{ range list (dict "t" "m5.large" "n" 1) }}{{ if eq .t (node "instance_type") }}{{ $r = . }}{{ end }}{{ end }}{{ $r.n }}`,
		`{{ tag "env" | int | add 1 }}`, `{{ (secret "db" | fromJson).password }}`, `{{ index (splitList "," (tag "zones")) 1 }}`,
		`{{ if ne (tag "env") "prod" }}{{ fail "only in production" }}{{ end }}`, `{{ range $k, $v := ssmTree "/a" }}{{ $v | b64dec }}{{ end }}`,
		`{{ join "," (keys (ssmTree "/a/")) }}{{ get (ssmTree "/a/") "url" }}`,
	} {
		if _, err := render.Parse("t", src, struct{}{}); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
}

func TestASecretIsNoPartOfANameThatIsShown(t *testing.T) {
	for _, src := range []string{
		`{{ ssm (printf "/user/%s" (ssm "/app/key")) }}`, `{{ tag (ssm "/app/key") }}`, `{{ hasTag (secret "plain") }}`, `{{ file (secret "plain") }}`,
		`{{ secret "db" (secret "plain") }}`, `{{ secret (secret "db" "password") }}`, `{{ ssmTree (printf "/%s" (secret "plain")) }}`,
	} {
		in := withParameters()
		in.Secrets, in.Trace = true, &render.Trace{}
		_, err := parse(t, src).Render(in, struct{}{})
		if err == nil || strings.Contains(err.Error()+fmt.Sprint(in.Trace.References()), "hunter") {
			t.Errorf("%s: %v, %v", src, err, in.Trace.References())
		}
	}
}

func TestANameThatIsNotWholeYetIsNotAskedFor(t *testing.T) {
	in := withParameters()
	in.Instance.Tags = facts.Tags{Why: "imds: 503"}
	in.Trace = &render.Trace{}
	_, err := parse(t, `{{ ssm (printf "/app-%s/url" (tag "env")) }}{{ ssm "/literal" }}`).Render(in, struct{}{})
	if want := (facts.References{{Kind: facts.SSMParameter, Name: "/literal"}}); err == nil || !in.Trace.References().Equal(want) {
		t.Errorf("%v, %v", err, in.Trace.References())
	}
}

func withParameters() render.Inputs {
	in := inputs()
	present := func(p facts.Parameter) facts.ParameterAnswer {
		return facts.ParameterAnswer{Presence: facts.Present, Values: map[string]facts.Parameter{"": p}}
	}
	in.Parameters = facts.Parameters{
		{Kind: facts.SSMParameter, Name: "/app/prod/url"}: present(facts.Parameter{Value: "https://x"}),
		{Kind: facts.SSMParameter, Name: "/app/key"}:      present(facts.Parameter{Value: "hunter2", Secret: true}),
		{Kind: facts.SSMParameter, Name: "/app/none"}:     {Presence: facts.Absent, Why: "Parameter Store has none of this name"},
		{Kind: facts.SSMTree, Name: "/app/"}: {Presence: facts.Present, Values: map[string]facts.Parameter{
			"b/c": {Value: "2"}, "a": {Value: "1"},
		}},
		{Kind: facts.ASecret, Name: "db"}:    present(facts.Parameter{Value: `{"password": "hunter2", "port": 5432}`, Secret: true}),
		{Kind: facts.ASecret, Name: "plain"}: present(facts.Parameter{Value: "hunter2", Secret: true}),
	}
	in.File = func(name string) ([]byte, error) {
		if name == "ca.pem" {
			return []byte("CA\n"), nil
		}
		return nil, fs.ErrNotExist
	}
	return in
}

func TestParameters(t *testing.T) {
	for src, want := range map[string]string{
		`{{ ssm "/app/prod/url" }}`:                                                   "https://x",
		`{{ ssm (printf "/app/%s/url" (tag "env")) }}`:                                "https://x",
		`{{ ssm "/app/none" "fallback" }}`:                                            "fallback",
		`{{ range $k, $v := ssmTree "/app/" }}{{ $k }}={{ $v }};{{ end }}`:            "a=1;b/c=2;",
		`{{ ssm "/app/key" }}`:                                                        "hunter2",
		`{{ secret "db" "password" }}:{{ secret "db" "port" }}`:                       "hunter2:5432",
		`{{ (secret "db" | fromJson).port | int }}`:                                   "5432",
		`{{ file "ca.pem" }}`:                                                         "CA\n",
		`{{ range $k, $v := (dict "a" (secret "plain")) }}{{ $v | b64enc }}{{ end }}`: "aHVudGVyMg==",
		`{{ join "," (keys (ssmTree "/app/")) }}{{ get (ssmTree "/app/") "a" }}`:      "a,b/c1",
	} {
		in := withParameters()
		in.Secrets = true
		if got, err := parse(t, src).Render(in, struct{}{}); err != nil || got != want {
			t.Errorf("%s: %q, %v", src, got, err)
		}
	}
}

func TestWhatIsNotThereIsNamed(t *testing.T) {
	for src, want := range map[string]string{
		`{{ ssm "/app/none" }}`:                             `ssm "/app/none" is absent (Parameter Store has none of this name)`,
		`{{ ssm "/new" "d" }}{{ ssmTree "/t" | len }}`:      `ssm "/new" is not known (it has not been read yet), ssmTree "/t" is not known (it has not been read yet)`,
		`{{ secret "db" "user" }}`:                          `secret "db" "user" is absent (the secret has no such key)`,
		`{{ file "none" }}`:                                 `file "none" is absent (there is no such file)`,
		`{{ ssm "/new" | int }}`:                            `ssm "/new" is not known (it has not been read yet)`,
		`{{ ssm (printf "/a/%s/b" (ssm "/new")) }}`:         `ssm "/new" is not known (it has not been read yet)`,
		`{{ file (printf "%s" (tag "nope" "../secret")) }}`: `expected a name below the directory of files`,
	} {
		in := withParameters()
		in.Secrets, in.Trace = true, &render.Trace{}
		got, err := parse(t, src).Render(in, struct{}{})
		if err == nil || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("%s: %q, %v", src, got, err)
		}
	}
}

func TestATraceKnowsWhatWasAsked(t *testing.T) {
	in := withParameters()
	in.Trace, in.Secrets = &render.Trace{}, true
	_, _ = parse(t, `{{ secret "db" "port" }}{{ ssm "/new" }}{{ ssm "/new" }}`).Render(in, struct{}{})
	want := facts.References{{Kind: facts.ASecret, Name: "db"}, {Kind: facts.SSMParameter, Name: "/new"}}
	if got := in.Trace.References(); !got.Equal(want) {
		t.Errorf("%v", got)
	}
	if !in.Trace.Secret() || in.Trace.Secret() {
		t.Error("that a secret was read is not told once")
	}
	_, _ = parse(t, `{{ ssm "/app/prod/url" }}`).Render(in, struct{}{})
	if in.Trace.Secret() {
		t.Error("a String is taken for a secret")
	}
}

func TestASecretReachesNothingThatEverybodyReads(t *testing.T) {
	for _, src := range []string{`{{ secret "db" }}`, `{{ ssm "/app/key" }}`} {
		in := withParameters()
		got, err := parse(t, src).Render(in, struct{}{})
		if !errors.Is(err, render.ErrSecret) || got != "" {
			t.Errorf("%s: %q, %v", src, got, err)
		}
	}
}

func TestNoErrorShowsASecret(t *testing.T) {
	for _, src := range []string{
		`{{ secret "plain" | int }}`, `{{ secret "plain" | fromJson }}`, `{{ secret "plain" | b64dec }}`, `{{ fail (secret "plain") }}`,
		`{{ add 1 (secret "plain") }}`, `{{ secret "plain" "key" }}`, `{{ $s := secret "plain" }}{{ fail (printf "%s" $s) }}`,
		"\n{{ secret \"plain\" | envfilequote | int }}", `{{ index (dict "a" 1) (secret "plain") "b" }}`, `{{ template "x" }}{{ define "x" }}{{ fail (secret "plain") }}{{ end }}`,
	} {
		for _, secrets := range []bool{true, false} {
			in := withParameters()
			in.Secrets = secrets
			_, err := parse(t, src).Render(in, struct{}{})
			if err == nil || strings.Contains(fmt.Sprintf("%+v", err), "hunter") {
				t.Errorf("%s: %v", src, err)
			}
		}
	}
}

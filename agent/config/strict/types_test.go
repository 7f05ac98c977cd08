package strict

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

type recursive struct {
	Inner []recursive `yaml:"inner" help:"More of it."`
}

type unmarshalOnly struct{}

func (*unmarshalOnly) UnmarshalText([]byte) error { return nil }

func TestCheckType(t *testing.T) {
	t.Parallel()
	if err := CheckType(sample{}); err != nil {
		t.Errorf("the sample is refused: %v", err)
	}
	for name, test := range map[string]struct {
		v    any
		want string
	}{
		"nil":          {nil, "it is not a struct"},
		"not a struct": {map[string]string{}, "it is not a struct"},
		"a text type":  {&template{}, "it is not a struct"},
		"no yaml tag": {struct {
			A string `help:"A."`
		}{}, ".A: it needs a yaml tag"},
		"no help tag": {struct {
			A string `yaml:"a"`
		}{}, ".A: it needs a help tag"},
		"help over lines": {struct {
			A string "yaml:\"a\" help:\"A.\\nB.\""
		}{}, ".A: it needs a help tag of one line"},
		"embedded": {struct{ network }{}, ".network: an embedded struct"},
		"two of one key": {struct {
			A string `yaml:"a" help:"A."`
			B string `yaml:"a" help:"B."`
		}{}, `.B: the key "a" is used twice`},
		"interface": {struct {
			A any `yaml:"a" help:"A."`
		}{}, "interface {} has no form in YAML"},
		"array": {struct {
			A [2]int `yaml:"a" help:"A."`
		}{}, "[2]int has no form in YAML"},
		"function": {struct {
			A func() `yaml:"a" help:"A."`
		}{}, "func() has no form in YAML"},
		"bytes": {struct {
			A []byte `yaml:"a" help:"A."`
		}{}, "bytes have no text form"},
		"time.Duration": {struct {
			A []time.Duration `yaml:"a" help:"A."`
		}{}, ".A[]: time.Duration has no text form"},
		"map of int": {struct {
			A map[int]int `yaml:"a" help:"A."`
		}{}, "a map's key must be based on string"},
		"map of text type": {struct {
			A map[level]int `yaml:"a" help:"A."`
		}{}, "a map's key must be based on string"},
		"pointer to list": {struct {
			A *[]int `yaml:"a" help:"A."`
		}{}, "a pointer to []int says nothing"},
		"pointer twice": {struct {
			A **int `yaml:"a" help:"A."`
		}{}, "a pointer to *int says nothing"},
		"contains itself": {recursive{}, "strict.recursive contains itself"},
		"no MarshalText": {struct {
			A unmarshalOnly `yaml:"a" help:"A."`
		}{}, "has UnmarshalText but not MarshalText"},
		"deep inside": {struct {
			A map[string][]struct {
				B any `yaml:"b" help:"B."`
			} `yaml:"a" help:"A."`
		}{}, ".A[][].B: interface {}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckType(test.v)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ...%s...", err, test.want)
			}
		})
	}
}

func TestDecodePanicsForWrongTypes(t *testing.T) {
	t.Parallel()
	for name, into := range map[string]any{
		"not a pointer": sample{},
		"nil pointer":   (*sample)(nil),
		"not decodable": &struct{ A any }{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			Decode(into)
		}()
	}
}

func TestPathsHaveOneReading(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path string
		want []step
	}{
		{Key(Key("a", "b_c-1"), "D"), []step{{key: "a"}, {key: "b_c-1"}, {key: "D"}}},
		{Key(Key("", "a.b"), ""), []step{{key: "a.b"}, {key: ""}}},
		{Key(Key("", `q"u\o`), "é\n"), []step{{key: `q"u\o`}, {key: "é\n"}}},
		{Index(Index(Key("", "a"), 0), 12), []step{{key: "a"}, {index: 0, list: true}, {index: 12, list: true}}},
		{Key(Index("a", 3), "b[0]"), []step{{key: "a"}, {index: 3, list: true}, {key: "b[0]"}}},
	} {
		got, ok := splitPath(test.path)
		if !ok || fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s is read as %v, %v; want %v", test.path, got, ok, test.want)
		}
	}
	for _, path := range []string{".a", "a.", "a..b", "a[", "a[x]", "a[-1]", "a]", `a."b`, "a b", `"a"b`, "é"} {
		if got, ok := splitPath(path); ok {
			t.Errorf("%q is read as %v", path, got)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	names := []string{"cluster", "channel", "stop_timeout", "log_level", "ecs"}
	for text, want := range map[string]string{
		"clustre":                     "cluster",
		"Cluster":                     "cluster",
		"clsuter":                     "cluster",
		"cluser":                      "cluster",
		"chanel":                      "channel",
		"stopTimeout":                 "stop_timeout",
		"stop-time":                   "stop_timeout",
		"loglevel":                    "log_level",
		"ec":                          "ecs",
		"esc":                         "ecs",
		"xyz":                         "",
		"a":                           "",
		"":                            "",
		strings.Repeat("cluster", 50): "",
	} {
		hint := ""
		if want != "" {
			hint = fmt.Sprintf("did you mean %q?", want)
		}
		if got := didYouMean(text, names); got != hint {
			t.Errorf("%q: %q, want %q", text, got, hint)
		}
	}
}

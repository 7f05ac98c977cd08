package strict

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestSchemaGolden(t *testing.T) {
	t.Parallel()
	got, err := Schema(sampleDefaults(), "https://example.org/sample.json", "Sample")
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "testdata/schema.json", string(got))
}

func TestSchemaJudgesAsDecodeDoes(t *testing.T) {
	t.Parallel()
	data, err := Schema(sampleDefaults(), "id", "title")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatalf("the schema is not JSON: %v", err)
	}
	for _, test := range []struct {
		name, text string // JSON is YAML
		good       bool
	}{
		{"nothing", `{}`, true},
		{"all shapes", `{"cluster": "a", "node_config": {"files": {"x": {"mode": "0600", "missing": "empty"}}, "tags": ["a"], "values": {"A_1": "b"}},
			"ecs": {"stop_timeout": "15m", "reserved_memory": 0, "priority": -128, "weight": 1.5, "spot_draining": false},
			"tasks": [{"family": "f", "count": 1, "networks": [{"port": 65535}]}], "drain": {"force": true}, "log_level": "warn"}`, true},
		{"null everywhere", `{"cluster": null, "node_config": null, "drain": null, "log_level": null, "tasks": null, "schedules": {"x": null}, "ecs": {"weight": null, "attributes": {"a": null}}}`, true},
		{"numbers and booleans as text", `{"channel": 1.5, "node_config": {"tags": [true, 7], "files": {"x": {"mode": 600}}}}`, true},
		{"unknown key", `{"clustre": "a"}`, false},
		{"unknown key in a map's entry", `{"schedules": {"x": {"corn": "1"}}}`, false},
		{"unknown key in a list's entry", `{"tasks": [{"familiy": "x"}]}`, false},
		{"mapping for text", `{"cluster": {}}`, false},
		{"list for text", `{"channel": []}`, false},
		{"text for list", `{"tasks": "a"}`, false},
		{"text for mapping", `{"drain": "a"}`, false},
		{"text for boolean", `{"ecs": {"spot_draining": "true"}}`, false},
		{"text for number", `{"ecs": {"weight": "1"}}`, false},
		{"fraction for integer", `{"ecs": {"priority": 1.5}}`, false},
		{"below the least", `{"ecs": {"reserved_memory": -1}}`, false},
		{"above the most", `{"tasks": [{"networks": [{"port": 65536}]}]}`, false},
		{"not in the enumeration", `{"node_config": {"files": {"x": {"missing": "never"}}}}`, false},
		{"text type not in the enumeration", `{"log_level": "loud"}`, false},
		{"not in the pattern", `{"ecs": {"stop_timeout": "soon"}}`, false},
		{"key not in the pattern", `{"node_config": {"values": {"2": "x"}}}`, false},
		{"null in a list", `{"node_config": {"tags": [null]}}`, false},
		{"top level is a list", `[]`, false},
	} {
		var instance any
		if err := json.Unmarshal([]byte(test.text), &instance); err != nil {
			t.Fatal(err)
		}
		err := accepts(schema, instance)
		if (err == nil) != test.good {
			t.Errorf("%s: schema says %v", test.name, err)
		}
		r := Decode(sampleDefaults(), layers(test.text)...)
		if (len(r.Problems) == 0) != test.good {
			t.Errorf("%s: Decode says %v", test.name, r.Problems)
		}
	}
}

// TestSchemaDefaultsFit holds the defaults in the schema to the schema.
func TestSchemaDefaultsFit(t *testing.T) {
	t.Parallel()
	data, err := Schema(sampleDefaults(), "id", "title")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	defaults := 0
	var check func(path string, s any)
	check = func(path string, s any) {
		m, _ := s.(map[string]any)
		if d, ok := m["default"]; ok {
			defaults++
			if err := accepts(m, d); err != nil {
				t.Errorf("the default of %s does not fit: %v", path, err)
			}
		}
		for name, p := range members(m["properties"]) {
			if members(p)["description"] == nil {
				t.Errorf("%s.%s has no description", path, name)
			}
			check(path+"."+name, p)
		}
		if m["items"] != nil {
			check(path+"[]", m["items"])
		}
		if m["properties"] != nil && m["additionalProperties"] != false {
			t.Errorf("%s takes unknown keys", path)
		}
		if entry := members(m["additionalProperties"]); entry != nil {
			check(path+".<name>", entry)
		}
	}
	check("", schema)
	if defaults < 10 {
		t.Errorf("only %d defaults in the schema", defaults)
	}
}

func members(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// accepts checks instance against the keywords of JSON Schema that Schema uses,
// and fails on any other keyword.
func accepts(schema map[string]any, instance any) error {
	for keyword, arg := range schema {
		if err := acceptsKeyword(keyword, arg, instance, schema); err != nil {
			return fmt.Errorf("%s: %w", keyword, err)
		}
	}
	return nil
}

func acceptsKeyword(keyword string, arg, instance any, schema map[string]any) error {
	object, isObject := instance.(map[string]any)
	n, isNumber := instance.(float64)
	text, isText := instance.(string)
	fits := true
	switch keyword {
	case "$schema", "$id", "title", "description", "default":
	case "type":
		types, many := arg.([]any)
		if !many {
			types = []any{arg}
		}
		fits = slices.ContainsFunc(types, func(name any) bool { return isOfType(instance, name.(string)) })
	case "enum":
		fits = slices.ContainsFunc(arg.([]any), func(e any) bool { return reflect.DeepEqual(e, instance) })
	case "pattern":
		fits = !isText || regexp.MustCompile(arg.(string)).MatchString(text)
	case "minimum":
		fits = !isNumber || n >= arg.(float64)
	case "maximum":
		fits = !isNumber || n <= arg.(float64)
	case "items":
		list, _ := instance.([]any)
		for i, item := range list {
			if err := accepts(members(arg), item); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case "properties":
		for name, value := range object {
			if p := members(members(arg)[name]); p != nil {
				if err := accepts(p, value); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	case "additionalProperties":
		for name, value := range object {
			if members(schema["properties"])[name] != nil {
				continue
			}
			if arg == false {
				return fmt.Errorf("%s is unknown", name)
			}
			if err := accepts(members(arg), value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case "propertyNames":
		for name := range object {
			if isObject && accepts(members(arg), name) != nil {
				fits = false
			}
		}
	default:
		return fmt.Errorf("the checker does not know this keyword")
	}
	if !fits {
		return fmt.Errorf("%v does not fit %v", instance, arg)
	}
	return nil
}

func isOfType(instance any, name string) bool {
	switch v := instance.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

func TestSchemaKeepsDeclarationOrderAndSigns(t *testing.T) {
	t.Parallel()
	type config struct {
		Zebra string `yaml:"zebra" help:"Comes <first> & stays so."`
		Ant   string `yaml:"ant" help:"Comes second."`
	}
	data, err := Schema(config{Zebra: "<z>"}, "id", "title")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if strings.Index(text, "zebra") > strings.Index(text, "ant\"") {
		t.Error("the properties are not in declaration order")
	}
	for _, want := range []string{"Comes <first> & stays so.", `"default": "<z>"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestSchemaErrors(t *testing.T) {
	t.Parallel()
	if _, err := Schema(struct{ A any }{}, "id", "title"); err == nil {
		t.Error("a type that cannot be decoded has a schema")
	}
	if _, err := Schema((*sample)(nil), "id", "title"); err == nil {
		t.Error("a nil configuration has a schema")
	}
	type config struct {
		A float64 `yaml:"a" help:"A."`
	}
	if _, err := Schema(config{math.NaN()}, "id", "title"); err == nil {
		t.Error("a default that JSON cannot say has a schema")
	}
}

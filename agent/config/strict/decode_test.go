package strict

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// layer returns a layer whose name is its number.
func layers(texts ...string) []Layer {
	var all []Layer
	for i, text := range texts {
		all = append(all, Layer{Name: "layer" + string(rune('1'+i)), Data: []byte(text)})
	}
	return all
}

func decodeClean(t *testing.T, into any, texts ...string) *Result {
	t.Helper()
	r := Decode(into, layers(texts...)...)
	if err := r.Problems.Err(); err != nil {
		t.Fatalf("unexpected problems:\n%v", err)
	}
	return r
}

func TestNoSettings(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty file":             "",
		"blank lines":            "\n\n  \n",
		"only comments":          "# cluster: x\n\n  # more\n",
		"document start":         "---\n",
		"start, comment and end": "---\n# nothing\n...\n# after\n",
		"null":                   "null\n",
		"empty mapping":          "{}\n",
		"byte order mark":        "\ufeff",
		"empty blocks":           "node_config:\n  # directory: /x\n  files:\ntasks: null\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sampleDefaults()
			decodeClean(t, got, text)
			if diff := cmp.Diff(sampleDefaults(), got, exported); diff != "" {
				t.Errorf("-defaults +got:\n%s", diff)
			}
		})
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	three := 3
	for name, test := range map[string]struct {
		text string
		want func(*sample)
	}{
		"strings are read from their characters": {
			"channel: 1.10\nnode_config:\n  directory: 0644\n  tags: [no, on, true, 0x1F, 2001-01-01]\n  values:\n    A: 12:30\n    B: x:1",
			func(s *sample) {
				s.Channel, s.NodeConfig.Directory = "1.10", "0644"
				s.NodeConfig.Tags = []string{"no", "on", "true", "0x1F", "2001-01-01"}
				s.NodeConfig.Values = map[varName]string{"A": "12:30", "B": "x:1"}
			},
		},
		"a quoted null is text": {
			`channel: "null"`,
			func(s *sample) { s.Channel = "null" },
		},
		"modes are octal, quoted or not": {
			"node_config:\n  files:\n    a: {mode: 0600}\n    b: {mode: \"0640\"}\n    c: {mode: '755'}\n",
			func(s *sample) {
				s.NodeConfig.Files["a"] = sampleFile{Mode: 0o600, Missing: "fail"}
				s.NodeConfig.Files["b"] = sampleFile{Mode: 0o640, Missing: "fail"}
				s.NodeConfig.Files["c"] = sampleFile{Mode: 0o755, Missing: "fail"}
			},
		},
		"a quoted template": {
			`cluster: '{{ tag "cluster" }}-x'`,
			func(s *sample) { s.Cluster.source = `{{ tag "cluster" }}-x` },
		},
		"a template inside plain text": {
			`cluster: ecs-{{ tag "cluster" }}`,
			func(s *sample) { s.Cluster.source = `ecs-{{ tag "cluster" }}` },
		},
		"block scalars": {
			"cluster: |\n  a\n   b\n\n  c\nchannel: >-\n  d\n  e\n",
			func(s *sample) { s.Cluster.source, s.Channel = "a\n b\n\nc\n", "d e" },
		},
		"escapes and doubled quotes": {
			`{cluster: "a\tb\u00fc\x41\\", channel: 'it''s'}`,
			func(s *sample) { s.Cluster.source, s.Channel = "a\tbüA\\", "it's" },
		},
		"numbers and booleans": {
			"ecs: {reserved_memory: +4294967295, priority: -128, weight: 1.5e3, spot_draining: False}",
			func(s *sample) {
				s.ECS.ReservedMemory, s.ECS.Priority, s.ECS.Weight, s.ECS.Spot = 4294967295, -128, 1500, false
			},
		},
		"lists of mappings in both indentations": {
			"tasks:\n- family: web\n  count: 3\n  networks:\n    - subnet: a\n      port: 80\n    - {subnet: b}\n- family: log\n",
			func(s *sample) {
				s.Tasks = []sampleTask{
					{Family: "web", Count: &three, Networks: []network{{"a", 80}, {Subnet: "b"}}},
					{Family: "log"},
				}
			},
		},
		"an empty list replaces": {
			"ecs: {log_drivers: []}",
			func(s *sample) { s.ECS.LogDrivers = []string{} },
		},
		"an empty map's entry has the entry's own defaults": {
			"node_config:\n  files:\n    app:\n",
			func(s *sample) { s.NodeConfig.Files["app"] = sampleFile{Mode: 0o644, Missing: "fail"} },
		},
		"what is behind a nil pointer has its own defaults": {
			"drain: {force: true}",
			func(s *sample) { s.Drain = &sampleDrain{Deadline: duration(2 * time.Minute), Force: true} },
		},
		"windows line ends and a byte order mark": {
			"\ufeffcluster: |\r\n  a\r\n  b\r\nchannel: x\r\n",
			func(s *sample) { s.Cluster.source, s.Channel = "a\nb\n", "x" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := sampleDefaults(), sampleDefaults()
			test.want(want)
			decodeClean(t, got, test.text)
			if diff := cmp.Diff(want, got, exported); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		layers []string
		want   func(*sample)
	}{
		"structs and maps merge deeply": {
			[]string{
				"ecs: {weight: 1, attributes: {a: x, b: y}}",
				"ecs: {priority: 2, attributes: {b: z}}\nnode_config: {files: {node.config: {mode: 0600}}}",
			},
			func(s *sample) {
				s.ECS.Weight, s.ECS.Priority = 1, 2
				s.ECS.Attributes = map[string]string{"lifecycle": "spot", "a": "x", "b": "z"}
				s.NodeConfig.Files["node.config"] = sampleFile{Template: "node", Mode: 0o600, Missing: "fail"}
			},
		},
		"scalars and lists replace": {
			[]string{"channel: a\nnode_config: {tags: [a, b]}", "channel: b\nnode_config: {tags: [c]}"},
			func(s *sample) { s.Channel, s.NodeConfig.Tags = "b", []string{"c"} },
		},
		"null resets fields to their defaults": {
			[]string{"channel: a\necs: {weight: 1, spot_draining: false}", "channel: null\necs: ~"},
			func(*sample) {},
		},
		"null removes entries, the default's too": {
			[]string{"ecs: {attributes: {a: x}}", "ecs: {attributes: {a: null, lifecycle: ~}}"},
			func(s *sample) { s.ECS.Attributes = map[string]string{} },
		},
		"an entry that was removed starts anew": {
			[]string{"node_config: {files: {node.config: null}}", "node_config: {files: {node.config: {mode: 0600}}}", "node_config: {files: {node.config: {missing: empty}}}"},
			func(s *sample) {
				s.NodeConfig.Files["node.config"] = sampleFile{Mode: 0o600, Missing: "empty"}
			},
		},
		"a field that was reset starts from its default": {
			[]string{"ecs: {weight: 1}", "ecs: null", "ecs: {priority: 3}"},
			func(s *sample) { s.ECS.Priority = 3 },
		},
		"an empty block changes nothing": {
			[]string{"ecs: {weight: 1}\nnode_config:\n", "ecs:\nnode_config: {directory: /y}", "node_config:"},
			func(s *sample) { s.ECS.Weight, s.NodeConfig.Directory = 1, "/y" },
		},
		"an empty mapping changes nothing": {
			[]string{"node_config: {files: {}}", "ecs: {}"},
			func(*sample) {},
		},
		"lists are not merged": {
			[]string{"tasks: [{family: a, count: 1}]", "tasks: [{family: b}]"},
			func(s *sample) { s.Tasks = []sampleTask{{Family: "b"}} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := sampleDefaults(), sampleDefaults()
			test.want(want)
			decodeClean(t, got, test.layers...)
			if diff := cmp.Diff(want, got, exported); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLayerWithProblemIsLeftOutWhole(t *testing.T) {
	t.Parallel()
	got := sampleDefaults()
	r := Decode(got, layers(
		"channel: one\necs: {weight: 1}",
		"channel: two\necs: {weight: x, priority: 2}\nnode_config: {files: {a: {}}}",
		"ecs: {priority: 3}",
		"channel: {",
	)...)
	want := sampleDefaults()
	want.Channel, want.ECS.Weight, want.ECS.Priority = "one", 1, 3
	if diff := cmp.Diff(want, got, exported); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"layer2", "layer4"}, r.LeftOut); diff != "" {
		t.Errorf("left out: %s", diff)
	}
	if pos, ok := r.Origin("channel"); !ok || pos.File != "layer1" {
		t.Errorf("channel comes from %v, %v", pos, ok)
	}
}

func TestDefaultsAreNotWrittenTo(t *testing.T) {
	t.Parallel()
	defaults := sampleDefaults()
	defaults.Drain = &sampleDrain{}
	into := *defaults
	decodeClean(t, &into, "ecs: {attributes: {lifecycle: null, x: y}, log_drivers: [syslog]}\n"+
		"drain: {force: true}\nnode_config: {files: {node.config: {mode: 0600}}}")
	want := sampleDefaults()
	want.Drain = &sampleDrain{}
	if diff := cmp.Diff(want, defaults, exported); diff != "" {
		t.Errorf("the defaults changed (-want +got):\n%s", diff)
	}
}

func TestOriginAndLocate(t *testing.T) {
	t.Parallel()
	r := decodeClean(t, sampleDefaults(),
		"cluster: a\nnode_config:\n  directory: /x\n  tags: [a, b]\n",
		"# second\nnode_config:\n  files:\n    node.config: {mode: 0600}\n    app:\nchannel: null\ntasks:\n  - family: f\n    networks:\n    - port: 1\n",
	)
	for _, test := range []struct {
		path       string
		key, value string
		set        bool
	}{
		{"cluster", "layer1:1:1", "layer1:1:10", true},
		{"node_config", "layer2:2:1", "layer2:3:3", true},
		{"node_config.directory", "layer1:3:3", "layer1:3:14", true},
		{"node_config.tags[1]", "layer1:4:13", "layer1:4:13", true},
		{`node_config.files."node.config".mode`, "layer2:4:19", "layer2:4:25", true},
		{"node_config.files.app", "layer2:5:5", "layer2:5:5", true},
		{"tasks[0].networks[0].port", "layer2:10:7", "layer2:10:13", true},
		// Not written: the nearest parent that was.
		{`node_config.files."node.config".missing`, "layer2:4:5", "layer2:4:5", false},
		{"node_config.files.app.mode", "layer2:5:5", "layer2:5:5", false},
		{"node_config.tags[7]", "layer1:4:3", "layer1:4:3", false},
		{"tasks[0].family.x", "layer2:8:5", "layer2:8:5", false},
		{"ecs.weight", "layer1:1:1", "layer1:1:1", false},
		{"", "layer1:1:1", "layer1:1:1", true},
		// Reset: placed at the null.
		{"channel", "layer2:6:1", "layer2:6:10", false},
		// Not a path.
		{"node_config..directory", "layer1:1:1", "layer1:1:1", false},
		{`node_config."x`, "layer1:1:1", "layer1:1:1", false},
		{"node_config[0", "layer1:1:1", "layer1:1:1", false},
	} {
		key, value := r.Locate(test.path)
		if key.String() != test.key || value.String() != test.value {
			t.Errorf("%q: key at %v, value at %v; want %s and %s", test.path, key, value, test.key, test.value)
		}
		if pos, set := r.Origin(test.path); test.path != "" && (set != test.set || set && pos != value) {
			t.Errorf("%q: origin %v, %v; want %v", test.path, pos, set, test.set)
		}
	}
}

func TestLocateWithoutLayers(t *testing.T) {
	t.Parallel()
	r := Decode(sampleDefaults())
	if key, value := r.Locate("cluster"); key != (Pos{}) || value != (Pos{}) {
		t.Errorf("located at %v, %v", key, value)
	}
	p := r.Problem("cluster", errors.New("not set"))
	if got, want := p.Error(), "cluster: not set"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r = Decode(sampleDefaults(), layers("# empty")...)
	if got, want := r.Problem("cluster", errors.New("not set")).Error(), "layer1:1:1: cluster: not set"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestProblemInsideText places an error at an offset for each way to write a
// text.
func TestProblemInsideText(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string // the error is at "!"
		want string
	}{
		"plain":                     {"cluster: üa!", "layer1:1:12"},
		"plain in flow":             {"{cluster: a!}", "layer1:1:12"},
		"plain over lines":          {"cluster: a\n  b!", "layer1:1:10"},
		"single quoted":             {"cluster: 'it''s ü!'", "layer1:1:18"},
		"single quoted over lines":  {"cluster: 'a\n  b!'", "layer1:1:10"},
		"double quoted":             {`cluster: "\tü\u00fc\x41\\!"`, "layer1:1:26"},
		"double quoted over lines":  {"cluster: \"a\n  b!\"", "layer1:1:10"},
		"literal":                   {"cluster: |\n  a\n\n   ü!\n", "layer1:4:5"},
		"literal with blank head":   {"cluster: |\n\n  !\n", "layer1:3:3"},
		"literal, more indentation": {"cluster: |1\n   !\n", "layer1:1:10"},
		"folded":                    {"cluster: >\n  a\n  !\n", "layer1:1:10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sampleDefaults()
			r := decodeClean(t, s, test.text)
			offset := strings.Index(s.Cluster.source, "!")
			if offset < 0 {
				t.Fatalf("read as %q", s.Cluster.source)
			}
			p := r.Problem("cluster", &syntaxError{offset: offset, text: "bad", hint: "fix it"})
			if got, want := p.Error(), test.want+": cluster: bad (fix it)"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			out := r.Problem("cluster", &syntaxError{offset: 1000, text: "bad"})
			if _, value := r.Locate("cluster"); out.Pos != value {
				t.Errorf("an offset beyond the text is at %v, want %v", out.Pos, value)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"size":         {strings.Repeat("# x\n", MaxSize/4) + "#", "layer1:1:1: the file is too large: 1048577 bytes, of which a configuration may have 1048576"},
		"line":         {"# ok\n#" + strings.Repeat("x", maxLine), "layer1:2:16385: the line is too long: more than 16384 characters"},
		"blank lines":  {"cluster: |" + strings.Repeat("\n \t", maxBlankLines+2), "layer1:102:1: more than 100 blank lines in a row"},
		"tokens":       {strings.Repeat("- x\n", maxTokens), "layer1:15001:1: the file is too large: more than 30000 keys, values and signs"},
		"flow depth":   {"cluster: " + strings.Repeat("[", 2000), "layer1:1:73: nested too deep: more than 64 levels"},
		"maps in flow": {strings.Repeat("{a: ", 2000), "layer1:1:257: nested too deep: more than 64 levels"},
		"list depth":   {strings.Repeat("- ", 4000), "layer1:1:129: nested too deep: more than 64 levels"},
		"block depth":  {nested(100), "layer1:65:66: nested too deep: more than 64 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Decode(sampleDefaults(), layers(test.text)...)
			if got := r.Problems.Error(); got != test.want {
				t.Errorf("got %.300q, want %q", got, test.want)
			}
		})
	}
}

func nested(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestProblemsAreSortedOverLayers(t *testing.T) {
	t.Parallel()
	r := Decode(sampleDefaults(),
		Layer{"b.yaml", []byte("channel: []\nclustre: x")},
		Layer{"a.yaml", []byte("ecs: {weight: y, priority: z}")},
	)
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.Pos.String())
	}
	want := []string{"a.yaml:1:15", "a.yaml:1:28", "b.yaml:1:10", "b.yaml:2:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := (Problems{}).Err(); err != nil {
		t.Errorf("no problems are the error %v", err)
	}
}

func TestEveryRefusalIsReported(t *testing.T) {
	t.Parallel()
	text := "node_config:\n  tags:\n" + strings.Repeat("  - *a\n", 100)
	r := Decode(sampleDefaults(), layers(text)...)
	if len(r.Problems) != 100 {
		t.Errorf("%d problems, want 100", len(r.Problems))
	}
}

// TestRefusalsInALargeFile has more to refuse than may be scanned again for.
func TestRefusalsInALargeFile(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("#"+strings.Repeat(" x", 4000)+"\n", 100) + strings.Repeat("cluster: *a\n", 100) + "- not YAML"
	r := Decode(sampleDefaults(), layers(text)...)
	if n := len(r.Problems); n < 3 || n > 99 {
		t.Errorf("%d problems", n)
	}
	for _, p := range r.Problems {
		if !strings.HasPrefix(p.Message, "aliases") {
			t.Errorf("besides: %v", p)
		}
	}
}

package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s (%v):\n%s\nwant:\n%s", path, err, got, want)
	}
}

// TestBrokenFiles keeps what an operator is told about each broken file.
func TestBrokenFiles(t *testing.T) {
	names, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	var all strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		l := config.Merge([]strict.Layer{{Name: filepath.Base(name), Data: data}})
		if len(l.Problems) == 0 || !slices.Equal(l.LeftOut, []string{filepath.Base(name)}) {
			t.Errorf("%s: problems %v, left out %v", name, l.Problems, l.LeftOut)
		}
		for _, p := range l.Problems {
			if p.Pos.Line < 1 || p.Pos.Column < 1 || strings.Contains(p.Error(), "\n") {
				t.Errorf("%s: %q", name, p.Error())
			}
			all.WriteString(p.Error() + "\n")
		}
		all.WriteString("\n")
	}
	golden(t, "broken.golden", all.String())
	if strings.Contains(all.String(), "hunter2") {
		t.Error("a secret is in a message")
	}
}

// TestTheExamplesAreWell also says that each is in the README.
func TestTheExamplesAreWell(t *testing.T) {
	const dir, main = "../../templates/examples/", "ecsnode.yaml"
	var names []string
	for _, pattern := range []string{"*.yaml", "conf.d/*.yaml"} {
		found, err := filepath.Glob(dir + pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		names = append(names, found...)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	check := func(what string, files map[string]string) *config.Loaded {
		disk := node(t, files)
		l := config.Load(disk, "/etc/ecsnode/"+main)
		if problems := append(l.Problems, l.CheckTemplates(disk)...); len(problems) > 0 {
			t.Errorf("%s: %v", what, problems)
		}
		return l
	}
	all := map[string]string{}
	for _, name := range names {
		base, data := filepath.Base(name), read(name)
		if !strings.Contains(string(readme), "| `"+strings.TrimPrefix(name, dir)+"` |") {
			t.Errorf("the README does not name %s", base)
		}
		place := "/etc/ecsnode/conf.d/30-" + base
		if base == main {
			place = "/etc/ecsnode/" + main
		}
		l := check(base, map[string]string{place: data})
		if base == main && !l.Config.Guard.Enabled {
			t.Error("the guard is off")
		}
		all[place] = data
	}
	l := check("all together", all)
	for _, unit := range []string{"rsyslog.service", "chronyd.service", "datadog-agent.service"} {
		if l.Config.Services.Units[unit].State == "" {
			t.Errorf("all together: %s is lost", unit)
		}
	}
	if len(l.Config.Files.Items) < 6 || len(l.Config.DaemonJSON.Settings) < 3 {
		t.Errorf("all together: %v", l.Config.Files.Items)
	}
}

func TestTheDefaultsAreWellAndDescribed(t *testing.T) {
	l := config.Merge(nil)
	if len(l.Problems) > 0 {
		t.Errorf("problems: %v", l.Problems)
	}
	if err := strict.CheckType(config.Config{}); err != nil {
		t.Error(err)
	}
	var b strings.Builder
	for _, s := range l.Settings() {
		if s.Origin != "default" || s.Help == "" {
			t.Errorf("%+v", s)
		}
		b.WriteString(s.Path + ": " + s.Value + "\n")
	}
	golden(t, "defaults.golden", b.String())
}

func TestSchema(t *testing.T) {
	data, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.golden", string(data))
}

// node makes a node's files.
func node(t *testing.T, files map[string]string) *fsx.Disk {
	t.Helper()
	d, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if _, err := d.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteFile(name, []byte(content), fsx.How{Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func setting(l *config.Loaded, path string) config.Setting {
	for _, s := range l.Settings() {
		if s.Path == path {
			return s
		}
	}
	return config.Setting{}
}

func TestLayersAreMergedInOrder(t *testing.T) {
	l := config.Load(node(t, map[string]string{
		"/etc/ecsnode/ecsnode.yaml":        "cluster: web\nchannel: blue\necs_config: {reserved_memory: 128, log_drivers: [json-file, syslog]}\n",
		"/etc/ecsnode/conf.d/20-b.yaml":    "cluster: b\n",
		"/etc/ecsnode/conf.d/10-a.yaml":    "cluster: a\necs_config: {log_drivers: [awslogs]}\n",
		"/etc/ecsnode/conf.d/.hidden.yaml": "cluster: hidden\n",
		"/etc/ecsnode/conf.d/README":       "cluster: readme\n",
	}), config.Path)
	if len(l.Problems) > 0 {
		t.Fatal(l.Problems)
	}
	for path, want := range map[string][2]string{
		"cluster":                    {"b", "/etc/ecsnode/conf.d/20-b.yaml:1:10"},
		"channel":                    {"blue", "/etc/ecsnode/ecsnode.yaml:2:10"},
		"ecs_config.reserved_memory": {"128", "/etc/ecsnode/ecsnode.yaml:3:31"},
		"ecs_config.log_drivers":     {"[awslogs]", "/etc/ecsnode/conf.d/10-a.yaml:2:27"},
		"boot.budget":                {"2m0s", "default"},
	} {
		if s := setting(l, path); s.Value != want[0] || s.Origin != want[1] {
			t.Errorf("%s = %s from %s, want %v", path, s.Value, s.Origin, want)
		}
	}
}

func TestALayerWithAProblemIsLeftOutAndTheOthersCount(t *testing.T) {
	l := config.Load(node(t, map[string]string{
		"/etc/ecsnode/ecsnode.yaml":     "cluster: web\n",
		"/etc/ecsnode/conf.d/10-a.yaml": "cluster: api\nnonsense: 1\n",
		"/etc/ecsnode/conf.d/20-b.yaml": "channel: blue\n",
		"/etc/ecsnode/conf.d/30-c.yaml": "ecs_config: {settings: {PATH: /bin}}\nchannel: green\n", // only impossible, not ill-typed
	}), config.Path)
	if want := []string{"/etc/ecsnode/conf.d/10-a.yaml", "/etc/ecsnode/conf.d/30-c.yaml"}; !slices.Equal(l.LeftOut, want) {
		t.Errorf("left out %v, want %v; %v", l.LeftOut, want, l.Problems)
	}
	if a, b := setting(l, "cluster").Value, setting(l, "channel").Value; a != "web" || b != "blue" {
		t.Errorf("cluster %s, channel %s", a, b)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	l := config.Load(node(t, nil), config.Path)
	if len(l.Problems) > 0 || len(l.Layers) > 0 {
		t.Errorf("no file at all: %+v", l)
	}
	l = config.Load(node(t, nil), "/etc/other.yaml")
	if len(l.Problems) != 1 || !strings.Contains(l.Problems[0].Error(), "/etc/other.yaml") {
		t.Errorf("a named file that is not there: %v", l.Problems)
	}
	d := node(t, map[string]string{"/etc/ecsnode/conf.d/50-dir.yaml/x": "", "/etc/ecsnode/ecsnode.yaml": "cluster: web\n"})
	l = config.Load(d, config.Path)
	if len(l.Problems) != 1 || setting(l, "cluster").Value != "web" {
		t.Errorf("a directory among the layers: %v", l.Problems)
	}
}

func TestTags(t *testing.T) {
	for name, c := range map[string]struct {
		tags          map[string]string
		channel, hold string
		held          bool
		warnings      []string
	}{
		"none":              {nil, "stable", "", false, nil},
		"channel":           {map[string]string{"ecsnode:channel": "staging"}, "staging", "", false, nil},
		"a bad channel":     {map[string]string{"ecsnode:channel": "Sta ging"}, "stable", "", false, []string{"ecsnode:channel is not taken"}},
		"hold without why":  {map[string]string{"ecsnode:hold": ""}, "stable", "", true, nil},
		"hold with why":     {map[string]string{"ecsnode:hold": "disk swap"}, "stable", "disk swap", true, nil},
		"hold with escapes": {map[string]string{"ecsnode:hold": "a\x1b[2Jb\nc"}, "stable", "a [2Jb c", true, nil},
		"hold no":           {map[string]string{"ecsnode:hold": "No"}, "stable", "", false, nil},
		"whatever else":     {map[string]string{"ecsnode:cluster": "mine", "cluster": "web"}, "stable", "", false, []string{"ecsnode:cluster sets nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, warnings := config.Default().WithTags(facts.Tags{Source: facts.TagsFromIMDS, Values: c.tags})
			why, held := got.Held()
			if string(got.Channel) != c.channel || held != c.held || why != c.hold || len(warnings) != len(c.warnings) {
				t.Errorf("channel %s, held %v %q, warnings %q", got.Channel, held, why, warnings)
			}
			for i, w := range c.warnings {
				if i < len(warnings) && !strings.Contains(warnings[i], w) {
					t.Errorf("warning %q", warnings[i])
				}
			}
			got.Channel, got.Hold = config.Default().Channel, config.Default().Hold
			if !got.Cluster.IsZero() {
				t.Error("a tag has set more than it may")
			}
		})
	}
	if _, warnings := config.Default().WithTags(facts.Tags{Why: "imds: 503"}); len(warnings) > 0 {
		t.Errorf("tags that could not be read: %v", warnings)
	}
}

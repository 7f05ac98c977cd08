package strict

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func walked(v any) string {
	var b strings.Builder
	Walk(v, func(s Setting) {
		b.WriteString(s.Path + ": " + FormatValue(s.Value) + "\n")
	})
	return b.String()
}

func TestWalk(t *testing.T) {
	t.Parallel()
	s := sampleDefaults()
	decodeClean(t, s, `
cluster: '{{ tag "cluster" }}'
tasks:
- family: web
  count: 2
  networks: [{subnet: a, port: 1}]
schedules:
  zeta: {cron: "0 3 * * *", command: [sh, -c, "echo 'x'"]}
  alpha: {limit: 5m}
node_config: {tags: [Name, "a: b"]}
`)
	want := `cluster: '{{ tag "cluster" }}'
channel: stable
node_config.directory: /etc/container_config
node_config.tags: [Name, 'a: b']
node_config.files."node.config".template: node
node_config.files."node.config".mode: '0644'
node_config.files."node.config".missing: fail
node_config.values: {}
ecs.stop_timeout: 30s
ecs.reserved_memory: 0
ecs.spot_draining: true
ecs.weight: 0
ecs.priority: 0
ecs.log_drivers: [json-file, awslogs]
ecs.attributes.lifecycle: spot
tasks[0].family: web
tasks[0].count: 2
tasks[0].startup: 0s
tasks[0].networks[0].subnet: a
tasks[0].networks[0].port: 1
schedules.alpha.cron: ''
schedules.alpha.command: []
schedules.alpha.limit: 5m0s
schedules.zeta.cron: '0 3 * * *'
schedules.zeta.command: [sh, '-c', 'echo ''x''']
schedules.zeta.limit: 0s
drain: null
log_level: info
`
	if diff := cmp.Diff(want, walked(s)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := walked(*s); got != want {
		t.Errorf("a struct and a pointer to it differ:\n%s", got)
	}
	if got := walked((*sample)(nil)); got != "" {
		t.Errorf("a nil configuration has settings:\n%s", got)
	}
}

func TestWalkGivesHelp(t *testing.T) {
	t.Parallel()
	help := map[string]string{}
	Walk(sampleDefaults(), func(s Setting) { help[s.Path] = s.Help })
	for path, want := range map[string]string{
		"ecs.weight":                           "The share of the fleet.",
		"ecs.attributes.lifecycle":             "Attributes for placement.",
		`node_config.files."node.config".mode`: "The permissions of the file.",
		"tasks":                                "Tasks that run on every node.",
	} {
		if help[path] != want {
			t.Errorf("%s: help %q, want %q", path, help[path], want)
		}
	}
}

// TestFormatValueIsReadBack decodes what FormatValue writes.
func TestFormatValueIsReadBack(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "a", "a b", " a", "a ", "null", "~", "Null", "true", "no", "15", "0644", "1e3", "0x1F", "1.5.2", "2001-01-01",
		"15m", ".inf", ".", "..", "-", "- a", "?", "? a", "a: b", "a:b", "a #b", "#", "&a", "*a", "!a", "@a", "`a`", "%a",
		"{{ a }}", "[a]", "{a}", "a,b", "'", "''", `"`, `\`, `a\nb`, "a\nb", "\n", "a\n", "\ta", "a\tb", "é", "日本", "😀", "\u0085",
		"\u00a0", "\u2028", "\ufeff", "\x00", "\x1b", "=", "<<", "|", ">", "---", "...", "a\rb", "\u0300", "\U0001d173", "a  b",
	} {
		checkReadBack(t, text)
	}
}

func checkReadBack(t *testing.T, text string) {
	t.Helper()
	want := sampleDefaults()
	want.Channel = text
	want.NodeConfig.Tags = []string{text, "x", text}
	want.ECS.Attributes = map[string]string{"k" + text: text, "l": text}
	want.Tasks = []sampleTask{{Family: text, Networks: []network{}}}
	var layer strings.Builder
	layer.WriteString("channel: " + FormatValue(want.Channel) + "\n")
	layer.WriteString("tasks: " + FormatValue(want.Tasks) + "\n")
	layer.WriteString("node_config:\n  tags: " + FormatValue(want.NodeConfig.Tags) + " # comment\n")
	layer.WriteString("ecs:\n  attributes: " + FormatValue(want.ECS.Attributes) + "\n")
	got := sampleDefaults()
	got.ECS.Attributes = nil
	r := Decode(got, layers(layer.String())...)
	if diff := cmp.Diff(want, got, exported); diff != "" || len(r.Problems) > 0 {
		t.Errorf("%q was written as\n%s\nand is read as (-want +got)\n%s%v", text, layer.String(), diff, r.Problems)
	}
}

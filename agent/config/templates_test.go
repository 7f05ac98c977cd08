package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

func onDisk(t *testing.T, files map[string]string) fsx.FS {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestTemplatesThatTheConfigurationNamesAreChecked(t *testing.T) {
	disk := onDisk(t, map[string]string{
		config.Path: `files:
  items:
    /etc/good: {template: good}
    /etc/typo: {template: typo}
    /etc/open: {template: secret}
    /etc/closed: {template: secret, mode: "0600"}
    /etc/none: {template: none}
    /etc/data: {source: none}
node_config:
  files:
    node.config: {template: /etc/ecsnode/templates/node}
    other: {template: leak}
`,
		"/etc/ecsnode/templates/good":   `{{ range $k, $v := ssmTree "/app" }}{{ $k }}={{ $v | envfilequote }}{{ end }}`,
		"/etc/ecsnode/templates/typo":   "a\n{{ if false }}{{ tagg \"x\" }}{{ end }}",
		"/etc/ecsnode/templates/secret": `{{ secret "x" "key" }}`,
		"/etc/ecsnode/templates/node":   `A={{ .Get "TAG_team" | shellquote }}`,
		"/etc/ecsnode/templates/leak":   `A={{ secret "x" | shellquote }}`,
	})
	l := config.Load(disk, config.Path)
	if len(l.Problems) > 0 {
		t.Fatal(l.Problems)
	}
	var got []string
	for _, p := range l.CheckTemplates(disk) {
		got = append(got, p.Error())
	}
	want := []string{
		`ecsnode.yaml:4:27: files.items."/etc/typo".template: /etc/ecsnode/templates/typo: line 2: function "tagg" not defined`,
		`ecsnode.yaml:5:27: files.items."/etc/open".template: /etc/ecsnode/templates/secret: a secret may only reach a file of mode 0640`,
		`files.items."/etc/none".template: `,
		`files.items."/etc/data".source: `,
		`node_config.files.other.template: /etc/ecsnode/templates/leak: a secret cannot be in what every container reads`,
	}
	if len(got) != len(want) {
		t.Fatalf("%s", strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s\nlacks %s", got[i], want[i])
		}
	}
}

func TestWhereTemplatesAskInVainIsToldAtOnce(t *testing.T) {
	disk := onDisk(t, map[string]string{config.Path: `cluster: '{{ ssm "/cluster" }}'
node_config:
  files:
    node.config:
      values:
        DB: {value: '{{ secret "db" }}'}
        URL: {value: '{{ ssm "/url" }}'}
ecs_config:
  settings:
    ECS_LOGLEVEL: '{{ secret "x" }}'
    ECS_ENGINE_AUTH_DATA: '{{ secret "registry" }}'
daemon_json:
  settings: {bip: '{{ secret "x" }}'}
drain:
  webhook:
    url: https://example.com/
    headers: {X-A: '{{ ssm "/token" }}'}
`})
	got := config.Load(disk, config.Path).Problems
	var at []string
	for _, p := range got {
		at = append(at, p.Path)
	}
	if want := `node_config.files."node.config".values.DB.value ecs_config.settings.ECS_LOGLEVEL daemon_json.settings.bip drain.webhook.headers.X-A`; strings.Join(at, " ") != want {
		t.Errorf("%v", got)
	}
}

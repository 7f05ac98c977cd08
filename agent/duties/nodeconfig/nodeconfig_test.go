package nodeconfig_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/templates"
)

// node is a node in a directory, with the duty's inputs to turn.
type node struct {
	t        testing.TB
	root     string
	duty     nodeconfig.Duty
	config   *cell.Cell[nodeconfig.Config]
	instance *cell.Cell[facts.Instance]
	cluster  *cell.Cell[string]
}

const target = "/etc/container_config/node.config"

// newNode has the default configuration and the tag env=prod.
func newNode(t testing.TB) *node {
	t.Helper()
	root := t.TempDir()
	disk, err := fsx.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, root: root,
		config:   cell.New(func(a, b nodeconfig.Config) bool { return false }),
		instance: cell.New(facts.Instance.Equal),
		cluster:  cell.Comparable[string](),
	}
	n.duty = nodeconfig.Duty{FS: disk, Config: n.config, Instance: n.instance, Cluster: n.cluster, BuiltIn: templates.NodeConfig()}
	n.config.Set(nodeconfig.Default())
	n.setTags(facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod"}})
	n.cluster.Set("web")
	return n
}

func (n *node) setTags(tags facts.Tags) {
	i := inputs(nil).Instance
	i.Tags = tags
	n.instance.Set(i)
}

// configure changes node.config in the default configuration.
func (n *node) configure(change func(*nodeconfig.Config, *nodeconfig.File)) {
	c := nodeconfig.Default()
	f := c.Files["node.config"]
	change(&c, &f)
	c.Files["node.config"] = f
	n.config.Set(c)
}

func (n *node) path(name string) string { return filepath.Join(n.root, name) }

func (n *node) write(name, text string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.path(name)), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.path(name), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) read(name string) string {
	n.t.Helper()
	b, err := os.ReadFile(n.path(name))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

// pass makes a pass that must succeed and change the node, or not.
func (n *node) pass(changed bool) duty.Outcome {
	n.t.Helper()
	out, err := n.duty.Reconcile(n.t.Context())
	if err != nil || out.Changed != changed {
		n.t.Fatalf("pass: %+v, %v; want changed = %v", out, err, changed)
	}
	return out
}

// fails makes a pass that must change nothing and end in this error.
func (n *node) fails(waiting bool, want string) {
	n.t.Helper()
	out, err := n.duty.Reconcile(n.t.Context())
	if err == nil || out.Changed {
		n.t.Fatalf("pass: %+v, %v", out, err)
	}
	got := strings.ReplaceAll(err.Error(), " (under "+n.root+")", "")
	if got != want || errors.Is(err, duty.ErrNotReady) != waiting {
		n.t.Errorf("waiting = %v\ngot  %s\nwant %s", errors.Is(err, duty.ErrNotReady), got, want)
	}
}

func TestATemplateOfARelativeNameIsTheFirstThatIsThere(t *testing.T) {
	n := newNode(t)
	n.configure(func(c *nodeconfig.Config, f *nodeconfig.File) {
		f.Template, f.Format = "app/env", nodeconfig.PlainText
		c.Templates = []string{"/bundle/templates", "/image/templates"}
	})
	if _, err := n.duty.Reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), "/image/templates/app/env") {
		t.Errorf("without one: %v", err)
	}
	const vars = "{{ range .Variables }}{{ .Name }}={{ .Value }}\n{{ end }}"
	n.write("/image/templates/app/env", "# image\n"+vars)
	n.pass(true)
	if got := n.read(target); !strings.HasPrefix(got, "# image\n") {
		t.Errorf("got\n%s", got)
	}
	n.write("/bundle/templates/app/env", "# bundle\n"+vars)
	n.pass(true)
	if got := n.read(target); !strings.HasPrefix(got, "# bundle\n") || !strings.Contains(got, "MY_ENVIRONMENT=prod\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestTheFirstPassWritesAndTheSecondDoesNot(t *testing.T) {
	n := newNode(t)
	out := n.pass(true)
	if want := "node.config: 17 variables"; out.Summary != want || out.Warnings != nil {
		t.Errorf("got %+v", out)
	}
	golden(t, "default.golden", n.read(target))
	dir, err := os.Stat(n.path("/etc/container_config"))
	if err != nil || dir.Mode() != fs.ModeDir|0o755 {
		t.Errorf("directory: %v, %v", dir.Mode(), err)
	}
	before, err := os.Stat(n.path(target))
	if err != nil || before.Mode() != 0o644 {
		t.Errorf("file: %v, %v", before.Mode(), err)
	}
	old := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(n.path(target), old, old); err != nil {
		t.Fatal(err)
	}
	n.pass(false)
	after, err := os.Stat(n.path(target))
	if err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(old) {
		t.Errorf("the second pass touched the file: %v, %v", after, err)
	}
}

func TestAChangedTagChangesTheFile(t *testing.T) {
	n := newNode(t)
	n.pass(true)
	n.setTags(facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "it's staging"}})
	n.pass(true)
	if got := n.read(target); !strings.HasSuffix(got, "\nMY_ENVIRONMENT='it'\\''s staging'\n") {
		t.Error(got)
	}
}

func TestWhatOthersChangedIsPutBack(t *testing.T) {
	n := newNode(t)
	n.pass(true)
	want := n.read(target)
	for name, spoil := range map[string]func() error{
		"content":           func() error { return os.WriteFile(n.path(target), []byte("PATH=/tmp\n"), 0o644) },
		"mode":              func() error { return os.Chmod(n.path(target), 0o600) },
		"mode of directory": func() error { return os.Chmod(n.path("/etc/container_config"), 0o700) },
		"the file is gone":  func() error { return os.Remove(n.path(target)) },
		"all is gone":       func() error { return os.RemoveAll(n.path("/etc/container_config")) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(name, err)
		}
		n.pass(true)
		n.pass(false)
		file, err := os.Stat(n.path(target))
		dir, err2 := os.Stat(n.path("/etc/container_config"))
		if err != nil || err2 != nil || file.Mode() != 0o644 || dir.Mode().Perm() != 0o755 || n.read(target) != want {
			t.Errorf("%s: not put back: %v, %v", name, err, err2)
		}
	}
}

func TestModesAreSettable(t *testing.T) {
	n := newNode(t)
	n.configure(func(c *nodeconfig.Config, f *nodeconfig.File) { c.DirectoryMode, f.Mode = 0o750, 0o440 })
	n.pass(true)
	file, err := os.Stat(n.path(target))
	dir, err2 := os.Stat(n.path("/etc/container_config"))
	if err != nil || err2 != nil || file.Mode() != 0o440 || dir.Mode() != fs.ModeDir|0o750 {
		t.Errorf("got %v %v, %v %v", file.Mode(), dir.Mode(), err, err2)
	}
}

// The engine takes a duty for waiting only if nothing in its error is a failure.
func TestSeveralFiles(t *testing.T) {
	n := newNode(t)
	n.write("/etc/ecsnode/app.tmpl", `{"env": {{ .Get "E" | printf "%q" }}}`+"\n")
	n.write("/etc/ecsnode/bad.tmpl", `E={{ .Get "E" }}`)
	env := map[string]nodeconfig.Value{"E": value(`{{ tag "env" }}`, nodeconfig.Fail, "")}
	c := nodeconfig.Default()
	c.Files["app/conf/app.json"] = nodeconfig.File{Template: "/etc/ecsnode/app.tmpl", Format: nodeconfig.PlainText, Mode: 0o640, Values: env}
	c.Files["app/env"] = nodeconfig.File{Template: "/etc/ecsnode/bad.tmpl", Mode: 0o644, Values: env}
	c.Files["gone"] = nodeconfig.File{Template: "/etc/ecsnode/gone.tmpl", Mode: 0o644}
	c.Files["tags"] = nodeconfig.File{Mode: 0o644, Tags: nodeconfig.Tags{Prefix: "TAG_", Include: []string{"team"}}}
	n.config.Set(c)
	n.setTags(facts.Tags{Source: facts.TagsFromEC2, Values: map[string]string{"env": "a b"}})

	out, err := n.duty.Reconcile(t.Context())
	got := strings.ReplaceAll(fmt.Sprint(err), " (under "+n.root+")", "")
	want := `cannot render /etc/container_config/app/env: template /etc/ecsnode/bad.tmpl: line 1: only assignments of literal values are allowed, with or without export or readonly; no file has been written yet
cannot render /etc/container_config/gone: cannot read /etc/ecsnode/gone.tmpl: no such file or directory; no file has been written yet`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wantOut := duty.Outcome{
		Changed:  true,
		Summary:  "app/conf/app.json: 17 variables, node.config: 17 variables, tags: 16 variables",
		Warnings: []string{`tags: tag "team" is absent (tags read from ec2): TAG_TEAM is not written`},
	}
	if diff := cmp.Diff(wantOut, out); diff != "" {
		t.Error(diff)
	}
	if got := n.read("/etc/container_config/app/conf/app.json"); got != "{\"env\": \"a b\"}\n" {
		t.Errorf("got %q", got)
	}
	for name, mode := range map[string]fs.FileMode{"app": 0o755, "app/conf": 0o755, "app/conf/app.json": 0o640} {
		info, err := os.Stat(n.path("/etc/container_config/" + name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	n.write("/etc/ecsnode/bad.tmpl", `E={{ .Get "E" | shellquote }}`)
	n.write("/etc/ecsnode/gone.tmpl", `NODE_REGION={{ node "region" }}`)
	if out := n.pass(true); out.Summary != "5 files in /etc/container_config" {
		t.Error(out.Summary)
	}
}

func TestNoFilesIsNoFailure(t *testing.T) {
	n := newNode(t)
	n.config.Set(nodeconfig.Config{Directory: "/etc/container_config", DirectoryMode: 0o755})
	if out := n.pass(false); out.Summary != "0 files in /etc/container_config" {
		t.Error(out.Summary)
	}
}

func TestATemplateIsReadAnewByEachPass(t *testing.T) {
	n := newNode(t)
	n.configure(func(_ *nodeconfig.Config, f *nodeconfig.File) { f.Template = "/etc/ecsnode/own.tmpl" })
	n.write("/etc/ecsnode/own.tmpl", `MY_ENVIRONMENT={{ .Get "MY_ENVIRONMENT" | shellquote }}`+"\n")
	n.pass(true)
	n.write("/etc/ecsnode/own.tmpl", `export MY_ENVIRONMENT={{ .Get "MY_ENVIRONMENT" | shellquote }}`+"\n")
	n.pass(true)
	if got := n.read(target); got != "export MY_ENVIRONMENT='prod'\n" {
		t.Error(got)
	}
}

// failsWith makes a pass that must change nothing and fail with this error
// about this file.
// asNobody runs f without root's right to write anywhere.
func TestALinkedDirectoryIsFollowedAndKeepsItsMode(t *testing.T) {
	n := newNode(t)
	if err := errors.Join(os.MkdirAll(n.path("/data/config"), 0o755), os.Chmod(n.path("/data/config"), 0o711),
		os.Mkdir(n.path("/etc"), 0o755), os.Symlink("../data/config", n.path("/etc/container_config"))); err != nil {
		t.Fatal(err)
	}
	n.pass(true)
	n.pass(false)
	golden(t, "default.golden", n.read("/data/config/node.config"))
	if info, err := os.Stat(n.path("/data/config")); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestADryRunWritesNothingAndShowsTheFile(t *testing.T) {
	n := newNode(t)
	disk := n.duty.FS
	overlay := fsx.NewOverlay(disk)
	n.duty.FS = overlay
	n.pass(true)
	n.pass(false)
	var names []string
	for _, c := range overlay.Changes() {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"/etc", "/etc/container_config", target}, names); diff != "" {
		t.Error(diff)
	}
	if entries, err := os.ReadDir(n.root); err != nil || len(entries) != 0 {
		t.Errorf("on disk: %v, %v", entries, err)
	}
}

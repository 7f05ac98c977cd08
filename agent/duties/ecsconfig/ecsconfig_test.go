package ecsconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

const (
	arn        = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123456789abcdef0123456789abcdef"
	arn2       = "arn:aws:ecs:eu-west-1:123456789012:container-instance/batch/fedcba9876543210fedcba9876543210"
	configFile = "/etc/ecs/ecs.config"
)

// fakeECS holds what container instances are registered with.
type fakeECS struct {
	attributes map[string]map[string]string
	calls      int
	fail       error
}

func (e *fakeECS) PutAttributes(_ context.Context, ci facts.ContainerInstance, attributes map[string]string) error {
	e.calls++
	if e.fail != nil {
		return e.fail
	}
	if len(attributes) == 0 || len(attributes) > 10 {
		return fmt.Errorf("%w: %d attributes", facts.ErrRefused, len(attributes))
	}
	if e.attributes[ci.ARN] == nil {
		e.attributes[ci.ARN] = map[string]string{}
	}
	maps.Copy(e.attributes[ci.ARN], attributes)
	return nil
}

// bench is one node with the duty on it.
type bench struct {
	*testing.T
	root         string
	ecs          *fakeECS
	config       *cell.Cell[Config]
	instance     *cell.Cell[facts.Instance]
	registration *cell.Cell[facts.ContainerInstance]
	cluster      *cell.Cell[string]
	duty         *Duty
}

func newBench(t *testing.T) *bench {
	t.Parallel()
	b := &bench{
		T: t, root: t.TempDir(), ecs: &fakeECS{attributes: map[string]map[string]string{}},
		config:   cell.New(func(Config, Config) bool { return false }),
		instance: cell.New(facts.Instance.Equal),
	}
	b.instance.Set(spot())
	b.config.Set(withCluster("web"))
	b.boot()
	return b
}

// boot starts the duty anew, unregistered: what is on disk stays.
func (b *bench) boot() {
	b.Helper()
	disk, err := fsx.Open(b.root)
	if err != nil {
		b.Fatal(err)
	}
	b.registration = cell.Comparable[facts.ContainerInstance]()
	b.registration.Set(facts.ContainerInstance{})
	b.cluster = cell.Comparable[string]()
	b.duty = &Duty{FS: disk, Config: b.config, Instance: b.instance, Registration: b.registration, ECS: b.ecs, Cluster: b.cluster}
}

func (b *bench) path(name string) string { return filepath.Join(b.root, name) }

func (b *bench) put(name, text string, mode fs.FileMode) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(b.path(name), []byte(text), mode); err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(b.path(name), mode); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	b.Helper()
	data, err := os.ReadFile(b.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Fatal(err)
	}
	return string(data)
}

func (b *bench) block() map[string]string {
	b.Helper()
	return inBlock(b.T, []byte(b.read(configFile)))
}

func (b *bench) pass() (duty.Outcome, error) { b.Helper(); return b.duty.Reconcile(b.Context()) }

// good makes a pass that must succeed, and another, which must change nothing.
func (b *bench) good() duty.Outcome {
	b.Helper()
	out, err := b.pass()
	if err != nil {
		b.Fatal(err)
	}
	calls := b.ecs.calls
	if again, err := b.pass(); err != nil || again.Changed || b.ecs.calls != calls {
		b.Fatalf("the second pass: %+v, %v, %d calls", again, err, b.ecs.calls-calls)
	}
	return out
}

// register is the agent joining a cluster, and what ecs.config says then.
func (b *bench) register(arn, cluster string) {
	b.Helper()
	attributes := map[string]string{}
	if text := b.block()[attributesKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &attributes); err != nil {
			b.Fatal(err)
		}
	}
	b.ecs.attributes[arn] = attributes
	b.registration.Set(facts.ContainerInstance{ARN: arn, Cluster: cluster})
}

func (b *bench) published() string {
	v, _ := b.cluster.Get()
	return v
}

func (b *bench) setAttribute(name, text string, put bool) {
	c, _ := b.config.Get()
	c.Attributes = maps.Clone(c.Attributes)
	if text == "" {
		delete(c.Attributes, name)
	} else {
		c.Attributes[name] = render.NewText(text)
	}
	c.PutAttributes = put
	b.config.Set(c)
}

func wantErr(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("err = %v, want one with %q", err, p)
		}
	}
}

func wantWarnings(t *testing.T, out duty.Outcome, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, out.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestANewNode(t *testing.T) {
	b := newBench(t)
	out := b.good()
	if !out.Changed || out.Summary != "cluster web, 2 settings" || len(out.Warnings) > 0 {
		t.Errorf("%+v", out)
	}
	if b.published() != "web" {
		t.Errorf("published %q", b.published())
	}
	info, err := os.Stat(b.path(configFile))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	dir, err := os.Stat(filepath.Dir(b.path(configFile)))
	if err != nil || dir.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", dir.Mode(), err)
	}
	if b.read(historyPath) != "" {
		t.Errorf("a node that is not registered has a history: %s", b.read(historyPath))
	}
}

func TestAnExistingFileKeepsItsModeAndItsBytes(t *testing.T) {
	b := newBench(t)
	const user = "ECS_ENGINE_AUTH_DATA={\"x\":{}}\r\n\r\n# end"
	b.put(configFile, user, 0o600)
	b.good()
	if got := b.read(configFile); !strings.HasPrefix(got, user+"\n"+beginMark) {
		t.Errorf("%q", got)
	}
	info, err := os.Stat(b.path(configFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestNothingIsWrittenWhileSomethingIsMissing(t *testing.T) {
	b := newBench(t)
	b.duty.Config = cell.New(func(Config, Config) bool { return false })
	if _, err := b.pass(); !errors.Is(err, duty.ErrNotReady) {
		t.Error(err)
	}
	b.duty.Config, b.duty.Instance = b.config, cell.New(facts.Instance.Equal)
	if _, err := b.pass(); !errors.Is(err, duty.ErrNotReady) {
		t.Error(err)
	}
	b.duty.Instance, b.duty.Registration = b.instance, cell.Comparable[facts.ContainerInstance]()
	if _, err := b.pass(); !errors.Is(err, duty.ErrNotReady) {
		t.Error(err)
	}
	if b.read(configFile) != "" || b.published() != "" {
		t.Errorf("wrote %q, published %q", b.read(configFile), b.published())
	}
}

func TestTheClusterIsPublishedOnlyOnceItIsWritten(t *testing.T) {
	b := newBench(t)
	b.put("/etc/ecs", "in the way", 0o644)
	_, err := b.pass()
	wantErr(t, err, "/etc/ecs")
	if b.published() != "" {
		t.Errorf("published %q", b.published())
	}
	if err := os.Remove(b.path("/etc/ecs")); err != nil {
		t.Fatal(err)
	}
	b.good()
	if b.published() != "web" {
		t.Errorf("published %q", b.published())
	}
}

func TestAWriteThatFailsPublishesNothing(t *testing.T) {
	b := newBench(t)
	if err := os.MkdirAll(b.path("/etc/ecs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", b.path(configFile)); err != nil {
		t.Fatal(err)
	}
	_, err := b.pass()
	wantErr(t, err, "cannot write /etc/ecs/ecs.config", "symbolic link")
	if b.published() != "" {
		t.Errorf("published %q", b.published())
	}
}

func TestAClusterFromOutside(t *testing.T) {
	b := newBench(t)
	b.config.Set(Default())
	b.put(configFile, "ECS_CLUSTER=batch\n", 0o644)
	if out := b.good(); out.Summary != "cluster batch (set outside the block), 1 setting" || b.published() != "batch" {
		t.Errorf("%+v, %q", out, b.published())
	}
}

func TestTagsThatComeLate(t *testing.T) {
	b := newBench(t)
	b.config.Set(withCluster(`{{ tag "cluster" }}`))
	b.instance.Set(dark())
	_, err := b.pass()
	if !errors.Is(err, duty.ErrNotReady) || b.published() != "" || b.block()[clusterKey] != "" {
		t.Fatalf("%v, published %q, block %v", err, b.published(), b.block())
	}
	b.instance.Set(spot())
	b.good()
	before := b.read(configFile)
	b.instance.Set(dark()) // IMDS falls ill
	if _, err := b.pass(); !errors.Is(err, duty.ErrNotReady) {
		t.Error(err)
	}
	if b.read(configFile) != before || b.published() != "web" {
		t.Errorf("the block changed: %s", b.read(configFile))
	}
}

func TestADamagedFileIsLeftAlone(t *testing.T) {
	b := newBench(t)
	const damaged = "A=1\n" + endLine
	b.put(configFile, damaged, 0o644)
	_, err := b.pass()
	wantErr(t, err, "cannot use /etc/ecs/ecs.config: line 2:")
	if b.read(configFile) != damaged || b.published() != "" {
		t.Errorf("%q, published %q", b.read(configFile), b.published())
	}
	b.registration.Set(facts.ContainerInstance{ARN: arn, Cluster: "web"})
	if _, err = b.pass(); err == nil || b.published() != "web" {
		t.Errorf("a registered node's cluster is known: %q, %v", b.published(), err)
	}
	if b.read(historyPath) != "" {
		t.Errorf("made up a history: %s", b.read(historyPath))
	}
}

func TestABrokenOutsideIsLeftAlone(t *testing.T) {
	b := newBench(t)
	const broken = "A='1\n"
	b.put(configFile, broken, 0o644)
	_, err := b.pass()
	wantErr(t, err, "cannot use /etc/ecs/ecs.config: line 1: systemd reads the value of A on")
	if b.read(configFile) != broken || b.published() != "" {
		t.Errorf("%q, published %q", b.read(configFile), b.published())
	}
}

func TestADryRun(t *testing.T) {
	b := newBench(t)
	b.put(configFile, "A=1\n", 0o644)
	overlay := fsx.NewOverlay(b.duty.FS)
	b.duty.FS = overlay
	b.good()
	if b.read(configFile) != "A=1\n" || len(overlay.Changes()) != 1 {
		t.Errorf("%q, %v", b.read(configFile), overlay.Changes())
	}
}

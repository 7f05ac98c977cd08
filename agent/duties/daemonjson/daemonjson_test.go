package daemonjson_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/daemonjson"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

const (
	file   = "/etc/docker/daemon.json"
	ledger = "/var/lib/ecsnode/daemonjson.json"
)

// node is a node with a dockerd that refuses what it is told to.
type node struct {
	*testing.T
	root     string
	argv     []string
	refuses  string // a key that dockerd does not know
	absent   bool   // dockerd cannot be asked
	asked    []string
	config   *cell.Cell[daemonjson.Config]
	instance *cell.Cell[facts.Instance]
	inputs   *cell.Cell[facts.Inputs]
	duty     *daemonjson.Duty
}

func (n *node) Unit(context.Context, string) (facts.Unit, error) {
	return facts.Unit{Load: "loaded", Argv: n.argv}, nil
}

func (n *node) Validate(_ context.Context, _ []string, name string) error {
	if n.absent {
		return fmt.Errorf("%w: this dockerd has no --validate", facts.ErrAbsent)
	}
	text := n.read(name)
	n.asked = append(n.asked, text)
	if n.refuses != "" && strings.Contains(text, n.refuses) {
		return fmt.Errorf("%w: dockerd would not start: the following directives don't match any configuration option: %s", facts.ErrRefused, n.refuses)
	}
	return nil
}

func newNode(t *testing.T) *node {
	t.Parallel()
	n := &node{
		T: t, root: t.TempDir(), argv: []string{"/usr/bin/dockerd", "-H", "fd://", "--default-ulimit", "nofile=32768:65536"},
		config:   cell.New(func(daemonjson.Config, daemonjson.Config) bool { return false }),
		instance: cell.New(facts.Instance.Equal), inputs: cell.New(facts.Inputs.Equal),
	}
	n.instance.Set(facts.Instance{Region: "eu-west-1", Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{
		"env": "prod", "evil": `x"], "hosts": ["tcp://0.0.0.0:2375`,
	}}})
	disk, err := fsx.Open(n.root)
	if err != nil {
		t.Fatal(err)
	}
	cluster := cell.Comparable[string]()
	cluster.Set("web")
	n.duty = &daemonjson.Duty{
		FS: disk, Config: n.config, Instance: n.instance, Cluster: cluster, Manager: n, Validator: n, Inputs: n.inputs,
	}
	return n
}

func (n *node) set(settings map[string]string) {
	n.Helper()
	c := daemonjson.Config{Settings: map[string]daemonjson.Value{}}
	for key, text := range settings {
		var v daemonjson.Value
		if err := v.UnmarshalText([]byte(text)); err != nil {
			n.Fatal(err)
		}
		c.Settings[key] = v
	}
	n.config.Set(c)
}

func (n *node) write(name, text string) {
	n.Helper()
	name = filepath.Join(n.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		n.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		n.Fatal(err)
	}
}

func (n *node) read(name string) string {
	n.Helper()
	data, err := os.ReadFile(filepath.Join(n.root, name))
	if err != nil && !os.IsNotExist(err) {
		n.Fatal(err)
	}
	return string(data)
}

func (n *node) pass() (duty.Outcome, error) { return n.duty.Reconcile(n.Context()) }

// good makes a pass that must succeed and another that must change nothing.
func (n *node) good() duty.Outcome {
	n.Helper()
	out, err := n.pass()
	if err != nil {
		n.Fatal(err)
	}
	if again, err := n.pass(); err != nil || again.Changed {
		n.Fatalf("the second pass: %+v, %v", again, err)
	}
	return out
}

func (n *node) wantFile(want string) {
	n.Helper()
	var have, expected any
	if err := json.Unmarshal([]byte(n.read(file)), &have); err != nil {
		n.Fatalf("%v in %s", err, n.read(file))
	}
	if err := json.Unmarshal([]byte(want), &expected); err != nil {
		n.Fatal(err)
	}
	if diff := cmp.Diff(expected, have); diff != "" {
		n.Error(diff)
	}
}

func (n *node) wantError(words ...string) {
	n.Helper()
	before := n.read(file)
	_, err := n.pass()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			n.Errorf("%v, want an error with %q", err, w)
		}
	}
	if n.read(file) != before {
		n.Errorf("the file was changed: %s", n.read(file))
	}
}

func TestKeysAreMergedAndTheRestIsKept(t *testing.T) {
	n := newNode(t)
	n.write(file, `{"data-root": "/data", "log-opts": {"tag": "x", "max-size": "1m"}, "debug": false, "max-concurrent-downloads": 12345678901234567890}`)
	n.set(map[string]string{"live-restore": "true", "log-driver": "json-file", "log-opts": `{"max-size": "10m", "max-file": "3"}`})
	if out := n.good(); !out.Changed || out.Summary != file+": 3 keys set" {
		t.Errorf("%+v", out)
	}
	n.wantFile(`{"data-root": "/data", "log-opts": {"tag": "x", "max-size": "10m", "max-file": "3"}, "debug": false, "live-restore": true, "log-driver": "json-file", "max-concurrent-downloads": 12345678901234567890}`)
	if !strings.Contains(n.read(file), "12345678901234567890") {
		t.Error("a number of another's was rounded")
	}
	if info, err := os.Stat(filepath.Join(n.root, file)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}

func TestANewFile(t *testing.T) {
	n := newNode(t)
	n.set(map[string]string{"live-restore": "true"})
	n.good()
	n.wantFile(`{"live-restore": true}`)
	if info, err := os.Stat(filepath.Join(n.root, file)); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}

func TestWithoutSettingsTheFileIsAnothers(t *testing.T) {
	n := newNode(t)
	n.write(file, "{ no JSON")
	n.set(nil)
	if out := n.good(); out.Summary != "no key is set under daemon_json.settings" {
		t.Errorf("%+v", out)
	}
	if in, ok := n.inputs.Get(); !ok || len(in) > 0 {
		t.Errorf("published %v, %v", in, ok)
	}
}

func TestAFileThatIsRightIsNotTouched(t *testing.T) {
	n := newNode(t)
	const odd = "{\n\t\"live-restore\" :true }"
	n.write(file, odd)
	n.set(map[string]string{"live-restore": "true"})
	if out := n.good(); out.Changed || n.read(file) != odd || len(n.asked) > 0 {
		t.Errorf("%+v, %q", out, n.read(file))
	}
}

func TestAKeyThatIsNoLongerConfiguredGoes(t *testing.T) {
	n := newNode(t)
	n.write(file, `{"debug": true, "log-opts": {"tag": "x"}}`)
	n.set(map[string]string{"live-restore": "true", "log-opts": `{"max-size": "10m", "mode": "non-blocking"}`, "log-level": "warn"})
	n.good()
	n.write(file, strings.Replace(n.read(file), `"warn"`, `"error"`, 1)) // by somebody else
	n.set(map[string]string{"log-opts": `{"mode": "non-blocking"}`})
	n.good()
	n.wantFile(`{"debug": true, "log-opts": {"tag": "x", "mode": "non-blocking"}, "log-level": "error"}`)
	n.set(nil)
	n.good()
	n.wantFile(`{"debug": true, "log-opts": {"tag": "x"}, "log-level": "error"}`)
}

func TestTemplates(t *testing.T) {
	n := newNode(t)
	n.set(map[string]string{"labels": `["env={{ tag \"env\" }}", "cluster={{ node \"cluster\" }}"]`, "log-level": `{{ tag "level" "warn" }}`})
	n.good()
	n.wantFile(`{"labels": ["env=prod", "cluster=web"], "log-level": "warn"}`)
}

func TestWhoeverSetsATagAddsNothing(t *testing.T) {
	n := newNode(t)
	n.set(map[string]string{"labels": "[\"x={{ tag `evil` }}\"]"})
	n.good()
	n.wantFile(`{"labels": ["x=x\"], \"hosts\": [\"tcp://0.0.0.0:2375"]}`)
}

func TestAValueThatCannotBeToldYetLeavesTheFile(t *testing.T) {
	n := newNode(t)
	n.write(file, `{"debug": true}`)
	n.instance.Set(facts.Instance{Tags: facts.Tags{Why: "imds: 503"}})
	n.set(map[string]string{"live-restore": "true", "log-level": `{{ tag "level" "warn" }}`})
	n.wantError("log-level", "stays as it is")
	if _, err := n.pass(); !errors.Is(err, duty.ErrNotReady) {
		t.Errorf("it does not wait: %v", err)
	}
}

func TestWhatIsNotChanged(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		arrange func(n *node)
		key     string
		says    []string
	}{
		"a file that is no JSON":     {`{"debug": }`, func(*node) {}, "debug", []string{"cannot use " + file, "it is no JSON", "left as it is"}},
		"two values":                 {`{} {}`, func(*node) {}, "debug", []string{"more than one JSON value"}},
		"a list":                     {`[]`, func(*node) {}, "debug", []string{"no JSON object"}},
		"a flag of the unit":         {`{}`, func(*node) {}, "default-ulimits", []string{"default-ulimits (--default-ulimit)"}},
		"a short flag":               {`{}`, func(*node) {}, "hosts", []string{"hosts (-H)"}},
		"a flag with its value":      {`{}`, func(n *node) { n.argv = append(n.argv, "--log-level=debug") }, "log-level", []string{"log-level (--log-level)"}},
		"what dockerd does not know": {`{}`, func(n *node) { n.refuses = "no-such" }, "no-such", []string{"cannot change " + file, "don't match any configuration option: no-such"}},
		"a damaged ledger":           {`{}`, func(n *node) { n.write(ledger, "[") }, "debug", []string{"cannot use " + ledger}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.write(file, c.file)
			c.arrange(n)
			n.set(map[string]string{c.key: "x"})
			n.wantError(c.says...)
		})
	}
}

func TestADockerdThatCannotBeAsked(t *testing.T) {
	n := newNode(t)
	n.absent = true
	n.set(map[string]string{"live-restore": "true"})
	out, err := n.pass()
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "was not checked by dockerd") {
		t.Errorf("%+v, %v", out, err)
	}
	n.wantFile(`{"live-restore": true}`)
}

func TestWhatDockerShouldRunWith(t *testing.T) {
	n := newNode(t)
	n.set(map[string]string{"debug": "true"})
	before := time.Now().Add(-time.Second)
	n.good()
	get := func() facts.Input {
		in, _ := n.inputs.Get()
		return in["docker.service"]["daemon.json"]
	}
	first := get()
	if len(first.Value) != 64 || first.At.Before(before) {
		t.Errorf("published %+v", first)
	}
	n.write(file, `{ "debug":true }`)
	n.good()
	if second := get(); second.Value != first.Value {
		t.Error("another way of writing the same is news")
	}
	n.write(file, `{"debug": true, "log-level": "warn"}`)
	n.good()
	if third := get(); third.Value == first.Value {
		t.Error("what somebody else changed is no news")
	}
}

func TestDockerIsToRunWithoutTheKeysThatWent(t *testing.T) {
	n := newNode(t)
	n.set(map[string]string{"debug": "true"})
	n.good()
	with, _ := n.inputs.Get()
	n.set(nil)
	n.good()
	without, _ := n.inputs.Get()
	if len(without) == 0 || without.Equal(with) {
		t.Fatalf("with the key %v, without it %v", with, without)
	}
	for _, text := range []string{"", `{"log-level": "warn"}`, "{ no JSON"} {
		if text != "" {
			n.write(file, text) // which is not ours now
		}
		n.good()
		if now, _ := n.inputs.Get(); !now.Equal(without) {
			t.Errorf("a later pass, over %q, says %v, not %v", text, now, without)
		}
	}
}

package nodeconfig_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

func TestTheLastGoodFileStays(t *testing.T) {
	for name, c := range map[string]struct {
		tags    facts.Tags
		waiting bool
		want    string
	}{
		"while the tag is absent": {
			facts.Tags{Source: facts.TagsFromIMDS},
			false,
			`MY_ENVIRONMENT: tag "env" is absent (tags read from imds); set it, or "missing: default" or "missing: empty" for this value`,
		},
		"while tags are unavailable": {
			facts.Tags{Why: "imds: 503; ec2: RequestLimitExceeded"},
			true,
			`MY_ENVIRONMENT: tag "env" is not known (imds: 503; ec2: RequestLimitExceeded)`,
		},
		"while the tag has a NUL": {
			facts.Tags{Source: facts.TagsFromEC2, Values: map[string]string{"env": "\x00"}},
			false,
			"MY_ENVIRONMENT: the value has a NUL byte, which no shell variable can hold",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			good := inputs(nil)
			n.setTags(c.tags)
			n.fails(c.waiting, "cannot render "+target+": "+c.want+"; no file has been written yet")
			if _, err := os.Stat(n.path("/etc")); err == nil {
				t.Error("a pass without content made a directory")
			}
			good.Instance.Tags = facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "prod"}}
			n.instance.Set(good.Instance)
			n.pass(true)
			n.setTags(c.tags)
			n.fails(c.waiting, "cannot render "+target+": "+c.want+"; the last good file stays")
			golden(t, "default.golden", n.read(target))
		})
	}
}

func TestAFileThatIsNotOurLastGoodOneIsNotCalledSo(t *testing.T) {
	const why = `cannot render ` + target + `: MY_ENVIRONMENT: tag "env" is not known (tags have not been read yet); `
	for name, c := range map[string]struct{ there, want string }{
		"of another instance, baked into the image": {"NODE_INSTANCE_ID='i-0aaaaaaaaaaaaaaaa'\nMY_ENVIRONMENT='prod'\n", `the file that is there is of another instance: "i-0aaaaaaaaaaaaaaaa"`},
		"no literal file": {"MY_ENVIRONMENT=$(curl 169.254.169.254)\n", "the file that is there is no good either: line 1: MY_ENVIRONMENT: the value is not literal: a shell would expand something in it"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.setTags(facts.Tags{})
			n.write(target, c.there)
			n.fails(true, why+c.want)
			if n.read(target) != c.there {
				t.Error("it was touched")
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		n := newNode(t)
		n.setTags(facts.Tags{})
		n.write(target+"/x", "")
		if _, err := n.duty.Reconcile(t.Context()); err == nil || !strings.HasPrefix(err.Error(), why+"cannot read "+target) {
			t.Errorf("got %v", err)
		}
	})
}

func TestInputsAreWaitedFor(t *testing.T) {
	n := newNode(t)
	config, instance := n.duty.Config, n.duty.Instance
	n.duty.Config = cell.New(func(a, b nodeconfig.Config) bool { return false })
	n.fails(true, "the configuration has not been read yet")
	n.duty.Config, n.duty.Instance = config, cell.New(facts.Instance.Equal)
	n.fails(true, "instance metadata has not been read yet")
	n.duty.Instance, n.duty.Cluster = instance, cell.Comparable[string]()
	n.fails(true, "cannot render "+target+": NODE_CLUSTER: ecs.config names no cluster yet; no file has been written yet")
}

func TestAFailureBesideAWaitIsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want duty.State
	}{
		"only waiting":       {map[string]string{"env": "prod"}, duty.Waiting},
		"an absent tag, too": {map[string]string{}, duty.Failing},
		"a NUL, too":         {map[string]string{"env": "\x00"}, duty.Failing},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.duty.Cluster = cell.Comparable[string]()
			n.setTags(facts.Tags{Source: facts.TagsFromIMDS, Values: c.env})
			var last duty.Record
			e := duty.Engine{Log: slog.New(slog.DiscardHandler), Report: func(r duty.Record) { last = r }}
			_ = e.Pass(t.Context(), []duty.Entry{{Duty: &n.duty, Timeout: time.Minute}})
			if last.State != c.want {
				t.Errorf("%s: %s", last.State, last.Err)
			}
		})
	}
}

func TestWhatIsInTheWayIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(n *node) error
		want    string
		is      error
	}{
		"a directory": {
			func(n *node) error { return os.MkdirAll(n.path(target), 0o755) },
			"cannot write " + target, fsx.ErrNotRegular,
		},
		"a link": {
			func(n *node) error {
				n.write("/etc/container_config/x", "")
				return os.Symlink("x", n.path(target))
			},
			"cannot write " + target, fsx.ErrNotRegular,
		},
		"a file for a directory": {
			func(n *node) error { n.write("/etc/container_config", ""); return nil },
			"cannot make directory /etc/container_config", syscall.ENOTDIR,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if err := c.arrange(n); err != nil {
				t.Fatal(err)
			}
			n.failsWith(c.want, c.is)
		})
	}
}

func (n *node) failsWith(want string, is error) {
	n.t.Helper()
	out, err := n.duty.Reconcile(n.t.Context())
	if err == nil || out.Changed || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, is) || errors.Is(err, duty.ErrNotReady) {
		n.t.Errorf("pass: %+v, %v", out, err)
	}
}

func TestAReadOnlyDirectoryIsNamedAndHeals(t *testing.T) {
	n := newNode(t)
	n.pass(true)
	n.setTags(facts.Tags{Source: facts.TagsFromIMDS, Values: map[string]string{"env": "staging"}})
	n.configure(func(c *nodeconfig.Config, _ *nodeconfig.File) { c.DirectoryMode = 0o555 })
	if err := os.Chmod(n.path("/etc/container_config"), 0o555); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() { n.failsWith("cannot write "+target, fs.ErrPermission) })
	golden(t, "default.golden", n.read(target))

	n.configure(func(*nodeconfig.Config, *nodeconfig.File) {})
	n.pass(true)
	if got := n.read(target); !strings.Contains(got, "'staging'") {
		t.Error(got)
	}
}

func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		runtime.LockOSThread() // these ids are the thread's
		defer runtime.UnlockOSThread()
		const nobody = 65534
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setfsuid(0)
	}
	f()
}

func TestAPassThatIsCutShortSaysSo(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.duty.Reconcile(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

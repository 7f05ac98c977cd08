package node_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/status"
)

// rig is a node in a directory and the simulated world around it, in virtual
// time.
type rig struct {
	t     *testing.T
	world *sim.World
	net   *sim.Network
	root  string
	ca    string // file with the world's certificate authority
	jobs  schedules.Jobs
	role  *roles
	log   bytes.Buffer
}

const basic = `
cluster: '{{ tag "cluster" }}'
ecs_agent: { introspection: "http://localhost:51678" }
`

// inNode runs f in a bubble with a node that has the given ecsnode.yaml, beside
// other tests: each has a machine of its own.
func inNode(t *testing.T, yaml string, f func(*testing.T, *rig)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		role := &roles{root: t.TempDir(), had: map[string]policy{}, needed: map[sim.Permission]bool{}}
		r := &rig{t: t, world: sim.New(sim.Options{OnCall: role.note}), net: sim.NewNetwork(), root: role.root, role: role}
		defer r.net.Close()
		if err := r.world.Connect(r.net); err != nil {
			t.Fatal(err)
		}
		authority, err := r.world.Authority()
		if err != nil {
			t.Fatal(err)
		}
		r.ca = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(r.ca, authority.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		r.write("/etc/ecsnode/ecsnode.yaml", yaml)
		r.write("/sys/class/dmi/id/board_asset_tag", r.world.Instance().ID)
		r.write("/proc/sys/kernel/random/boot_id", "11111111-1111-4111-8111-111111111111")
		f(t, r)
		role.check(t)
	})
}

func (r *rig) write(name, content string) {
	r.t.Helper()
	name = filepath.Join(r.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// read returns a file of the node, "" if there is none.
func (r *rig) read(name string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.root, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return string(data)
}

func (r *rig) node() *node.Node {
	r.t.Helper()
	n, err := node.New(node.Options{
		Root: r.root, Version: "test", Dial: r.net.DialContext,
		Getenv: func(name string) string { return map[string]string{"AWS_CA_BUNDLE": r.ca}[name] },
		Log:    slog.New(slog.NewTextHandler(&r.log, nil)),
		Jobs:   r.jobs,
		Docker: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.net.DialContext(ctx, "unix", docker.Socket)
		},
		// Real inotify would keep virtual time from passing.
		Watch: func(ctx context.Context, _ time.Duration, _ func(), _ ...string) error {
			<-ctx.Done()
			return ctx.Err()
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// daemon runs `ecsnode run` until stop is called.
func (r *rig) daemon() (stop func()) {
	n := r.node()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
	}
}

func (r *rig) pass(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (r *rig) status() *status.Document {
	r.t.Helper()
	files, err := fsx.Open(r.root)
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := status.Load(files, status.Path)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// state returns how a duty stands.
func (r *rig) state(name string) duty.Record {
	r.t.Helper()
	for _, rec := range r.status().Duties {
		if rec.Name == name {
			return rec
		}
	}
	r.t.Fatalf("status has no %s", name)
	return duty.Record{}
}

func (r *rig) want(file string, parts ...string) {
	r.t.Helper()
	content := r.read(file)
	for _, p := range parts {
		if !strings.Contains(content, p) {
			r.t.Errorf("%s lacks %q:\n%s", file, p, content)
		}
	}
}

const (
	nodeConfig = "/etc/container_config/node.config"
	ecsConfig  = "/etc/ecs/ecs.config"
)

func TestAFreshNodeKnowsWhatItIs(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(2 * time.Second)
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'", "NODE_CLUSTER='web'", "NODE_INSTANCE_ID='i-0123456789abcdef0'", "NODE_REGION='eu-west-1'", "NODE_LIFECYCLE='on-demand'")
		r.want(ecsConfig, "ECS_CLUSTER=web\n", `"lifecycle":"on-demand"`)
		if err := r.node().Ready(); err != nil {
			t.Error(err)
		}
		r.pass(time.Minute)
		d := r.status()
		if verdict, why := d.Judge(time.Now(), func(int) bool { return true }); verdict != status.Well {
			t.Errorf("verdict %v %s: %+v", verdict, why, d)
		}
		for _, rec := range d.Duties {
			if rec.State != duty.OK {
				t.Errorf("%s is %s: %s", rec.Name, rec.State, rec.Err)
			}
		}
		stop()
		if d := r.status(); d.StoppedAt.IsZero() {
			t.Error("an orderly end is not in the status")
		}
	})
}

func TestATagThatChangesIsFollowed(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		defer r.daemon()()
		r.pass(10 * time.Second)
		before := r.world.Count("ec2")
		if err := r.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		r.pass(61 * time.Second)
		r.want(nodeConfig, "MY_ENVIRONMENT='staging'")
		if n := r.world.Count("ec2") - before; n != 0 {
			t.Errorf("%d calls of EC2 although tags are in IMDS", n)
		}
	})
}

func TestSickMetadata(t *testing.T) {
	for name, fault := range map[string]sim.Fault{
		"hangs":           {Kind: sim.FaultHang},
		"answers 503":     {Kind: sim.FaultStatus, Status: 503},
		"answers 401":     {Kind: sim.FaultStatus, Status: 401},
		"answers garbage": {Kind: sim.FaultGarbage},
		"answers 16 MiB":  {Kind: sim.FaultHuge},
		"is cut short":    {Kind: sim.FaultTruncate},
		"resets":          {Kind: sim.FaultReset},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic, func(t *testing.T, r *rig) {
				defer r.daemon()()
				r.pass(10 * time.Second)
				good := r.read(nodeConfig)
				if err := r.world.SetFault("imds", fault); err != nil {
					t.Fatal(err)
				}
				r.pass(2*time.Minute + 30*time.Second) // two passes
				if rec := r.state("instance"); rec.State != duty.Failing || rec.Err == "" {
					t.Errorf("instance is %s (%s)", rec.State, rec.Err)
				}
				if now := r.read(nodeConfig); now != good || good == "" {
					t.Errorf("the last good file did not stay:\n%s", now)
				}
				r.world.ClearFaults()
				r.pass(90 * time.Second)
				if rec := r.state("instance"); rec.State != duty.OK {
					t.Errorf("healed, instance is %s (%s)", rec.State, rec.Err)
				}
			})
		})
	}
}

func TestARebootWithSickMetadataStillHasAnIdentity(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		stop()
		if err := r.world.SetFault("imds", sim.Fault{Kind: sim.FaultStatus, Status: 503}); err != nil {
			t.Fatal(err)
		}
		r.write("/proc/sys/kernel/random/boot_id", "22222222-2222-4222-8222-222222222222")
		if err := os.Remove(filepath.Join(r.root, nodeConfig)); err != nil {
			t.Fatal(err)
		}
		if err := r.node().Ready(); err == nil {
			t.Error("ready right after the reboot")
		}
		defer r.daemon()()
		r.pass(30 * time.Second)
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
		if err := r.node().Ready(); err != nil {
			t.Error(err)
		}
		if rec := r.state("instance"); rec.State != duty.Failing {
			t.Errorf("instance is %s though metadata is sick", rec.State)
		}
	})
}

func TestTheCacheOfAnotherInstanceIsNeverServed(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		stop()
		// An image made of this node starts as another instance.
		r.write("/sys/class/dmi/id/board_asset_tag", "i-0fedcba9876543210")
		r.write("/proc/sys/kernel/random/boot_id", "33333333-3333-4333-8333-333333333333")
		if err := r.world.SetFault("imds", sim.Fault{Kind: sim.FaultHang}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(r.root, nodeConfig)); err != nil {
			t.Fatal(err)
		}
		defer r.daemon()()
		r.pass(time.Minute)
		if got := r.read(nodeConfig); got != "" {
			t.Errorf("node.config from another instance's facts:\n%s", got)
		}
		if err := r.node().Ready(); err == nil {
			t.Error("ready without an identity")
		}
	})
}

func TestLateTagsHoldTheNodeOutAndThenLetItIn(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		r.world.DeleteTag("cluster")
		defer r.daemon()()
		r.pass(3 * time.Minute)
		err := r.node().Ready()
		if err == nil || !strings.Contains(err.Error(), `tag "cluster" is absent`) {
			t.Errorf("Ready = %v", err)
		}
		if got := r.read(ecsConfig); strings.Contains(got, "ECS_CLUSTER") {
			t.Errorf("ecs.config names a cluster:\n%s", got)
		}
		if err := r.world.SetTag("cluster", "web"); err != nil {
			t.Fatal(err)
		}
		r.pass(10 * time.Second)
		if err := r.node().Ready(); err != nil {
			t.Error(err)
		}
		r.want(ecsConfig, "ECS_CLUSTER=web\n")
	})
}

func TestTagsFromTheAPIWhenMetadataHasNone(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		if err := r.world.EnableMetadataTags(false); err != nil {
			t.Fatal(err)
		}
		defer r.daemon()()
		r.pass(10 * time.Second)
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
		if src := r.status().Node.Instance.Tags.Source; src != facts.TagsFromEC2 {
			t.Errorf("source = %q", src)
		}
	})
}

func TestRefusedTagsAreNotAbsent(t *testing.T) {
	inNode(t, basic+"node_config: {files: {node.config: {values: {MY_ENVIRONMENT: {value: '{{ tag \"env\" }}', missing: default, default: dev}}}}}\n", func(t *testing.T, r *rig) {
		if err := r.world.EnableMetadataTags(false); err != nil {
			t.Fatal(err)
		}
		r.world.Deny("ec2:DescribeTags")
		defer r.daemon()()
		r.pass(time.Minute)
		if got := r.read(nodeConfig); got != "" {
			t.Errorf("a default stood in for a tag nobody could look for:\n%s", got)
		}
		if rec := r.state("instance"); len(rec.Warnings) != 1 || !strings.Contains(rec.Warnings[0], "ec2:DescribeTags") {
			t.Errorf("instance: %+v", rec)
		}
		if rec := r.state("ecsconfig"); rec.State != duty.Waiting || !strings.Contains(rec.Err, "ec2:DescribeTags") {
			t.Errorf("ecsconfig: %+v", rec)
		}
		r.pass(10 * time.Minute)
		if rec := r.state("ecsconfig"); rec.State != duty.Failing {
			t.Errorf("ecsconfig: %+v", rec)
		}
	})
}

func TestConfigIsFollowedAndABadFileIsLeftOut(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		defer r.daemon()()
		r.pass(10 * time.Second)
		r.write("/etc/ecsnode/conf.d/10-good.yaml", "ecs_config: {reserved_memory: 256}\n")
		r.write("/etc/ecsnode/conf.d/20-bad.yaml", "clutser: web\nchannel: Bad Channel\n")
		r.pass(31 * time.Second)
		r.want(ecsConfig, "ECS_RESERVED_MEMORY=256\n", "ECS_CLUSTER=web\n")
		rec := r.state("config")
		if rec.State != duty.Failing || !strings.Contains(rec.Err, "20-bad.yaml:1:1") || !strings.Contains(rec.Err, "20-bad.yaml:2:10") || !strings.Contains(rec.Err, "cluster") {
			t.Errorf("config is %s: %s", rec.State, rec.Err)
		}
		if err := os.Remove(filepath.Join(r.root, "/etc/ecsnode/conf.d/20-bad.yaml")); err != nil {
			t.Fatal(err)
		}
		r.pass(5 * time.Minute)
		if rec := r.state("config"); rec.State != duty.OK {
			t.Errorf("config is %s: %s", rec.State, rec.Err)
		}
	})
}

func TestHold(t *testing.T) {
	for name, c := range map[string]struct{ hold, release func(*rig) error }{
		"by the operator": {
			func(r *rig) error { return r.node().Hold(r.t.Context(), "all", "disk swap", 0) },
			func(r *rig) error { _, err := r.node().Release(r.t.Context(), "all"); return err },
		},
		"one duty": {
			func(r *rig) error { return r.node().Hold(r.t.Context(), "nodeconfig", "", 0) },
			func(r *rig) error { _, err := r.node().Release(r.t.Context(), "nodeconfig"); return err },
		},
		"by a tag": {
			func(r *rig) error { return r.world.SetTag("ecsnode:hold", "disk swap") },
			func(r *rig) error { return r.world.SetTag("ecsnode:hold", "no") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic, func(t *testing.T, r *rig) {
				// Held before anything is known: the node comes up all the same.
				if err := c.hold(r); err != nil {
					t.Fatal(err)
				}
				defer r.daemon()()
				r.pass(time.Minute)
				if err := r.node().Ready(); err != nil {
					t.Fatalf("a hold kept the node out: %v", err)
				}
				r.want(nodeConfig, "MY_ENVIRONMENT='prod'")

				if err := r.world.SetTag("env", "staging"); err != nil {
					t.Fatal(err)
				}
				r.pass(2 * time.Minute)
				r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
				if rec := r.state("nodeconfig"); rec.State != duty.Held {
					t.Errorf("nodeconfig is %s", rec.State)
				}
				if h := r.status().Hold; h == nil {
					t.Error("the status has no hold")
				}
				if err := c.release(r); err != nil {
					t.Fatal(err)
				}
				r.pass(2 * time.Minute)
				r.want(nodeConfig, "MY_ENVIRONMENT='staging'")
				if h := r.status().Hold; h != nil {
					t.Errorf("released, the status has %+v", h)
				}
			})
		})
	}
}

func TestAHoldForATimeEndsByItselfAndSurvivesARestart(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(time.Minute)
		if err := r.node().Hold(t.Context(), "all", "", 2*time.Hour); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		stop()
		if err := r.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		defer r.daemon()()
		r.pass(time.Hour)
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
		r.pass(time.Hour)
		r.want(nodeConfig, "MY_ENVIRONMENT='staging'")
	})
}

func TestHoldRefusesWhatItWouldNotStop(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		for _, what := range []string{"instance", "nodecofig", ""} {
			if err := r.node().Hold(t.Context(), what, "", 0); err == nil || !strings.Contains(err.Error(), "nodeconfig") {
				t.Errorf("Hold(%q) = %v", what, err)
			}
		}
	})
}

func TestANodeRegisteredElsewhereKeepsItsClusterAndItsIdentity(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		r.world.SetRegistered("old")
		defer r.daemon()()
		r.pass(30 * time.Second)
		rec := r.state("ecsconfig")
		if rec.State != duty.Failing || !strings.Contains(rec.Err, "old") || !strings.Contains(rec.Err, "web") {
			t.Errorf("ecsconfig is %s: %s", rec.State, rec.Err)
		}
		if got := r.read(ecsConfig); strings.Contains(got, "ECS_CLUSTER=web") {
			t.Errorf("a registered node was moved:\n%s", got)
		}
		r.want(nodeConfig, "NODE_CLUSTER='old'")
		if err := r.node().Ready(); err != nil {
			t.Errorf("held out of the cluster that it is in: %v", err)
		}
	})
}

func TestAttributesThatChangeAfterRegistration(t *testing.T) {
	for name, c := range map[string]struct {
		yaml  string
		calls int
		value string
	}{
		"are left until the next registration": {"", 0, ""},
		"are put where that is asked for":      {"ecs_config: {put_attributes: true}\n", 1, "staging"},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic+"readiness: {publish: false}\n"+c.yaml, func(t *testing.T, r *rig) {
				defer r.daemon()()
				r.pass(30 * time.Second)
				r.world.SetRegistered("web")
				r.pass(time.Minute)
				if err := r.world.SetTag("env", "staging"); err != nil {
					t.Fatal(err)
				}
				r.pass(time.Hour)
				if n := r.world.Count("ecs/PutAttributes"); n != c.calls {
					t.Errorf("%d calls of PutAttributes in an hour, want %d", n, c.calls)
				}
				ci, _ := r.world.ContainerInstance()
				if got := ci.Attributes["environment"]; got != c.value {
					t.Errorf("environment = %q, want %q", got, c.value)
				}
				if warned := len(r.state("ecsconfig").Warnings) > 0; warned != (c.calls == 0) {
					t.Errorf("ecsconfig: %+v", r.state("ecsconfig"))
				}
			})
		})
	}
}

func TestApply(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		records, err := r.node().Apply(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			if rec.State != duty.OK {
				t.Errorf("alone: %s is %s: %s", rec.Name, rec.State, rec.Err)
			}
		}
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")

		defer r.daemon()()
		r.pass(10 * time.Minute)
		if err := r.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := r.node().Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.want(nodeConfig, "MY_ENVIRONMENT='staging'")
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("the daemon took %v", took)
		}
		if left := r.read("/var/lib/ecsnode/requests/apply.json"); left != "" {
			t.Errorf("the request is left behind: %s", left)
		}
	})
}

// What a pass costs: identity in five requests, the list of tags, each tag, a
// session token.
func TestAnApplyReadsMetadataOnce(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		for range 2 {
			r.world.ResetCalls()
			if _, err := r.node().Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n, want := r.world.Count("imds"), 5+1+2+1; n != want {
				t.Errorf("%d requests of metadata, want %d", n, want)
			}
		}
	})
}

func TestPlanChangesNothingAndSaysWhatWouldChange(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		r.write(ecsConfig, "ECS_ENGINE_AUTH_DATA={\"password\":\"hunter2\"}\nECS_LOGLEVEL=info\n")
		p := r.node().Plan(t.Context())
		var b strings.Builder
		p.Diff(&b)
		for _, want := range []string{"+++ b" + nodeConfig, "+MY_ENVIRONMENT='prod'", "+ECS_CLUSTER=web", "--- a" + ecsConfig, "ECS_ENGINE_AUTH_DATA=(hidden)"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("the plan lacks %q:\n%s", want, &b)
			}
		}
		if strings.Contains(b.String(), "hunter2") || strings.Contains(b.String(), "/var/lib/ecsnode") {
			t.Errorf("the plan shows what it must not:\n%s", &b)
		}
		if r.read(nodeConfig) != "" || r.read(status.Path) != "" || strings.Contains(r.read(ecsConfig), "ECS_CLUSTER") {
			t.Error("the plan wrote something")
		}
		if _, err := os.Stat(filepath.Join(r.root, "/var/lib/ecsnode")); err == nil {
			t.Error("the plan made a directory")
		}
		if _, err := r.node().Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := r.node().Plan(t.Context()); !p.Empty() {
			b.Reset()
			p.Diff(&b)
			t.Errorf("after apply there is still something to do:\n%s", &b)
		}
	})
}

func TestRender(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		all, err := r.node().Render(t.Context(), "")
		if err != nil || len(all) != 2 {
			t.Fatalf("%d files, %v", len(all), err)
		}
		one, err := r.node().Render(t.Context(), "node.config")
		if err != nil || len(one) != 1 || !bytes.Contains(one[0].Data, []byte("MY_ENVIRONMENT='prod'")) {
			t.Errorf("%v, %v", one, err)
		}
		if _, err := r.node().Render(t.Context(), "nod.config"); err == nil || !strings.Contains(err.Error(), nodeConfig) {
			t.Errorf("err = %v", err)
		}
		r.world.DeleteTag("env")
		if _, err := r.node().Render(t.Context(), "node.config"); err == nil || !strings.Contains(err.Error(), `tag "env" is absent`) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestBootKeepsItsBudget(t *testing.T) {
	inNode(t, basic+"boot: {budget: 40s}\n", func(t *testing.T, r *rig) {
		if err := r.world.SetFault("imds", sim.Fault{Kind: sim.FaultHang}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := r.node().Boot(t.Context())
		if took := time.Since(began); took < 40*time.Second || took > 45*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "instance failing") {
			t.Errorf("err = %v", err)
		}
		r.world.ClearFaults()
		began = time.Now()
		if err := r.node().Boot(t.Context()); err != nil || time.Since(began) > time.Second {
			t.Errorf("well, after %v: %v", time.Since(began), err)
		}
	})
}

func TestASecondDaemonIsRefused(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		defer r.daemon()()
		r.pass(time.Second)
		err := r.node().Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "held by ecsnode run") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestEdgesAreLoggedOnce(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		defer r.daemon()()
		r.pass(time.Minute)
		if err := r.world.SetFault("imds", sim.Fault{Kind: sim.FaultStatus, Status: 500}); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Hour)
		r.world.ClearFaults()
		r.pass(5 * time.Minute)
		log := r.log.String()
		const readers = 3 // of instance metadata: instance, autoscaling, maintenance
		if f, ok := strings.Count(log, "duty failing"), strings.Count(log, "duty recovered"); f != readers || ok != readers {
			t.Errorf("failing %d times, recovered %d times:\n%s", f, ok, log)
		}
	})
}

// A tag that holds the node must count in the pass in which another tag would
// change it, also in a process that has just started.
func TestAHoldByTagCountsAtOnce(t *testing.T) {
	both := map[string]string{"cluster": "web", "env": "danger", "ecsnode:hold": "yes"}
	for name, act := range map[string]func(*testing.T, *rig){
		"apply": func(t *testing.T, r *rig) {
			if err := r.world.SetTags(both); err != nil {
				t.Fatal(err)
			}
			if _, err := r.node().Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"plan": func(t *testing.T, r *rig) {
			if err := r.world.SetTags(both); err != nil {
				t.Fatal(err)
			}
			if p := r.node().Plan(t.Context()); !p.Empty() {
				t.Errorf("the plan of a held node: %+v", p.Files)
			}
		},
		"a daemon that starts": func(t *testing.T, r *rig) {
			if err := r.world.SetTags(both); err != nil {
				t.Fatal(err)
			}
			defer r.daemon()()
			r.pass(time.Minute)
		},
		"a daemon that runs": func(t *testing.T, r *rig) {
			defer r.daemon()()
			r.pass(10 * time.Minute)
			if err := r.world.SetTags(both); err != nil {
				t.Fatal(err)
			}
			r.pass(2 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic, func(t *testing.T, r *rig) {
				if _, err := r.node().Apply(t.Context()); err != nil {
					t.Fatal(err)
				}
				act(t, r)
				r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
			})
		})
	}
}

func TestRenderShowsWhatAHoldKeepsBack(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		if _, err := r.node().Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.world.SetTags(map[string]string{"cluster": "web", "env": "staging", "ecsnode:hold": "yes"}); err != nil {
			t.Fatal(err)
		}
		one, err := r.node().Render(t.Context(), "node.config")
		if err != nil || !bytes.Contains(one[0].Data, []byte("MY_ENVIRONMENT='staging'")) {
			t.Errorf("%v, %v", one, err)
		}
	})
}

// A file that is left out may be the one that names the cluster: joining the
// wrong one cannot be undone.
func TestANodeWithABrokenFileHasNoIdentityUnlessItIsInAClusterAlready(t *testing.T) {
	for name, registered := range map[string]bool{"new": false, "registered": true} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic, func(t *testing.T, r *rig) {
				r.write("/etc/ecsnode/conf.d/50.yaml", "cluster: payments\nnonsense: 1\n")
				if registered {
					r.world.SetRegistered("web")
				}
				defer r.daemon()()
				r.pass(time.Minute)
				err := r.node().Ready()
				if ready := err == nil; ready != registered {
					t.Errorf("Ready = %v", err)
				}
				if !registered {
					if !strings.Contains(err.Error(), "50.yaml:2:1") {
						t.Errorf("it does not say why: %v", err)
					}
					r.write("/etc/ecsnode/conf.d/50.yaml", "cluster: payments\n")
					r.pass(2 * time.Minute)
					if err := r.node().Ready(); err != nil {
						t.Error(err)
					}
					r.want(ecsConfig, "ECS_CLUSTER=payments\n")
				}
			})
		})
	}
}

func TestASlipTakesNoSettingsFromARunningNode(t *testing.T) {
	good := basic + "node_config: {files: {node.config: {values: {TEAM: {value: blue}}}}}\n"
	for name, slip := range map[string]func(*rig){
		"an unknown key":   func(r *rig) { r.write("/etc/ecsnode/ecsnode.yaml", good+"nonsense: 1\n") },
		"no YAML":          func(r *rig) { r.write("/etc/ecsnode/ecsnode.yaml", good+"\t{\n") },
		"the file is gone": func(r *rig) { _ = os.Remove(filepath.Join(r.root, "/etc/ecsnode/ecsnode.yaml")) },
		"all is gone":      func(r *rig) { _ = os.Rename(filepath.Join(r.root, "/etc/ecsnode"), filepath.Join(r.root, "/etc/away")) },
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, good, func(t *testing.T, r *rig) {
				r.write("/etc/ecsnode/conf.d/50.yaml", "ecs_config: {reserved_memory: 256}\n")
				defer r.daemon()()
				r.pass(time.Minute)
				slip(r)
				r.pass(5 * time.Minute)
				r.want(nodeConfig, "TEAM='blue'")
				r.want(ecsConfig, "ECS_RESERVED_MEMORY=256")
				if rec := r.state("config"); rec.State != duty.Failing || !strings.Contains(rec.Err, "before") {
					t.Errorf("config is %s: %s", rec.State, rec.Err)
				}
				r.write("/etc/ecsnode/ecsnode.yaml", strings.ReplaceAll(good, "blue", "red"))
				r.pass(2 * time.Minute)
				r.want(nodeConfig, "TEAM='red'")
				if rec := r.state("config"); rec.State != duty.OK {
					t.Errorf("mended, config is %s: %s", rec.State, rec.Err)
				}
			})
		})
	}
}

func TestBootAndDaemonShareTheNode(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		// Boot beside a daemon that is at work already waits for it.
		stop := r.daemon()
		r.pass(10 * time.Second)
		began := time.Now()
		if err := r.node().Boot(t.Context()); err != nil || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		stop()

		// A daemon beside a boot that hangs looks, changes nothing and says so.
		if err := r.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		files, err := fsx.Open(r.root)
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := files.TryLock("/run/ecsnode/pass.lock", "ecsnode boot")
		if err != nil {
			t.Fatal(err)
		}
		defer r.daemon()()
		r.pass(time.Minute)
		rec := r.state("nodeconfig")
		if rec.State != duty.Waiting || !strings.Contains(rec.Err, "held by ecsnode boot") {
			t.Errorf("nodeconfig is %s: %s", rec.State, rec.Err)
		}
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
		r.pass(5 * time.Minute)
		if rec := r.state("nodeconfig"); rec.State != duty.Failing {
			t.Errorf("beyond the limit nodeconfig is %s", rec.State)
		}
		unlock()
		r.pass(10 * time.Second)
		r.want(nodeConfig, "MY_ENVIRONMENT='staging'")
		if rec := r.state("nodeconfig"); rec.State != duty.OK {
			t.Errorf("nodeconfig is %s: %s", rec.State, rec.Err)
		}
	})
}

func TestADaemonThatCannotWorkEnds(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		if err := os.MkdirAll(filepath.Join(r.root, "/run/ecsnode/pass.lock"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := r.node().Run(t.Context()); err == nil || !strings.Contains(err.Error(), "pass.lock") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestADaemonWhoseDirectoryIsRemovedEnds(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		done := make(chan error, 1)
		go func() { done <- r.node().Run(t.Context()) }()
		r.pass(10 * time.Second)
		if err := os.RemoveAll(filepath.Join(r.root, "/run/ecsnode")); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil || !strings.Contains(err.Error(), "was removed under the running ecsnode") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestAnApplyThatIsInterruptedSaysSo(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		if err := r.world.SetFault("imds", sim.Fault{Kind: sim.FaultHang}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := r.node().Apply(ctx); err == nil || !strings.Contains(err.Error(), "cannot finish the pass") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestApplyOutlivesADaemonThatDies(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		if err := os.MkdirAll(filepath.Join(r.root, "/run/ecsnode"), 0o755); err != nil {
			t.Fatal(err)
		}
		files, err := fsx.Open(r.root)
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := files.TryLock("/run/ecsnode/daemon.lock", "ecsnode run") // and never writes a status
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(5*time.Second, unlock)
		began := time.Now()
		if _, err := r.node().Apply(t.Context()); err != nil || time.Since(began) > 6*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
	})
}

func TestBootIsSeenWhileItRuns(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		r.world.DeleteTag("cluster")
		done := make(chan error, 1)
		go func() { done <- r.node().Boot(t.Context()) }()
		r.pass(20 * time.Second)
		if err := r.node().Ready(); err == nil || !strings.Contains(err.Error(), `tag "cluster" is absent`) {
			t.Errorf("Ready = %v", err)
		}
		if err := r.world.SetTag("cluster", "web"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.node().Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestAHoldThatCannotBeReadHolds(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		if _, err := r.node().Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(r.root, "/var/lib/ecsnode/requests/hold.json"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.node().Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.want(nodeConfig, "MY_ENVIRONMENT='prod'")
		if released, err := r.node().Release(t.Context(), "all"); !released || err != nil {
			t.Errorf("release: %v, %v", released, err)
		}
	})
}

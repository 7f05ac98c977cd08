package node_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	agentDB   = "/var/lib/ecs/data/agent.db"
	recordOf  = "/var/lib/ecsnode/registration.json"
	otherNode = "i-0fedcba9876543210"
)

// stranger makes whatever the given world's agent says the answer at the port
// of the node's ECS agent.
func (r *rig) stranger(w *sim.World) {
	r.t.Helper()
	_ = r.net.Close()
	r.net = sim.NewNetwork()
	r.t.Cleanup(func() { _ = r.net.Close() })
	for addr, h := range map[string]http.Handler{
		"169.254.169.254:80": r.world.IMDS(), "localhost:51678": w.Introspection(), ":80": r.world.AWS(),
	} {
		if err := r.net.Serve(addr, h); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestAStrangerAtThePortOfTheAgentMovesNoNode(t *testing.T) {
	for name, registered := range map[string]bool{"new": false, "registered": true} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic, func(t *testing.T, r *rig) {
				if registered {
					r.world.SetRegistered("web")
					r.write(agentDB, "state")
					stop := r.daemon()
					r.pass(10 * time.Second)
					stop()
				}
				before := r.read(recordOf)
				evil := sim.New(sim.Options{Instance: sim.Instance{Account: "999999999999"}})
				evil.SetRegistered("evil")
				r.stranger(evil)
				defer r.daemon()()
				r.pass(10 * time.Second)
				r.want(ecsConfig, "ECS_CLUSTER=web\n")
				r.want(nodeConfig, "NODE_CLUSTER='web'")
				if err := r.node().Ready(); err != nil {
					t.Error(err)
				}
				if rec := r.state("registration"); len(rec.Warnings) != 1 || !strings.Contains(rec.Warnings[0], ":999999999999:") || !strings.Contains(rec.Warnings[0], "account 123456789012") {
					t.Errorf("registration: %+v", rec)
				}
				if now := r.read(recordOf); now != before {
					t.Errorf("the record is now %s", now)
				}
			})
		})
	}
}

// The agent starts once the node has an identity, and so cannot be waited for.
func TestABootWithAgentStateThatNobodyHasSeen(t *testing.T) {
	for name, record := range map[string]string{"no record": "", "damaged record": "{"} {
		t.Run(name, func(t *testing.T) {
			inNode(t, basic, func(t *testing.T, r *rig) {
				r.write(agentDB, "state")
				if record != "" {
					r.write(recordOf, record)
				}
				began := time.Now()
				if err := r.node().Boot(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took < 30*time.Second || took > 32*time.Second {
					t.Errorf("it took %v", took)
				}
				r.want(ecsConfig, "ECS_CLUSTER=web\n")
				if err := r.node().Ready(); err != nil {
					t.Error(err)
				}
				defer r.daemon()()
				r.pass(time.Minute)
				rec := r.state("registration")
				const unseen = "the ECS agent has state of a registration that ecsnode has not seen; ECS_CLUSTER may not fit it"
				if n := len(rec.Warnings); n == 0 || rec.Warnings[n-1] != unseen {
					t.Errorf("registration: %+v", rec)
				}
			})
		})
	}
}

func TestMetadataOfAnotherInstanceMakesNoNode(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		r.world.SetInstance(sim.Instance{ID: otherNode})
		defer r.daemon()()
		r.pass(time.Minute)
		if err := r.node().Ready(); err == nil {
			t.Error("ready")
		}
		if got := r.read(nodeConfig) + r.read(ecsConfig); got != "" {
			t.Errorf("rendered %s", got)
		}
		if rec := r.state("instance"); rec.State != duty.Failing || !strings.Contains(rec.Err, otherNode) || !strings.Contains(rec.Err, "i-0123456789abcdef0") {
			t.Errorf("instance is %s: %s", rec.State, rec.Err)
		}
	})
}

// Metadata without tags, and an API that knows of none yet.
func TestTagsThatComeAfterTheLaunch(t *testing.T) {
	inNode(t, "cluster: '{{ tag \"cluster\" \"fallback\" }}'\n", func(t *testing.T, r *rig) {
		if err := r.world.SetTags(nil); err != nil {
			t.Fatal(err)
		}
		if err := r.world.EnableMetadataTags(false); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, func() { _ = r.world.SetTags(map[string]string{"cluster": "web", "env": "prod"}) })
		defer r.daemon()()
		r.pass(9 * time.Second)
		if got := r.read(ecsConfig); strings.Contains(got, "ECS_CLUSTER") || r.node().Ready() == nil {
			t.Errorf("a default stood in for a tag that was to come:\n%s", got)
		}
		r.pass(11 * time.Second)
		r.want(ecsConfig, "ECS_CLUSTER=web\n")
		if err := r.node().Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsKeptOverRebootsIsForRootOnly(t *testing.T) {
	inNode(t, basic+"ecs_config: {put_attributes: true}\n", func(t *testing.T, r *rig) {
		r.world.SetRegistered("web")
		if err := r.node().Hold(t.Context(), "nodeconfig", "", time.Minute); err != nil {
			t.Fatal(err)
		}
		defer r.daemon()()
		r.pass(2 * time.Minute)
		files := 0
		err := filepath.WalkDir(filepath.Join(r.root, "/var/lib/ecsnode"), func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			want := fs.FileMode(0o700)
			if !e.IsDir() {
				want, files = 0o600, files+1
			}
			if err == nil && info.Mode().Perm() != want {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
			return err
		})
		if err != nil || files < 3 {
			t.Errorf("%d files, %v", files, err)
		}
		for _, name := range []string{"/run/ecsnode/status.json", "/run/ecsnode/identity.json"} {
			if info, err := os.Stat(filepath.Join(r.root, name)); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	})
}

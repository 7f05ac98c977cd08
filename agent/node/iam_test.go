package node_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/iam"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// What whole nodes ask AWS for is compared with the policy that ecsnode iam-policy
// prints for their settings, in every test here: nothing may be called that the
// policy lacks, and nothing may be in it that is never called.

// policy is as IAM reads what is printed.
type policy struct {
	Statement []struct {
		Action, Resource []string
		Condition        map[string]map[string][]string
	}
}

// allows is what IAM would say, as far as policies here go: wildcards in
// resources, and the condition key ecs:cluster.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (p policy) allows(need sim.Permission) bool {
	for _, s := range p.Statement {
		if !slices.Contains(s.Action, need.Action) || !matchesOne(s.Resource, need.Resource) {
			continue
		}
		clusters, limited := s.Condition["ArnEquals"]["ecs:cluster"]
		if !limited || need.Cluster != "" && matchesOne(clusters, need.Cluster) {
			return true
		}
	}
	return false
}

func matchesOne(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		return regexp.MustCompile("^" + expression + "$").MatchString(text)
	})
}

// printed is the policy for the settings that a node has now, as far as they are
// in effect, for a node in cluster web or where its tags say.
func printed(root string) (p policy, err error) {
	disk, err := fsx.Open(root)
	if err != nil {
		return p, err
	}
	l := config.Load(disk, config.Path)
	asks, err := l.Asks(disk)
	if err != nil {
		return p, err
	}
	text, err := iam.Least(iam.Role{
		Config: l.Config, Asks: asks, Account: "123456789012", Keys: []string{"arn:aws:kms:*:123456789012:key/*"},
		TaskRoles: []string{"arn:aws:iam::123456789012:role/*"},
	}).JSON()
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

// roles are the policies for all settings that a node had in the course of a test.
type roles struct {
	mu     sync.Mutex
	root   string
	had    map[string]policy // by what made them
	needed map[sim.Permission]bool
}

// look notes the policy for the settings of now. Those of a bundle change beside
// the test: a node may already ask by them.
func (r *roles) look() {
	settings, _ := filepath.Glob(filepath.Join(r.root, config.Dir, "*", "*"))
	main, _ := filepath.Glob(filepath.Join(r.root, config.Dir, "*.yaml"))
	var key strings.Builder
	for _, name := range append(settings, main...) {
		text, _ := os.ReadFile(name)
		key.Write(append(text, 0))
	}
	active, _ := os.Readlink(filepath.Join(r.root, bundle.Active))
	key.WriteString(active)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.had[key.String()]; known {
		return
	}
	if p, err := printed(r.root); err == nil { // settings that cannot be read have none
		r.had[key.String()] = p
	}
}

func (r *roles) note(c sim.Call) {
	r.mu.Lock()
	fresh := false
	for _, need := range c.Permissions {
		fresh = fresh || !r.needed[need]
		r.needed[need] = true
	}
	r.mu.Unlock()
	if fresh {
		r.look()
	}
}

// check fails the test that has asked for more than its role must allow.
func (r *roles) check(t *testing.T) {
	t.Helper()
	r.look()
	r.mu.Lock()
	defer r.mu.Unlock()
	for need := range r.needed {
		if !slices.ContainsFunc(slices.Collect(maps.Values(r.had)), func(p policy) bool { return p.allows(need) }) {
			t.Errorf("asked for %+v, which ecsnode iam-policy does not print for these settings", need)
		}
	}
}

// onMachines is what only a machine calls, and no directory: the cases on real
// nodes do, and scripts/testnode/e2e.sh looks whether they did.
var onMachines = []string{"autoscaling:SetInstanceHealth"}

// TestEverythingInThePolicyIsCalled has one node with every setting that asks AWS
// for something do all that it ever does.
func TestEverythingInThePolicyIsCalled(t *testing.T) {
	settings, err := os.ReadFile("../iam/testdata/everything/etc/ecsnode/ecsnode.yaml")
	if err != nil {
		t.Fatal(err)
	}
	inNode(t, string(settings), func(t *testing.T, r *rig) {
		r.write("/etc/ecsnode/conf.d/10-test.yaml", `{ecs_agent: {introspection: "http://localhost:51678"}, schedules: {items: {bill: {cron: "* * * * *"}}}}`)
		w := r.world
		role := []string{"arn:aws:iam::123456789012:role/task"}
		w.AddTaskDefinition(sim.TaskDefinition{Family: "logspout", Roles: role})
		w.AddTaskDefinition(sim.TaskDefinition{Family: "bill", Revision: 7, RunsFor: 10 * time.Second, Roles: role})
		w.CreateBucket("acme", "")
		w.EncryptBucket("acme", "own")
		w.SetRegistered("web")
		w.SetGroup("web")
		w.SetLifecycleHooks(sim.LifecycleHook{Name: "ecsnode-drain", HeartbeatTimeout: 30 * time.Second})
		w.SetCapacityProvider(sim.CapacityProvider{Name: "asg"})
		for _, err := range []error{
			w.EnableMetadataTags(false), w.SetParameter(sim.Parameter{Name: "/app/url", Value: "x"}),
			w.SetSecret(sim.Secret{Name: "db", Value: "x", Key: "own"}),
			w.SetService(sim.Service{Name: "shop", Desired: 1, Task: sim.TaskDefinition{StopTakes: time.Minute}}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		stop := r.daemon()
		r.pass(3 * time.Minute)
		stop()
		// Then it ends, while its ECS agent tells nothing.
		if err := w.SetFault("introspection", sim.Fault{Kind: sim.FaultHang}); err != nil {
			t.Fatal(err)
		}
		stop = r.daemon()
		r.pass(10 * time.Second)
		w.Terminate()
		r.pass(3 * time.Minute)
		stop()

		r.role.mu.Lock()
		defer r.role.mu.Unlock()
		asked := map[string]bool{}
		for need := range r.role.needed {
			asked[need.Action] = true
		}
		for _, need := range iam.Needs() {
			if !asked[need.Action] && !slices.Contains(onMachines, need.Action) {
				t.Errorf("%s stands in the table of agent/iam, for when %s, and is never asked for", need.Action, need.When.Text)
			}
		}
	})
}

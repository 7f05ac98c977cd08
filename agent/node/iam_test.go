package node_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/iam"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// What whole nodes ask AWS for is compared with the policy that ecsnode iam-policy
// prints for their settings, in every test here: nothing may be called that the
// policy lacks, and over all tests everything in it must be called.

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
		calledMu.Lock()
		called[need] = true
		calledMu.Unlock()
	}
}

var (
	calledMu sync.Mutex
	called   = map[sim.Permission]bool{} // by all tests
)

// onMachines is what only a machine calls, and no directory: the cases on real
// nodes do, and scripts/testnode/e2e.sh looks whether they did.
var onMachines = []string{"autoscaling:SetInstanceHealth"}

// TestMain looks, once all tests have run, whether something stands in the table
// that nothing calls.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.bench").Value.String() == "" {
		asked := map[string]bool{}
		for need := range called {
			asked[need.Action] = true
		}
		for _, need := range iam.Needs() {
			action := need.Action
			if need.For != "" {
				action = need.For
			}
			if !asked[action] && !slices.Contains(onMachines, action) && !slices.Contains(unraced, action) {
				fmt.Printf("FAIL: %s stands in agent/iam, and no test of a whole node calls it\n", action)
				code = 1
			}
		}
	}
	os.Exit(code)
}

package node_test

import (
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
)

// An agent whose user data named the cluster by its ARN compares ECS_CLUSTER
// with that, letter by letter: the spelling must stay.
func TestANodeThatRegisteredUnderTheARNOfItsCluster(t *testing.T) {
	const spelled = "arn:aws:ecs:eu-west-1:123456789012:cluster/web"
	inNode(t, basic+"ecs_config: {attributes: {environment: \"\", lifecycle: \"\"}}\n", func(t *testing.T, r *rig) {
		r.world.SetRegistered(spelled)
		defer r.daemon()()
		r.pass(30 * time.Second)
		r.want(ecsConfig, "ECS_CLUSTER="+spelled+"\n")
		r.want(nodeConfig, "NODE_CLUSTER='web'")
		for _, name := range []string{"registration", "ecsconfig", "nodeconfig", "identity"} {
			if rec := r.state(name); rec.State != duty.OK || len(rec.Warnings) > 0 {
				t.Errorf("%s is %s: %s %q", name, rec.State, rec.Err, rec.Warnings)
			}
		}
		before := r.state("ecsconfig")
		r.pass(10 * time.Minute)
		if after := r.state("ecsconfig"); !after.LastChange.Equal(before.LastChange) {
			t.Errorf("the block was written again at %v", after.LastChange)
		}
	})
}

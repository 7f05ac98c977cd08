//go:build !race

package node_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// TestAnOutageOfParameterStoreCondemnsNoBundle: a parameter cannot be had when a
// bundle that asks for it is checked, and for longer after that than a duty waits.
func TestAnOutageOfParameterStoreCondemnsNoBundle(t *testing.T) {
	for name, section := range map[string]string{
		"node.config": "node_config: {files: {node.config: {values: {LEVEL: {value: '{{ ssm `/level` }}'}}}}}\n",
		"a file":      "files: {splay: 0s, items: {" + motd + ": {content: '{{ ssm `/level` }}'}}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				if err := n.world.SetParameter(sim.Parameter{Name: "/level", Type: "String", Value: "info"}); err != nil {
					t.Fatal(err)
				}
				n.publish(says("good"))
				n.run()
				n.pass(settled)
				if err := n.world.SetFault("ssm", sim.Fault{Kind: sim.FaultStatus, Status: 503}); err != nil {
					t.Fatal(err)
				}
				d := n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte(section)}})
				n.pass(look)
				if got := n.report(); strings.Contains(got, ":bad") {
					t.Errorf("ECS was told %q for want of an answer", got)
				}
				n.pass(20 * time.Minute)
				n.world.ClearFaults()
				n.pass(settled + 20*time.Minute)
				n.wants(d, duty.OK, "Good:"+string(d))
			})
		})
	}
}

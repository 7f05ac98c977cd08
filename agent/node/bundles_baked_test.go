//go:build !race

package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// bake lays what the bucket has into the image, as it is there.
func (n *follower) bake() {
	n.t.Helper()
	for _, key := range n.world.Objects(bucketOf) {
		body, _ := n.world.Object(bucketOf, key)
		n.write("/usr/share/ecsnode/first/"+strings.TrimPrefix(key, "nodes/"), string(body))
	}
}

func (n *follower) withoutS3() {
	n.t.Helper()
	if err := n.world.SetFault("s3", sim.Fault{Kind: sim.FaultReset}); err != nil {
		n.t.Fatal(err)
	}
}

func TestAFirstBootWithoutS3TakesTheBundleOfTheImage(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		first := n.publish(says("baked"))
		n.bake()
		n.withoutS3()
		began := time.Now()
		_ = n.node().Boot(t.Context())
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("took %v", took)
		}
		n.want(motd, "baked in prod")
		if err := n.node().Ready(); err != nil {
			t.Error(err)
		}
		n.run()
		n.wants(first, duty.Failing, "stable of stable, serial 1, from the image")
		n.world.ClearFaults()
		next := n.publish(says("newer"))
		n.pass(look)
		n.wants(next, duty.OK, "stable of stable, serial 2")
		n.want(motd, "newer in prod")

		// Once the node has one, the image's is never gone back to.
		n.withoutS3()
		n.restart()
		n.wants(next, duty.Failing)
	})
}

func TestWhatTheImageHasNeedNotBeFetched(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		d := n.publish(says("baked"))
		n.bake()
		n.world.DeleteObject(bucketOf, "nodes/"+bundle.ObjectKey(d))
		n.run()
		n.wants(d, duty.OK, "stable of stable, serial 1")
	})
}

func TestABundleOfTheImageThatIsNotRightIsNotTaken(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(n *follower)
		want   string
	}{
		"signed by somebody else": {func(n *follower) {
			key, err := bundle.NewKey()
			if err != nil {
				n.t.Fatal(err)
			}
			n.signAs(key)
			n.bake()
		}, "cannot trust the channel stable that came with the image"},
		"an archive that was changed": {func(n *follower) {
			n.bake()
			n.write("/usr/share/ecsnode/first/"+bundle.ObjectKey(n.doc.Stable.Digest), "other")
		}, "cannot take the one that came with the image"},
		"a document without its archive": {func(n *follower) {
			n.bake()
			n.write("/usr/share/ecsnode/first/"+bundle.ChannelKey("stable"), string(n.signAs(n.key)))
			_ = os.Remove(filepath.Join(n.root, "usr/share/ecsnode/first", bundle.ObjectKey(n.doc.Stable.Digest)))
		}, "is not put into effect: cannot read s3://"},
		"another channel": {func(n *follower) {
			n.doc.Name = "beta"
			n.sign()
			n.world.DeleteObject(bucketOf, "nodes/channels/stable")
			n.bake()
		}, "cannot read s3://"},
	} {
		t.Run(name, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.publish(says("baked"))
				tc.change(n)
				n.withoutS3()
				n.run()
				n.wants("", duty.Failing, tc.want)
			})
		})
	}
}

func TestOfTheImageOnlyTheStableBundleIsTaken(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		d := n.publish(says("stable"))
		n.doc.Canary = &bundle.Canary{Slot: n.upload(says("canary")), Percent: 99}
		n.sign()
		n.bake()
		n.withoutS3()
		n.run()
		n.wants(d, duty.Failing, "stable of stable, serial 2, from the image")
	})
}

//go:build !race

package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
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

func TestAnImageIsCheckedForTheBundleThatComesWithIt(t *testing.T) {
	const dir = "/usr/share/ecsnode/first/"
	for name, tc := range map[string]struct {
		change func(n *follower)
		want   string // of the finding
	}{
		"one that a node would take": {(*follower).bake, "bundle ok comes with the image, signed and whole: "},
		"none":                       {func(*follower) {}, "bundle ok none comes with the image"},
		"one of keys that the image does not have": {func(n *follower) {
			n.bake()
			key, err := bundle.NewKey()
			if err != nil {
				n.t.Fatal(err)
			}
			n.configure("", key)
		}, "bundle problem " + dir + "channels/stable: no node trusts it: "},
		"an archive that was changed": {func(n *follower) {
			n.bake()
			n.write(dir+bundle.ObjectKey(n.doc.Stable.Digest), "other")
		}, "bundle problem " + dir + "channels/stable: bundles/"},
		"no archive": {func(n *follower) {
			n.write(dir+"channels/stable", string(n.signAs(n.key)))
		}, "bundle problem " + dir + "channels/stable: its stable bundle is not there: lay bundles/"},
		"a bundle without a channel": {func(n *follower) {
			n.write(dir+bundle.ObjectKey(n.doc.Stable.Digest), "x")
		}, "bundle problem /usr/share/ecsnode/first has no channels/NAME"},
		"a channel that the image does not allow": {func(n *follower) {
			n.bake()
			n.write("/etc/ecsnode/conf.d/a.yaml", "bundle: {channels: [beta]}\nchannel: beta\n")
		}, "bundle problem " + dir + "channels/stable: bundle.channels does not name it"},
		"an image that follows no channel": {func(n *follower) {
			n.bake()
			n.write("/etc/ecsnode/ecsnode.yaml", "")
		}, "bundle problem /usr/share/ecsnode/first has a bundle that no node takes: bundle.source is not set"},
		"a bundle that says what none may say": {func(n *follower) {
			n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte("hold: 'yes'\n")}})
			n.bake()
		}, "bundle problem " + dir + "channels/stable: bundles/"},
	} {
		t.Run(name, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.publish(says("baked"))
				tc.change(n)
				var got []string
				for _, f := range n.node().CheckImage(t.Context(), false) {
					if f.Topic == "bundle" {
						got = append(got, fmt.Sprintf("%s %s %s", f.Topic, f.Level, f.Text))
					}
				}
				if len(got) != 1 || !strings.HasPrefix(got[0], tc.want) {
					t.Errorf("%q, want %q", got, tc.want)
				}
			})
		})
	}
}

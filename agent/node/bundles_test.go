//go:build !race

package node_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// follower is a node that follows a channel, and who publishes in it.
type follower struct {
	*rig
	key  bundle.SecretKey
	doc  bundle.Channel
	stop func()
}

const (
	bucketOf = "acme-config"
	motd     = "/etc/motd.app"
	// settled is longer than a bundle is watched.
	settled = 12 * time.Minute
	// look is longer than the pause between looks.
	look = 16 * time.Minute
)

// onFollower runs f on a node that is registered and follows the channel stable,
// in which nothing is yet.
func onFollower(t *testing.T, yaml string, f func(t *testing.T, n *follower)) {
	t.Helper()
	inNode(t, "", func(t *testing.T, r *rig) {
		n := &follower{rig: r, doc: bundle.Channel{Version: bundle.Version, Name: "stable"}}
		var err error
		if n.key, err = bundle.NewKey(); err != nil {
			t.Fatal(err)
		}
		n.configure(yaml, n.key)
		r.world.SetRegistered("web")
		r.world.CreateBucket(bucketOf, "")
		f(t, n)
		if n.stop != nil {
			n.stop()
		}
	})
}

func (n *follower) configure(yaml string, keys ...bundle.SecretKey) {
	var public []string
	for _, k := range keys {
		public = append(public, k.Public().String())
	}
	n.write("/etc/ecsnode/ecsnode.yaml", fmt.Sprintf("%sbundle: {source: s3://%s/nodes, keys: [%s], splay: 0s}\n%s", basic, bucketOf, strings.Join(public, ", "), yaml))
}

func (n *follower) run() {
	n.stop = n.daemon()
	n.pass(5 * time.Second)
}

func (n *follower) restart() { n.stop(); n.run() }

// says is a bundle that writes a text.
func says(text string) fstest.MapFS {
	return fstest.MapFS{
		"ecsnode.yaml":   {Data: []byte("files: {splay: 0s, items: {" + motd + ": {template: motd}}}\n")},
		"templates/motd": {Data: []byte(text + " in {{ tag `env` }}\n")},
	}
}

func (n *follower) upload(tree fstest.MapFS) bundle.Slot {
	n.t.Helper()
	var archive bytes.Buffer
	if _, err := bundle.Build(tree, &archive); err != nil {
		n.t.Fatal(err)
	}
	return n.uploadRaw(archive.Bytes())
}

func (n *follower) uploadRaw(archive []byte) bundle.Slot {
	d := bundle.Sum(archive)
	n.world.PutObject(bucketOf, "nodes/"+bundle.ObjectKey(d), archive)
	return bundle.Slot{Digest: d, Size: int64(len(archive)), Key: bundle.ObjectKey(d)}
}

// sign publishes the document with the next serial.
func (n *follower) sign() []byte {
	n.t.Helper()
	n.doc.Serial++
	n.doc.Signed = time.Now().UTC().Truncate(time.Second)
	return n.signAs(n.key)
}

func (n *follower) signAs(key bundle.SecretKey) []byte {
	n.t.Helper()
	sealed, err := bundle.Seal(&n.doc, key)
	if err != nil {
		n.t.Fatal(err)
	}
	n.world.PutObject(bucketOf, "nodes/"+bundle.ChannelKey(n.doc.Name), sealed)
	return sealed
}

// publish makes a bundle stable.
func (n *follower) publish(tree fstest.MapFS) bundle.Digest {
	n.t.Helper()
	n.doc.Stable, n.doc.Canary = n.upload(tree), nil
	n.sign()
	return n.doc.Stable.Digest
}

// wants says which bundle must be in effect, how the duty stands and what the
// status says of it.
func (n *follower) wants(d bundle.Digest, state duty.State, parts ...string) {
	n.t.Helper()
	target, err := os.Readlink(filepath.Join(n.root, bundle.Active))
	if d == "" && !os.IsNotExist(err) || d != "" && target != string(d) {
		n.t.Errorf("in effect is %q (%v), want %q", target, err, d)
	}
	rec := n.state("bundle")
	b := n.status().Bundle
	if b == nil || b.Digest != string(d) {
		n.t.Fatalf("status says %+v, want %s", b, d)
	}
	if d != "" && (b.Since.IsZero() || b.Why == "") {
		n.t.Errorf("status does not say since when and why: %+v", b)
	}
	text := fmt.Sprintf("%s %s %q %+v", rec.Err, rec.Summary, rec.Warnings, *b)
	if rec.State != state {
		n.t.Errorf("bundle is %s, want %s: %s", rec.State, state, text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			n.t.Errorf("bundle does not say %q: %s", part, text)
		}
	}
}

func (n *follower) report() string {
	ci, _ := n.world.ContainerInstance()
	return ci.Attributes[bundle.ReportAttribute]
}

func TestTheFirstBootPullsBeforeAnythingIsRendered(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		d := n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte(`
node_config: {files: {node.config: {values: {FROM: {value: bundle}}}, app: {template: app.env, values: {A: {value: a}}}}}
files: {items: {` + motd + `: {source: motd}}}
`)}, "files/motd": {Data: []byte("hello\n")}, "templates/app.env": {Data: []byte("# of the bundle\n{{ range .Variables }}{{ .Name }}={{ .Value | shellquote }}\n{{ end }}")}})
		n.write("/etc/ecsnode/templates/app.env", "# of the image\n")
		if err := os.MkdirAll(filepath.Join(n.root, "etc/ecs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := n.node().Boot(t.Context()); err != nil {
			t.Errorf("boot: %v", err)
		}
		n.want(nodeConfig, "FROM='bundle'")
		n.want("/etc/container_config/app", "# of the bundle", "A='a'")
		n.want(motd, "hello")
		if got := n.log.String(); strings.Count(got, "duty=nodeconfig") != 1 {
			t.Errorf("node.config was not written once:\n%s", got)
		}
		n.run()
		n.wants(d, duty.OK, "stable of stable, serial 1", "watched")
		if got, want := n.report(), "stable/"+d.Short()+":trying"; got != want {
			t.Errorf("ECS was told %q, want %q", got, want)
		}
		n.pass(settled)
		n.wants(d, duty.OK, "Good:"+string(d))
		if got, want := n.report(), "stable/"+d.Short()+":well"; got != want {
			t.Errorf("ECS was told %q, want %q", got, want)
		}
		settings, problems := n.node().Settings()
		if problems != nil {
			t.Error(problems)
		}
		for _, s := range settings {
			if strings.HasPrefix(s.Path, "node_config.files.node.config.values.FROM") && !strings.HasPrefix(s.Origin, d.Path()+"/ecsnode.yaml:") {
				t.Errorf("%s is said to be from %s", s.Path, s.Origin)
			}
		}
	})
}

func TestAnUnchangedChannelCostsOneRequest(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		d := n.publish(says("one"))
		n.run()
		n.pass(settled)
		before, puts := n.world.Count("s3"), n.world.Count("ecs/PutAttributes")
		n.log.Reset()
		n.pass(4 * time.Hour)
		if got := n.world.Count("s3") - before; got != 4*4 {
			t.Errorf("%d requests in 16 looks", got)
		}
		if got := n.world.Count("ecs/PutAttributes") - puts; got != 0 || n.log.Len() > 0 {
			t.Errorf("%d attributes were put, and the log has\n%s", got, &n.log)
		}
		n.wants(d, duty.OK)
	})
}

func TestAChannelIsFollowed(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		one := n.publish(says("one"))
		n.run()
		n.want(motd, "one in prod")
		n.pass(settled)

		two := n.publish(says("two"))
		n.pass(look)
		n.wants(two, duty.OK)
		n.want(motd, "two in prod")
		n.pass(settled)

		// A canary on all but one percent, which this node is of.
		canary := n.upload(says("canary"))
		n.doc.Canary = &bundle.Canary{Slot: canary, Percent: 99}
		n.sign()
		n.pass(look)
		n.wants(canary.Digest, duty.OK, "canary of stable, serial 3")
		n.want(motd, "canary in prod")
		n.pass(settled)

		// It is promoted: nothing changes for who runs it.
		n.doc.Stable, n.doc.Canary = canary, nil
		n.sign()
		n.log.Reset()
		n.pass(look)
		n.wants(canary.Digest, duty.OK)
		if strings.Contains(n.log.String(), "changed the node") {
			t.Errorf("a promotion changed the node:\n%s", &n.log)
		}

		// And back, in two steps: what is on disk is not read again.
		reads := n.world.Count("s3")
		for _, d := range []bundle.Digest{two, one} {
			n.doc.Stable.Digest, n.doc.Stable.Key = d, bundle.ObjectKey(d)
			archive, _ := n.world.Object(bucketOf, "nodes/"+bundle.ObjectKey(d))
			n.doc.Stable.Size = int64(len(archive))
			n.sign()
			n.pass(look)
			n.wants(d, duty.OK)
		}
		if got := n.world.Count("s3") - reads; got > 3 {
			t.Errorf("%d requests for two bundles of which one was there", got)
		}
		n.want(motd, "one in prod")
		entries, err := os.ReadDir(filepath.Join(n.root, bundle.Dir))
		if err != nil || len(entries) != 3+1 {
			t.Errorf("bundles on disk: %v, %v", entries, err)
		}
	})
}

func TestABootWithoutS3GoesOn(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		if err := n.world.SetFault("s3", sim.Fault{Kind: sim.FaultStatus, Status: 500}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := n.node().Boot(t.Context()); err == nil || !strings.Contains(err.Error(), "bundle failing") {
			t.Errorf("boot: %v", err)
		}
		if took := time.Since(began); took < 20*time.Second || took > time.Minute {
			t.Errorf("a first boot tried for %v", took)
		}
		if err := n.node().Ready(); err != nil {
			t.Error(err)
		}
		n.world.ClearFaults()
		n.publish(says("good"))
		n.run()
		n.stop()
		n.stop = nil
		if err := n.world.SetFault("s3", sim.Fault{Kind: sim.FaultStatus, Status: 500}); err != nil {
			t.Fatal(err)
		}
		n.write("/proc/sys/kernel/random/boot_id", "22222222-2222-4222-8222-222222222222")
		began = time.Now()
		_ = n.node().Boot(t.Context())
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("a boot with a bundle tried for %v", took)
		}
		if err := n.node().Ready(); err != nil {
			t.Error(err)
		}
		n.want(motd, "good in prod")
	})
}

func TestKeysAreReplaced(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		n.publish(says("old key"))
		n.run()
		n.pass(settled)
		next, err := bundle.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		n.configure("", n.key, next)
		n.pass(time.Minute)
		former := n.key
		n.key = next
		d := n.publish(says("new key"))
		n.pass(look)
		n.wants(d, duty.OK)
		n.configure("", next)
		n.pass(time.Minute)
		n.wants(d, duty.OK)
		n.key = former
		n.publish(says("old key again"))
		n.pass(look)
		n.wants(d, duty.Failing, "it is not signed by a trusted key")
	})
}

func TestPinned(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		one := n.publish(says("one"))
		n.run()
		n.pass(settled)
		two := n.publish(says("two"))
		n.pass(look)
		n.wants(two, duty.OK)
		if _, err := n.node().PinBundle("0000"); err == nil || !strings.Contains(err.Error(), two.Short()) {
			t.Errorf("pinned what is not there: %v", err)
		}
		if d, err := n.node().PinBundle(one.Short()); err != nil || d != one {
			t.Fatal(d, err)
		}
		n.pass(15 * time.Second)
		n.wants(one, duty.OK, "pinned by the operator")
		n.publish(says("three"))
		n.pass(look)
		n.restart()
		n.pass(look)
		n.wants(one, duty.OK, "Serial:3", "pinned by the operator")
		n.want(motd, "one in prod")
		if _, err := n.node().PinBundle(facts.NoBundle); err != nil {
			t.Fatal(err)
		}
		n.pass(15 * time.Second)
		n.wants("", duty.OK)
		if n.read(motd) != "" {
			t.Error("the baked configuration has a file of a bundle")
		}
		if was, err := n.node().UnpinBundle(); !was || err != nil {
			t.Error(was, err)
		}
		n.pass(15 * time.Second)
		n.wants(n.doc.Stable.Digest, duty.OK)
		n.want(motd, "three in prod")
	})
}

func TestADrainKeepsWhatRuns(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		one := n.publish(says("one"))
		n.run()
		n.pass(settled)
		n.world.SetLifecycle(facts.Spot)
		n.world.SetSpotInterruption("terminate", time.Now().Add(30*time.Minute))
		n.pass(time.Minute)
		n.publish(says("two"))
		n.pass(look)
		n.wants(one, duty.OK, "the node drains")
		r, b, err := n.node().PullBundle(t.Context()) // nor does who asks for it
		if err != nil || r.State != duty.OK || b.Digest != string(one) || b.Waits != "the node drains" {
			t.Errorf("%+v %+v %v", r, b, err)
		}
		n.want(motd, "one in prod")
	})
}

func TestAHoldKeepsWhatRuns(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		one := n.publish(says("one"))
		n.run()
		n.pass(settled)
		if err := n.node().Hold(t.Context(), "bundle", "I look into it", 0); err != nil {
			t.Fatal(err)
		}
		two := n.publish(says("two"))
		n.pass(look)
		n.wants(one, duty.Held)
		if _, err := n.node().Release(t.Context(), "bundle"); err != nil {
			t.Fatal(err)
		}
		n.pass(look)
		n.wants(two, duty.OK)
	})
}

func TestTheTagChoosesAmongTheChannelsOfTheImage(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		n.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {channels: [stable, staging]}\n")
		n.publish(says("stable"))
		n.doc.Name = "staging"
		staging := n.publish(says("staging"))
		if err := n.world.SetTag("ecsnode:channel", "staging"); err != nil {
			t.Fatal(err)
		}
		n.run()
		n.wants(staging, duty.OK, "stable of staging")
		if log := n.log.String(); strings.Contains(log, "stable of stable") {
			t.Errorf("it ran another channel's first:\n%s", log)
		}
	})
}

func TestATagOfNoChannelOfTheImageIsNotFollowed(t *testing.T) {
	for _, list := range []string{"[stable]", "[]"} { // an image that lists none lets a tag choose none
		t.Run(list, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {channels: "+list+"}\n")
				stable := n.publish(says("stable"))
				n.doc.Name = "staging"
				n.publish(says("staging"))
				if err := n.world.SetTag("ecsnode:channel", "staging"); err != nil {
					t.Fatal(err)
				}
				n.run()
				n.wants(stable, duty.OK, "the tag does not make the node follow staging")
			})
		})
	}
}

// TestANodeWithoutReadableTagsFollowsItsOnlyChannel: there is nothing to choose.
func TestANodeWithoutReadableTagsFollowsItsOnlyChannel(t *testing.T) {
	for list, follows := range map[string]bool{"[]": true, "[stable]": true, "[stable, staging]": false} {
		t.Run(list, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {channels: "+list+"}\n")
				d := n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte("files: {splay: 0s, items: {" + motd + ": {literal: x}}}\n")}})
				if err := n.world.EnableMetadataTags(false); err != nil {
					t.Fatal(err)
				}
				n.world.Deny("ec2:DescribeTags")
				n.run()
				if follows {
					n.wants(d, duty.OK, "stable of stable")
				} else {
					n.wants("", duty.Waiting, "the tags of the instance")
				}
			})
		})
	}
}

func TestANewNodeUnderAChannelThatHasExpired(t *testing.T) {
	for setting, want := range map[string]bool{"stable": true, "hold": false} {
		t.Run(setting, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {expired: "+setting+"}\n")
				n.doc.Expires = time.Now().Add(time.Hour).UTC().Truncate(time.Second)
				d := n.publish(says("stable"))
				n.pass(2 * time.Hour)
				n.run()
				if !want {
					d = ""
				}
				n.wants(d, duty.OK, "it expired at")
			})
		})
	}
}

func TestAPullIsMadeByTheDaemonOrHere(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		one := n.publish(says("one"))
		r, b, err := n.node().PullBundle(t.Context())
		if err != nil || r.State != duty.OK || b.Digest != string(one) {
			t.Fatalf("%+v %+v %v", r, b, err)
		}
		n.run()
		n.pass(time.Minute)
		two := n.publish(says("two"))
		done := make(chan error, 1)
		go func() { _, err := n.node().Apply(t.Context()); done <- err }() // at the same time
		r, b, err = n.node().PullBundle(t.Context())
		if err != nil || r.State != duty.OK || b.Digest != string(two) {
			t.Errorf("%+v %+v %v", r, b, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.wants(two, duty.OK)
		n.pass(5 * time.Second) // a pull waits for the bundle, not for what it makes others do
		n.want(motd, "two in prod")
	})
}

func TestAnInvalidBundleOnDiskCostsOnlyItself(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		d := n.publish(says("one"))
		n.run()
		n.pass(settled)
		n.stop()
		n.write(d.Path()+"/ecsnode.yaml", "files: [\n")
		n.run()
		if rec := n.state("config"); rec.State != duty.Failing || !strings.Contains(rec.Err, d.Path()) {
			t.Errorf("config is %s: %s", rec.State, rec.Err)
		}
		n.want(nodeConfig, "MY_ENVIRONMENT='prod'")

		// Files that are gone are fetched again.
		n.stop()
		if err := os.RemoveAll(filepath.Join(n.root, d.Path())); err != nil {
			t.Fatal(err)
		}
		n.run()
		n.wants(d, duty.OK)
		n.want(motd, "one in prod")
	})
}

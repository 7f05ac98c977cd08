//go:build !race

package node_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// often has the channel looked at each minute, and watched for one.
const (
	often        = "bundle: {schedule: '* * * * *', watch: 1m}\n"
	settledOften = 2 * time.Minute
	lookOften    = 65 * time.Second
)

func TestWhatMustNotComeIntoEffect(t *testing.T) {
	const look, settled = lookOften, settledOften
	other, err := bundle.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		arrange func(n *follower)
		state   duty.State
		says    []string
	}{
		"a wrong signature": {func(n *follower) {
			sealed := n.sign()
			at := bytes.Index(sealed, []byte(`"serial": 2`))
			sealed[at+len(`"serial": `)] = '3'
			n.world.PutObject(bucketOf, "nodes/channels/stable", sealed)
		}, duty.Failing, []string{"cannot trust s3://acme-config/nodes/channels/stable: its signature is wrong"}},
		"a key that is not trusted": {func(n *follower) {
			n.doc.Serial++
			n.signAs(other)
		}, duty.Failing, []string{"it is not signed by a trusted key"}},
		"a document of another channel": {func(n *follower) {
			n.doc.Name, n.doc.Serial = "staging", 9
			sealed := n.signAs(n.key)
			n.world.PutObject(bucketOf, "nodes/channels/stable", sealed)
		}, duty.Failing, []string{"it is of the channel staging and not of stable"}},
		"a channel played back": {func(n *follower) {
			n.sign()
			n.pass(look)
			n.doc.Stable, n.doc.Serial = n.upload(says("old")), 1
			n.signAs(n.key)
		}, duty.Failing, []string{"serial 1 is older than 2"}},
		"a channel that has expired": {func(n *follower) {
			n.doc.Expires = time.Now().Add(time.Second).UTC().Truncate(time.Second)
			n.publish(says("late"))
		}, duty.OK, []string{"it expired at"}},
		"a swapped bundle": {func(n *follower) {
			d := n.publish(says("swapped"))
			n.world.PutObject(bucketOf, "nodes/"+bundle.ObjectKey(d), []byte(strings.Repeat("x", int(n.doc.Stable.Size))))
		}, duty.Failing, []string{"it is another archive than the channel names"}},
		"another bundle under its name": {func(n *follower) {
			other := n.upload(says("other"))
			archive, _ := n.world.Object(bucketOf, "nodes/"+bundle.ObjectKey(other.Digest))
			d := n.publish(says("one of which more can be said than of the other"))
			n.world.PutObject(bucketOf, "nodes/"+bundle.ObjectKey(d), archive)
		}, duty.Failing, []string{"it is another archive than the channel names"}},
		"a truncated bundle": {func(n *follower) {
			d := n.publish(says("cut"))
			archive, _ := n.world.Object(bucketOf, "nodes/"+bundle.ObjectKey(d))
			n.world.PutObject(bucketOf, "nodes/"+bundle.ObjectKey(d), archive[:len(archive)/2])
		}, duty.Failing, []string{"it is another archive than the channel names"}},
		"a bundle that is larger than it should be": {func(n *follower) {
			d := n.publish(says("large"))
			n.world.PutObject(bucketOf, "nodes/"+bundle.ObjectKey(d), make([]byte, 8<<20))
		}, duty.Failing, []string{"is not put into effect: cannot read s3://acme-config/nodes/bundles/"}},
		"a bundle that is not there": {func(n *follower) {
			d := n.publish(says("gone"))
			n.world.DeleteObject(bucketOf, "nodes/"+bundle.ObjectKey(d))
		}, duty.Failing, []string{"absent: there is no such object"}},
		"what is no bundle": {func(n *follower) {
			n.doc.Stable = n.uploadRaw([]byte("no archive at all"))
			n.sign()
		}, duty.Failing, []string{"it is no bundle"}},
		"a gigabyte of nothing": {func(n *follower) {
			n.doc.Stable = n.uploadRaw(packed(n.t, 1<<30/bundle.MaxFile, tar.Header{Name: "files/", Size: bundle.MaxFile}))
			n.sign()
		}, duty.Failing, []string{"is not put into effect: cannot unpack bundle", "unpacks to more"}},
		"a name that leads out": {func(n *follower) {
			n.doc.Stable = n.uploadRaw(packed(n.t, 1, tar.Header{Name: "files/../../../../../../etc/cron.d/x"}))
			n.sign()
		}, duty.Failing, []string{"cannot unpack bundle", "without . and .."}},
		"a link that leads out": {func(n *follower) {
			n.doc.Stable = n.uploadRaw(packed(n.t, 1, tar.Header{Name: "files/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}))
			n.sign()
		}, duty.Failing, []string{"cannot unpack bundle", "neither a file nor a directory"}},
		"a device": {func(n *follower) {
			n.doc.Stable = n.uploadRaw(packed(n.t, 1, tar.Header{Name: "files/x", Typeflag: tar.TypeBlock, Devmajor: 8}))
			n.sign()
		}, duty.Failing, []string{"cannot unpack bundle", "neither a file nor a directory"}},
		"a forbidden path": {func(n *follower) {
			n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte("files: {items: {/etc/systemd/system/ecsnode.service.d/x.conf: {content: x}}}\n")}})
		}, duty.Failing, []string{"belongs to ecsnode"}},
		"other keys": {func(n *follower) {
			n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte("bundle: {keys: [" + other.Public().String() + "]}\n")}})
		}, duty.Failing, []string{"a bundle does not say where bundles come from"}},
		"settings that are none": {func(n *follower) {
			n.publish(fstest.MapFS{"ecsnode.yaml": {Data: []byte("files: [\n")}})
		}, duty.Failing, []string{"its settings are not in effect"}},
		"a template that fails on this node only": {func(n *follower) {
			n.publish(says("{{ tag `rack` }}"))
		}, duty.Failing, []string{"it does not work on this node: files failing", "rack"}},
		"a template that is no template": {func(n *follower) {
			n.publish(says("{{ tag"))
		}, duty.Failing, []string{"it does not work on this node: files failing"}},
		"a bundle for newer agents": {func(n *follower) {
			n.doc.Stable = n.upload(says("newer"))
			n.doc.Stable.MinimumAgent = "v9.0.0"
			n.sign()
		}, duty.OK, []string{"takes agent v9.0.0, and this is test"}},
	} {
		t.Run(name, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.write("/etc/ecsnode/conf.d/40.yaml", often)
				good := n.publish(says("good"))
				n.run()
				n.pass(settled)
				tc.arrange(n)
				n.pass(look)
				n.wants(good, tc.state, tc.says...)
				n.want(motd, "good in prod")
				requests := n.world.Count("s3")
				n.pass(3 * time.Minute)
				n.wants(good, tc.state, tc.says...)
				if got := n.world.Count("s3") - requests; got > 3*4 {
					t.Errorf("%d requests in three looks", got)
				}
				for _, rec := range n.status().Duties {
					if rec.Name != "bundle" && rec.State != duty.OK {
						t.Errorf("%s is %s: %s", rec.Name, rec.State, rec.Err)
					}
				}
				// The next one that is good comes into effect.
				n.doc.Name, n.doc.Expires, n.doc.Serial = "stable", time.Time{}, 10
				next := n.publish(says("next"))
				n.pass(look)
				n.wants(next, duty.OK)
				n.restart()
				n.wants(next, duty.OK)
			})
		})
	}
}

// packed is an archive with good settings and so many of what a header says, each
// as long as it says, and nothing but zeros.
func packed(t *testing.T, n int, h tar.Header) []byte {
	t.Helper()
	var all bytes.Buffer
	compressed := func(write func(w *tar.Writer, z io.Writer) error) []byte {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err == nil {
			err = errors.Join(write(tar.NewWriter(z), z), z.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	// What was packed apart may be put together.
	all.Write(compressed(func(w *tar.Writer, _ io.Writer) error {
		const settings = "{}\n"
		err := w.WriteHeader(&tar.Header{Name: "ecsnode.yaml", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(settings))})
		_, writeErr := io.WriteString(w, settings)
		return errors.Join(err, writeErr, w.Flush())
	}))
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
	}
	zeros := compressed(func(_ *tar.Writer, z io.Writer) error { _, err := z.Write(make([]byte, h.Size)); return err })
	for i := range n {
		one := h
		if n > 1 {
			one.Name = fmt.Sprint(h.Name, i)
		}
		one.Mode = 0o644
		all.Write(compressed(func(w *tar.Writer, _ io.Writer) error { return w.WriteHeader(&one) }))
		all.Write(zeros)
	}
	all.Write(compressed(func(w *tar.Writer, _ io.Writer) error { return w.Close() }))
	return all.Bytes()
}

// TestAChannelThatIsReadAsItWas, by a store that does not read what was written
// last, takes nothing back and is told.
func TestAChannelThatIsReadAsItWas(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		n.publish(says("one"))
		n.run()
		n.pass(settled)
		two := n.publish(says("two"))
		n.pass(look)
		n.wants(two, duty.OK)
		if err := n.world.SetFault("s3/GetObject", sim.Fault{Kind: sim.FaultStale}); err != nil {
			t.Fatal(err)
		}
		n.pass(look)
		n.wants(two, duty.Failing, "serial 1 is older than 2")
		n.want(motd, "two in prod")
		n.world.ClearFaults()
		n.pass(look)
		n.wants(two, duty.OK)
	})
}

// TestADownloadThatBreaksOff is gone on with where it ended, as long as that brings
// it to its end in a few pieces; if not it is tried again, and said.
func TestADownloadThatBreaksOff(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		good := n.publish(says("good"))
		n.run()
		n.pass(settled)
		breaksOff := func(after int64) {
			t.Helper()
			if err := n.world.SetFault("s3/GetObject", sim.Fault{Kind: sim.FaultTruncate, Size: after}); err != nil {
				t.Fatal(err)
			}
		}
		tree := says("next")
		noise := make([]byte, 40<<10)
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		tree["files/noise"] = &fstest.MapFile{Data: noise}
		breaksOff(4 << 10) // of which the channel has less
		next := n.publish(tree)
		n.pass(look)
		n.wants(good, duty.Failing, "bundle "+next.Short()+" is not put into effect: cannot read s3://acme-config/nodes/bundles/", "unavailable: the answer was cut short")
		n.want(motd, "good in prod")
		breaksOff(8 << 10)
		n.pass(6 * time.Minute)
		n.wants(next, duty.OK)
		n.want(motd, "next in prod")
	})
}

func TestABundleThatFailsIsLeftAndStaysBad(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		good := n.publish(says("good"))
		n.run()
		n.pass(settled)
		tree := says("bad")
		tree["ecsnode.yaml"] = &fstest.MapFile{Data: []byte("files: {splay: 0s, items: {" + motd + ": {template: motd}, /etc/extra: {content: x}}}\n")}
		bad := n.publish(tree)
		n.pass(look - 5*time.Minute)
		n.wants(bad, duty.OK, "watched")
		n.want("/etc/extra", "x")
		// What it has made turns out not to be kept: a local failure.
		n.obstruct(motd)
		n.pass(3 * time.Minute)
		n.wants(good, duty.OK, "was bad for this node", "files failing", "ecsnode bundle retry")
		if n.read("/etc/extra") != "" {
			t.Error("what the bundle has made was not taken back")
		}
		if got, want := n.report(), "stable/"+good.Short()+":well/"+bad.Short()+":bad"; got != want {
			t.Errorf("ECS was told %q, want %q", got, want)
		}
		n.unobstruct(motd)

		// Neither time nor a new serial makes it good, nor a restart.
		n.pass(2 * time.Hour)
		n.sign()
		n.pass(look)
		n.restart()
		n.pass(look)
		n.wants(good, duty.OK, "was bad for this node")
		n.want(motd, "good in prod")

		// Nor a promotion, by whoever has forced it: another is stable meanwhile, and
		// this one is its canary, and then stable.
		former := n.doc.Stable
		n.doc.Stable, n.doc.Canary = n.upload(says("good")), &bundle.Canary{Slot: former, Percent: 99}
		n.sign()
		n.pass(look)
		n.wants(good, duty.OK, "was bad for this node")
		n.doc.Stable, n.doc.Canary = former, nil
		n.sign()
		n.pass(look)
		n.wants(good, duty.OK, "brings no change", "was bad for this node")

		// A signed retry does.
		n.doc.Stable.Attempt++
		n.sign()
		n.pass(look)
		n.wants(bad, duty.OK)
		n.pass(settled)
		n.wants(bad, duty.OK, "Good:"+string(bad))
		if got, want := n.report(), "stable/"+bad.Short()+":well"; got != want {
			t.Errorf("ECS was told %q, want %q", got, want)
		}
	})
}

// obstruct puts a directory with something in it in the place of a file.
func (n *follower) obstruct(name string) {
	n.t.Helper()
	if err := os.Remove(filepath.Join(n.root, name)); err != nil {
		n.t.Fatal(err)
	}
	n.write(name+"/x", "x")
}

func (n *follower) unobstruct(name string) {
	n.t.Helper()
	if err := os.RemoveAll(filepath.Join(n.root, name)); err != nil {
		n.t.Fatal(err)
	}
}

func TestWhatFailedBeforeOrIsOutsideCondemnsNoBundle(t *testing.T) {
	onFollower(t, "", func(t *testing.T, n *follower) {
		n.publish(says("good"))
		n.run()
		n.pass(settled)
		// ECS gives no answer for an hour, from just after the activation on.
		d := n.publish(says("next"))
		n.pass(look - 5*time.Minute)
		n.wants(d, duty.OK, "watched")
		if err := n.world.SetFault("ecs", sim.Fault{Kind: sim.FaultStatus, Status: 503}); err != nil {
			t.Fatal(err)
		}
		n.pass(time.Hour)
		n.world.ClearFaults()
		n.pass(settled)
		n.wants(d, duty.OK, "Good:"+string(d))

		// What fails before stays out of it.
		n.obstruct(motd)
		n.pass(2 * time.Minute)
		if n.state("files").State != duty.Failing {
			t.Fatal("files does not fail")
		}
		d = n.publish(fstest.MapFS{"ecsnode.yaml": says("")["ecsnode.yaml"], "templates/motd": {Data: []byte("after\n")}})
		n.pass(look)
		n.wants(d, duty.OK)
		n.pass(settled)
		n.wants(d, duty.OK)
	})
}

func TestHoursWithoutS3(t *testing.T) {
	for name, fault := range map[string]sim.Fault{
		"answers 500": {Kind: sim.FaultStatus, Status: 500},
		"hangs":       {Kind: sim.FaultHang},
		"throttles":   {Kind: sim.FaultThrottle},
		"resets":      {Kind: sim.FaultReset},
	} {
		t.Run(name, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				d := n.publish(says("good"))
				n.run()
				n.pass(settled)
				if err := n.world.SetFault("s3", fault); err != nil {
					t.Fatal(err)
				}
				n.pass(time.Hour)
				n.wants(d, duty.Failing, "cannot read s3://acme-config/nodes/channels/stable: unavailable")
				n.restart()
				n.pass(time.Hour)
				n.wants(d, duty.Failing, "unavailable")
				n.want(motd, "good in prod")
				next := n.publish(says("next"))
				n.world.ClearFaults()
				n.pass(6 * time.Minute)
				n.wants(next, duty.OK)
			})
		})
	}
}

func TestWhatS3RefusesIsTold(t *testing.T) {
	const look, settled = lookOften, settledOften
	for name, tc := range map[string]struct {
		arrange func(n *follower)
		says    string
	}{
		"no such bucket": {func(n *follower) {
			n.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {source: s3://nobodys/nodes}\n")
		}, "cannot read s3://nobodys/nodes/channels/stable: absent: there is no such bucket"},
		"no such channel": {func(n *follower) {
			n.world.DeleteObject(bucketOf, "nodes/channels/stable")
		}, "cannot read s3://acme-config/nodes/channels/stable: absent: there is no such object"},
		"no permission": {func(n *follower) { n.world.Deny("s3:GetObject") }, "refused: the instance role must allow s3:GetObject (AccessDenied)"},
		"another region": {func(n *follower) {
			n.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {region: us-east-1}\n")
		}, "refused: the bucket is in eu-west-1, not in us-east-1"},
		"no permission for the key that encrypts it": {func(n *follower) {
			n.world.EncryptBucket(bucketOf, "k1")
			n.world.Deny("kms:Decrypt")
		}, "refused: the instance role must allow kms:Decrypt on arn:aws:kms:eu-west-1:123456789012:key/k1 (AccessDenied)"},
		"a clock that is wrong": {func(n *follower) {
			n.world.SetClock(20 * time.Minute)
		}, "unavailable: the clock of the node is off by more than 15 minutes (RequestTimeTooSkewed): see chronyc tracking"},
		"throttling": {func(n *follower) { n.world.SetRate(sim.BucketS3Read, sim.Rate{}) }, "unavailable: throttled (SlowDown)"},
	} {
		t.Run(name, func(t *testing.T) {
			onFollower(t, "", func(t *testing.T, n *follower) {
				n.write("/etc/ecsnode/conf.d/40.yaml", often)
				good := n.publish(says("good"))
				n.run()
				n.pass(settled)
				tc.arrange(n)
				n.pass(look)
				n.wants(good, duty.Failing, tc.says)
				requests := n.world.Count("s3")
				n.pass(15 * time.Minute)
				n.wants(good, duty.Failing, tc.says)
				if got := n.world.Count("s3") - requests; got > 16 {
					t.Errorf("%d requests in a quarter of an hour", got)
				}
			})
		})
	}
}

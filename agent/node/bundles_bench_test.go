//go:build !race

package node_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// BenchmarkPullOfAnUnchangedChannel is all that ecsnode bundle pull does without a
// daemon, credentials and instance metadata included, and what the simulator
// does for it: more than a look costs.
func BenchmarkPullOfAnUnchangedChannel(b *testing.B) {
	world, net, root := sim.New(sim.Options{}), sim.NewNetwork(), b.TempDir()
	defer net.Close()
	if err := world.Connect(net); err != nil {
		b.Fatal(err)
	}
	authority, err := world.Authority()
	if err != nil {
		b.Fatal(err)
	}
	ca := filepath.Join(b.TempDir(), "ca.pem")
	key, err := bundle.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	yaml := fmt.Sprintf("cluster: web\nbundle: {source: s3://acme-config, keys: [%s]}\n", key.Public())
	for name, text := range map[string]string{
		ca: string(authority.PEM()), filepath.Join(root, "etc/ecsnode/ecsnode.yaml"): yaml,
		filepath.Join(root, "sys/class/dmi/id/board_asset_tag"): world.Instance().ID,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var archive bytes.Buffer
	if _, err := bundle.Build(fstest.MapFS{"ecsnode.yaml": {Data: []byte("{}\n")}}, &archive); err != nil {
		b.Fatal(err)
	}
	d := bundle.Sum(archive.Bytes())
	sealed, err := bundle.Seal(&bundle.Channel{
		Version: bundle.Version, Name: "stable", Serial: 1, Signed: time.Now().UTC().Truncate(time.Second),
		Stable: bundle.Slot{Digest: d, Size: int64(archive.Len()), Key: bundle.ObjectKey(d)},
	}, key)
	if err != nil {
		b.Fatal(err)
	}
	world.PutObject("acme-config", bundle.ChannelKey("stable"), sealed)
	world.PutObject("acme-config", bundle.ObjectKey(d), archive.Bytes())
	n, err := node.New(node.Options{
		Root: root, Version: "test", Dial: net.DialContext,
		Getenv: func(name string) string { return map[string]string{"AWS_CA_BUNDLE": ca}[name] },
	})
	if err != nil {
		b.Fatal(err)
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if _, _, err := n.PullBundle(b.Context()); err != nil {
		b.Fatal(err)
	}
	began, requests := cpu(), world.Count("s3")
	for b.Loop() {
		if r, _, err := n.PullBundle(b.Context()); err != nil || r.Err != "" {
			b.Fatal(r.Err, err)
		}
	}
	b.ReportMetric(float64(cpu()-began)/float64(b.N)/1e6, "cpu-ms/op")
	b.ReportMetric(float64(world.Count("s3")-requests)/float64(b.N), "requests/op")
}

package node_test

import (
	"context"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/host/introspection"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// BenchmarkPassOver300Containers is a pass of the node tasks on a full node in
// which all is as it should be. Its CPU is that of both sides: the Docker Engine
// and the ECS agent that answer are in this process too.
func BenchmarkPassOver300Containers(b *testing.B) {
	w := sim.New(sim.Options{})
	w.SetRegistered("web")
	w.SetMemory(1 << 20)
	for i := range 300 {
		d := sim.TaskDefinition{Family: "web", MemoryMiB: 64}
		if i == 0 {
			d.Family = "logspout"
		}
		if _, err := w.AddTask(d, ""); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	serve := func(network, at string, handler func(net.Listener)) string {
		l, err := net.Listen(network, at)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = l.Close() })
		go handler(l)
		return l.Addr().String()
	}
	socket := serve("unix", filepath.Join(dir, "docker.sock"), func(l net.Listener) { _ = sim.Serve(b.Context(), l, w.Docker()) })
	agent := serve("tcp", "127.0.0.1:0", func(l net.Listener) { _ = sim.Serve(b.Context(), l, w.Introspection()) })
	engine, err := docker.New(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	})
	if err != nil {
		b.Fatal(err)
	}
	disk, err := fsx.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	ci, _ := w.ContainerInstance()
	config := nodetasks.Default()
	config.Tasks = map[string]nodetasks.Task{"logspout": {Definition: "logspout:1"}}
	d := &nodetasks.Duty{
		FS: disk, ID: "i-1", Config: known(config), Instance: known(facts.Instance{ID: "i-1", Region: "eu-west-1"}), Cluster: known("web"),
		Registration: known(facts.ContainerInstance{ARN: ci.ARN, Cluster: "web"}), Drains: known(false), Whole: known(true),
		Agent: introspection.New(introspection.Options{Endpoint: "http://" + agent}), Docker: engine,
		Tasks: cell.New(func(a, b []facts.NodeTask) bool { return false }),
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	for b.Loop() {
		if _, err := d.Reconcile(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// known is a cell that holds v for ever.
func known[T any](v T) cell.Reader[T] {
	c := cell.New(func(a, b T) bool { return false })
	c.Set(v)
	return c
}

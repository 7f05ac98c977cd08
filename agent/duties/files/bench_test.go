package files_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// BenchmarkPassOver1000Files is a pass in which nothing has changed.
func BenchmarkPassOver1000Files(b *testing.B) {
	disk, err := fsx.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range []string{"/etc/app", "/var/lib"} {
		if _, err := disk.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	c := files.Default()
	for i := range 1000 {
		c.Items[fmt.Sprintf("/etc/app/%d", i)] = files.File{Content: text(fmt.Sprintf(`file %d of {{ node "instance_id" }}`, i))}
	}
	config, whole := cell.New(func(a, b files.Config) bool { return false }), cell.Comparable[bool]()
	config.Set(c)
	whole.Set(true)
	instance, cluster := cell.New(facts.Instance.Equal), cell.Comparable[string]()
	instance.Set(facts.Instance{ID: "i-1"})
	d := &files.Duty{
		FS: disk, Config: config, Instance: instance, Cluster: cluster, Whole: whole, Manager: &systemd{}, Inputs: cell.New(facts.Inputs.Equal),
	}
	if _, err := d.Reconcile(b.Context()); err != nil {
		b.Fatal(err)
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	for b.Loop() {
		if out, err := d.Reconcile(b.Context()); err != nil || out.Changed {
			b.Fatal(err, out)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

package schedules_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// benched is a host on a real disk with so many schedules, which have all run and
// written something.
func benched(b *testing.B, n int) *host {
	b.Helper()
	h := newHost(b, monday, nil)
	disk, err := fsx.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	h.files = disk
	if _, err := disk.MkdirAll(requests, 0o700); err != nil {
		b.Fatal(err)
	}
	c := atOnce(n, schedules.Schedule{Cron: "30 3 * * *", Zone: "Europe/Berlin", Missed: schedules.RunOnce})
	for name := range c {
		h.does[name] = does{output: "done: nothing was to be done\n"}
	}
	h.configure(c)
	h.start()
	h.night(b)
	return h
}

// night is a day later, when all of them are due: they begin, end and are cleared
// up after.
func (h *host) night(b *testing.B) {
	b.Helper()
	h.once(b)
	h.skew += 24 * time.Hour
	h.ran = nil
	for range 3 {
		h.once(b)
	}
	if len(h.ran) != len(h.shown()) || len(h.jobs) > 0 {
		b.Fatalf("%d of %d ran, %d jobs", len(h.ran), len(h.shown()), len(h.jobs))
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, since time.Duration) {
	b.ReportMetric(float64((cpu()-since).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func idle(b *testing.B, n int) {
	h := benched(b, n)
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		if h.once(b); h.err != nil || h.out.Changed {
			b.Fatal(h.err, h.out)
		}
	}
	reportCPU(b, before)
}

// A pass over schedules of which none is due, which is made each minute.
func BenchmarkPassOver20Schedules(b *testing.B)   { idle(b, 20) }
func BenchmarkPassOver1000Schedules(b *testing.B) { idle(b, 1000) }

func Benchmark1000SchedulesDueAtOnce(b *testing.B) {
	h := benched(b, 1000)
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		h.night(b)
	}
	reportCPU(b, before)
}

package schedules_test

import (
	"fmt"
	"testing"

	"github.com/ecsnode/ecsnode/agent/duties/schedules"
)

// A pass over 20 schedules of which none is due, which is made each minute.
func BenchmarkIdlePass(b *testing.B) {
	h := newHost(b, monday, nil)
	c := items{}
	for i := range 20 {
		c[fmt.Sprintf("tidy-%d", i)] = schedules.Schedule{Cron: "30 3 * * 1-5", Zone: "Europe/Berlin", Splay: minutes(30)}
	}
	h.configure(c)
	b.ReportAllocs()
	for b.Loop() {
		h.once(b)
	}
}

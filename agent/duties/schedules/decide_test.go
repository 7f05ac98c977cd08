package schedules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// counted counts how often it is asked.
type counted struct {
	when.Schedule
	n int
}

func (c *counted) Next(t time.Time) time.Time { c.n++; return c.Schedule.Next(t) }

// However long a node was away, the latest tick is found, and not by going through
// all of them.
func TestTheLatestTickAfterLongAway(t *testing.T) {
	now := time.Date(2026, 10, 25, 3, 17, 11, 5, time.UTC) // clocks went back in Europe
	for _, expr := range []string{"* * * * *", "*/5 8-18 * * 1-5", "30 3 * * *", "* * 1 1 *", "0 0 29 2 *"} {
		for _, zone := range []Zone{"Europe/Berlin"} {
			for _, per := range []Scope{PerNode, PerCluster} {
				for _, away := range []time.Duration{time.Hour, 60 * time.Hour, 9 * 365 * 24 * time.Hour} {
					s := Schedule{Cron: expr, Zone: zone, OncePer: per}
					ticks, err := s.schedule()
					if err != nil {
						t.Fatal(err)
					}
					v := view{now: facts.Moment{Wall: now}, id: "i-1", name: "tidy", s: s, ticks: ticks}
					// What is to be found, by going through the ticks of some days, or else of all.
					var want time.Time
					for _, span := range []time.Duration{50 * time.Hour, away} {
						for at := ticks.Next(now.Add(-min(away, span))); v.has(at, now); at = ticks.Next(at) {
							want = at
						}
						if !want.IsZero() {
							break
						}
					}
					c := &counted{Schedule: ticks}
					v.ticks = c
					got, n, more := v.come(now.Add(-away), now)
					if !got.Equal(want) || more && n != maxTold || c.n > maxTold+100 {
						t.Errorf("%s in %s per %s, away for %v: %v, %d, more %v, asked %d times; want %v", expr, zone, per, away, got, n, more, c.n, want)
					}
				}
			}
		}
	}
}

func TestHowManyTicksWereLeftOut(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 30, 0, time.UTC)
	for name, c := range map[string]struct {
		away time.Duration
		n    int
		more bool
	}{
		"an hour": {time.Hour, 60, false},
		"a day":   {24 * time.Hour, maxTold, true},
		"a year":  {365 * 24 * time.Hour, maxTold, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := Schedule{Cron: "* * * * *"}
			s.SetDefaults()
			ticks, err := s.schedule()
			if err != nil {
				t.Fatal(err)
			}
			v := view{now: facts.Moment{Wall: now}, id: "i-1", name: "tidy", s: s, ticks: ticks}
			r := v.decide(record{Ticks: s.ticks(), Settled: now.Add(-c.away)})
			// The latest is run, as it has just come.
			if r.LeftOut.N != c.n-1 || r.LeftOut.More != c.more || r.Due == nil || !r.Due.Tick.Equal(now.Truncate(time.Minute)) {
				t.Errorf("%+v %+v", r.LeftOut, r.Due)
			}
			p := &pass{}
			p.warn(v, r)
			if got := strings.Join(p.out.Warnings, ""); strings.Contains(got, " at least ") != c.more || !strings.Contains(got, fmt.Sprintf("%d before it", c.n-2)) {
				t.Errorf("%q", got)
			}
		})
	}
}

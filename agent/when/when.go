// Package when says when things run. It is the only user of robfig/cron, which
// it uses to parse expressions and to compute dates, never to run anything.
package when

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	_ "time/tzdata" // a minimal AMI may lack /usr/share/zoneinfo

	"github.com/robfig/cron/v3"
)

// Schedule yields the first tick after t; the zero time means never again.
type Schedule interface{ Next(t time.Time) time.Time }

// Every ticks at the multiples of d since the zero time, so that the phase is
// kept over restarts and a [Splay] of it is an offset within d. It panics if d
// is not positive.
func Every(d time.Duration) Schedule {
	if d <= 0 {
		panic(fmt.Sprintf("when.Every(%v)", d))
	}
	return every(d)
}

type every time.Duration

func (e every) Next(t time.Time) time.Time {
	// Not t.Truncate().Add(): that drops t's monotonic reading, and whoever
	// sleeps until the tick would sleep on when the clock is set back.
	into := t.Sub(t.Truncate(time.Duration(e)))
	return t.Add(time.Duration(e) - into)
}

// Splay shifts every tick of s by Offset(id, max).
func Splay(s Schedule, id string, max time.Duration) Schedule {
	return splay{s, Offset(id, max)}
}

// Offset is a stable share of max in [0, max): the same for the same id, and
// evenly spread over many, so that a fleet does not act in the same second.
func Offset(id string, max time.Duration) time.Duration {
	if max <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(id)) // never fails
	return time.Duration(mix(h.Sum64()) % uint64(max))
}

// mix spreads the entropy of FNV's low bits, which are poor for ids that
// differ in their last characters only (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

type splay struct {
	s  Schedule
	by time.Duration
}

func (s splay) Next(t time.Time) time.Time {
	n := s.s.Next(t.Add(-s.by))
	if n.IsZero() {
		return n
	}
	return n.Add(s.by)
}

// errEvery explains why @every is refused: cron rounds it to whole seconds
// without a word, and its phase is that of the process, not of the clock.
var errEvery = errors.New(`"@every" is not taken: use five fields, such as "*/15 * * * *"`)

// Cron parses a cron expression: five fields (minute hour day month weekday)
// or one of @hourly, @daily, @weekly, @monthly, @yearly, in the zone loc.
//
// It guards against robfig/cron v3.0.1, which panics on "TZ=UTC" alone and
// accepts dates that never come.
func Cron(expr string, loc *time.Location) (s Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("cannot parse cron expression %q: %v", expr, p)
		}
	}()
	switch {
	case strings.Contains(expr, "TZ="):
		return nil, fmt.Errorf("cannot parse cron expression %q: a time zone has a setting of its own", expr)
	case strings.HasPrefix(strings.TrimSpace(expr), "@every"):
		return nil, fmt.Errorf("cannot parse cron expression %q: %w", expr, errEvery)
	}
	c, err := cron.ParseStandard(expr)
	if err != nil {
		return nil, fmt.Errorf("cannot parse cron expression %q: %w", expr, err)
	}
	if spec, ok := c.(*cron.SpecSchedule); ok {
		spec.Location = loc
	}
	// A fixed date: whether an expression is good must not depend on the day.
	if c.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron expression %q names a date that never comes", expr)
	}
	return c, nil
}

// Package when says when things run. It is the only user of robfig/cron, which
// it uses to parse expressions and to compute dates, never to run anything.
package when

import (
	"fmt"
	"hash/fnv"
	"time"
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

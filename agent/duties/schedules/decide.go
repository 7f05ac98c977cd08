package schedules

import (
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// view is what a decision is made from.
type view struct {
	now    facts.Moment
	id     string // of the node
	name   string
	s      Schedule
	ticks  when.Schedule
	drains bool
	paused bool
	asked  Request // by hand; the zero value is none
}

// Reasons why a tick is left out.
const (
	whyAway   = "the node was off, asleep or held, or its clock jumped over it"
	whyDrains = "the node drains"
	whyPaused = "it is paused"
)

const (
	// farOff is by how much a clock may be set back. Beyond that it was wrong
	// before, and ticks count anew from what it shows now.
	farOff  = 26 * time.Hour
	maxTold = 1000 // ticks that are counted one by one
)

// offset is how long after a tick this node begins. Nodes that compete for a
// lease do so in another order each time, so that work is spread over them.
func (v view) offset(tick time.Time) time.Duration {
	key := v.id + "/schedule/" + v.name
	if v.s.perCluster() {
		key += tick.UTC().Format("/2006-01-02T15:04")
	}
	return when.Offset(key, v.s.spread())
}

// decide settles the ticks that have come: r.Due is then what is to be started
// now, if nothing runs that it must wait for.
func (v view) decide(r record) record {
	now := v.now.Wall.Round(0).UTC()
	if r.Ticks != v.s.ticks() { // its ticks until now are those of another schedule
		r.Due, r.Queued = dropTicks(r.Due), dropTicks(r.Queued)
		if r.Ticks = v.s.ticks(); r.Settled.Before(now) {
			r.Settled = now
		}
	}
	r = v.clockSet(r, now)
	r = v.dequeue(r, now)
	latest, n, more := v.come(r.Settled, now)
	if n > 0 {
		r.Settled = latest.UTC()
		if n > 1 && !v.paused {
			r = r.leave(latest, n-1, whyAway, v.drains)
			r.LeftOut.More = r.LeftOut.More || more
		}
		r = v.tick(r, latest.UTC(), now)
	}
	if v.asked.ID != "" && v.asked.ID != r.Asked {
		if r.Asked = v.asked.ID; v.drains {
			return v.drop(r.leave(v.asked.At, 1, whyDrains, true))
		}
		r = v.add(r, due{Tick: v.asked.At, ByHand: true, Until: v.now.Add(time.Duration(v.s.StartWithin))})
	}
	return v.dequeue(v.drop(r), now)
}

func dropTicks(d *due) *due {
	if d == nil || d.ByHand {
		return d
	}
	return nil
}

// clockSet heeds a clock that was set back: what has run does not run again.
func (v view) clockSet(r record, now time.Time) record {
	if ahead := r.Settled.Sub(now); ahead > farOff {
		r.Settled = now
	}
	r.SetBack = time.Time{}
	if r.Settled.After(now) {
		r.SetBack = r.Settled
	}
	return r
}

// come returns the latest tick since settled for which this node's time has
// come, and how many there were; more: there were more than that.
func (v view) come(settled, now time.Time) (latest time.Time, n int, more bool) {
	for t := v.ticks.Next(settled); v.has(t, now); t = v.ticks.Next(t) {
		if n == maxTold {
			return v.latest(latest, now), n, true
		}
		latest, n = t, n+1
	}
	return latest, n, false
}

// has reports whether this node's time for a tick has come.
func (v view) has(tick, now time.Time) bool {
	return !tick.IsZero() && !tick.Add(v.offset(tick)).After(now)
}

// latest is the last tick of this node that has come, of which one is known. It
// takes as many looks for ten years as for a day.
func (v view) latest(known, now time.Time) time.Time {
	from := known
	for back := time.Minute; ; back *= 2 {
		if at := now.Add(-back); !at.After(known) {
			break
		} else if v.has(v.ticks.Next(at), now) {
			from = at
			break
		}
	}
	// The tick after from has come, that after now has not.
	for to := now; to.Sub(from) > time.Second; {
		if middle := from.Add(to.Sub(from) / 2); v.has(v.ticks.Next(middle), now) {
			from = middle
		} else {
			to = middle
		}
	}
	if t := v.ticks.Next(from); v.has(t, now) {
		return t
	}
	return known
}

// tick takes in a tick that has come.
func (v view) tick(r record, tick, now time.Time) record {
	late := now.Sub(tick.Add(v.offset(tick)))
	within := time.Duration(v.s.StartWithin)
	switch {
	case v.paused:
		return r.leave(tick, 1, whyPaused, true)
	case v.drains && v.s.Missed != RunOnce:
		return r.leave(tick, 1, whyDrains, true)
	case v.s.perCluster() && now.Sub(tick) > leaseKept:
		return r.leave(tick, 1, whyAway, false)
	case late > within && v.s.Missed != RunOnce:
		return r.leave(tick, 1, whyAway, false)
	case late > within:
		late = 0 // it has its time from now on
	}
	return v.add(r, due{Tick: tick, Until: v.now.Add(within - late)})
}

// add has a tick run, as the policy says if another one does or is to.
func (v view) add(r record, d due) record {
	switch {
	case v.s.Overlap == Queue && (r.Run != nil || r.Due != nil) && r.Queued == nil:
		r.Queued = &d
		return r
	case v.s.Overlap == Queue && r.Queued != nil:
		return r.leave(d.Tick, 1, "that of "+clock(r.Queued.Tick)+" waits already", false)
	case r.Run != nil && v.s.Overlap == Skip:
		return r.leave(d.Tick, 1, fmt.Sprintf("the run of %s is under way", clock(r.Run.Tick)), false)
	case r.Due != nil: // it could not begin until now
		r = r.leave(r.Due.Tick, 1, r.Due.why(), v.drains)
	}
	r.Due = &d
	return r
}

// dequeue has the tick that waited run, as the run before has ended.
func (v view) dequeue(r record, now time.Time) record {
	if r.Run != nil || r.Due != nil || r.Queued == nil {
		return r
	}
	d := *r.Queued
	r.Queued = nil
	if d.Until.BootID != v.now.BootID && v.s.Missed != RunOnce && d.Until.Left(v.now) <= 0 {
		return r.leave(d.Tick, 1, "the node was rebooted while it waited", false)
	}
	d.Until = v.now.Add(time.Duration(v.s.StartWithin))
	r.Due = &d
	return r
}

// drop leaves out what must not begin, or can no longer.
func (v view) drop(r record) record {
	switch {
	case r.Due == nil:
	case v.paused && !r.Due.ByHand:
		return v.forgo(r, whyPaused, true)
	case v.drains && (r.Due.ByHand || v.s.Missed != RunOnce || v.s.perCluster() && v.now.Wall.Sub(r.Due.Tick) > leaseKept):
		// With its lease taken, no other node runs it either.
		return v.forgo(r, whyDrains, !r.Due.Owned)
	case v.drains:
		r.Due = r.Due.because(whyDrains)
	case r.Due.Why == whyDrains: // the node stays after all
		r.Due = r.Due.because("")
		r.Due.Until = v.now.Add(time.Duration(v.s.StartWithin))
	case r.Due.Until.Left(v.now) <= 0 && r.Run == nil:
		return v.forgo(r, r.Due.why(), false)
	}
	return r
}

func (v view) forgo(r record, why string, quiet bool) record {
	r = r.leave(r.Due.Tick, 1, why, quiet)
	r.Due = nil
	return r
}

// because returns d with a reason why it has not begun.
func (d *due) because(why string) *due {
	with := *d
	with.Why = why
	return &with
}

// why is why a tick that is due has not begun.
func (d *due) why() string {
	switch {
	case d.Why == "":
		return "it did not begin in time"
	case d.Token != "" && !d.Owned:
		return "no lease could be had in time: " + d.Why
	}
	return "it could not begin in time: " + d.Why
}

// leave notes n ticks up to tick that are not run.
func (r record) leave(tick time.Time, n int, why string, quiet bool) record {
	more := false
	if r.LeftOut.Why == why {
		n, more = n+r.LeftOut.N, r.LeftOut.More
	}
	r.LeftOut = leftOut{Tick: tick.UTC(), Why: why, N: n, More: more, Quiet: quiet}
	return r
}

// next is when this node's turn is next; zero: never, or it is paused.
func (v view) next(r record) time.Time {
	if v.paused {
		return time.Time{}
	}
	t := v.ticks.Next(r.Settled)
	if t.IsZero() {
		return t
	}
	return t.Add(v.offset(t)).UTC()
}

// clock is a tick in words.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

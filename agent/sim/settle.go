package sim

import (
	"slices"
	"time"
)

// settle lets everything happen that had its time until now, each at its time,
// and returns now. Whoever looks at tasks or changes what they depend on calls
// it first, and holds the lock.
func (w *World) settle() time.Time {
	now := time.Now()
	for {
		next := w.next()
		if !has(next, now) {
			break
		}
		w.ecs.settled = next
		w.act()
	}
	w.ecs.settled = now
	w.ecs.tasks = slices.DeleteFunc(w.ecs.tasks, func(t *task) bool {
		old := !t.stopped.IsZero() && has(t.stopped.Add(stoppedKept), now)
		if old {
			t.removeContainers(now)
		}
		return old
	})
	return now
}

// next is when something happens after the time until which the world is
// settled; zero: never, as things are.
func (w *World) next() (next time.Time) {
	consider := func(times ...time.Time) {
		for _, at := range times {
			if at.After(w.ecs.settled) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	for _, t := range w.ecs.tasks {
		consider(t.running, t.fails, t.stop, t.signal, t.stopped)
		for _, c := range t.containers {
			consider(c.started, c.ended)
		}
	}
	for _, n := range w.nodes {
		for _, c := range n.docker.containers {
			if c.task == nil {
				consider(c.ended)
			}
		}
	}
	return next
}

// act lets the agents and the service scheduler do what there is to do.
func (w *World) act() {
	for _, t := range w.ecs.tasks {
		t.heed(w.ecs.settled)
	}
	w.schedule()
	w.ecs.wake()
}

// wake wakes whoever waits for something to happen.
func (e *ecsState) wake() {
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// change is closed when something happens that was not to come by itself.
func (e *ecsState) change() <-chan struct{} {
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.changed
}

// changeECS changes what tasks depend on.
func (w *World) changeECS(change func()) {
	w.settle()
	change()
	w.act()
}

package duty

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ecsnode/ecsnode/agent/when"
)

const (
	maxSleep     = time.Minute // a timer does not run while the machine is suspended
	defaultGrace = 10 * time.Second
)

// Engine runs entries. It is the only place of the agent with concurrency.
type Engine struct {
	// ID is stable for this node and different from other nodes': it seeds
	// splay and jitter.
	ID string
	// Log gets the edges: first failure, recovery, change.
	Log *slog.Logger
	// Report gets a copy of a duty's record at the start and the end of every
	// pass. It is called from several goroutines and must return soon.
	Report func(Record)
	Hold   Hold // nil: nothing is ever held
	// Outside reports whether an error is that of an outside thing, whoever wraps
	// it; nil: none is. It is asked of each error in a chain.
	Outside func(error) bool
	Grace   time.Duration // how long Run waits for passes in flight; zero: 10 s

	mu    sync.Mutex
	stuck map[string]bool // core duties with a stuck pass
}

// isOutside reports whether err is of the outside on every branch that is not
// for want of an input.
func (e *Engine) isOutside(err error) bool {
	return e.Outside != nil && everyBranch(err, func(err error) bool { return isWaiting(err) || e.Outside(err) })
}

// Run runs every entry until ctx is done: one goroutine each, so that a hung
// one never blocks another. It then waits for passes in flight, at most Grace.
func (e *Engine) Run(ctx context.Context, entries []Entry) {
	var wg sync.WaitGroup
	for _, r := range e.runners(entries) {
		wg.Go(func() { r.loop(ctx) })
		if r.en.Stream != nil {
			wg.Go(func() { r.stream(ctx) })
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	<-ctx.Done()
	grace := cmp.Or(e.Grace, defaultGrace)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		e.Log.Warn("stopping although a pass has not ended", "grace", grace)
	}
}

// Pass makes one pass of every entry, in order, and again of those whose
// inputs changed meanwhile, until all is quiet. The error joins what failed or
// waits. Order is the only dependency mechanism; a failed entry does not stop
// later ones.
func (e *Engine) Pass(ctx context.Context, entries []Entry) error {
	rs := e.runners(entries)
	defer stopAll(rs)
	quiesce(ctx, rs, rs)
	return problems(rs)
}

// Settle is Pass, repeated for what failed or waits, each at its own pace,
// until all are ok or held, or ctx (the budget) ends, or all that is left is
// [Lasting]. The error joins what is left.
func (e *Engine) Settle(ctx context.Context, entries []Entry) error {
	rs := e.runners(entries)
	defer stopAll(rs)
	due := rs
	for {
		quiesce(ctx, rs, due)
		if ctx.Err() != nil || !slices.ContainsFunc(rs, (*runner).worthWaiting) {
			return problems(rs)
		}
		// Also those that are ok: what is missing may be the news of a source.
		due = awaitDue(ctx, rs)
	}
}

// Alive returns an error that names the core duties whose pass is stuck.
func (e *Engine) Alive() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.stuck) == 0 {
		return nil
	}
	var names []string
	for n := range e.stuck {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Errorf("stuck: %s", strings.Join(names, ", "))
}

func (e *Engine) setStuck(en Entry, stuck bool) {
	if !en.Core {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stuck == nil {
		e.stuck = map[string]bool{}
	}
	if stuck {
		e.stuck[en.Duty.Name()] = true
	} else {
		delete(e.stuck, en.Duty.Name())
	}
}

// runners checks the table and subscribes each entry to its inputs. What is
// wrong in a table is wrong for everybody: it panics in the first test.
func (e *Engine) runners(entries []Entry) []*runner {
	rs := make([]*runner, 0, len(entries))
	seen := map[string]bool{}
	for _, en := range entries {
		name := en.Duty.Name()
		switch {
		case en.Timeout <= 0:
			panic("duty " + name + " has no Timeout")
		case seen[name]:
			panic("duty " + name + " is twice in the table")
		}
		seen[name] = true
		rs = append(rs, e.newRunner(en))
	}
	return rs
}

func (e *Engine) newRunner(en Entry) *runner {
	name := en.Duty.Name()
	if en.Splay > 0 && en.When != nil {
		en.When = when.Splay(en.When, e.ID+"/"+name, en.Splay)
	}
	en.Gap = max(en.Gap, MinGap)
	en.Retry.Min = cmp.Or(en.Retry.Min, retryMin)
	en.Retry.Max = cmp.Or(en.Retry.Max, max(retryMax, en.Retry.Min))
	en.WaitLimit = cmp.Or(en.WaitLimit, DefaultWaitLimit)
	r := &runner{
		e: e, en: en, name: name,
		log: e.Log.With("duty", name),
		// One slot: a change during a pass is kept and causes the next one.
		woken: make(chan struct{}, 1),
		rec:   Record{Name: name, State: Starting, Since: time.Now(), Identity: en.Identity},
	}
	r.wakes = slices.Clone(en.On)
	if e.Hold != nil && en.Changes {
		r.wakes = append(r.wakes, e.Hold)
	}
	for _, w := range r.wakes {
		r.stops = append(r.stops, w.Wake(r.woken))
	}
	return r
}

func stopAll(rs []*runner) {
	for _, r := range rs {
		r.stop()
	}
}

// quiesce makes a pass of each of due, in order, and then of those of all that
// were woken meanwhile. Rounds are bounded: two duties that feed each other
// for ever must not keep a boot from ending.
func quiesce(ctx context.Context, all, due []*runner) {
	for range 10 {
		for _, r := range due {
			if ctx.Err() != nil {
				return
			}
			r.takeWake() // this pass sees all that has happened so far
			r.pass(ctx)
		}
		due = nil
		for _, r := range all {
			if r.takeWake() {
				due = append(due, r)
			}
		}
		if len(due) == 0 {
			return
		}
	}
}

// awaitDue sleeps until the first of rs is due or woken and returns all that
// are; none if ctx ended.
func awaitDue(ctx context.Context, rs []*runner) []*runner {
	// Wake-ups of several runners end in one channel while we sleep here.
	any := make(chan struct{}, 1)
	for _, r := range rs {
		for _, w := range r.wakes {
			defer w.Wake(any)()
		}
	}
	for {
		var due []*runner
		next := time.Now().Add(maxSleep)
		for _, r := range rs {
			at := r.record().Next
			if r.takeWake() || !at.IsZero() && !at.After(time.Now()) {
				due = append(due, r)
			} else if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		if len(due) > 0 {
			return due
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-any:
			timer.Stop()
		}
	}
}

// worthWaiting reports whether another pass may settle it.
func (r *runner) worthWaiting() bool { return !r.settled() && !r.lasting }

func problems(rs []*runner) error {
	var errs []error
	for _, r := range rs {
		if !r.settled() {
			rec := r.record()
			msg := rec.Err
			if msg == "" {
				msg = "has not made a pass"
			}
			errs = append(errs, fmt.Errorf("%s %s: %s", rec.Name, rec.State, msg))
		}
	}
	return errors.Join(errs...)
}

package duty

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/when"
)

// runner is one entry at work.
type runner struct {
	e     *Engine
	en    Entry
	name  string
	log   *slog.Logger
	wakes []cell.Waker // all that can cause a pass, but for the stream
	woken chan struct{}
	stops []func()

	mu           sync.Mutex
	rec          Record
	waitingSince time.Time
	lasting      bool // the latest pass failed in a way that trying again does not mend
}

func (r *runner) stop() {
	for _, stop := range r.stops {
		stop()
	}
}

func (r *runner) record() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec
}

// update changes the record and reports the result. Reporting under the lock
// keeps a late report of the watch in pass from overtaking the end of the pass.
func (r *runner) update(f func(*Record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.rec.State
	f(&r.rec)
	if r.rec.State != was {
		r.rec.Since = time.Now()
	}
	if r.e.Report != nil {
		rec := r.rec
		rec.Warnings = slices.Clone(rec.Warnings)
		r.e.Report(rec)
	}
}

func (r *runner) settled() bool {
	s := r.record().State
	return s == OK || s == Held
}

func (r *runner) takeWake() bool {
	select {
	case <-r.woken:
		return true
	default:
		return false
	}
}

// loop makes passes until ctx is done.
func (r *runner) loop(ctx context.Context) {
	defer r.stop()
	first := time.Now().Add(when.Offset(r.e.ID+"/"+r.name, r.en.Splay))
	for sleepUntil(ctx, first, nil) {
		r.pass(ctx)
		if !sleepUntil(ctx, r.record().Next, r.woken) {
			return
		}
		first = r.record().LastPass.Add(r.en.Gap)
	}
}

// sleepUntil returns true at t (the zero time never comes) or when woken, and
// false when ctx is done. It looks at the clock at least each maxSleep, because
// a timer does not count while the machine is suspended, and again when the
// timer fires, because it may fire early by the wall clock.
func sleepUntil(ctx context.Context, t time.Time, woken <-chan struct{}) bool {
	for {
		d := maxSleep
		if !t.IsZero() {
			d = min(time.Until(t), maxSleep)
		}
		if d <= 0 && !t.IsZero() {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(d)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-woken:
			timer.Stop()
			return true
		case <-timer.C:
		}
	}
}

// pass makes one pass and folds its result into the record.
func (r *runner) pass(parent context.Context) {
	if r.e.Hold != nil && r.en.Changes {
		if reason := r.e.Hold.Held(r.en); reason != "" {
			r.held(reason)
			return
		}
	}
	start := time.Now()
	r.update(func(rec *Record) { rec.Running, rec.Started = true, start })
	ctx, cancel := context.WithTimeout(parent, r.en.Timeout)
	watch := time.AfterFunc(r.en.Timeout+stuckAfter, func() { r.isStuck(start) })
	out, err := protect(ctx, r.en.Duty, r.log)
	timedOut := ctx.Err() == context.DeadlineExceeded && parent.Err() == nil
	cancel()
	watch.Stop()
	if err != nil && timedOut {
		err = fmt.Errorf("cannot finish within %v: %w", r.en.Timeout, err)
	}
	r.fold(start, out, err, parent.Err() != nil)
}

func (r *runner) held(reason string) {
	if was := r.record(); was.State == Held && was.Summary == reason {
		return
	}
	r.log.Info("duty held", "reason", reason)
	r.update(func(rec *Record) {
		rec.State, rec.Summary, rec.Err, rec.Warnings, rec.Failures, rec.Next = Held, reason, "", nil, 0, time.Time{}
	})
}

// isStuck runs when the pass that began at start should long have ended.
func (r *runner) isStuck(start time.Time) {
	r.update(func(rec *Record) {
		if !rec.Running || !rec.Started.Equal(start) {
			return // it ended just now
		}
		rec.State = Stuck
		rec.Err = fmt.Sprintf("the pass that began %s ignores its time-out of %v", start.Format(time.TimeOnly), r.en.Timeout)
		r.e.setStuck(r.en, true)
		r.log.Error("pass is stuck", "timeout", r.en.Timeout)
	})
}

// fold records how a pass ended. A pass cut short by the end of the engine
// says nothing about the duty: the state stays what it was.
func (r *runner) fold(start time.Time, out Outcome, err error, stopping bool) {
	end := time.Now()
	was := r.record()
	now := was
	now.Running, now.Passes = false, was.Passes+1
	now.LastPass, now.Took = end, end.Sub(start)
	now.Changed, now.Warnings = out.Changed, out.Warnings
	if out.Changed {
		now.LastChange = end
	}
	now.Outside = r.e.isOutside(err)
	r.waitingSince, r.lasting = waitedSince(r.waitingSince, err, end), isLasting(err)
	switch {
	case err == nil:
		now.State, now.Summary, now.Err, now.Failures = OK, out.Summary, "", 0
		now.LastOK = end
	case stopping:
	case isWaiting(err) && end.Sub(r.waitingSince) < r.en.WaitLimit:
		// Failures stay: what fails and waits in turn must not begin its pace anew.
		now.State, now.Err = Waiting, err.Error()
	case isWaiting(err):
		now.State, now.Failures = Failing, was.Failures+1
		now.Err = fmt.Sprintf("has waited %v: %v", end.Sub(r.waitingSince).Round(time.Second), err)
	default:
		now.State, now.Err, now.Failures = Failing, err.Error(), was.Failures+1
	}
	now.Next = r.en.next(r.e.ID, now, out, err, end)
	r.logEdge(was, now)
	r.update(func(rec *Record) {
		now.StreamError = rec.StreamError // the stream writes it on its own
		since := rec.Since
		*rec = now
		rec.Since = since
		r.e.setStuck(r.en, false)
	})
}

// waitedSince returns since when a duty has been waiting without a break.
func waitedSince(since time.Time, err error, now time.Time) time.Time {
	switch {
	case err == nil || !isWaiting(err):
		return time.Time{}
	case since.IsZero():
		return now
	}
	return since
}

// logEdge logs what changed and nothing that repeats: status has the rest.
func (r *runner) logEdge(was, now Record) {
	edge := now.State != was.State
	switch {
	case now.State == Failing && edge:
		r.log.Error("duty failing", "err", now.Err, "took", now.Took)
	case now.State == Waiting && edge:
		r.log.Info("duty waiting", "for", now.Err)
	case now.State == OK && (was.State == Failing || was.State == Stuck):
		r.log.Info("duty recovered", "summary", now.Summary)
	case now.Changed:
		r.log.Info("duty changed the node", "summary", now.Summary, "took", now.Took)
	default:
		r.log.Debug("duty pass", "state", now.State, "err", now.Err, "took", now.Took)
	}
	if len(now.Warnings) > 0 && !slices.Equal(was.Warnings, now.Warnings) {
		r.log.Warn("duty warns", "warnings", now.Warnings)
	}
}

// next returns when the next pass is due; the zero time means only when woken.
// It is the earliest of the schedule, what the pass asked for, and the retry.
func (en Entry) next(id string, rec Record, out Outcome, err error, now time.Time) time.Time {
	var t time.Time
	earliest := func(c time.Time) {
		if !c.IsZero() && (t.IsZero() || c.Before(t)) {
			t = c
		}
	}
	if en.When != nil {
		earliest(en.When.Next(now))
	}
	if out.Again > 0 {
		earliest(now.Add(out.Again))
	}
	switch {
	case err == nil:
	case isWaiting(err):
		earliest(now.Add(min(waitRetry, en.Retry.Max)))
	default:
		earliest(now.Add(en.Retry.pause(id+"/"+rec.Name, max(rec.Failures, 1))))
	}
	if least := now.Add(en.Gap); !t.IsZero() && t.Before(least) {
		t = least
	}
	return t
}

// pause returns how long to wait after the given number of consecutive failures.
func (r Retry) pause(id string, failures int) time.Duration {
	d := r.Min
	for i := 1; i < failures && d < r.Max; i++ {
		d *= 2
	}
	d = min(d, r.Max)
	return d - when.Offset(fmt.Sprintf("%s/%d", id, failures), d/4)
}

// protect turns a panic into an error, so that one duty cannot stop the others:
// the stack goes to the log, one line to status.
func protect(ctx context.Context, d Duty, log *slog.Logger) (out Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("duty panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v (the stack is in the log)", p)
		}
	}()
	return d.Reconcile(ctx)
}

// stream runs the entry's stream until ctx is done.
func (r *runner) stream(ctx context.Context) {
	retry := Retry{Min: time.Second, Max: 30 * time.Second}
	wake := func() {
		select {
		case r.woken <- struct{}{}:
		default:
		}
	}
	for failures := 0; ; {
		began := time.Now()
		err := protectStream(ctx, r.en.Stream, wake, r.log)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > retry.Max {
			failures = 0 // it had been running well
		}
		msg := "ended"
		if err != nil {
			msg = err.Error()
		}
		if failures++; failures == 1 {
			r.log.Warn("event stream lost", "err", msg)
		}
		r.update(func(rec *Record) { rec.StreamError = msg })
		pause := time.Now().Add(retry.pause(r.e.ID+"/"+r.name+"/stream", failures))
		if !sleepUntil(ctx, pause, nil) {
			return
		}
		r.update(func(rec *Record) { rec.StreamError = "" })
		wake() // what happened while nobody listened went unseen
	}
}

func protectStream(ctx context.Context, f func(context.Context, func()) error, wake func(), log *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("event stream panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v (the stack is in the log)", p)
		}
	}()
	return f(ctx, wake)
}

// Package duty runs the node's duties.
//
// A duty is one idempotent pass over one concern. It owns no goroutine, no
// timer and no retry: the engine decides when a pass runs, how long it may
// take, what happens when it fails, hangs or panics, and what the operator is
// told.
package duty

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Duty is one thing the node must keep true.
type Duty interface {
	// Name is the duty's name in logs, in status and on the command line.
	Name() string
	// Reconcile makes one pass: it looks, compares and closes the gap. It must
	// be safe to run again at any time, and return soon once ctx is done.
	Reconcile(ctx context.Context) (Outcome, error)
}

// Outcome is what a pass reports. It counts beside an error too.
type Outcome struct {
	Changed  bool          // the pass changed the node
	Summary  string        // one line for `ecsnode status`
	Warnings []string      // what an operator should know though nothing failed
	Again    time.Duration // if positive: the next pass comes after this long at the latest
}

// ErrNotReady reports that an input is missing. It is not a failure: the duty
// is shown as waiting. An error that also holds a real failure is a failure.
var ErrNotReady = errors.New("not ready")

// WaitingFor returns an ErrNotReady that says what is missing.
func WaitingFor(format string, args ...any) error {
	return &notReady{fmt.Errorf(format, args...)}
}

type notReady struct{ err error }

func (n *notReady) Error() string        { return n.err.Error() }
func (n *notReady) Is(target error) bool { return target == ErrNotReady }

// Lasting marks a failure that is not mended by trying again: somebody must
// change an input. The duty is failing and tried again all the same, but
// [Engine.Settle] does not spend its budget on it.
func Lasting(err error) error {
	if err == nil {
		return nil
	}
	return &lasting{err}
}

type lasting struct{ err error }

func (l *lasting) Error() string { return l.err.Error() }
func (l *lasting) Unwrap() error { return l.err }

// isWaiting reports whether err is nothing but ErrNotReady on every branch.
func isWaiting(err error) bool {
	return everyBranch(err, func(err error) bool {
		_, ok := err.(*notReady)
		return ok || err == ErrNotReady
	})
}

// isLasting reports whether err is marked by [Lasting] on every branch.
func isLasting(err error) bool {
	return everyBranch(err, func(err error) bool {
		_, ok := err.(*lasting)
		return ok
	})
}

func everyBranch(err error, is func(error) bool) bool {
	if err != nil && is(err) {
		return true
	}
	switch x := err.(type) {
	case interface{ Unwrap() error }:
		return x.Unwrap() != nil && everyBranch(x.Unwrap(), is)
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			if !everyBranch(e, is) {
				return false
			}
		}
		return len(x.Unwrap()) > 0
	}
	return false
}

// Entry says how one duty is run. Only Duty and Timeout are required.
type Entry struct {
	Duty    Duty
	Timeout time.Duration // bound on one pass

	When  when.Schedule // planned passes; nil: only when woken or owed
	Splay time.Duration // bound of a stable shift of When and of the first pass
	On    []cell.Waker  // inputs whose change causes a pass
	// Stream watches an outside thing and calls wake when something happened.
	// The engine runs it, starts it again when it returns, and then makes a
	// pass, because what happened in between went unseen.
	Stream func(ctx context.Context, wake func()) error

	Gap       time.Duration // least time between passes, also when woken; at least [MinGap]
	Retry     Retry         // pace after failures
	WaitLimit time.Duration // waiting longer than this is failing; zero: [DefaultWaitLimit]

	Identity bool // establishes what the node is: see [Hold]
	Changes  bool // changes the node: stopped by [Hold]
	Core     bool // a stuck pass of it makes [Engine.Alive] fail
}

// Retry bounds the pace of passes after consecutive failures: the pause doubles
// from Min to Max, less up to a quarter by jitter that is stable for the node.
// Zero fields are 2 s and 5 min.
type Retry struct{ Min, Max time.Duration }

// Defaults of an Entry.
const (
	MinGap           = 10 * time.Millisecond
	DefaultWaitLimit = 5 * time.Minute
	retryMin         = 2 * time.Second
	retryMax         = 5 * time.Minute
	waitRetry        = 30 * time.Second // a waiting duty looks again at least this often
	stuckAfter       = 10 * time.Second // beyond its Timeout a pass is stuck
)

// Hold tells the engine which duties an operator has stopped. Only entries with
// Changes are asked about.
type Hold interface {
	// Held returns why the duty of en must make no pass, or "".
	Held(en Entry) (reason string)
	cell.Waker // wakes when the answer may have changed
}

// State is how a duty stands.
type State string

// The states.
const (
	Starting State = "starting" // no pass has ended yet
	OK       State = "ok"
	Waiting  State = "waiting" // an input is missing
	Failing  State = "failing"
	Held     State = "held"  // an operator has stopped it
	Stuck    State = "stuck" // the pass under way ignores its time-out
)

// Record is what the engine knows about one duty: the unit of status.
type Record struct {
	Name        string        `json:"name"`
	State       State         `json:"state"`
	Since       time.Time     `json:"since"` // when State was entered
	Running     bool          `json:"running,omitempty"`
	Summary     string        `json:"summary,omitempty"` // of the latest good pass, or why held
	Warnings    []string      `json:"warnings,omitempty"`
	Err         string        `json:"error,omitempty"`
	Outside     bool          `json:"outside,omitempty"` // all of Err is for want of an outside thing
	Failures    int           `json:"consecutive_failures,omitempty"`
	Identity    bool          `json:"identity,omitempty"`
	Passes      int           `json:"passes"`
	Started     time.Time     `json:"started,omitzero"`     // start of the latest pass
	LastPass    time.Time     `json:"last_pass,omitzero"`   // end of the latest pass
	LastOK      time.Time     `json:"last_ok,omitzero"`     // end of the latest good pass
	LastChange  time.Time     `json:"last_change,omitzero"` // end of the latest pass that changed the node
	Changed     bool          `json:"changed,omitempty"`    // by the latest pass
	Next        time.Time     `json:"next,omitzero"`        // next planned pass
	Took        time.Duration `json:"took_ns,omitempty"`    // of the latest pass
	StreamError string        `json:"stream_error,omitempty"`
}

package facts

import (
	"errors"
	"fmt"
)

// The three ways in which an outside thing can fail to give an answer. Host
// packages wrap one of them; everything above tells them apart with errors.Is.
var (
	// ErrAbsent means that the other side answered, and that what was asked
	// for does not exist (an IMDS 404, a container instance not registered).
	ErrAbsent = errors.New("absent")
	// ErrUnavailable means that no usable answer came: a time-out, a refused
	// connection, a 5xx, throttling, garbage. Nothing is known either way.
	ErrUnavailable = errors.New("unavailable")
	// ErrThrottled is an ErrUnavailable of which one thing is known: nothing was
	// done.
	ErrThrottled = fmt.Errorf("%w: throttled", ErrUnavailable)
	// ErrRefused means that the other side answered and will not serve us (a
	// 401 after a new token, a 403, a missing IAM permission). Asking again
	// does not help until somebody changes something.
	ErrRefused = errors.New("refused")
)

// Unanswered makes err one of ErrUnavailable, in its own words.
func Unanswered(err error) error { return unanswered{err} }

type unanswered struct{ error }

func (unanswered) Unwrap() error { return ErrUnavailable }

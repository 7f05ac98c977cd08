package duty

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoAnswer is what [Together] says of a call that took longer than it had.
var ErrNoAnswer = errors.New("no answer")

// Together makes calls of one pass at the same time, so that one that gets no
// answer delays no other, and waits for them at most limit. What a call found
// out it returns as a function, which Together calls in the caller's own
// goroutine; that of a call that took longer is dropped. The errors are in the
// order of the calls.
func Together(ctx context.Context, limit time.Duration, calls ...func(ctx context.Context) (found func(), err error)) []error {
	type answer struct {
		call  int
		found func()
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := make(chan answer, len(calls))
	for i, call := range calls {
		go func() {
			a := answer{call: i}
			defer func() {
				if p := recover(); p != nil {
					a.found, a.err = nil, fmt.Errorf("panic: %v", p)
				}
				answers <- a
			}()
			a.found, a.err = call(ctx)
		}()
	}
	errs := make([]error, len(calls))
	for i := range errs {
		errs[i] = fmt.Errorf("%w within %v", ErrNoAnswer, limit)
	}
	take := func(a answer) {
		if errs[a.call] = a.err; a.found != nil {
			a.found()
		}
	}
	for range calls {
		select {
		case a := <-answers:
			take(a)
			continue
		case <-ctx.Done():
		}
		select { // an answer that came just in time
		case a := <-answers:
			take(a)
		default:
			return errs
		}
	}
	return errs
}

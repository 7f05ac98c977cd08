package duty

import (
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
)

// Attempts paces what a duty tries again and again, each thing by its name:
// passes come at least as often as the duty's schedule says, which is too often
// for what fails for good. The zero value with a Retry is ready for use.
type Attempts struct {
	Retry Retry
	// Asked changes when somebody asks for a pass, and waits for it: then nothing
	// is too early. Nil: nobody does.
	Asked cell.Reader[string]

	asked  string
	failed map[string]attempt
}

type attempt struct {
	times int
	due   time.Time
	err   error
}

// Failed takes note that trying failed, and returns err.
func (a *Attempts) Failed(name string, err error) error {
	if a.failed == nil {
		a.failed = map[string]attempt{}
	}
	times := a.failed[name].times + 1
	a.failed[name] = attempt{times, time.Now().Add(a.Retry.pause(name, times)), err}
	return err
}

// Early returns why it failed the last time if it is too early to try again, and
// nil otherwise.
func (a *Attempts) Early(name string) error {
	if a.Asked != nil {
		if asked, _ := a.Asked.Get(); asked != a.asked {
			a.asked, a.failed = asked, nil
		}
	}
	if last := a.failed[name]; time.Now().Before(last.due) {
		return last.err
	}
	return nil
}

// Forget is for what has not failed, or is another thing by now.
func (a *Attempts) Forget(name string) { delete(a.failed, name) }

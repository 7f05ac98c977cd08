package facts_test

import (
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestWhyAJobDidNotSucceed(t *testing.T) {
	for name, c := range map[string]struct {
		job  facts.Job
		want string
	}{
		"it says":           {facts.Job{Result: "exit-code", ExitStatus: 3, Output: "begin\n\na\n  b  \nc\n"}, "exit status 3: a; b; c"},
		"it says little":    {facts.Job{Result: "exit-code", ExitStatus: 1, Output: "Error"}, "exit status 1: Error"},
		"it says nothing":   {facts.Job{Result: "exit-code", ExitStatus: 1, Output: " \n"}, "exit status 1, and it said nothing"},
		"it did not end":    {facts.Job{Result: "timeout", Output: "59 %"}, "no end within the time it is given: 59 %"},
		"it was too large":  {facts.Job{Result: "oom-kill"}, "oom-kill, and it said nothing"},
		"it was told to go": {facts.Job{Result: "signal", ExitStatus: 15, Output: "bye"}, "signal: bye"},
	} {
		if got := c.job.Why(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

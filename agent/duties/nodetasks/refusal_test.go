package nodetasks

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestWhatECSRefusesIsWaitedForOrToldWithWhatToDo(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good := spec{Definition: "logspout:11"}
	refused := func(reason string) error {
		return fmt.Errorf("cannot start logspout:12: %w", &facts.TaskRefused{Reason: reason})
	}
	for name, c := range map[string]struct {
		err     error
		holds   bool
		good    *spec
		waits   bool // it is waiting and not failing
		next    time.Duration
		says    string
		calling bool // whether it was started stays open
		bad     bool
	}{
		"room that the task before still has":             {refused("RESOURCE:MEMORY"), true, nil, true, time.Second, "let go", false, false},
		"no room":                                         {refused("RESOURCE:MEMORY"), false, nil, false, time.Second, "too little left", false, false},
		"an agent that is not connected":                  {refused("AGENT"), false, nil, true, 5 * time.Second, "connected", false, false},
		"an instance that ECS does not know":              {refused("MISSING"), false, nil, false, time.Second, "does not know this container instance", false, false},
		"an attribute that is missing":                    {refused("ATTRIBUTE"), false, nil, false, time.Second, "an attribute that this node does not have", false, false},
		"a rate that is exceeded":                         {fmt.Errorf("%w (ThrottlingException)", facts.ErrThrottled), false, nil, false, time.Second, "throttled", false, false},
		"no answer":                                       {fmt.Errorf("%w: HTTP status 500", facts.ErrUnavailable), false, nil, false, 0, "not known yet", true, false},
		"a definition that is not active":                 {facts.ForTaskDefinition(fmt.Errorf("%w: TaskDefinition is inactive", facts.ErrRefused)), false, nil, false, time.Second, "inactive", false, false},
		"the same, where another one was good":            {facts.ForTaskDefinition(fmt.Errorf("%w: TaskDefinition is inactive", facts.ErrRefused)), false, &good, false, time.Second, "inactive", false, true},
		"a role that may not, where another one was good": {fmt.Errorf("%w: the instance role must allow ecs:StartTask", facts.ErrRefused), false, &good, false, time.Second, "must allow", false, false},
		"no room for a new one is not its own":            {refused("RESOURCE:MEMORY"), false, &good, false, time.Second, "too little left", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec{Definition: "logspout:12"}
			r, got := (&Duty{}).notStarted(record{Family: "logspout", Calling: &call{s, now}, Good: c.good}, step{spec: s, holds: c.holds}, view{id: "i-1"}, now, c.err)
			next := time.Duration(0)
			if !r.NextTry.IsZero() {
				next = r.NextTry.Sub(now)
			}
			if errors.Is(got.err, duty.ErrNotReady) != c.waits || !strings.Contains(got.err.Error(), c.says) || next > c.next || next < c.next*3/4 {
				t.Errorf("%v, next try in %v", got.err, next)
			}
			if (r.Calling != nil) != c.calling || (len(r.Bad) > 0) != c.bad || got.again <= 0 {
				t.Errorf("%+v %+v", r, got)
			}
		})
	}
}

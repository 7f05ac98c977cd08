package nodetasks

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// gone decides what to do where no task is there.
func (v view) gone(r record, s step) (record, step) {
	if r.Running.ARN != "" || r.Calling != nil {
		if v.now.Before(r.NextAsk) {
			s.status.State, s.status.Task, s.again = facts.NodeTaskStarting, r.Running.ARN, r.NextAsk.Sub(v.now)
			return r, s
		}
		if v.started == nil {
			s.do = askStarted
			return r, s
		}
		if r = v.became(r); r.Running.ARN != "" || r.Calling != nil {
			s.status.State, s.status.Task, s.again = facts.NodeTaskStarting, r.Running.ARN, max(r.NextAsk.Sub(v.now), look)
			return r, s
		}
		s.status.Restarts, s.status.LastEnd = r.Ends, r.LastEnd
	}
	next := r.NextTry
	if ended := r.EndedAt.Add(pause(v.id+"/"+v.family, r.Ends-1)); r.Ends > 0 && ended.After(next) {
		next = ended
	}
	if v.now.Before(next) {
		s.status.State, s.status.Next, s.again = facts.NodeTaskWaiting, next.UTC().Truncate(time.Millisecond), next.Sub(v.now)
		switch {
		case r.Tries > 0:
			s.err, s.status.Why = errors.New(r.Refusal), r.Refusal
		case r.Ends > 1:
			s.err = blame(r.LastEnd, fmt.Errorf("it ended %d times in a row, the last time because %s", r.Ends, r.LastEnd))
		}
		return r, s
	}
	if v.managed == nil {
		s.do = askManaged
		return r, s
	}
	if why := v.refuses(); why != "" {
		s.status.State, s.status.Why, s.again = facts.NodeTaskRefused, why, managedAgain
		s.err = duty.Lasting(fmt.Errorf("%w: %s", facts.ErrRefused, why))
		return r, s
	}
	if v.started == nil {
		s.do = askStarted
		return r, s
	}
	for _, t := range *v.started {
		switch {
		case t.Family != v.family || t.Last == facts.TaskStopped:
		case t.ARN == r.Dead || t.Desired == facts.TaskStopped:
			s.holds = true
		case !v.ours(t):
		default: // the agent does not have it yet
			r.Running = run{ARN: t.ARN, At: v.now, Ours: true, Spec: v.want}
			r.Running.Spec.Definition = fmt.Sprintf("%s:%d", t.Family, t.Revision)
			r.NextAsk = v.now.Add(appears)
			s.status.State, s.status.Task, s.again = facts.NodeTaskStarting, t.ARN, appears
			return r, s
		}
	}
	s.do, s.spec, s.status.State = start, v.want, facts.NodeTaskStarting
	if why := r.Bad[v.want.hash()]; why != "" && r.Good != nil {
		s.spec, s.status.Rolled = *r.Good, why
	}
	return r, s
}

// became takes in what ECS says of a task that was asked for and is not here.
func (v view) became(r record) record {
	for _, t := range *v.started {
		ours := t.ARN == r.Running.ARN
		if r.Calling != nil { // with its answer lost, the task is known by its time
			ours = v.ours(t) && t.Family == v.family && t.ARN != r.Dead && !t.Created.Before(r.Calling.At.Add(-time.Minute))
		}
		if !ours {
			continue
		}
		if r.Calling != nil {
			r.Running, r.Calling = run{ARN: t.ARN, Spec: r.Calling.Spec, At: r.Calling.At, Ours: true}, nil
		}
		if t.Last == facts.TaskStopped || t.Desired == facts.TaskStopped {
			return r.ended(v.now, cmp.Or(t.StoppedReason, "ECS stopped it"))
		}
		r.NextAsk = v.now.Add(askPause)
		return r
	}
	switch {
	case r.Calling != nil && v.now.Sub(r.Calling.At) < settles:
		r.NextAsk = r.Calling.At.Add(settles)
	case r.Calling != nil:
		r.Calling = nil
	case v.now.Sub(r.Running.At) < 2*settles: // what it says may lag behind what it did
		r.NextAsk = v.now.Add(settles)
	default:
		r = r.ended(v.now, "ECS does not know it any longer")
	}
	return r
}

// pins says why a task started by StartTask would keep the instance for ever.
func pins(c facts.Capacity) string {
	var parts []string
	for _, part := range []struct {
		is   bool
		what string
	}{{c.ManagedScaling, "managed scaling"}, {c.TerminationProtection, "managed termination protection"}, {c.ManagedDraining, "managed draining"}} {
		if part.is {
			parts = append(parts, part.what)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("capacity provider %s has %s, for which a task started here counts as work: the instance would never be scaled in. "+
		"Run it as a DAEMON service and set mode: service, or set node_tasks.managed_capacity: allow", c.Provider, strings.Join(parts, ", "))
}

// pause is how long to wait after the n-th time in a row that something went
// wrong: none at first, then 1 s to 5 min, less up to a quarter by jitter that
// is stable for the node.
func pause(id string, n int) time.Duration {
	if n <= 0 {
		return 0
	}
	d := maxPause
	if n < 10 {
		d = min(time.Second<<(n-1), maxPause)
	}
	return d - when.Offset(fmt.Sprintf("%s/%d", id, n), d/4)
}

func short(id string) string { return id[:min(12, len(id))] }

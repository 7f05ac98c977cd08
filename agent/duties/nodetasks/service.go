package nodetasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// serviceSeen is what ECS said of a service.
type serviceSeen struct {
	at  time.Time
	why string // its task is missing
	err error
}

// service tells whether the task of a DAEMON service is there. It starts
// nothing.
func (d *Duty) service(ctx context.Context, v view) step {
	s := step{status: facts.NodeTask{Wanted: "service " + v.task.service(), Needed: string(cmp.Or(v.task.Needed, Soft))}}
	if live := v.live(); len(live) > 0 {
		s.shows(live[0], v.family)
		if !live[0].up {
			s.again = time.Second
		}
		return s
	}
	if v.drains {
		s.status.State = facts.NodeTaskLeaving
		return s
	}
	name := v.task.service()
	seen := d.services[name]
	if v.now.Sub(seen.at) >= servicePause && !v.now.Before(d.calm) {
		seen = serviceSeen{at: v.now}
		asking, cancel := context.WithTimeout(ctx, sideTime)
		all, err := d.ECS.Services(asking, d.on, []string{name})
		cancel()
		d.heed(err)
		i := slices.IndexFunc(all, func(f facts.Service) bool { return f.Name == name })
		switch {
		case err != nil:
			seen.err = err
		case i < 0 || !all[i].Active:
			seen.why = fmt.Sprintf("cluster %s has no active service %s: create it with scheduling strategy DAEMON", d.on.Cluster, name)
		case !all[i].Daemon:
			seen.why = fmt.Sprintf("service %s is no DAEMON service: ECS does not run a task of it on each node", name)
		default:
			seen.why = fmt.Sprintf("ECS has not started a task of service %s here: see its events", name)
		}
		if d.services == nil {
			d.services = map[string]serviceSeen{}
		}
		d.services[name] = seen
	}
	s.status.State, s.status.Why = facts.NodeTaskMissing, seen.why
	s.again = max(seen.at.Add(servicePause).Sub(v.now), time.Second)
	if s.err = seen.err; s.err == nil {
		s.err = fmt.Errorf("%w: %s", facts.ErrAbsent, seen.why)
	} else {
		s.status.Why = seen.err.Error()
	}
	return s
}

package drain

import (
	"context"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// scheduled are the schedules whose jobs run, or of which nobody can tell. They
// are given their time, as tasks are; nothing new is begun on a node that drains.
func (d *Duty) scheduled(ctx context.Context, limit time.Duration) (running []string) {
	if d.Scheduled == nil {
		return nil
	}
	jobs, err := d.Scheduled()
	if err != nil || len(jobs) == 0 {
		return nil // a record that is damaged must not keep the node from going
	}
	var calls []func(context.Context) (func(), error)
	var names []string
	for name, job := range jobs {
		names = append(names, name)
		calls = append(calls, func(ctx context.Context) (func(), error) {
			j, err := d.Jobs.Job(ctx, job)
			return func() {
				if err == nil && j.State == facts.JobRunning {
					running = append(running, name)
				}
			}, err
		})
	}
	for i, err := range duty.Together(ctx, limit, calls...) {
		if err != nil {
			running = append(running, names[i])
		}
	}
	slices.Sort(running)
	return running
}

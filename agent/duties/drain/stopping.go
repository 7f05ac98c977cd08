package drain

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// stop tells tasks and containers to stop, all together, and those that still
// run after a while again. What ECS does not take in the last moments is
// stopped through Docker.
func (d *Duty) stop(ctx context.Context, c Config, all []stop, stopIn time.Duration, final bool) error {
	all = slices.DeleteFunc(slices.Clone(all), func(s stop) bool {
		at, told := d.plan.Stops[s.key()]
		return told && time.Since(at).Abs() < repeatStop
	})
	errs := d.tell(ctx, all, stopIn, final)
	var instead []stop
	for n, err := range errs {
		if err != nil && all[n].container.ID == "" && c.forced(stopIn, final) {
			instead = append(instead, c.containers(all[n].task)...)
		}
	}
	return errors.Join(append(errs, d.tell(ctx, instead, stopIn, final)...)...)
}

func (d *Duty) tell(ctx context.Context, all []stop, stopIn time.Duration, final bool) []error {
	if len(all) == 0 {
		return nil
	}
	p := d.plan
	timeout := time.Hour // nothing is killed that nobody else kills
	if final && stopIn > 2*time.Second {
		timeout = stopIn - time.Second
	} else if final {
		timeout = 30 * time.Second
	}
	ci, reason := p.Container, "the container instance is drained: "+strings.Join(p.For, ", ")
	limit := min(stopTime, patience(stopIn, final))
	calls := make([]func(context.Context) (func(), error), len(all))
	for n, s := range all {
		calls[n] = func(ctx context.Context) (func(), error) {
			if s.container.ID == "" {
				return nil, d.ECS.StopTask(ctx, ci, s.task.ARN, reason)
			}
			// Docker answers once the container has ended, and some versions kill
			// it when they are no longer listened to (moby issue 45731). How it
			// ends is seen by later passes.
			return nil, d.Docker.Stop(context.WithoutCancel(ctx), s.container.ID, timeout)
		}
	}
	errs := duty.Together(ctx, limit, calls...)
	for n, s := range all {
		if s.container.ID != "" && errors.Is(errs[n], duty.ErrNoAnswer) {
			errs[n] = nil
		}
		if errs[n] != nil {
			continue
		}
		if _, told := p.Stops[s.key()]; !told {
			what := s.task.name()
			if s.container.ID != "" {
				what += ", container " + s.container.Labels[facts.LabelContainerName]
			}
			d.note("told to stop: %s", what)
		}
		mark(&p.Stops, s.key(), d.Clock.Now().Wall.UTC().Round(0))
	}
	return errs
}

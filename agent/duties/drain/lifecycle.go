package drain

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Beat is the heartbeats that keep a lifecycle action waiting.
type Beat struct {
	At      facts.Moment  `json:"at"` // of the latest
	Number  int           `json:"number"`
	Timeout time.Duration `json:"timeout_ns"` // of the hook
}

// Paces of lifecycle actions. An action may begin to wait only some time after
// the target state is Terminated: a group takes the instance off its load
// balancer first.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
const (
	hookAgain      = 10 * time.Second
	maxBeats       = 100              // beyond which no heartbeat counts
	defaultTimeout = 30 * time.Second // the least that a hook may have, where nobody tells
)

// lifecycle keeps the configured lifecycle hooks of a termination waiting while
// tasks leave, and completes them when that is over.
func (d *Duty) lifecycle(ctx context.Context, c Config, i facts.Interruption, limit time.Duration) error {
	n := slices.IndexFunc(i.Standing, func(s facts.Standing) bool {
		return s.Source == facts.NoticeAutoScaling && strings.HasSuffix(s.What, "Terminated")
	})
	instance, known := d.Instance.Get()
	if n < 0 || !known || len(c.LifecycleHooks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if d.group == "" {
		if time.Now().Before(d.hooks[""]) {
			return nil
		}
		mark(&d.hooks, "", time.Now().Add(hookAgain))
		group, err := d.AutoScaling.Group(ctx, instance.Region, instance.ID)
		if errors.Is(err, facts.ErrAbsent) {
			return nil
		}
		if err != nil {
			d.once("group", "the lifecycle hooks are out of reach: %v", err)
			return err
		}
		d.group = group
	}
	until := i.Standing[n].Until
	late := until != (facts.Moment{}) && until.Left(d.Clock.Now()) <= 0
	over := d.plan.DrainedAt != (facts.Moment{}) || late
	var errs []error
	for _, hook := range c.LifecycleHooks {
		switch {
		case d.plan.Completed[hook] != "" || time.Now().Before(d.hooks[hook]):
		case over:
			errs = append(errs, d.complete(ctx, hook, instance))
		default:
			errs = append(errs, d.beat(ctx, hook, instance))
		}
	}
	return errors.Join(errs...)
}

func (d *Duty) complete(ctx context.Context, hook string, instance facts.Instance) error {
	err := d.AutoScaling.Complete(ctx, instance.Region, d.group, hook, instance.ID)
	switch {
	case errors.Is(err, facts.ErrAbsent) && d.plan.Beats[hook].Number > 0:
		mark(&d.plan.Completed, hook, "it waits no longer")
		d.note("lifecycle hook %s waits no longer", hook)
	case errors.Is(err, facts.ErrAbsent): // not yet, or not at all
		mark(&d.hooks, hook, time.Now().Add(hookAgain))
	case err != nil:
		mark(&d.hooks, hook, time.Now().Add(hookAgain/2))
		d.once("complete "+hook, "lifecycle hook %s is not completed: %v", hook, err)
		return err
	default:
		mark(&d.plan.Completed, hook, "CONTINUE")
		d.note("lifecycle hook %s is completed", hook)
	}
	return nil
}

func (d *Duty) beat(ctx context.Context, hook string, instance facts.Instance) error {
	b := d.plan.Beats[hook]
	if b.Number >= maxBeats {
		d.once("beats "+hook, "lifecycle hook %s has had %d heartbeats, which is all that counts", hook, maxBeats)
		return nil
	}
	if b.Timeout == 0 {
		timeout, err := d.AutoScaling.HookTimeout(ctx, instance.Region, d.group, hook)
		if errors.Is(err, facts.ErrAbsent) {
			mark(&d.plan.Completed, hook, "the group has no such hook")
			return nil
		}
		if err != nil {
			d.once("timeout "+hook, "the time-out of lifecycle hook %s is not known: %v", hook, err)
			timeout = defaultTimeout
		}
		b.Timeout = timeout
	}
	now := d.Clock.Now()
	if b.Number > 0 && b.At.Add(b.Timeout/2).Left(now) > 0 && b.At.Left(now) <= 0 {
		return nil
	}
	err := d.AutoScaling.Heartbeat(ctx, instance.Region, d.group, hook, instance.ID)
	switch {
	case errors.Is(err, facts.ErrAbsent) && b.Number > 0:
		mark(&d.plan.Completed, hook, "it waits no longer")
		d.note("lifecycle hook %s waits no longer", hook)
	case errors.Is(err, facts.ErrAbsent):
		mark(&d.hooks, hook, time.Now().Add(hookAgain))
	case err != nil:
		mark(&d.hooks, hook, time.Now().Add(hookAgain/2))
		d.once("beat "+hook, "lifecycle hook %s gets no heartbeat: %v", hook, err)
		return err
	default:
		b.At, b.Number = now, b.Number+1
	}
	mark(&d.plan.Beats, hook, b)
	return nil
}

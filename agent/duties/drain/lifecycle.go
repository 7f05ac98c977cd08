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
	At      time.Time     `json:"at"`
	Number  int           `json:"number"`
	Timeout time.Duration `json:"timeout_ns"` // of the hook
}

// Bounds of a lifecycle action, after which Auto Scaling goes on by itself.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
const maxBeats = 100

// lifecycle keeps the configured lifecycle hooks of a termination waiting while
// tasks leave, and completes them when that is over.
func (d *Duty) lifecycle(ctx context.Context, c Config, i facts.Interruption, now facts.Moment) error {
	terminating := slices.ContainsFunc(i.Standing, func(s facts.Standing) bool {
		return s.Source == facts.NoticeAutoScaling && strings.HasSuffix(s.What, "Terminated")
	})
	instance, known := d.Instance.Get()
	if !terminating || !known || len(c.LifecycleHooks) == 0 {
		return nil
	}
	if d.group == "" {
		group, err := d.AutoScaling.Group(ctx, instance.Region, instance.ID)
		if errors.Is(err, facts.ErrAbsent) {
			return nil
		}
		if err != nil {
			d.once(now, "group", "the lifecycle hooks are out of reach: %v", err)
			return err
		}
		d.group = group
	}
	over := d.plan.DrainedAt != (facts.Moment{}) || d.plan.Missed
	var errs []error
	for _, hook := range c.LifecycleHooks {
		switch {
		case d.plan.Completed[hook] != "":
		case over:
			errs = append(errs, d.complete(ctx, hook, instance, now))
		default:
			errs = append(errs, d.beat(ctx, hook, instance, now))
		}
	}
	return errors.Join(errs...)
}

func (d *Duty) complete(ctx context.Context, hook string, instance facts.Instance, now facts.Moment) error {
	err := d.AutoScaling.Complete(ctx, instance.Region, d.group, hook, instance.ID)
	switch {
	case errors.Is(err, facts.ErrAbsent):
		mark(&d.plan.Completed, hook, "it did not wait")
	case err != nil:
		d.once(now, "complete "+err.Error(), "lifecycle hook %s is not completed: %v", hook, err)
		return err
	default:
		mark(&d.plan.Completed, hook, "CONTINUE")
		d.plan.note(now, "lifecycle hook %s is completed", hook)
	}
	return nil
}

func (d *Duty) beat(ctx context.Context, hook string, instance facts.Instance, now facts.Moment) error {
	b, begun := d.plan.Beats[hook]
	if !begun {
		timeout, err := d.AutoScaling.HookTimeout(ctx, instance.Region, d.group, hook)
		if errors.Is(err, facts.ErrAbsent) {
			mark(&d.plan.Completed, hook, "the group has no such hook")
			return nil
		}
		if err != nil {
			d.once(now, "timeout "+err.Error(), "the time-out of lifecycle hook %s is not known: %v", hook, err)
			timeout = defaultTimeout
		}
		b = Beat{At: now.Wall.UTC().Round(0), Timeout: timeout}
		mark(&d.plan.Beats, hook, b)
		return nil // it has just begun to wait
	}
	if b.Number >= maxBeats || now.Wall.Sub(b.At) < b.Timeout/3 {
		return nil
	}
	err := d.AutoScaling.Heartbeat(ctx, instance.Region, d.group, hook, instance.ID)
	if errors.Is(err, facts.ErrAbsent) {
		mark(&d.plan.Completed, hook, "it waits no longer")
		d.plan.note(now, "lifecycle hook %s waits no longer", hook)
		return nil
	}
	if err != nil {
		d.once(now, "beat "+err.Error(), "lifecycle hook %s gets no heartbeat: %v", hook, err)
		return err
	}
	b.At, b.Number = now.Wall.UTC().Round(0), b.Number+1
	mark(&d.plan.Beats, hook, b)
	return nil
}

// defaultTimeout is short of any that a hook may have (30 s at least), where
// nobody tells.
const defaultTimeout = 30 * time.Second

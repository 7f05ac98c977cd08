package notice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Metadata is instance metadata. facts.ErrAbsent is no news; any other error is
// no answer.
type Metadata interface {
	SpotAction(ctx context.Context) (facts.SpotAction, error)
	Rebalance(ctx context.Context) (time.Time, error)
	TargetLifecycleState(ctx context.Context) (string, error)
	Maintenance(ctx context.Context) ([]facts.Maintenance, error)
}

// Duty asks one source in instance metadata.
type Duty struct {
	Source       string // facts.NoticeSpot and its siblings
	Config       cell.Reader[Config]
	Metadata     Metadata
	Instance     cell.Reader[facts.Instance]
	Registration cell.Reader[facts.ContainerInstance]
	// Notices gets what the source says. It keeps its last word while the source
	// does not answer.
	Notices *cell.Cell[[]facts.Notice]
}

// Name implements duty.Duty.
func (d *Duty) Name() string { return d.Source }

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the identity of the instance")
	}
	if why := off(d.Source, c, instance); why != "" {
		d.Notices.Set(nil)
		return duty.Outcome{Summary: why}, nil
	}
	all, err := d.ask(ctx, c, instance)
	if err != nil && !errors.Is(err, facts.ErrAbsent) {
		return duty.Outcome{}, err
	}
	d.Notices.Set(all)
	return duty.Outcome{Summary: summary(all)}, nil
}

// off says why a source is not asked, or "".
func off(source string, c Config, instance facts.Instance) string {
	switch {
	case (source == facts.NoticeSpot || source == facts.NoticeRebalance) && instance.Lifecycle == facts.OnDemand:
		return "off: not a Spot Instance"
	case source == facts.NoticeRebalance && c.Rebalance.Policy == Off:
		return "off: interruption.rebalance.policy"
	}
	return ""
}

// Interval is how often a source in instance metadata is asked; zero: it is not.
func (c Config) Interval(source string, instance facts.Instance) time.Duration {
	if off(source, c, instance) != "" {
		return 0
	}
	return time.Duration(map[string]when.Duration{
		facts.NoticeSpot: c.Spot.Interval, facts.NoticeRebalance: c.Rebalance.Interval,
		facts.NoticeAutoScaling: c.AutoScaling.Interval, facts.NoticeMaintenance: c.Maintenance.Interval,
	}[source])
}

func (d *Duty) ask(ctx context.Context, c Config, instance facts.Instance) ([]facts.Notice, error) {
	switch d.Source {
	case facts.NoticeSpot:
		a, err := d.Metadata.SpotAction(ctx)
		if err != nil {
			return nil, err
		}
		return forSpot(a), nil
	case facts.NoticeRebalance:
		at, err := d.Metadata.Rebalance(ctx)
		if err != nil {
			return nil, err
		}
		return forRebalance(at, c, instance.ID), nil
	case facts.NoticeAutoScaling:
		target, err := d.Metadata.TargetLifecycleState(ctx)
		if err != nil {
			return nil, err
		}
		ci, known := d.Registration.Get()
		if !known && strings.HasPrefix(target, warmed) {
			return nil, duty.WaitingFor("whether the node has joined a cluster, on its way to %s", target)
		}
		return forAutoScaling(target, ci.Registered(), c), nil
	case facts.NoticeMaintenance:
		events, err := d.Metadata.Maintenance(ctx)
		if err != nil {
			return nil, err
		}
		return forMaintenance(events, c, instance.ID), nil
	}
	return nil, fmt.Errorf("cannot ask for notices of %q: there is no such source", d.Source)
}

func summary(all []facts.Notice) string {
	if len(all) == 0 {
		return "no notice"
	}
	var parts []string
	for _, n := range all {
		part := n.What
		if !n.By.IsZero() {
			part += " at " + n.By.Format("15:04:05Z")
		}
		if n.Why != "" {
			part += " (" + n.Why + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

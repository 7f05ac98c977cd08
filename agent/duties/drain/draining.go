package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// containerInstance finds out what is to be drained in ECS. It reports whether
// it is known, also that there is none. An agent that does not answer does not
// keep the node from draining.
func (d *Duty) containerInstance(ctx context.Context, limit time.Duration) (known bool, err error) {
	p := d.plan
	ci, published := d.Registration.Get()
	if ci.Registered() && (!p.Gone || ci.ARN != p.Container.ARN) {
		d.drains(ci)
		return true, nil
	}
	if p.Container.Registered() && !p.Gone {
		return true, nil
	}
	cluster, _ := d.Cluster.Get()
	instance, ok := d.Instance.Get()
	if cluster == "" || !ok {
		if published {
			return true, nil
		}
		return false, errors.New("the agent has not answered yet, and the cluster is not known")
	}
	if time.Since(d.found) < findPause {
		return published, nil
	}
	d.found = time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ci, err = d.ECS.Find(ctx, instance.Region, cluster, instance.ID)
	switch {
	case errors.Is(err, facts.ErrAbsent):
		return true, nil // nothing to drain in ECS
	case err != nil:
		d.found = time.Now().Add(-findPause + soon)
		return false, err
	}
	d.drains(ci)
	return true, nil
}

// drains makes ci what is drained. Another one than before is proven anew.
func (d *Duty) drains(ci facts.ContainerInstance) {
	p := d.plan
	if p.Container.ARN != ci.ARN {
		if p.Container.Registered() {
			d.note("the node is another container instance now: %s", ci.ARN)
		}
		p.Tried, p.Asked, p.Verified, p.Adopted, p.Gone = false, false, false, false, false
		p.EmptyAt, p.DrainedAt, p.LetGo = facts.Moment{}, facts.Moment{}, false // what has just registered may get tasks
		d.Drained.Set("")
		d.heardECS, d.askedECS = false, time.Time{}
	}
	p.Container = ci
}

// own notes that DRAINING is ours, before it is asked for, unless it is
// somebody else's. Where ECS takes long to say, asking comes first.
func (d *Duty) own(ctx context.Context) []error {
	p := d.plan
	if p.Tried || p.Adopted || !p.Container.Registered() {
		return nil
	}
	tried, ci := p.clone(), p.Container
	tried.Tried = true
	var state facts.InstanceState
	errs := duty.Together(ctx, stateTime,
		func(ctx context.Context) (func(), error) {
			s, err := d.ECS.State(ctx, ci)
			return func() { state = s }, err
		},
		func(context.Context) (func(), error) { return nil, write(d.FS, tried) })
	if errs[0] == nil && state.Status == facts.StatusDraining {
		p.Adopted, p.Verified, d.proven = true, true, time.Now()
		d.note("ECS says DRAINING: somebody else has set it")
		return errs[1:]
	}
	p.Tried = true
	return errs[1:]
}

// ask returns the call that makes ECS set the instance DRAINING, or that proves
// it, if one is due.
func (d *Duty) ask() func(context.Context) (func(), error) {
	p := d.plan
	if !p.Container.Registered() || p.Gone || p.Verified && time.Since(d.proven) < proveTime {
		return nil
	}
	ci, take := p.Container, !p.Asked && !p.Verified
	lost := p.Asked && !p.Verified && time.Since(d.set) > settle || p.Verified && !p.Adopted
	return func(ctx context.Context) (func(), error) {
		if take {
			if err := d.ECS.SetState(ctx, ci, facts.StatusDraining); err != nil {
				return func() { d.refused(err) }, err
			}
		}
		state, err := d.ECS.State(ctx, ci)
		return func() {
			if take {
				p.Asked, d.set = true, time.Now()
				d.note("DRAINING was asked for")
			}
			switch {
			case err != nil:
				d.refused(err)
			case state.Status == facts.StatusDraining:
				d.proven = time.Now()
				if !p.Verified {
					p.Verified = true
					d.note("ECS says DRAINING")
				}
			case lost: // it was taken long ago, or somebody has set it ACTIVE since
				p.Asked, p.Verified = false, false
				d.note("ECS says %s: DRAINING is asked for again", state.Status)
			}
		}, notDraining(state, err)
	}
}

func notDraining(state facts.InstanceState, err error) error {
	if err == nil && state.Status != facts.StatusDraining {
		err = fmt.Errorf("cannot drain: ECS says %s after DRAINING was asked for", state.Status)
	}
	return err
}

// refused looks at why ECS did not do it: an instance that it does not know has
// nothing to drain.
func (d *Duty) refused(err error) {
	if errors.Is(err, facts.ErrAbsent) && !d.plan.Gone {
		d.plan.Gone, d.found = true, time.Time{}
		d.note("ECS does not know the container instance: %v", err)
	}
}

// undo makes the instance ACTIVE again, if it was we who drained it, once the
// node is well.
func (d *Duty) undo(ctx context.Context, c Config) (duty.Outcome, error) {
	p := d.plan
	if !p.Undoing {
		p.Undoing = true
		d.note("no notice stands any longer")
	}
	end := func(format string, args ...any) (duty.Outcome, error) {
		d.note(format, args...)
		p.Outcome = p.Milestones[len(p.Milestones)-1].What
		d.hook(ctx, c, onUndrained, patience(0, false))
		p.EndedAt = d.Clock.Now()
		d.Drained.Set("")
		return duty.Outcome{Summary: p.Outcome}, nil
	}
	switch at, _ := d.Identity.Get(); {
	case p.Adopted:
		return end("the instance stays DRAINING: somebody else has set it")
	case !p.Tried:
		return end("nothing is to be undone: DRAINING was never asked for")
	case at.IsZero():
		return duty.Outcome{Again: soon}, duty.WaitingFor("the identity of the node, before it is ACTIVE again")
	}
	out := duty.Outcome{Again: soon}
	state, err := d.ECS.State(ctx, p.Container)
	if err == nil && state.Status == facts.StatusDraining {
		// Whatever comes of it: a notice that comes now asks anew.
		p.Asked, p.Verified = false, false
		if err = d.ECS.SetState(ctx, p.Container, facts.StatusActive); err == nil {
			state, err = d.ECS.State(ctx, p.Container)
		}
	}
	switch {
	case errors.Is(err, facts.ErrAbsent):
		return end("ECS does not know the instance any longer")
	case err != nil:
		return out, err
	case state.Status == facts.StatusDraining:
		return out, errors.New("cannot undo the drain: ECS says DRAINING after ACTIVE was asked for")
	}
	return end("ECS says %s: the drain is undone", state.Status)
}

// Package drain is the duty that empties the node before it goes: it makes ECS
// move tasks away, waits for them against a clock, stops what is left, lets log
// shippers leave last, and undoes all that if the node stays.
//
// A drain is a plan on disk. Each pass does what is due and writes down what
// happened, so that a restart of the agent in the middle goes on where it was.
package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// ECS is the API of ECS. A container instance that it does not know is
// facts.ErrAbsent, also where the API answers so in failures[].
type ECS interface {
	SetState(ctx context.Context, ci facts.ContainerInstance, status string) error
	State(ctx context.Context, ci facts.ContainerInstance) (facts.InstanceState, error)
	Find(ctx context.Context, region, cluster, instanceID string) (facts.ContainerInstance, error)
	Tasks(ctx context.Context, ci facts.ContainerInstance) ([]facts.Task, error)
	StopTask(ctx context.Context, ci facts.ContainerInstance, arn, reason string) error
	Services(ctx context.Context, ci facts.ContainerInstance, names []string) ([]facts.Service, error)
}

// Agent is the ECS agent of the node.
type Agent interface {
	Tasks(ctx context.Context) ([]facts.Task, error)
}

// Docker is the Docker Engine.
type Docker interface {
	Containers(ctx context.Context) ([]facts.Container, error)
	// Stop sends the container its stop signal, and kills it after timeout.
	Stop(ctx context.Context, id string, timeout time.Duration) error
}

// AutoScaling is the API of the group that the instance is in. A lifecycle
// action that does not wait is facts.ErrAbsent.
type AutoScaling interface {
	Group(ctx context.Context, region, instanceID string) (string, error)
	HookTimeout(ctx context.Context, region, group, hook string) (time.Duration, error)
	Heartbeat(ctx context.Context, region, group, hook, instanceID string) error
	Complete(ctx context.Context, region, group, hook, instanceID string) error
}

// Clock tells the time by both clocks.
type Clock interface{ Now() facts.Moment }

// Duty drains the node while an interruption asks for it.
type Duty struct {
	FS           fsx.FS
	Clock        Clock
	Config       cell.Reader[Config]
	Interruption cell.Reader[facts.Interruption]
	Instance     cell.Reader[facts.Instance]
	Cluster      cell.Reader[string]
	Registration cell.Reader[facts.ContainerInstance]
	Identity     cell.Reader[time.Time] // zero: not established in this boot
	ECS          ECS
	Agent        Agent
	Docker       Docker
	AutoScaling  AutoScaling
	// Plan gets the drain under way, or the last one. What it points to does not
	// change.
	Plan *cell.Cell[*Plan]
	// Drained gets the key of each notice of a host that waits for the drain,
	// once nothing is left to wait for.
	Drained *cell.Cell[string]

	loaded bool
	plan   *Plan

	askedECS time.Time // for tasks
	fromECS  []facts.Task
	ecsErr   error
	group    string
	told     map[string]bool // what is noted once
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "drain" }

// Paces of a drain.
const (
	soon      = time.Second
	stateTime = 300 * time.Millisecond // before DRAINING is asked for
	stopTime  = 500 * time.Millisecond // to hand a container its signal
)

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	i, ok := d.Interruption.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the notices have not been read yet")
	}
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	now := d.Clock.Now()
	var errs []error
	if !d.loaded {
		p, err := loadOpen(d.FS)
		d.plan, d.loaded = p, true
		errs = append(errs, err) // a record that is damaged must not keep the node from draining
	}
	if !d.plan.Open() && !i.Drain {
		d.Drained.Set("")
		return duty.Outcome{Summary: "the node stays"}, errors.Join(errs...)
	}
	d.begin(i, now)
	before := len(d.plan.Milestones)
	out, err := d.work(ctx, c, i, now)
	errs = append(errs, err)
	out.Changed = len(d.plan.Milestones) > before
	p := d.plan.clone()
	errs = append(errs, write(d.FS, p))
	d.Plan.Set(p)
	if !p.Open() {
		errs = append(errs, prune(d.FS))
	}
	return out, errors.Join(errs...)
}

// begin opens a plan, or has the open one follow what is known now.
func (d *Duty) begin(i facts.Interruption, now facts.Moment) {
	if !d.plan.Open() {
		began := now
		began.Wall = began.Wall.UTC().Round(0)
		d.plan, d.told, d.group = &Plan{Began: began, BootID: now.BootID}, nil, ""
		if instance, ok := d.Instance.Get(); ok {
			d.plan.Instance = instance.ID
		}
		d.askedECS = time.Time{}
	}
	p := d.plan
	if p.BootID != now.BootID {
		p.BootID, p.Verified = now.BootID, false
		p.note(now, "the node has rebooted")
	}
	if i.Drain {
		p.Deadline, p.Hard, p.Undoing = i.Deadline, i.Hard, false
	}
	for _, s := range i.Standing {
		if s.Drain && i.Drain && !slices.Contains(p.For, s.Key()) {
			p.For = append(p.For, s.Key())
			p.note(now, "notice: %s %s%s", s.Source, s.What, because(s.Why))
		}
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func (d *Duty) work(ctx context.Context, c Config, i facts.Interruption, now facts.Moment) (duty.Outcome, error) {
	ci, err := d.containerInstance(ctx)
	if err != nil {
		d.once(now, "container instance", "the container instance is not known: %v", err)
	}
	if !i.Drain {
		if !i.Known {
			return duty.Outcome{}, duty.WaitingFor("every source of notices to answer, before the drain is undone")
		}
		return d.undo(ctx, ci, now)
	}
	out := duty.Outcome{Again: soon}
	errs := []error{err}
	if ci.Registered() {
		errs = append(errs, d.ask(ctx, ci, now))
	}
	s := d.look(ctx, ci)
	first, last := c.sort(s.tasks)
	d.describe(ctx, ci, now, first)
	errs = append(errs, d.advance(ctx, c, i, ci, now, s, first, last), d.lifecycle(ctx, c, i, now))
	out.Summary = d.summary(now, first, last)
	if !s.certain() {
		errs = append(errs, s.errs)
	}
	return out, errors.Join(errs...)
}

// containerInstance returns what the node is registered as. An ECS agent that
// does not answer does not keep the node from draining.
func (d *Duty) containerInstance(ctx context.Context) (facts.ContainerInstance, error) {
	ci, known := d.Registration.Get()
	if ci.Registered() {
		return ci, nil
	}
	cluster, _ := d.Cluster.Get()
	instance, ok := d.Instance.Get()
	if cluster == "" || !ok {
		if known {
			return facts.ContainerInstance{}, nil
		}
		return facts.ContainerInstance{}, errors.New("neither the agent nor the cluster is known")
	}
	ci, err := d.ECS.Find(ctx, instance.Region, cluster, instance.ID)
	if errors.Is(err, facts.ErrAbsent) {
		return facts.ContainerInstance{}, nil // nothing to drain in ECS
	}
	return ci, err
}

// ask makes ECS set the instance DRAINING and proves it. Whose it is tells who
// undoes it; where ECS takes long to say, asking comes first, and it is ours.
func (d *Duty) ask(ctx context.Context, ci facts.ContainerInstance, now facts.Moment) error {
	p := d.plan
	if p.Verified {
		return nil
	}
	if !p.Asked {
		short, cancel := context.WithTimeout(ctx, stateTime)
		state, err := d.ECS.State(short, ci)
		cancel()
		if err == nil && state.Status == facts.StatusDraining {
			p.Asked, p.Adopted, p.Verified = true, true, true
			p.note(now, "ECS says DRAINING: somebody else has set it")
			return nil
		}
		if err := d.ECS.SetState(ctx, ci, facts.StatusDraining); err != nil {
			d.once(now, "ask "+err.Error(), "DRAINING is not set: %v", err)
			return err
		}
		p.Asked = true
		p.note(now, "DRAINING was asked for")
	}
	state, err := d.ECS.State(ctx, ci)
	switch {
	case err != nil:
		return err
	case state.Status == facts.StatusDraining:
		p.Verified = true
		p.note(now, "ECS says DRAINING")
		return nil
	}
	p.Asked = false
	return fmt.Errorf("cannot drain: ECS says %s after DRAINING was asked for", state.Status)
}

// describe says once which services cannot move their tasks away.
func (d *Duty) describe(ctx context.Context, ci facts.ContainerInstance, now facts.Moment, first []task) {
	var services []string
	for _, t := range first {
		if name := t.Service(); name != "" && !slices.Contains(services, name) {
			services = append(services, name)
		}
	}
	if len(services) == 0 || d.told["services"] {
		return
	}
	all, err := d.ECS.Services(ctx, ci, services)
	if err != nil {
		return // it is said again, by the next pass or not at all: nothing depends on it
	}
	var stuck []string
	for _, s := range all {
		if !s.Daemon && s.MinimumHealthyPercent >= 100 && s.MaximumPercent <= 100 {
			stuck = append(stuck, s.Name)
		}
	}
	d.once(now, "services", "%s to leave: %s", counted(first), names(first))
	if len(stuck) > 0 {
		p := "ECS cannot move the tasks of %s: minimumHealthyPercent is 100 and maximumPercent leaves no room for others"
		d.once(now, "stuck", p, strings.Join(stuck, ", "))
	}
}

// once notes what would else be noted in every pass.
func (d *Duty) once(now facts.Moment, key, format string, args ...any) {
	if d.told[key] {
		return
	}
	mark(&d.told, key, true)
	d.plan.note(now, format, args...)
}

// advance stops what is due and notes how far the node has got.
func (d *Duty) advance(ctx context.Context, c Config, i facts.Interruption, ci facts.ContainerInstance, now facts.Moment, s seen, first, last []task) error {
	p := d.plan
	left, bounded := p.Left(now)
	final := i.Hard || i.Force
	var errs []error
	if len(first) > 0 || !s.certain() {
		errs = append(errs, d.stop(ctx, ci, now, c.stops(first, left, bounded, final, s.ecs), left, bounded))
	} else if p.EmptyAt == (facts.Moment{}) {
		p.EmptyAt = now
		p.note(now, "no task is left but what leaves last")
	}
	lastChance := bounded && final && left <= time.Duration(c.StopBefore)/4
	flushed := p.EmptyAt != (facts.Moment{}) && len(first) == 0 && -p.EmptyAt.Add(time.Duration(c.Flush)).Left(now) >= 0
	if len(last) > 0 && (flushed || lastChance) {
		var all []stop
		for _, t := range last {
			if s.ecs && !lastChance {
				all = append(all, stop{task: t})
			} else {
				all = append(all, c.containers(t)...)
			}
		}
		errs = append(errs, d.stop(ctx, ci, now, all, left, bounded))
	}
	drained := len(first)+len(last) == 0 && s.certain() && (p.Verified || !ci.Registered() || lastChance)
	if drained && p.DrainedAt == (facts.Moment{}) {
		p.DrainedAt = now
		p.note(now, "the node is drained")
	}
	if bounded && left <= 0 && p.DrainedAt == (facts.Moment{}) && !p.Missed {
		p.Missed = true
		p.note(now, "the deadline has passed, %s left: %s", counted(slices.Concat(first, last)), names(slices.Concat(first, last)))
	}
	if p.DrainedAt != (facts.Moment{}) {
		for _, st := range i.Standing {
			if st.Source == facts.NoticeShutdown {
				d.Drained.Set(st.Key())
			}
		}
	}
	return errors.Join(errs...)
}

// stop tells tasks and containers to stop, and those that still run after a
// while again.
func (d *Duty) stop(ctx context.Context, ci facts.ContainerInstance, now facts.Moment, all []stop, left time.Duration, bounded bool) error {
	var errs []error
	for _, s := range all {
		if at, told := d.plan.Stops[s.key()]; told && now.Wall.Sub(at).Abs() < repeatStop {
			continue
		}
		var err error
		what := s.task.name()
		if s.container.ID == "" {
			err = d.ECS.StopTask(ctx, ci, s.task.ARN, "the container instance is drained: "+strings.Join(d.plan.For, ", "))
		} else {
			what += ", container " + s.container.Labels[facts.LabelContainerName]
			timeout := time.Hour // a soft deadline kills nothing
			if bounded {
				timeout = max(left-time.Second, time.Second)
			}
			short, cancel := context.WithTimeout(ctx, stopTime)
			err = d.Docker.Stop(short, s.container.ID, timeout)
			if short.Err() != nil && ctx.Err() == nil {
				err = nil // it has its signal; how it ends is seen by the next pass
			}
			cancel()
		}
		if err != nil {
			errs = append(errs, err)
			if s.container.ID == "" {
				d.ecsErr = err // the next pass goes without it
			}
			continue
		}
		if _, told := d.plan.Stops[s.key()]; !told {
			d.plan.note(now, "told to stop: %s", what)
		}
		mark(&d.plan.Stops, s.key(), now.Wall.UTC().Round(0))
	}
	return errors.Join(errs...)
}

// undo makes the instance ACTIVE again, if it was we who drained it, once the
// node is well.
func (d *Duty) undo(ctx context.Context, ci facts.ContainerInstance, now facts.Moment) (duty.Outcome, error) {
	p := d.plan
	if !p.Undoing {
		p.Undoing = true
		p.note(now, "no notice stands any longer")
	}
	end := func(format string, args ...any) (duty.Outcome, error) {
		p.note(now, format, args...)
		p.EndedAt, p.Outcome = now, p.Milestones[len(p.Milestones)-1].What
		d.Drained.Set("")
		return duty.Outcome{Summary: p.Outcome}, nil
	}
	switch at, _ := d.Identity.Get(); {
	case p.Adopted:
		return end("the instance stays DRAINING: somebody else has set it")
	case !p.Asked:
		return end("nothing is to be undone: DRAINING was never set")
	case at.IsZero():
		return duty.Outcome{}, duty.WaitingFor("the identity of the node, before it is ACTIVE again")
	case !ci.Registered():
		return end("the node is not registered: nothing is to be undone")
	}
	state, err := d.ECS.State(ctx, ci)
	if errors.Is(err, facts.ErrAbsent) {
		return end("ECS does not know the instance any longer")
	}
	if err == nil && state.Status == facts.StatusDraining {
		if err = d.ECS.SetState(ctx, ci, facts.StatusActive); err == nil {
			state, err = d.ECS.State(ctx, ci)
		}
	}
	if err != nil {
		return duty.Outcome{}, err
	}
	if state.Status == facts.StatusDraining {
		return duty.Outcome{Again: soon}, errors.New("cannot undo the drain: ECS says DRAINING after ACTIVE was asked for")
	}
	return end("ECS says %s: the drain is undone", state.Status)
}

func (d *Duty) summary(now facts.Moment, first, last []task) string {
	p := d.plan
	clock := "no deadline"
	if left, bounded := p.Left(now); bounded && left > 0 {
		clock = left.Round(time.Second).String() + " left"
	} else if bounded {
		clock = "the deadline has passed"
	}
	switch {
	case p.DrainedAt != (facts.Moment{}):
		return "drained"
	case len(first) > 0:
		return fmt.Sprintf("%s to leave, %s: %s", counted(first), clock, names(first))
	case len(last) > 0:
		return fmt.Sprintf("only what leaves last is left, %s: %s", clock, names(last))
	}
	return "nothing is left, " + clock
}

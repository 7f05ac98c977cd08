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
	"reflect"
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
	Jobs         Jobs
	// Scheduled are the jobs that run at set times and were begun, by the names of
	// their schedules; nil: there are none.
	Scheduled func() (map[string]string, error)
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
	heardECS bool            // it has answered in this process
	ecsErr   error           // of the latest question
	here     map[string]bool // ARNs of the tasks that Docker or the agent had in the latest pass
	set      time.Time       // when ECS took DRAINING
	proven   time.Time       // when it last said so
	found    time.Time       // when the container instance was last looked for
	group    string
	hooks    map[string]time.Time // when each lifecycle hook is tried next
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "drain" }

// Paces and bounds of a drain.
const (
	soon      = time.Second
	stateTime = 300 * time.Millisecond // for ECS to say how the instance stood
	stopTime  = 2 * time.Second        // to hand tasks and containers their stop
	proveTime = 30 * time.Second       // how often DRAINING is proven again
	settle    = 5 * time.Second        // what ECS says may lag behind what it took
	findPause = 10 * time.Second
	hurry     = 10 * time.Second // how long an empty host that shuts down waits for ECS to take DRAINING
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
	var errs []error
	if !d.loaded {
		p, err := loadOpen(d.FS)
		d.plan, d.loaded = p, true
		errs = append(errs, err) // a record that is damaged must not keep the node from draining
	}
	if !d.plan.Open() && !i.Drain {
		if _, known := d.Plan.Get(); !known {
			d.Plan.Set(d.plan) // none is under way
		}
		d.Drained.Set("")
		out := duty.Outcome{Summary: "the node stays"}
		if err := keepRoom(d.FS); err != nil {
			out.Warnings = []string{err.Error()}
		}
		return out, errors.Join(errs...)
	}
	d.begin(i)
	before := len(d.plan.Milestones)
	out, err := d.work(ctx, c, i)
	errs = append(errs, err, d.keep())
	out.Changed = len(d.plan.Milestones) > before
	if !d.plan.Open() {
		errs = append(errs, prune(d.FS))
	}
	return out, errors.Join(errs...)
}

// keep writes the plan down and publishes it, if there is news.
func (d *Duty) keep() error {
	p := d.plan.clone()
	if last, ok := d.Plan.Get(); !ok || last == nil || !reflect.DeepEqual(last, p) {
		d.Plan.Set(p)
	}
	return write(d.FS, p)
}

// begin opens a plan, or has the open one follow what is known now.
func (d *Duty) begin(i facts.Interruption) {
	now := d.Clock.Now()
	if !d.plan.Open() {
		began := now
		began.Wall = began.Wall.UTC().Round(0)
		d.plan = &Plan{Began: began, BootID: now.BootID}
		d.askedECS, d.fromECS, d.heardECS, d.ecsErr, d.here = time.Time{}, nil, false, nil, nil
		d.group, d.hooks, d.found = "", nil, time.Time{}
		if instance, ok := d.Instance.Get(); ok {
			d.plan.Instance = instance.ID
		}
	}
	p := d.plan
	if p.BootID != now.BootID {
		p.BootID, p.Verified, p.Gone = now.BootID, false, false
		d.note("the node has rebooted")
	}
	if !i.Drain {
		return
	}
	if p.Undoing {
		p.Undoing, p.Asked, p.Verified = false, false, false
		d.note("a notice stands again")
	}
	if p.Deadline != i.Deadline && (i.Deadline == (facts.Moment{}) || i.Deadline.Left(now) > 0) {
		p.Missed = false
	}
	p.Deadline, p.Hard = i.Deadline, i.Hard
	for _, s := range i.Standing {
		if s.Drain && !slices.Contains(p.For, s.Key()) {
			p.For = append(p.For, s.Key())
			d.note("notice: %s %s%s", s.Source, s.What, because(s.Why))
		}
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

// note adds a milestone as of now.
func (d *Duty) note(format string, args ...any) { d.plan.note(d.Clock.Now(), format, args...) }

// once notes what would else be noted in every pass.
func (d *Duty) once(kind, format string, args ...any) {
	if !d.plan.Told[kind] {
		mark(&d.plan.Told, kind, true)
		d.note(format, args...)
	}
}

// clock returns the time until the deadline, and that until what is left must
// have been told to stop, as of now; bounded and final: whether there is one.
func (d *Duty) clock(i facts.Interruption) (left time.Duration, bounded bool, stopIn time.Duration, final bool) {
	now := d.Clock.Now()
	left, bounded = d.plan.Left(now)
	if final = i.StopBy != (facts.Moment{}); final {
		stopIn = i.StopBy.Left(now)
	}
	return left, bounded, stopIn, final
}

// patience is how long an answer is waited for: an eighth of the time there is.
func patience(stopIn time.Duration, final bool) time.Duration {
	if !final {
		return 10 * time.Second
	}
	return min(max(stopIn/8, 500*time.Millisecond), 3*time.Second)
}

func (d *Duty) work(ctx context.Context, c Config, i facts.Interruption) (duty.Outcome, error) {
	if !i.Drain {
		if silent := d.silent(i); len(silent) > 0 {
			return duty.Outcome{Again: soon}, duty.WaitingFor("%s to say that no notice stands, before the drain is undone", strings.Join(silent, ", "))
		}
		return d.undo(ctx, c)
	}
	_, _, stopIn, final := d.clock(i)
	limit := patience(stopIn, final)
	known, err := d.containerInstance(ctx, limit)
	errs := []error{err}
	if err != nil {
		d.once("container instance", "the container instance is not known: %v", err)
	}
	errs = append(errs, d.own(ctx)...)
	var asking []func(context.Context) (func(), error)
	if ask := d.ask(); ask != nil {
		asking = append(asking, ask)
	}
	s, asked := d.look(ctx, limit, asking...)
	s.jobs = d.scheduled(ctx, limit)
	errs = append(errs, asked...)
	if len(asked) > 0 && asked[0] != nil && !d.plan.Asked {
		d.once("ask", "DRAINING is not set: %v", asked[0])
	}
	first, last := c.sort(s.tasks)
	errs = append(errs, d.keep(), d.advance(ctx, c, i, s, first, last, known), d.lifecycle(ctx, c, i, limit))
	d.describe(ctx, limit, first)
	event := ""
	if d.plan.Tried || d.plan.Adopted || known && !d.plan.Container.Registered() {
		event = onNotice
	}
	d.hook(ctx, c, event, limit)
	if d.plan.DrainedAt != (facts.Moment{}) {
		d.hook(ctx, c, onDrained, limit)
	}
	out := duty.Outcome{Again: soon, Summary: d.summary(first, last, s.jobs)}
	if d.plan.DrainedAt != (facts.Moment{}) {
		out.Again = ecsPause
	}
	if !s.certain() {
		errs = append(errs, s.errs...)
	}
	return out, errors.Join(errs...)
}

// silent are the sources of this drain's notices that have not answered yet.
func (d *Duty) silent(i facts.Interruption) []string {
	return slices.DeleteFunc(slices.Clone(i.Silent), func(source string) bool {
		return !slices.ContainsFunc(d.plan.For, func(key string) bool { return strings.HasPrefix(key, source+"/") })
	})
}

// describe says once which tasks are to leave, and which services cannot move
// theirs away.
func (d *Duty) describe(ctx context.Context, limit time.Duration, first []task) {
	services := servicesOf(first)
	if len(first) > 0 {
		d.once("tasks", "%s to leave: %s", counted(first), names(first))
	}
	if len(services) == 0 || d.plan.Told["services"] || d.ecsErr != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	all, err := d.ECS.Services(ctx, d.plan.Container, services)
	mark(&d.plan.Told, "services", true) // nothing depends on it: it is not tried again
	if err != nil {
		return
	}
	var stuck []string
	for _, s := range all {
		if s.Stuck() {
			stuck = append(stuck, s.Name)
		}
	}
	if len(stuck) > 0 {
		d.note("ECS cannot move the tasks of %s: %s", strings.Join(stuck, ", "), noRoom)
	}
}

const noRoom = "minimumHealthyPercent is 100 and maximumPercent leaves no room for others"

func servicesOf(tasks []task) (all []string) {
	for _, t := range tasks {
		if name := t.Service(); name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// advance stops what is due and notes how far the node has got.
func (d *Duty) advance(ctx context.Context, c Config, i facts.Interruption, s seen, first, last []task, known bool) error {
	p := d.plan
	left, bounded, stopIn, final := d.clock(i)
	if len(first) > 0 {
		p.EmptyAt, p.LetGo = facts.Moment{}, false
	}
	if len(first)+len(last) > 0 && p.DrainedAt != (facts.Moment{}) {
		p.DrainedAt = facts.Moment{}
		d.Drained.Set("")
		d.note("%s came after the node was drained: %s", counted(slices.Concat(first, last)), names(slices.Concat(first, last)))
	}
	all := c.stops(first, left, bounded, stopIn, final)
	if s.certain() && c.companions(first) && len(all) == 0 {
		for _, t := range first {
			all = append(all, stop{task: t})
		}
	}
	if len(first) == 0 && len(s.jobs) > 0 {
		d.once("scheduled", "no task is left but what leaves last, which waits with the node for what runs at its time: %s", strings.Join(s.jobs, ", "))
	}
	if len(first)+len(s.jobs) == 0 && s.certain() && p.EmptyAt == (facts.Moment{}) {
		p.EmptyAt = d.Clock.Now()
		d.note("no task is left but what leaves last")
	}
	flushed := p.EmptyAt != (facts.Moment{}) && p.EmptyAt.Add(time.Duration(c.Flush)).Left(d.Clock.Now()) <= 0
	lastChance := c.lastChance(stopIn, final)
	if flushed || lastChance {
		for _, t := range last {
			all = append(all, stop{task: t})
			if lastChance {
				all = append(all, c.containers(t)...)
			}
		}
	}
	err := d.stop(ctx, c, all, stopIn, final)
	safe := p.Verified || p.Gone || known && !p.Container.Registered() || lastChance
	rest := len(first) + len(last)
	if !lastChance {
		rest += len(s.jobs)
	}
	if rest == 0 && s.certain() && safe && p.DrainedAt == (facts.Moment{}) {
		p.DrainedAt = d.Clock.Now()
		d.note("the node is drained")
	}
	if bounded && left <= 0 && p.DrainedAt == (facts.Moment{}) && !p.Missed {
		p.Missed = true
		if s.certain() {
			d.note("the deadline has passed, %s left: %s", counted(slices.Concat(first, last)), names(slices.Concat(first, last)))
		} else {
			d.note("the deadline has passed, and what is left cannot be told")
		}
	}
	for _, st := range i.Standing {
		empty := rest == 0 && s.certain() && st.Seen.Add(hurry).Left(d.Clock.Now()) <= 0
		if st.Source != facts.NoticeShutdown || p.DrainedAt == (facts.Moment{}) && !empty {
			continue
		}
		if p.DrainedAt == (facts.Moment{}) {
			d.once("hurry", "nothing is left: the host need not wait until ECS says DRAINING")
			p.LetGo = true
		}
		d.Drained.Set(st.Key())
	}
	return err
}

func (d *Duty) summary(first, last []task, jobs []string) string {
	p, now := d.plan, d.Clock.Now()
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
	case len(jobs) > 0:
		return fmt.Sprintf("only what runs at its time is left, %s: %s", clock, strings.Join(jobs, ", "))
	case len(last) > 0:
		return fmt.Sprintf("only what leaves last is left, %s: %s", clock, names(last))
	}
	return "nothing is left, " + clock
}

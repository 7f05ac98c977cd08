// Package nodetasks is the duty that keeps exactly one of each node task running
// on the node, such as a log shipper and a metrics agent.
//
// What runs is told by Docker and the ECS agent. The API of ECS is asked only
// where that differs from what should run, and a StartTask is written down before
// it is made, since ECS has no token that makes it idempotent.
package nodetasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// ECS is the API of ECS.
type ECS interface {
	// StartTask starts a task. An error that is facts.ErrUnavailable and not
	// facts.ErrThrottled leaves open whether it was started.
	StartTask(ctx context.Context, on facts.ContainerInstance, t facts.TaskStart) (facts.Task, error)
	StopTask(ctx context.Context, on facts.ContainerInstance, arn, reason string) error
	// StartedBy returns the node's tasks that were started by somebody and the
	// others named, those that are STOPPED too.
	StartedBy(ctx context.Context, on facts.ContainerInstance, startedBy string, also ...string) ([]facts.Task, error)
	Tasks(ctx context.Context, on facts.ContainerInstance) ([]facts.Task, error)
	Newest(ctx context.Context, region, definition string) (revision int, err error)
	Capacity(ctx context.Context, on facts.ContainerInstance) (facts.Capacity, error)
	Services(ctx context.Context, on facts.ContainerInstance, names []string) ([]facts.Service, error)
}

// Agent is the ECS agent of the node.
type Agent interface {
	Tasks(ctx context.Context) ([]facts.Task, error)
}

// Docker is the Docker Engine.
type Docker interface {
	Containers(ctx context.Context) ([]facts.Container, error)
}

// Duty keeps the node tasks running.
type Duty struct {
	FS           fsx.FS
	ID           string // of the node, for its own time in the fleet
	Config       cell.Reader[Config]
	Instance     cell.Reader[facts.Instance]
	Cluster      cell.Reader[string]
	Registration cell.Reader[facts.ContainerInstance]
	Drains       cell.Reader[bool] // the node is to be empty, or is not in service again yet
	Whole        cell.Reader[bool] // nothing of the configuration is left out
	ECS          ECS
	Agent        Agent
	Docker       Docker
	Supply       render.Supply
	// Tasks gets how each stands, in the order of their names.
	Tasks *cell.Cell[[]facts.NodeTask]

	loaded bool
	state  state
	kept   []byte

	on       facts.ContainerInstance
	region   string
	managed  *facts.Capacity // of on
	askedAt  time.Time       // for it
	services map[string]serviceSeen

	throttles int       // in a row
	calm      time.Time // ECS is not asked before
	throttled error
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "nodetasks" }

const (
	calmLeast    = 4 * time.Second // twice, after a throttled call, and
	calmMost     = time.Minute     // after several
	lookTime     = 3 * time.Second
	newestPause  = 15 * time.Minute // between questions for the newest revision
	newestAgain  = 5 * time.Minute  // after one without an answer
	managedPause = 15 * time.Minute // for which an answer counts how instances are managed
	managedAgain = 5 * time.Minute  // and one for which nothing is started
	sideTime     = 3 * time.Second  // for a question that no dead task waits for
	servicePause = 5 * time.Minute  // between questions about a service whose task is missing
	maxRounds    = 6                // of a decision, each after another answer
)

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	var errs []error
	if !d.loaded {
		s, err := load(d.FS)
		d.state, d.loaded = s, true
		errs = append(errs, err)
	}
	if len(c.Tasks)+len(d.state.Tasks) == 0 {
		d.Tasks.Set(nil)
		d.Supply.Tell(render.Inputs{})
		return duty.Outcome{Summary: "no node task is configured"}, errors.Join(errs...)
	}
	instance, known := d.Instance.Get()
	on, _ := d.Registration.Get()
	drains, told := d.Drains.Get()
	switch {
	case !told:
		return duty.Outcome{}, errors.Join(append(errs, duty.WaitingFor("whether the node drains"))...)
	case !known:
		return duty.Outcome{}, errors.Join(append(errs, duty.WaitingFor("the identity of the instance"))...)
	case !on.Registered():
		return duty.Outcome{}, errors.Join(append(errs, duty.WaitingFor("the ECS agent to be registered"))...)
	}
	if on != d.on {
		d.on, d.managed = on, nil
	}
	if d.region = instance.Region; d.state.Instance != on.ARN { // tasks are those of a container instance
		d.state = state{Instance: on.ARN, Tasks: map[string]record{}}
	}
	containers, tasks, err := d.look(ctx)
	if err != nil {
		return duty.Outcome{}, errors.Join(append(errs, err)...)
	}
	in := d.Supply.Inputs(instance, d.cluster())
	out, passErrs := d.pass(ctx, c, drains, in, containers, tasks)
	d.Supply.Tell(in)
	errs = append(errs, passErrs...)
	d.kept, err = save(d.FS, d.state, d.kept)
	return out, errors.Join(append(errs, err)...)
}

func (d *Duty) cluster() string {
	name, _ := d.Cluster.Get()
	return name
}

// look asks Docker and the agent. One that is down is waited for: what cannot be
// seen must not be taken for gone.
func (d *Duty) look(ctx context.Context) (containers []facts.Container, tasks []facts.Task, err error) {
	errs := duty.Together(ctx, lookTime,
		func(ctx context.Context) (func(), error) {
			all, err := d.Docker.Containers(ctx)
			return func() { containers = all }, err
		},
		func(ctx context.Context) (func(), error) {
			all, err := d.Agent.Tasks(ctx)
			return func() { tasks = all }, err
		})
	for i, what := range []string{"Docker", "the ECS agent"} {
		if errs[i] != nil {
			return nil, nil, duty.WaitingFor("%s: %w", what, errs[i])
		}
	}
	return containers, tasks, nil
}

// pass decides about each task, and acts once for each at most.
func (d *Duty) pass(ctx context.Context, c Config, drains bool, in render.Inputs, containers []facts.Container, tasks []facts.Task) (out duty.Outcome, errs []error) {
	v := view{now: time.Now(), id: d.ID, drains: drains, config: c, startedBy: startedBy(in.Instance)}
	age := time.Since(d.askedAt)
	if d.managed != nil && (age > managedPause || pins(*d.managed) != "" && age >= managedAgain) {
		d.managed = nil
	}
	v.answers.managed = d.managed
	d.moveNames(c)
	var all []facts.NodeTask
	up := 0
	for _, name := range slices.Sorted(maps.Keys(c.Tasks)) {
		one := v
		one.task = c.Tasks[name]
		one.family = d.familyOf(name, one.task, containers, tasks)
		one.tasks, one.orphan = ofFamily(one.family, containers, tasks)
		one.foreign = one.task.Recognise.find(containers)
		one.turn = d.turn(name)
		var s step
		if cmp.Or(one.task.Mode, StartTask) == Service {
			s = d.service(ctx, one)
		} else {
			s = d.one(ctx, name, &one, in)
		}
		v.answers = one.answers // what was said of all
		v.all, v.active = nil, nil
		s.status.Name = name
		all = append(all, s.status)
		if s.status.Up() {
			up++
		}
		if s.warn != "" {
			out.Warnings = append(out.Warnings, name+": "+s.warn)
		}
		if s.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, s.err))
		}
		if s.again > 0 {
			out.Again = sooner(out.Again, s.again)
		}
		out.Changed = out.Changed || s.do == start || s.do == stop
	}
	errs = append(errs, d.forget(ctx, c)...)
	d.Tasks.Set(all)
	out.Summary = fmt.Sprintf("%d of %d run", up, len(c.Tasks))
	return out, errs
}

// turn reports whether no other node task is being replaced.
func (d *Duty) turn(name string) bool {
	for other, r := range d.state.Tasks {
		if other != name && !r.Change.Begun.IsZero() && time.Since(r.Change.Begun) < replaces {
			return false
		}
	}
	return true
}

// familyOf is the family that counts for a node task: that of what runs, as long
// as it does, and else the one that is wanted.
func (d *Duty) familyOf(name string, t Task, containers []facts.Container, tasks []facts.Task) string {
	r := d.state.Tasks[name]
	if r.Family == "" || r.Family == t.Family() {
		return t.Family()
	}
	if there, _ := ofFamily(r.Family, containers, tasks); len(there) > 0 || r.Running.ARN != "" || r.Calling != nil {
		return r.Family
	}
	return t.Family()
}

// moveNames keeps what is known of a node task that has another name now.
func (d *Duty) moveNames(c Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Tasks)) {
		if _, known := d.state.Tasks[name]; known {
			continue
		}
		for _, former := range slices.Sorted(maps.Keys(d.state.Tasks)) {
			if _, is := c.Tasks[former]; !is && d.state.Tasks[former].Family == c.Tasks[name].Family() {
				d.state.Tasks[name] = d.state.Tasks[former]
				delete(d.state.Tasks, former)
				break
			}
		}
	}
}

// one decides about a task until there is something to be done, and does it.
func (d *Duty) one(ctx context.Context, name string, v *view, in render.Inputs) (s step) {
	r := d.state.Tasks[name]
	if r.Family == "" || r.Running.ARN == "" && r.Calling == nil {
		r.Family = v.family
	}
	v.want, v.wantErr = d.wanted(ctx, v, &r, in)
	defer func() {
		if s.warn == "" && r.Newest > 0 && v.newestErr != nil {
			s.warn = "newer revisions are not seen: " + v.newestErr.Error()
		}
	}()
	for range maxRounds {
		if r, s = v.decide(r); s.do == nothing {
			break
		}
		d.state.Tasks[name] = r
		if v.now.Before(d.calm) {
			s.err, s.status.Why, s.again, s.do = d.throttled, d.throttled.Error(), d.calm.Sub(v.now), nothing
			if s.status.State == "" {
				s.status.State = facts.NodeTaskWaiting
			}
			break
		}
		if s.do == start || s.do == stop {
			r, s = d.act(ctx, name, r, s, *v)
			d.heed(s.err)
			break
		}
		if err := d.ask(ctx, v, r, s.do); err != nil {
			d.heed(err)
			s.err, s.status.Why, s.do = err, err.Error(), nothing
			if s.status.State == "" {
				s.status.State = facts.NodeTaskWaiting
			}
			break
		}
	}
	d.state.Tasks[name] = r
	return s
}

// heed leaves ECS alone for a while that throttles: its rate is shared by all
// nodes of the account, so that each waits at its own time, and longer each time.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
func (d *Duty) heed(err error) {
	if err == nil {
		d.throttles = 0
	}
	if !errors.Is(err, facts.ErrThrottled) {
		return
	}
	d.throttles++
	pause := min(calmLeast<<min(d.throttles-1, 5), calmMost)
	own := when.Offset(fmt.Sprintf("%s/throttled/%d", d.ID, d.throttles), pause)
	d.calm, d.throttled = time.Now().Add(pause/2+own), err
}

// wanted renders what a task is to be started with.
func (d *Duty) wanted(ctx context.Context, v *view, r *record, in render.Inputs) (spec, error) {
	t := v.task
	revision := t.revision()
	if revision == 0 {
		if v.now.After(r.NewestAt) && !v.drains && !v.now.Before(d.calm) {
			asking, cancel := context.WithTimeout(ctx, sideTime)
			newest, err := d.ECS.Newest(asking, d.region, t.Family())
			cancel()
			if d.heed(err); err == nil {
				r.Newest, r.NewestAt = newest, v.now.Add(newestPause)
			} else {
				v.newestErr, r.NewestAt = err, v.now.Add(newestAgain)
			}
		}
		if r.Newest == 0 {
			if r.NewestAt = v.now; v.newestErr == nil {
				v.newestErr = duty.WaitingFor("ECS to tell the newest revision of %s", t.Family())
			}
			return spec{}, v.newestErr
		}
		revision = r.Newest
	}
	s := spec{Definition: t.Family() + ":" + strconv.Itoa(revision), Container: cmp.Or(t.Container, t.Family())}
	for _, variable := range slices.Sorted(maps.Keys(t.Environment)) {
		text, err := t.Environment[variable].Render(in)
		if errors.Is(err, facts.ErrUnavailable) {
			return s, duty.WaitingFor("%s: %w", variable, err)
		}
		if err != nil {
			return s, fmt.Errorf("cannot make %s: %w", variable, err)
		}
		if text != "" {
			if s.Environment == nil {
				s.Environment = map[string]string{}
			}
			s.Environment[variable] = text
		}
	}
	return s, nil
}

func startedBy(instance facts.Instance) string { return "ecsnode/" + instance.ID }

// ask asks ECS what a decision depends on.
func (d *Duty) ask(ctx context.Context, v *view, r record, what action) error {
	switch what {
	case askManaged:
		if v.managedErr != nil {
			return v.managedErr
		}
		c, err := d.ECS.Capacity(ctx, d.on)
		if err != nil {
			v.managedErr = fmt.Errorf("nothing is started before it is known how the instances are managed: %w", err)
			return v.managedErr
		}
		d.managed, v.managed, d.askedAt = &c, &c, time.Now()
	case askStarted:
		if v.startedErr != nil {
			return v.startedErr // in this pass, for another task
		}
		instance, _ := d.Instance.Get()
		var also []string
		for _, name := range slices.Sorted(maps.Keys(d.state.Tasks)) { // the answer is for all of this pass
			one := d.state.Tasks[name]
			for _, arn := range []string{one.Running.ARN, one.Dead} {
				if arn != "" {
					also = append(also, arn)
				}
			}
		}
		tasks, err := d.ECS.StartedBy(ctx, d.on, startedBy(instance), also...)
		if err != nil {
			v.startedErr = fmt.Errorf("nothing is started before ECS says what was: %w", err)
			return v.startedErr
		}
		v.started = &tasks
	case askAll:
		tasks, err := d.ECS.Tasks(ctx, d.on)
		if err != nil {
			return err
		}
		v.all = &tasks
	case askActive:
		_, err := d.ECS.Newest(ctx, d.region, v.want.Definition)
		if err != nil && !errors.Is(err, facts.ErrAbsent) {
			return err
		}
		v.active = &err
	}
	return nil
}

// act starts or stops a task, and returns what is known afterwards.
func (d *Duty) act(ctx context.Context, name string, r record, s step, v view) (record, step) {
	if s.do == stop {
		if err := d.ECS.StopTask(ctx, d.on, s.arn, s.why); err != nil {
			s.err = err
			return r, s
		}
		if r.Running.ARN == s.arn {
			r.Running.Told = v.now
			s.status.State = facts.NodeTaskStopping
		}
		s.status.Why, s.again = s.why, look
		return r, s
	}
	if drains, told := d.Drains.Get(); drains || !told { // since this pass began
		s.status.State, s.do = facts.NodeTaskLeaving, nothing
		return r, s
	}
	now := time.Now()
	r.Calling, r.Family = &call{s.spec, now}, familyIn(s.spec.Definition)
	d.state.Tasks[name] = r
	var err error
	if d.kept, err = save(d.FS, d.state, d.kept); err != nil {
		r.Calling, s.err = nil, err // what could not be told afterwards is not begun
		return r, s
	}
	instance, _ := d.Instance.Get()
	order := facts.TaskStart{Definition: s.spec.Definition, StartedBy: startedBy(instance)}
	if len(s.spec.Environment) > 0 {
		order.Environment = map[string]map[string]string{s.spec.Container: s.spec.Environment}
	}
	started, err := d.ECS.StartTask(ctx, d.on, order)
	if err == nil {
		r.Running = run{ARN: started.ARN, Spec: s.spec, At: now, Ours: true}
		r.Calling, r.Tries, r.Refusal, r.NextTry, r.NextAsk = nil, 0, "", time.Time{}, now.Add(appears)
		s.status.Task, s.status.Definition, s.again = started.ARN, s.spec.Definition, time.Second
		return r, s
	}
	return d.notStarted(r, s, v, now, err)
}

// notStarted takes in why a StartTask did not start a task, or may not have.
func (d *Duty) notStarted(r record, s step, v view, now time.Time, err error) (record, step) {
	s.status.State, s.status.Why = facts.NodeTaskWaiting, err.Error()
	if errors.Is(err, facts.ErrUnavailable) && !errors.Is(err, facts.ErrThrottled) {
		r.NextAsk = now.Add(time.Second)
		s.err, s.again = fmt.Errorf("%w: whether it was started is not known yet", err), time.Second
		return r, s
	}
	r.Calling = nil
	var refused *facts.TaskRefused
	switch isRefused := errors.As(err, &refused); {
	case isRefused && s.holds && strings.HasPrefix(refused.Reason, "RESOURCE"):
		r.NextTry = now.Add(roomPause)
		s.err = duty.WaitingFor("ECS to let go of what the task before had: %w", err)
	case isRefused && refused.Reason == "AGENT":
		r.NextTry = now.Add(agentPause)
		s.err = duty.WaitingFor("the ECS agent to be connected to ECS: %w", err)
	default:
		r.Tries++
		r.NextTry = now.Add(pause(v.id+"/"+r.Family, r.Tries))
		s.err = advise(err, refused)
		r.Refusal = s.err.Error()
		switch {
		case r.Good == nil || !errors.Is(err, facts.ErrTaskDefinition):
		case r.Good.hash() != s.spec.hash():
			r = r.takenBack(s.spec, err.Error())
		default: // there is no way back: what is wanted gets another chance
			r.Good, r.Bad = nil, nil
		}
	}
	s.status.Next, s.again = r.NextTry.UTC().Truncate(time.Millisecond), r.NextTry.Sub(now)
	return r, s
}

// advise says what to do about a refusal.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
func advise(err error, refused *facts.TaskRefused) error {
	if refused == nil {
		return err
	}
	kind, _, _ := strings.Cut(refused.Reason, ":")
	switch kind {
	case "RESOURCE":
		return fmt.Errorf("%w: the node has too little left for it: let other tasks take less, or take larger instances", err)
	case "MISSING", "INACTIVE":
		return fmt.Errorf("%w: ECS does not know this container instance any longer: ecsnode status tells what it is registered as", err)
	case "ATTRIBUTE":
		return fmt.Errorf("%w: the task definition needs an attribute that this node does not have", err)
	}
	return err
}

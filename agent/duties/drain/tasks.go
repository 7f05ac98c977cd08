package drain

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// task is a task of the node as all who know of it see it together.
type task struct {
	facts.Task
	byECS      bool              // ECS lists it: its group is known
	containers []facts.Container // of it, that run
}

// name is what an operator knows it by.
func (t task) name() string {
	id := t.ARN[strings.LastIndex(t.ARN, "/")+1:]
	if t.Family == "" {
		return id
	}
	return t.Family + " " + id[:min(8, len(id))]
}

// seen is what is there, and who has said so in this pass.
type seen struct {
	tasks              []task
	ecs, agent, docker bool
	errs               []error
	jobs               []string // schedules that run, or may
}

// internal begins the names of containers that the agent runs for a task's
// network, and removes after the others: aws/amazon-ecs-agent:agent/api/task/task.go
const internal = "~internal~ecs~"

// union puts together what ECS, its agent and Docker say. ECS alone knows tasks
// that are not here yet or no longer; only Docker knows what really runs.
func union(fromECS, fromAgent []facts.Task, containers []facts.Container) []task {
	all := map[string]*task{}
	get := func(arn string) *task {
		if all[arn] == nil {
			all[arn] = &task{Task: facts.Task{ARN: arn}}
		}
		return all[arn]
	}
	for _, t := range fromAgent {
		get(t.ARN).Task = t
	}
	for _, t := range fromECS {
		known := get(t.ARN)
		known.Task, known.byECS = t, true
	}
	for _, c := range containers {
		if !c.OfTask() || strings.HasPrefix(c.Labels[facts.LabelContainerName], internal) {
			continue
		}
		t := get(c.Labels[facts.LabelTaskARN])
		if t.Family == "" {
			t.Family = c.Labels[facts.LabelFamily]
		}
		t.containers = append(t.containers, c)
	}
	tasks := make([]task, 0, len(all))
	for _, arn := range slices.Sorted(maps.Keys(all)) {
		tasks = append(tasks, *all[arn])
	}
	return tasks
}

// How often ECS is asked for tasks while local truth can be seen: reading is
// throttled for the account, with all its nodes. AWS: AmazonECS, request-throttling
const (
	ecsPause     = 5 * time.Second
	drainedPause = 30 * time.Second
)

// look asks Docker, the agent and, where it is due, ECS, together and for at
// most limit. What ECS said last is kept while it says nothing.
func (d *Duty) look(ctx context.Context, limit time.Duration, more ...func(context.Context) (func(), error)) (seen, []error) {
	var s seen
	var fromAgent []facts.Task
	var containers []facts.Container
	ask := d.ecsDue()
	calls := []func(context.Context) (func(), error){
		func(ctx context.Context) (func(), error) {
			all, err := d.Docker.Containers(ctx)
			return func() { containers, s.docker = all, err == nil }, err
		},
		func(ctx context.Context) (func(), error) {
			all, err := d.Agent.Tasks(ctx)
			return func() { fromAgent, s.agent = all, err == nil }, err
		},
	}
	if ask {
		d.askedECS = time.Now()
		d.ecsErr = fmt.Errorf("%w: ECS gives no answer", facts.ErrUnavailable)
		ci := d.plan.Container
		calls = append(calls, func(ctx context.Context) (func(), error) {
			all, err := d.ECS.Tasks(ctx, ci)
			return func() {
				if d.ecsErr = err; err == nil {
					d.fromECS, d.heardECS = all, true
				}
			}, err
		})
	}
	errs := duty.Together(ctx, limit, append(calls, more...)...)
	s.ecs = d.heardECS && d.ecsErr == nil && d.plan.Container.Registered()
	s.errs = errs[:len(calls)]
	local := union(nil, fromAgent, containers)
	fromECS := d.fromECS
	if !s.ecs { // only what it said of tasks that are there
		fromECS = slices.DeleteFunc(slices.Clone(fromECS), func(t facts.Task) bool {
			return !slices.ContainsFunc(local, func(l task) bool { return l.ARN == t.ARN })
		})
	}
	s.tasks = union(fromECS, fromAgent, containers)
	here := map[string]bool{}
	for _, t := range local {
		here[t.ARN] = true
	}
	for arn := range d.here {
		if !here[arn] { // ECS hears of it in a moment, and what it says is waited for
			d.askedECS = time.Now().Add(soon - ecsPause)
		}
	}
	d.here = here
	return s, errs[len(calls):]
}

func (d *Duty) ecsDue() bool {
	pause := ecsPause
	if d.plan.DrainedAt != (facts.Moment{}) {
		pause = drainedPause
	}
	return d.plan.Container.Registered() && (d.askedECS.IsZero() || time.Since(d.askedECS) >= pause)
}

// certain reports whether what is not seen is not there.
func (s seen) certain() bool { return s.docker && (s.ecs || s.agent) }

// sort tells the tasks that the drain waits for from those that leave last.
// Tasks that are to be ignored are in neither.
func (c Config) sort(all []task) (first, last []task) {
	for _, t := range all {
		switch {
		case slices.Contains(c.LeaveLast, t.Family):
			last = append(last, t)
		case slices.Contains(c.LeaveWith, t.Family):
			first = append(first, t)
		case t.standalone() && c.policy(t.Family) == Ignore:
		default:
			first = append(first, t)
		}
	}
	return first, last
}

// standalone reports whether it is known that ECS leaves the task alone.
func (t task) standalone() bool { return t.byECS && t.Service() == "" }

// stop is one thing to be stopped: a task through ECS, or a container.
type stop struct {
	task      task
	container facts.Container // of it; none: the task
}

func (s stop) key() string {
	if s.container.ID != "" {
		return s.container.ID
	}
	return s.task.ARN
}

// repeatStop is how long after it was told to stop something is told again: its
// agent may have started it anew, by its restart policy.
const repeatStop = 5 * time.Second

// forced reports whether everything that is left is to be stopped.
func (c Config) forced(stopIn time.Duration, final bool) bool {
	return final && stopIn <= time.Duration(c.StopBefore)
}

// lastChance reports whether what leaves last can wait no longer either.
func (c Config) lastChance(stopIn time.Duration, final bool) bool {
	return final && stopIn <= time.Duration(c.StopBefore)/4
}

// stops decides which tasks are to be stopped through ECS now, and which
// containers through Docker. left is the time until the deadline, stopIn until
// what is left must have been told; bounded and final say whether there is such
// a time.
func (c Config) stops(first []task, left time.Duration, bounded bool, stopIn time.Duration, final bool) (all []stop) {
	for _, t := range first {
		asked := t.standalone() && !slices.Contains(c.LeaveWith, t.Family) && c.policy(t.Family) == Stop && (!bounded || left <= time.Duration(c.StopStandalone))
		if !asked && !c.forced(stopIn, final) {
			continue
		}
		if t.Desired != facts.TaskStopped {
			all = append(all, stop{task: t})
		}
		// Also while ECS answers: a task that is being taken off its load
		// balancer has not had its SIGTERM yet.
		if final && stopIn <= time.Duration(c.StopBefore)/2 {
			all = append(all, c.containers(t)...)
		}
	}
	return all
}

// companions reports whether all of these are tasks that leave with the others:
// these have gone.
func (c Config) companions(first []task) bool {
	return len(first) > 0 && !slices.ContainsFunc(first, func(t task) bool { return !slices.Contains(c.LeaveWith, t.Family) })
}

// containers are those of a task that are to be stopped now: its sidecars once
// they are alone.
func (c Config) containers(t task) (all []stop) {
	var sidecars []stop
	for _, one := range t.containers {
		s := stop{t, one}
		if c.sidecar(one.Labels[facts.LabelContainerName]) {
			sidecars = append(sidecars, s)
		} else {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return sidecars
	}
	return all
}

func names(tasks []task) string {
	var all []string
	for _, t := range tasks {
		all = append(all, t.name())
	}
	return strings.Join(all, ", ")
}

func counted(tasks []task) string {
	if len(tasks) == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", len(tasks))
}

package drain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

// seen is what is there. A part that could not be asked is told in errs.
type seen struct {
	tasks  []task
	ecs    bool // ECS has answered
	agent  bool // its agent has
	docker bool
	errs   error
}

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
		if !c.OfTask() {
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

// ecsPause is how often ECS is asked while local truth has tasks: reading is
// throttled for the account, with all its nodes. AWS: AmazonECS, request-throttling
const ecsPause = 5 * time.Second

func (d *Duty) look(ctx context.Context, ci facts.ContainerInstance) seen {
	var s seen
	fromAgent, err := d.Agent.Tasks(ctx)
	s.agent, s.errs = err == nil, err
	containers, err := d.Docker.Containers(ctx)
	s.docker, s.errs = err == nil, errors.Join(s.errs, err)
	local := union(nil, fromAgent, containers)
	if len(local) == 0 || d.askedECS.IsZero() || time.Since(d.askedECS) >= ecsPause {
		d.askedECS = time.Now()
		d.fromECS, d.ecsErr = nil, nil
		if ci.Registered() {
			d.fromECS, d.ecsErr = d.ECS.Tasks(ctx, ci)
		}
	}
	s.ecs, s.errs = d.ecsErr == nil, errors.Join(s.errs, d.ecsErr)
	s.tasks = union(d.fromECS, fromAgent, containers)
	return s
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

// stops decides what is to be stopped now. left is the time until the deadline,
// where there is one; final: what is left then is killed by others, or is to be
// stopped all the same.
func (c Config) stops(first []task, left time.Duration, bounded, final, ecs bool) (all []stop) {
	for _, t := range first {
		forced := bounded && final && left <= time.Duration(c.StopBefore)
		asked := t.standalone() && c.policy(t.Family) == Stop && (!bounded || left <= time.Duration(c.StopStandalone))
		switch {
		case !forced && !asked:
		case forced && (!ecs || left <= time.Duration(c.StopBefore)/2):
			// Also while ECS answers: a task that is being taken off its load
			// balancer has not had its SIGTERM yet.
			all = append(all, c.containers(t)...)
		case ecs && t.Desired != facts.TaskStopped:
			all = append(all, stop{task: t})
		}
	}
	return all
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

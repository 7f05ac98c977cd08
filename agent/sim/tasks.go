package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Statuses that a task goes through beside those in package facts.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
const (
	taskProvisioning   = "PROVISIONING"
	taskPending        = "PENDING"
	taskRunning        = "RUNNING"
	taskDeactivating   = "DEACTIVATING"
	taskStopping       = "STOPPING"
	taskDeprovisioning = "DEPROVISIONING"
)

const (
	// deprovisionTakes is how long ECS takes to tidy up after a task.
	deprovisionTakes = time.Second
	// stoppedShown is how long ECS shows a stopped task: "at least one hour"
	// (API_DescribeTasks).
	stoppedShown = time.Hour
	// stoppedKept is how long the agent keeps one: the default of
	// ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION, aws/amazon-ecs-agent:README.md
	stoppedKept = 3 * time.Hour
)

// ecsState is what ECS knows beside clusters and container instances.
type ecsState struct {
	definitions []TaskDefinition
	inactive    map[string]bool             // by family:revision
	providers   map[string]CapacityProvider // by name
	tasks       []*task                     // in the order in which they were made
	settled     time.Time                   // until when the service scheduler has done its work
	listLag     time.Duration
	changed     chan struct{} // closed when something happens; nil: nobody waits
}

// task is a task as ECS knows it. What happens to it is in its times, from
// which its status at any moment follows.
type task struct {
	id         string       // 32 hex digits
	containers []*container // the essential one first
	on         *containerInstance
	definition TaskDefinition
	service    *service // nil of a standalone task
	startedBy  string
	overrides  overrides

	created time.Time
	pending time.Time
	running time.Time // from here on; zero: it never does
	fails   time.Time // zero: it does not

	// Zero until the task is told to stop or ends.
	stop     time.Time // the desired status is STOPPED from here on
	signal   time.Time // its agent is to stop it: it is out of its load balancer
	ended    time.Time // its agent says that its containers have; never in the future
	stopped  time.Time
	stopCode string
	reason   string
}

// has reports whether a time has come; a zero time never does.
func has(come, at time.Time) bool { return !come.IsZero() && !at.Before(come) }

func (t *task) status(at time.Time) string {
	switch {
	case has(t.stopped, at):
		return facts.TaskStopped
	case has(t.ended, at):
		return taskDeprovisioning
	case has(t.signal, at):
		return taskStopping
	case has(t.stop, at):
		return taskDeactivating
	case has(t.running, at):
		return taskRunning
	case has(t.pending, at):
		return taskPending
	}
	return taskProvisioning
}

func (t *task) desired(at time.Time) string {
	if has(t.stop, at) {
		return facts.TaskStopped
	}
	return taskRunning
}

func (t *task) arn() string {
	i := t.on.node.instance
	return fmt.Sprintf("arn:aws:ecs:%s:%s:task/%s/%s", i.Region, i.Account, t.on.cluster, t.id)
}

func (t *task) group() string {
	if t.service != nil {
		return "service:" + t.service.Name
	}
	return "family:" + t.definition.Family
}

// halt makes the task stop as from at, if it does not already. Its agent is told
// once a load balancer has let go of it. One that does not run yet has nothing to
// wait for.
func (t *task) halt(at time.Time, code, reason string) {
	if !t.stop.IsZero() {
		return
	}
	if t.status(at) != taskRunning {
		t.kill(at, code, reason)
		return
	}
	t.stop, t.stopCode, t.reason = at, code, reason
	t.signal = at
	if t.service != nil {
		t.signal = at.Add(t.service.DeregistrationDelay)
	}
	t.heed(at)
}

// heed is what the agent does about the task, if it runs: it stops the essential
// container once it is told to, and tells ECS when that one has ended, whoever
// ended it, unless it is to restart it.
func (t *task) heed(at time.Time) {
	if !t.on.node.agent.running || has(t.ended, at) {
		return
	}
	main := t.containers[0]
	if has(t.signal, at) && main.started.After(at) {
		main.end(at, false) // it was to be restarted
	} else if has(t.signal, at) {
		main.stop(at, t.definition.StopTimeout)
	}
	switch {
	case has(t.fails, at):
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
		t.kill(at, "TaskFailedToStart", t.definition.Fails)
	case has(main.ended, at) && t.definition.RestartPolicy && t.stop.IsZero() && main.removed.IsZero():
		t.restart(at)
	case has(main.ended, at):
		t.end(at)
	}
}

// kill makes the task STOPPED at once.
func (t *task) kill(at time.Time, code, reason string) {
	if has(t.stopped, at) {
		return
	}
	if t.stop.IsZero() {
		t.stop, t.stopCode, t.reason = at, code, reason
	}
	t.signal, t.ended, t.stopped = at, at, at
	for _, c := range t.containers {
		c.end(at, true)
	}
}

// end is what the end of the essential container comes to, told to stop or not.
func (t *task) end(at time.Time) {
	if t.stop.IsZero() {
		t.stop, t.stopCode, t.reason = at, "EssentialContainerExited", "Essential container in task exited"
	}
	if !has(t.signal, at) {
		t.signal = at
	}
	t.ended, t.stopped = at, at.Add(deprovisionTakes)
	for _, c := range t.containers[1:] {
		c.stop(at, t.definition.StopTimeout)
		c.end(at, false)
	}
}

// makeTask makes a task as of now, which the caller has settled; startTakes
// stands in for the definition's.
func (w *World) makeTask(on *containerInstance, d TaskDefinition, startTakes time.Duration, s *service, startedBy string) *task {
	now := w.ecs.settled
	t := &task{
		id: w.randomHex(32), on: on, definition: d, service: s, startedBy: startedBy,
		created: now, pending: now.Add(startTakes / 2), running: now.Add(startTakes),
	}
	if d.Fails != "" { // never at once: its service would try without end
		t.running, t.fails = time.Time{}, now.Add(max(startTakes, time.Second))
	}
	t.addContainers(w)
	w.ecs.tasks = append(w.ecs.tasks, t)
	w.ecs.wake()
	return t
}

// AddTask starts a standalone task on the node, as StartTask does but at any
// rate, and returns its ARN. The definition joins those of the world.
func (n *Node) AddTask(d TaskDefinition, startedBy string) (string, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if n.agent.registered == nil {
		return "", fmt.Errorf("cannot add task %s: %s is not registered", d.Family, n.instance.ID)
	}
	d = d.withDefaults()
	n.world.define(d)
	n.world.settle()
	return n.world.makeTask(n.agent.registered, d, d.StartTakes, nil, startedBy).arn(), nil
}

// EndTasks ends tasks by themselves, as if their main process had returned the
// definition's exit code: those whose ARN, id or family name is. It returns how
// many.
func (w *World) EndTasks(name string) (ended int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changeECS(func() {
		for _, t := range w.ecs.tasks {
			if main := t.containers[0]; !has(main.ended, w.ecs.settled) && slices.Contains([]string{t.arn(), t.id, t.definition.Family}, name) {
				main.end(w.ecs.settled, false)
				main.code = t.definition.ExitCode
				ended++
			}
		}
	})
	return ended
}

// SetListLag sets by how much ListTasks is behind: what it lists is as it was
// that long ago.
func (w *World) SetListLag(lag time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ecs.listLag = lag
}

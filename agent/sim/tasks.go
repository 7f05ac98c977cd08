package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// TaskDefinition is what tasks are made from, and how such a task behaves.
type TaskDefinition struct {
	Family    string `yaml:"family"`
	Revision  int    `yaml:"revision"`   // 0: 1
	MemoryMiB int    `yaml:"memory_mib"` // 0: 256
	// StartTakes is how long a task takes to be RUNNING, half of it
	// PROVISIONING and half of it PENDING; 0: it runs at once.
	StartTakes time.Duration `yaml:"start_takes"`
	// StopTakes is how long it goes on after SIGTERM. SIGKILL ends it after
	// StopTimeout: one that ignores SIGTERM has more than that.
	StopTakes   time.Duration `yaml:"stop_takes"`
	StopTimeout time.Duration `yaml:"stop_timeout"` // 0: the agent's default of 30 s
}

func (d TaskDefinition) withDefaults() TaskDefinition {
	d.Revision, d.MemoryMiB = cmp.Or(d.Revision, 1), cmp.Or(d.MemoryMiB, 256)
	// ECS_CONTAINER_STOP_TIMEOUT: aws/amazon-ecs-agent:README.md
	d.StopTimeout = cmp.Or(d.StopTimeout, 30*time.Second)
	return d
}

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
	tasks       []*task   // in the order in which they were made
	settled     time.Time // until when the service scheduler has done its work
	listLag     time.Duration
}

// task is a task as ECS knows it. What happens to it is in its times, from
// which its status at any moment follows.
type task struct {
	id          string // 32 hex digits
	containerID string // Docker's
	on          *containerInstance
	definition  TaskDefinition
	service     *service // nil of a standalone task
	startedBy   string

	created time.Time
	running time.Time // from here on

	// Zero until the task is told to stop or ends.
	stop     time.Time // the desired status is STOPPED from here on
	signal   time.Time // SIGTERM: it is out of its load balancer
	ended    time.Time // its containers are
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
	case has(t.pending(), at):
		return taskPending
	}
	return taskProvisioning
}

func (t *task) pending() time.Time { return t.created.Add(t.running.Sub(t.created) / 2) }

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

// halt makes the task stop as from at, if it does not already. Its containers
// are told once a load balancer has let go of it. One that does not run yet has
// nothing to wait for.
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
	t.ended = t.signal.Add(min(t.definition.StopTakes, t.definition.StopTimeout))
	t.stopped = t.ended.Add(deprovisionTakes)
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
}

// end is the end of the task's containers by themselves, told to stop or not.
func (t *task) end(at time.Time) {
	if has(t.ended, at) {
		return
	}
	if t.stop.IsZero() {
		t.stop, t.stopCode, t.reason = at, "EssentialContainerExited", "Essential container in task exited"
	}
	if !has(t.signal, at) {
		t.signal = at
	}
	t.ended, t.stopped = at, at.Add(deprovisionTakes)
}

// makeTask makes a task as of now, which the caller has settled; startTakes
// stands in for the definition's.
func (w *World) makeTask(on *containerInstance, d TaskDefinition, startTakes time.Duration, s *service, startedBy string) *task {
	t := &task{
		id: w.randomHex(32), containerID: w.randomHex(64), on: on, definition: d, service: s, startedBy: startedBy,
		created: w.ecs.settled, running: w.ecs.settled.Add(startTakes),
	}
	w.ecs.tasks = append(w.ecs.tasks, t)
	return t
}

// settle lets everything happen that had its time until now, each at its time,
// and returns now. Whoever looks at tasks or changes what they depend on calls
// it first, and holds the lock.
func (w *World) settle() time.Time {
	now := time.Now()
	for {
		var next time.Time
		for _, t := range w.ecs.tasks {
			for _, at := range []time.Time{t.running, t.stop, t.signal, t.ended, t.stopped} {
				if at.After(w.ecs.settled) && has(at, now) && (next.IsZero() || at.Before(next)) {
					next = at
				}
			}
		}
		if next.IsZero() {
			break
		}
		w.ecs.settled = next
		w.schedule()
	}
	w.ecs.settled = now
	w.ecs.tasks = slices.DeleteFunc(w.ecs.tasks, func(t *task) bool {
		return !t.stopped.IsZero() && has(t.stopped.Add(stoppedKept), now)
	})
	return now
}

// changeECS changes what tasks depend on.
func (w *World) changeECS(change func()) {
	w.settle()
	change()
	w.schedule()
}

// AddTaskDefinition registers a task definition, for StartTask.
func (w *World) AddTaskDefinition(d TaskDefinition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.define(d.withDefaults())
}

func (w *World) define(d TaskDefinition) {
	w.ecs.definitions = slices.DeleteFunc(w.ecs.definitions, func(old TaskDefinition) bool {
		return old.Family == d.Family && old.Revision == d.Revision
	})
	w.ecs.definitions = append(w.ecs.definitions, d)
}

// findDefinition finds a task definition by family, family:revision or ARN;
// without a revision it is the latest.
func (w *World) findDefinition(name string) (found TaskDefinition, ok bool) {
	family, revision, exact := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	for _, d := range w.ecs.definitions {
		if d.Family == family && (exact && strconv.Itoa(d.Revision) == revision || !exact && d.Revision > found.Revision) {
			found, ok = d, true
		}
	}
	return found, ok
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

// EndTasks ends tasks by themselves, as if their main process had returned:
// those whose ARN, id or family name is. It returns how many.
func (w *World) EndTasks(name string) (ended int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changeECS(func() {
		for _, t := range w.ecs.tasks {
			if !has(t.ended, w.ecs.settled) && slices.Contains([]string{t.arn(), t.id, t.definition.Family}, name) {
				t.end(w.ecs.settled)
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

// ECSTask is a task as ECS sees it and a test wants to see it.
type ECSTask struct {
	ARN               string `json:"arn"`
	Family            string `json:"family"`
	Group             string `json:"group"`
	StartedBy         string `json:"started_by,omitempty"`
	Last              string `json:"last_status"`
	Desired           string `json:"desired_status"`
	ContainerInstance string `json:"container_instance"`
	StopCode          string `json:"stop_code,omitempty"`
	StoppedReason     string `json:"stopped_reason,omitempty"`
}

// ECSTasks are the tasks that ECS shows, oldest first; stopped ones for an hour.
func (w *World) ECSTasks() []ECSTask {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ecsTasks()
}

func (w *World) ecsTasks() []ECSTask {
	now := w.settle()
	all := []ECSTask{}
	for _, t := range w.ecs.tasks {
		if t.shown(now) {
			all = append(all, ECSTask{
				ARN: t.arn(), Family: t.definition.Family, Group: t.group(), StartedBy: t.startedBy,
				Last: t.status(now), Desired: t.desired(now), ContainerInstance: t.on.arn(), StopCode: t.stopCode, StoppedReason: t.reason,
			})
		}
	}
	return all
}

// shown reports whether ECS shows the task at a time.
func (t *task) shown(at time.Time) bool {
	return has(t.created, at) && (t.stopped.IsZero() || !has(t.stopped.Add(stoppedShown), at))
}

// introspected is the task as its agent sees it, which hears of it when it is
// PENDING, is told to stop it when it is STOPPING, and knows no other statuses
// than these three: NewTaskResponse in
// aws/amazon-ecs-agent:agent/handlers/v1/response.go
func (t *task) introspected(at time.Time) (shown Task, known bool) {
	if !has(t.pending(), at) {
		return Task{}, false
	}
	d := t.definition
	shown = Task{
		ARN: t.arn(), Family: d.Family, Version: strconv.Itoa(d.Revision), KnownStatus: taskPending, DesiredStatus: taskRunning,
		Containers: []Container{{
			DockerID: t.containerID, DockerName: fmt.Sprintf("ecs-%s-%d-%s-%s", d.Family, d.Revision, d.Family, t.id[:20]),
			Name: d.Family, Image: d.Family + ":latest", ImageID: "sha256:" + t.containerID, CreatedAt: &t.created,
		}},
	}
	if has(t.running, at) {
		shown.KnownStatus = taskRunning
		shown.Containers[0].StartedAt = &t.running
	}
	if has(t.signal, at) {
		shown.DesiredStatus = facts.TaskStopped
	}
	if has(t.ended, at) {
		shown.KnownStatus = facts.TaskStopped
	}
	return shown, true
}

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
	// Sidecars are containers beside the essential one, which has the family's
	// name: they end at once when they are told to, and are told when that one
	// has ended, as is a log router.
	Sidecars []string `yaml:"sidecars"`
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

	created time.Time
	running time.Time // from here on

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
// ended it.
func (t *task) heed(at time.Time) {
	if !t.on.node.agent.running || has(t.ended, at) {
		return
	}
	if has(t.signal, at) {
		t.containers[0].stop(at, t.definition.StopTimeout)
	}
	if has(t.containers[0].ended, at) {
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
	t := &task{
		id: w.randomHex(32), on: on, definition: d, service: s, startedBy: startedBy,
		created: w.ecs.settled, running: w.ecs.settled.Add(startTakes),
	}
	t.addContainers(w)
	w.ecs.tasks = append(w.ecs.tasks, t)
	w.ecs.wake()
	return t
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
			if main := t.containers[0]; !has(main.ended, w.ecs.settled) && slices.Contains([]string{t.arn(), t.id, t.definition.Family}, name) {
				main.end(w.ecs.settled, false)
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
	}
	for _, c := range t.containers {
		one := Container{
			DockerID: c.id, DockerName: c.dockerName, Name: c.name, Image: c.image, ImageID: c.imageID(), CreatedAt: &t.created,
		}
		if has(t.running, at) {
			one.StartedAt = &t.running
		}
		shown.Containers = append(shown.Containers, one)
	}
	if has(t.running, at) {
		shown.KnownStatus = taskRunning
	}
	if has(t.signal, at) {
		shown.DesiredStatus = facts.TaskStopped
	}
	if has(t.ended, at) {
		shown.KnownStatus = facts.TaskStopped
	}
	return shown, true
}

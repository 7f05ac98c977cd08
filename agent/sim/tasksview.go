package sim

import (
	"strconv"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

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
	Revision          int    `json:"revision"`
	// Environment is what StartTask set, by container and name.
	Environment map[string]map[string]string `json:"environment,omitempty"`
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
				Revision: t.definition.Revision, Environment: t.overrides.environment(),
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
	if !has(t.pending, at) {
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
		if c.exists(at) {
			one.StartedAt = new(c.last(at).started)
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

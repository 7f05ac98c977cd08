package facts

import (
	"net/netip"
	"time"
)

// Labels that the ECS agent gives the containers of tasks:
// aws/amazon-ecs-agent:agent/engine/docker_task_engine.go.
const (
	LabelTaskARN       = "com.amazonaws.ecs.task-arn"
	LabelFamily        = "com.amazonaws.ecs.task-definition-family"
	LabelRevision      = "com.amazonaws.ecs.task-definition-version"
	LabelContainerName = "com.amazonaws.ecs.container-name"
)

// Container is a running container of this node's Docker Engine.
type Container struct {
	ID        string
	Name      string
	Image     string
	Created   time.Time // to the second
	Labels    map[string]string
	Addresses []netip.Addr // in every network it is attached to
}

// OfTask reports whether the ECS agent started the container for a task.
func (c Container) OfTask() bool { return c.Labels[LabelTaskARN] != "" }

// Docker is what the engine says of itself.
type Docker struct {
	Version string
	// LiveRestore: containers go on running while dockerd is restarted.
	LiveRestore bool
}

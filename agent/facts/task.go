package facts

import "strings"

// Statuses of a container instance and of a task, as ECS has them.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
const (
	StatusActive   = "ACTIVE"
	StatusDraining = "DRAINING"
	TaskStopped    = "STOPPED"
)

// InstanceState is how ECS sees a container instance.
type InstanceState struct {
	Status         string // StatusActive, StatusDraining, REGISTERING, DEREGISTERING, INACTIVE, ...
	AgentConnected bool
}

// Task is a task of this node, as ECS or its agent sees it.
type Task struct {
	ARN       string
	Family    string // of its task definition
	Group     string // "service:NAME" of a service's; as introspection has it: ""
	StartedBy string
	Last      string // status: PROVISIONING ... RUNNING, DEACTIVATING, STOPPING, DEPROVISIONING, STOPPED
	Desired   string // RUNNING or STOPPED
}

// Service returns the name of the service that the task belongs to, or "" of a
// standalone task.
func (t Task) Service() string {
	name, ok := strings.CutPrefix(t.Group, "service:")
	if !ok {
		return ""
	}
	return name
}

// Service is what decides whether a service's tasks can leave a node that
// drains.
type Service struct {
	Name                  string
	Desired               int // how many tasks there should be
	Running               int
	MinimumHealthyPercent int // 100 or more: a task leaves once another one runs
	MaximumPercent        int // 100: no other one may run beside it
	Daemon                bool
}

// Stuck reports whether ECS cannot move the service's tasks off an instance that
// drains: none may leave before another runs, and no other may run beside it.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
func (s Service) Stuck() bool {
	return !s.Daemon && s.MinimumHealthyPercent >= 100 && s.MaximumPercent <= 100
}

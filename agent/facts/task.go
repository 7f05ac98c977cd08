package facts

import (
	"errors"
	"strings"
	"time"
)

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
	Revision  int    // of its task definition; 0: not known
	// Why a task stops or has stopped, as only ECS knows; "": it does not.
	StoppedReason string
	Created       time.Time // as only ECS knows
}

// Ended is what is left of a task on its node: its containers that have ended.
type Ended struct {
	ExitStatus int // the first that is not 0, that of the main container before others'
	Output     string
	Containers int
}

// TaskStart is a task to be started.
type TaskStart struct {
	Definition string // family:revision, or an ARN
	StartedBy  string // at most 36 letters, digits, "-", "_" and "/"
	// Environment is set in containers of the task, by their names in the
	// definition, over what the definition sets.
	Environment map[string]map[string]string
}

// TaskRefused is why ECS starts a task not, in an answer of 200: nothing was
// started.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
type TaskRefused struct {
	Reason string // RESOURCE:MEMORY, AGENT, MISSING, INACTIVE, ATTRIBUTE, ...
	Detail string
}

func (r *TaskRefused) Error() string {
	if r.Detail != "" {
		return "ECS says " + r.Reason + ": " + r.Detail
	}
	return "ECS says " + r.Reason
}

// Is makes it one of ErrRefused.
func (r *TaskRefused) Is(target error) bool { return target == ErrRefused }

// ErrTaskDefinition is why ECS refuses a StartTask because of what was to be
// started: no such task definition, one that is not active, a container that it
// does not have.
var ErrTaskDefinition = errors.New("the task definition does not do")

// ForTaskDefinition makes err one of ErrTaskDefinition, in its own words.
func ForTaskDefinition(err error) error { return forTaskDefinition{err} }

type forTaskDefinition struct{ error }

func (f forTaskDefinition) Is(target error) bool { return target == ErrTaskDefinition }
func (f forTaskDefinition) Unwrap() error        { return f.error }

// Capacity is how ECS manages the number of container instances that a
// container instance is one of. The zero value is not managed.
type Capacity struct {
	Provider              string // capacity provider that the instance belongs to; "": none
	ManagedScaling        bool
	TerminationProtection bool
	ManagedDraining       bool
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
	Active                bool
	Definition            string // family:revision
	Desired               int    // how many tasks there should be
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

package facts

import "time"

// NodeTask is how one of the tasks stands that every node runs once.
type NodeTask struct {
	Name   string `json:"name"`
	State  string `json:"state"`            // see NodeTaskRunning and its siblings
	Wanted string `json:"wanted,omitempty"` // family:revision
	Needed string `json:"needed,omitempty"` // soft, hard, no
	// What runs, or is on its way.
	Definition string    `json:"definition,omitempty"`
	Task       string    `json:"task,omitempty"`      // ARN
	Container  string    `json:"container,omitempty"` // id of its engine
	Since      time.Time `json:"since,omitzero"`      // of the container

	Restarts int       `json:"restarts,omitempty"`    // in a row, without a healthy hour between
	LastEnd  string    `json:"last_end,omitempty"`    // why it stopped last
	Next     time.Time `json:"next_try,omitzero"`     // when it is started again
	Why      string    `json:"why,omitempty"`         // it is as it is, and what to do
	Rolled   string    `json:"rolled_back,omitempty"` // why the wanted one is not what runs
}

// States of a NodeTask.
const (
	NodeTaskRunning  = "running"
	NodeTaskAdopted  = "adopted"  // a container that others than ECS started
	NodeTaskStarting = "starting" // asked for, or PENDING
	NodeTaskStopping = "stopping"
	NodeTaskWaiting  = "waiting"
	NodeTaskRefused  = "refused"
	NodeTaskMissing  = "missing" // of a service, that should have started it
	NodeTaskLeaving  = "leaving" // the node drains
)

// Up reports whether the task does its work.
func (t NodeTask) Up() bool { return t.State == NodeTaskRunning || t.State == NodeTaskAdopted }

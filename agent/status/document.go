// Package status is what the agent tells about itself: one document, written
// by whoever runs passes, read by `ecsnode status` also when that is dead.
package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Where documents are. Each has one writer.
const (
	Dir      = "/run/ecsnode"
	Path     = Dir + "/status.json" // `ecsnode run`
	BootPath = Dir + "/boot.json"   // `ecsnode boot`
)

// Version of [Document]. It grows when a reader of the former version would be
// misled; a new field is no reason.
const Version = 1

const (
	// Heartbeat is how often a document is written when nothing happens.
	Heartbeat = 5 * time.Second
	// StaleAfter is the age at which a document says that its writer is gone
	// or cannot write any more.
	StaleAfter = 4 * Heartbeat
)

// Document is the whole status. Times are wall clock.
type Document struct {
	Version   int       `json:"version"`
	Writer    string    `json:"writer"` // the command: "run" or "boot"
	WrittenAt time.Time `json:"written_at"`
	StartedAt time.Time `json:"started_at"`
	StoppedAt time.Time `json:"stopped_at,omitzero"` // set by an orderly end
	PID       int       `json:"pid"`
	Agent     string    `json:"agent_version"`
	BootID    string    `json:"boot_id,omitempty"`
	Node      Node      `json:"node"`
	// Off names what this process does without, and why.
	Off   []string `json:"off,omitempty"`
	Hold  *Hold    `json:"hold,omitempty"`
	Drain *Drain   `json:"drain,omitempty"` // while one is under way
	// Bundle is how the node stands with configuration bundles, if it has to do
	// with any.
	Bundle *facts.Bundle `json:"bundle,omitempty"`
	// NodeTasks are those that every node runs once.
	NodeTasks []facts.NodeTask `json:"node_tasks,omitempty"`
	// Schedules are what runs at set times, without what it wrote.
	Schedules []facts.Schedule `json:"schedules,omitempty"`
	Duties    []duty.Record    `json:"duties"` // in the order of the table
}

// Node is what the node is, as far as known.
type Node struct {
	Instance          facts.Instance          `json:"instance,omitzero"`
	Cluster           string                  `json:"cluster,omitempty"` // that the ECS agent is configured for
	ContainerInstance facts.ContainerInstance `json:"container_instance,omitzero"`
	// IdentityAt is when the identity of the node was established since it
	// booted; zero: not yet, and its ECS agent must not start.
	IdentityAt time.Time `json:"identity_established_at,omitzero"`
}

// Hold says that an operator has stopped duties that change the node.
type Hold struct {
	What  []string  `json:"what"` // names of duties, or "all"
	Why   string    `json:"why,omitempty"`
	By    string    `json:"by"` // "operator" or `tag "ecsnode:hold"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Drain is a drain under way.
type Drain struct {
	State      string      `json:"state"` // draining, drained, late or undoing
	For        []string    `json:"for"`   // keys of the notices
	Began      time.Time   `json:"began"`
	Deadline   time.Time   `json:"deadline,omitzero"`
	Hard       bool        `json:"hard,omitempty"` // what runs beyond the deadline is killed by others
	Milestones []Milestone `json:"milestones"`
}

// Milestone is something that happened in a drain.
type Milestone struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// Verdict sums a document up.
type Verdict int

// The verdicts, from good to bad.
const (
	Well    Verdict = iota // all duties are ok, waiting or held
	Failing                // at least one is failing or stuck
	Gone                   // there is no document, or its writer is gone
)

// Judge returns the verdict at the given time, and for [Gone] why.
func (d *Document) Judge(now time.Time, alive func(pid int) bool) (Verdict, string) {
	switch age := now.Sub(d.WrittenAt); {
	case !d.StoppedAt.IsZero():
		return Gone, fmt.Sprintf("ecsnode was stopped %s ago", Age(now.Sub(d.StoppedAt)))
	case !alive(d.PID):
		return Gone, fmt.Sprintf("ecsnode (process %d) has died; it last wrote %s ago", d.PID, Age(age))
	case age > StaleAfter || age < -StaleAfter: // written before now, or after it
		return Gone, fmt.Sprintf("ecsnode (process %d) has not written its status for %s", d.PID, Age(age))
	}
	for _, r := range d.Duties {
		if bad(r.State) {
			return Failing, ""
		}
	}
	return Well, ""
}

func bad(s duty.State) bool { return s == duty.Failing || s == duty.Stuck }

// ErrNone means that no document has been written since the node booted.
var ErrNone = errors.New("ecsnode has written no status since the node booted")

// Load reads the document at path. It fails with [ErrNone] if there is none.
func Load(files fsx.FS, path string) (*Document, error) {
	data, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the status: %w", err)
	}
	var d Document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("cannot read the status in %s: %w", path, err)
	}
	if d.Version != Version {
		return nil, fmt.Errorf("cannot read the status in %s: it has version %d, this program reads %d", path, d.Version, Version)
	}
	return &d, nil
}

// Latest returns the document of whoever makes the passes: that of boot while it
// is at work beside a daemon that waits for it, and else the newer one.
func Latest(files fsx.FS) (*Document, error) {
	run, err := Load(files, Path)
	boot, bootErr := Load(files, BootPath)
	if bootErr != nil {
		return run, err
	}
	atWork := err == nil && boot.StoppedAt.IsZero() && boot.BootID == run.BootID && run.WrittenAt.Sub(boot.WrittenAt) < StaleAfter
	if err != nil || atWork || boot.WrittenAt.After(run.WrittenAt) {
		return boot, nil
	}
	return run, err
}

// Age is a duration for people, in its largest unit or two: "4s", "2m", "3h",
// "2d 4h".
func Age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	days := int(d.Hours()) / 24
	if h := int(d.Hours()) % 24; h > 0 && days < 10 {
		return fmt.Sprintf("%dd %dh", days, h)
	}
	return fmt.Sprintf("%dd", days)
}

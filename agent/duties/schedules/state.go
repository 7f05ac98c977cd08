package schedules

import (
	"errors"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// File keeps which ticks are settled and what came of runs, over restarts and
// reboots.
const File = "/var/lib/ecsnode/schedules.json"

// maxOutputs bounds what is kept of what all runs wrote: a file has its bound too
// (fsx.MaxRead).
const maxOutputs = 1 << 20

// record is what is known of one schedule.
type record struct {
	Ticks string `json:"ticks"` // see Schedule.ticks
	// Settled: whatever tick is not after it has run, or will not. It never goes
	// back, unless the clock was far off.
	Settled time.Time `json:"settled"`
	Due     *due      `json:"due,omitempty"`    // that is to be started now
	Queued  *due      `json:"queued,omitempty"` // that waits for Run
	Run     *run      `json:"run,omitempty"`
	// Forget is the job, and Clean the task, of a run whose result is known.
	Forget string `json:"forget,omitempty"`
	Clean  string `json:"clean,omitempty"`

	Last        *facts.ScheduleRun `json:"last,omitempty"`
	LeftOut     leftOut            `json:"left_out,omitzero"`
	Elsewhere   time.Time          `json:"elsewhere,omitzero"`
	ElsewhereBy string             `json:"elsewhere_by,omitempty"`
	Asked       string             `json:"asked,omitempty"` // id of the latest request that was taken
	SetBack     time.Time          `json:"-"`               // settled is ahead of the clock
}

// leftOut is ticks that were not run.
type leftOut struct {
	Tick  time.Time `json:"tick"`
	Why   string    `json:"why"`
	N     int       `json:"n"`               // in a row
	More  bool      `json:"more,omitempty"`  // there were more than N, which were not counted
	Quiet bool      `json:"quiet,omitempty"` // as it was wanted
}

// due is a tick that is to run.
type due struct {
	Tick   time.Time    `json:"tick"`
	ByHand bool         `json:"by_hand,omitempty"`
	Until  facts.Moment `json:"until"` // it is missed if it has not begun by then
	Why    string       `json:"why,omitempty"`
	// Token is in the lease that was asked for, Owned once it is this node's.
	Token string `json:"token,omitempty"`
	Owned bool   `json:"owned,omitempty"`
}

// run is one under way. It is written down before it is begun.
type run struct {
	due
	BootID    string       `json:"boot_id"`
	Began     time.Time    `json:"began"`             // when it was asked for
	Started   bool         `json:"started,omitempty"` // it is known to be
	Deadline  facts.Moment `json:"deadline"`
	Job       string       `json:"job,omitempty"`
	StartedBy string       `json:"started_by,omitempty"` // of a task
	Instance  string       `json:"container_instance,omitempty"`
	Task      string       `json:"task,omitempty"` // ARN
	// Ending is why it was told to end: "timed out after 1h", "replaced by ...".
	Ending   string    `json:"ending,omitempty"`
	Told     time.Time `json:"told,omitzero"` // when it was last
	Replaced bool      `json:"replaced,omitempty"`
}

type state struct {
	Instance  string            `json:"instance"` // that the rest is of
	Schedules map[string]record `json:"schedules"`
}

// load reads what is kept. With an error that is fsx.ErrDamaged, nothing is.
func load(files fsx.FS) (s state, err error) {
	if err = fsx.ReadJSON(files, File, &s); errors.Is(err, fsx.ErrDamaged) {
		s, err = state{}, fmt.Errorf("cannot read which ticks have run, so that none up to now is run: %w", err)
	} else if err != nil {
		return state{}, fmt.Errorf("cannot read which ticks have run: %w", err)
	}
	if s.Schedules == nil {
		s.Schedules = map[string]record{}
	}
	return s, err
}

// save writes s down if it is not kept, as it was written last, already. What
// commands wrote may be secret.
func save(files fsx.FS, s state, kept []byte) ([]byte, error) {
	kept, err := fsx.WriteJSON(files, File, s, kept)
	if err != nil {
		err = fmt.Errorf("cannot keep which ticks have run: %w", err)
	}
	return kept, err
}

// JobNames are those of the jobs that may be under way, by the names of their
// schedules, as the disk has it.
func JobNames(files fsx.FS) (map[string]string, error) {
	s, err := load(files)
	names := map[string]string{}
	for name, r := range s.Schedules {
		if r.Run != nil && r.Run.Job != "" {
			names[name] = r.Run.Job
		}
	}
	return names, err
}

// Taken reports whether a request for a run was, as the disk has it.
func Taken(files fsx.FS, name, id string) (bool, error) {
	s, err := load(files)
	return s.Schedules[name].Asked == id, err
}

// Outputs are the latest runs of schedules with the end of what they wrote, by
// the name of the schedule. The disk has it, for root alone.
func Outputs(files fsx.FS) (map[string]facts.ScheduleRun, error) {
	s, err := load(files)
	all := map[string]facts.ScheduleRun{}
	for name, r := range s.Schedules {
		if r.Last != nil {
			all[name] = *r.Last
		}
	}
	return all, err
}

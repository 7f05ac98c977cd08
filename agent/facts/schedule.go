package facts

import "time"

// Schedule is how something stands that runs at set times.
type Schedule struct {
	Name   string `json:"name"`
	When   string `json:"when"`             // its cron expression and its zone
	Does   string `json:"does"`             // in a few words
	Once   string `json:"once"`             // per "node" or "cluster"
	State  string `json:"state"`            // see ScheduleIdle and its siblings
	Reason string `json:"reason,omitempty"` // of State

	// Next is when it runs next on this node, if it is this node that does; zero:
	// it does not.
	Next time.Time `json:"next,omitzero"`
	// Running is the run under way, Last the latest that has ended here.
	Running *ScheduleRun `json:"running,omitempty"`
	Last    *ScheduleRun `json:"last,omitempty"`
	// Queued is the tick that waits for the run under way.
	Queued time.Time `json:"queued,omitzero"`
	// LeftOut is the latest tick that this node did not run, and why; zero: there
	// was none since it ran well.
	LeftOut    time.Time `json:"left_out,omitzero"`
	LeftOutWhy string    `json:"left_out_why,omitempty"`
	LeftOutN   int       `json:"left_out_count,omitempty"` // for that reason, in a row
	// LeftOutMore: it is that many at least. After long away not each is counted.
	LeftOutMore bool `json:"left_out_more,omitempty"`
	// Elsewhere is the latest tick that another node of the cluster ran.
	Elsewhere   time.Time `json:"elsewhere,omitzero"`
	ElsewhereBy string    `json:"elsewhere_by,omitempty"` // instance id
}

// States of a Schedule.
const (
	ScheduleIdle     = "idle"
	ScheduleStarting = "starting" // due, and something is missing
	ScheduleRunning  = "running"
	SchedulePaused   = "paused"
	ScheduleLeaving  = "leaving" // the node drains: nothing is started
)

// ScheduleRun is one run.
type ScheduleRun struct {
	// Tick is the time that the schedule names, which is the identity of the run.
	Tick     time.Time `json:"tick"`
	ByHand   bool      `json:"by_hand,omitempty"` // an operator asked for it, at Tick
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Result   string    `json:"result,omitempty"` // "success", or why not
	Failed   bool      `json:"failed,omitempty"`
	Unknown  bool      `json:"unknown,omitempty"` // nobody can tell how it ended
	Replaced bool      `json:"replaced,omitempty"`
	// Output is the end of what it wrote. The status, which anybody may read, does
	// not have it.
	Output string `json:"output,omitempty"`
}

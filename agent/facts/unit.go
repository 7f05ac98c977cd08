package facts

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// Unit is how a unit of the service manager stands: org.freedesktop.systemd1(5).
type Unit struct {
	Name string
	// Load is the LoadState: "loaded", "not-found", "masked", "bad-setting" or
	// "error". A unit that does not exist is one that is "not-found".
	Load string
	// Active is the ActiveState: "active", "reloading", "inactive", "failed",
	// "activating" or "deactivating".
	Active string
	// Sub is the SubState, such as "running", "exited", "dead" or
	// "auto-restart" (failed, and started again after RestartSec=).
	Sub string
	// Result is why a service ended: "success", "exit-code", "watchdog",
	// "start-limit-hit" and so on; empty for other units.
	Result string
	// Queued reports whether a job of it waits or runs.
	Queued bool
	// NeedReload: its files are not those that systemd has read.
	NeedReload bool
	// Invocation is the id of the present or latest run, 32 hexadecimal
	// digits; empty if there was none.
	Invocation string
	// Started is when the main process was started, of a unit without one when it
	// came up, Stopped when the unit last came down; zero if that never happened since the node booted.
	Started, Stopped time.Time
	// Enabled is the UnitFileState: "enabled", "disabled", "masked", "static".
	Enabled string
	// Argv is the command of the first ExecStart=, its variables replaced; empty
	// for other units.
	Argv []string
}

// Exists reports whether the unit is there to be started.
func (u Unit) Exists() bool { return u.Load == "loaded" }

// Running reports whether the unit is up.
func (u Unit) Running() bool { return u.Active == "active" || u.Active == "reloading" }

// Inputs are what the processes of units should run with: for each unit, by
// the name of a part ("daemon.json", "docker").
type Inputs map[string]map[string]Input

// Input is one part of what a unit should run with.
type Input struct {
	Value string    // a version, or a hash of content
	At    time.Time // when the part came to be so on this node
}

// Equal reports whether i and o say the same.
func (i Inputs) Equal(o Inputs) bool {
	return maps.EqualFunc(i, o, func(a, b map[string]Input) bool {
		return maps.EqualFunc(a, b, func(x, y Input) bool { return x.Value == y.Value && x.At.Equal(y.At) })
	})
}

// Command is a job: a command that outlives the pass that starts it, and a
// restart of the agent.
type Command struct {
	Name string   // unique on the node: letters, digits and "-"
	Argv []string // the first is an absolute path
	Env  []string // NAME=value
	// RuntimeMax bounds how long it runs; it is then sent SIGTERM. Zero: no bound.
	RuntimeMax time.Duration
	// Grace is how long after its SIGTERM it is killed. Zero: 90 s.
	Grace time.Duration
	// MemoryMax bounds its memory in bytes. Zero: no bound.
	MemoryMax uint64
	// Does is what it does, in words, where a dry run should not show Argv.
	Does []string
	// Journal: what it writes goes to the journal. Otherwise its end is kept for
	// [Job.Output].
	Journal bool
	// NoKill: it is never sent SIGKILL, also when it ignores SIGTERM.
	NoKill bool
	// Kept: only the end of what it writes is ever kept, however much that is, and
	// what it leaves running is ended with it. Its name is that of one run: it is
	// not started where it runs or has ended.
	Kept bool
	// Container, if not empty, is the id of the one that the command is run in.
	// It goes with Kept.
	Container string
}

// Job is how a command stands. The zero value is one that was not started since
// the node booted, or is forgotten.
type Job struct {
	State JobState
	// ExitStatus is that of the process. It counts only for [JobEnded].
	ExitStatus int
	// Result is "success" or why not: "exit-code", "signal", "timeout",
	// "oom-kill" and so on (the Result property of a service).
	Result  string
	Output  string // the end of what it wrote, standard error included
	Started time.Time
	Ended   time.Time
}

// JobState is where a command is in its life.
type JobState string

// The states.
const (
	JobAbsent  JobState = ""
	JobRunning JobState = "running"
	JobEnded   JobState = "ended"
)

// Ending says how a command ended that did not succeed.
func (j Job) Ending() string {
	switch j.Result {
	case "exit-code":
		return "exit status " + strconv.Itoa(j.ExitStatus)
	case "timeout":
		return "no end within the time it is given"
	}
	return j.Result
}

// Why says how a command ended that did not succeed, and the end of what it said,
// which is where a command names the cause.
func (j Job) Why() string {
	var lines []string
	for line := range strings.Lines(j.Output) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return j.Ending() + ", and it said nothing"
	}
	return j.Ending() + ": " + strings.Join(lines[max(0, len(lines)-3):], "; ")
}

package agentstate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// sight is what a pass has seen.
type sight struct {
	instance string // the id of this one
	cluster  string // "": not known yet
	seen     record
	seenErr  error // the record cannot be used: nobody knows whether this is a first boot
	files    []saved
}

// saved is one file of the agent's.
type saved struct {
	file  string
	state facts.AgentState
	err   error
}

// firstBoot reports whether this instance has not been seen before.
func (s sight) firstBoot() bool { return s.seenErr == nil && s.seen.InstanceID != s.instance }

// owner returns the id of the instance on which a state was saved, or "" if
// nobody can tell.
func (s sight) owner(state facts.AgentState) string {
	switch {
	case state.InstanceID != "":
		return state.InstanceID
	case state.ARN != "" && state.ARN == s.seen.ARN:
		return s.seen.InstanceID
	}
	return ""
}

// decision is what a pass does, and what it says.
type decision struct {
	remove   []removal
	inUse    error // on a first boot: a file that cannot be read now
	settled  bool  // the first boot is over: record may be written
	record   record
	summary  string
	warnings []string
	problems []error
	again    time.Duration
}

type removal struct{ file, why string }

func (d *decision) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Errorf(format, args...))
}

// decide is pure.
func decide(s sight) decision {
	d := decision{settled: true, record: record{InstanceID: s.instance}, summary: "the ECS agent has saved nothing yet"}
	if s.seen.InstanceID == s.instance {
		d.record = s.seen
	}
	for _, f := range s.files {
		used := d.about(s, f)
		if used { // and the agent does not read the next one
			break
		}
	}
	if s.seenErr != nil && len(d.problems) == 0 {
		d.warnings = append(d.warnings, s.seenErr.Error()+"; it is written anew")
	}
	return d
}

const remedy = "stop ecs, remove %s and start ecs; the node then registers as a new container instance"

// about decides about one file, and reports whether it is this node's, and all
// that the agent reads.
func (d *decision) about(s sight, f saved) (used bool) {
	owner := s.owner(f.state)
	empty := f.state.ARN == "" && f.state.InstanceID == ""
	switch {
	case errors.Is(f.err, facts.ErrAbsent):
	case errors.Is(f.err, facts.ErrUnavailable):
		if s.firstBoot() {
			d.inUse = f.err
		}
		d.summary = "not looked at: " + f.err.Error()
		return true
	case f.err != nil && s.firstBoot():
		d.remove = append(d.remove, removal{f.file, "cannot be read on the first boot of " + s.instance})
	case f.err != nil:
		d.settled = false
		d.problem("%w: the ECS agent cannot start with it: "+remedy, f.err, f.file)
	case owner == s.instance:
		d.own(s, f.state)
		return f.state.AgentVersion != ""
	case owner != "" && (s.firstBoot() || s.seenErr != nil):
		d.remove = append(d.remove, removal{f.file, fmt.Sprintf("is of %s and came with the image: this is %s", owner, s.instance)})
	case owner != "":
		d.warnings = append(d.warnings, fmt.Sprintf("%s is of %s, and this is %s, which is not on its first boot: the ECS agent will overwrite it and register anew",
			f.file, owner, s.instance))
		d.summary = "the saved state is of another instance"
	case s.firstBoot():
		d.remove = append(d.remove, removal{f.file, "does not say which instance it is of, on the first boot of " + s.instance})
	case s.seenErr != nil && !empty:
		d.settled = false
		d.problem("cannot tell whether %s is of this instance: %w: if it came with the image, "+remedy+"; if not, remove %s", f.file, s.seenErr, f.file, recordFile)
	case empty:
		d.summary = "the ECS agent has not registered yet"
	default:
		d.own(s, f.state)
		return f.state.AgentVersion != ""
	}
	return false
}

// own is about a state of this instance's.
func (d *decision) own(s sight, state facts.AgentState) {
	if state.ARN != "" {
		d.record.ARN = state.ARN
	}
	d.summary = "the saved state is of this instance"
	was, is := clusterName(state.Cluster), clusterName(s.cluster)
	if was == "" || is == "" || was == is {
		return
	}
	d.problem("the ECS agent will refuse to start: %s was saved in the cluster %q, and the cluster is now %q: "+
		"set the cluster back to %s, or replace the instance; or "+remedy+", and the old one is to be deregistered",
		state.File, state.Cluster, s.cluster, was, state.File)
}

// needsUnit reports whether it matters that the agent does not run.
func (d decision) needsUnit() bool { return len(d.remove) > 0 || d.inUse != nil }

// permit is d once it is known how ecs.service stands: nothing is removed
// unless the agent is known to be down.
func (d decision) permit(u facts.Unit, err error) decision {
	var what string
	for _, r := range d.remove {
		what = fmt.Sprintf("%s, which %s", r.file, r.why)
	}
	keep := func() { d.remove, d.settled = nil, false }
	switch {
	case err != nil && d.inUse != nil:
		keep()
		d.problem("cannot tell of which instance the saved state is: %w; %w", d.inUse, err)
	case err != nil:
		keep()
		d.problem("cannot remove %s: nobody can tell whether the ECS agent runs: %w", what, err)
	case isDown(u) && d.inUse != nil:
		keep()
		d.problem("cannot tell of which instance the saved state is, and %s is %s: %w", ecsUnit, u.Active, d.inUse)
	case isDown(u):
	case !u.Running():
		keep()
		d.problems = append(d.problems, duty.WaitingFor("%s is %s: what the agent has saved is looked at afterwards", ecsUnit, u.Active))
		d.again = settle
	case d.inUse != nil:
		// An agent was started before us. It has taken the state for its own, or
		// overwritten it: setClusterInConfig and newTaskEngine in
		// aws/amazon-ecs-agent:agent/app/agent.go
		d.remove = nil
	default:
		keep()
		d.problem("cannot remove %s: %s runs: stop ecs, run ecsnode apply and start ecs", what, ecsUnit)
	}
	return d
}

// isDown reports whether the agent does not run and is not about to. A unit
// that waits for its next start is held back until this duty is done.
func isDown(u facts.Unit) bool {
	return u.Active == "inactive" || u.Active == "failed" ||
		u.Active == "activating" && strings.HasPrefix(u.Sub, "auto-restart")
}

var clusterARN = pattern.New(`^arn:[a-z0-9-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/(.+)$`)

// clusterName returns the name of a cluster given as a name or an ARN.
func clusterName(s string) string {
	if m := clusterARN.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return s
}

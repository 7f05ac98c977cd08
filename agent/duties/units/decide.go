package units

import (
	"fmt"
	"maps"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

const (
	autoRestart = "auto-restart"
	// dockerPause is the least time between two starts of Docker by us with the
	// same: its unit allows three in 60 s, and the boot's own counts.
	// moby/moby:contrib/init/systemd/docker.service
	dockerPause = time.Minute
	// agentPatience is how long the ECS agent may take to answer after its
	// unit started: it serves introspection once it has registered.
	agentPatience = 3 * time.Minute
)

// sight is what a pass has seen.
type sight struct {
	now                     time.Time
	boot                    bool
	policy                  Policy
	held                    string // why Docker must not be started
	identity                time.Time
	docker, containerd, ecs facts.Unit
	wanted                  facts.Inputs
	ran                     ledger
	// Of the engine; only looked at where a restart is owed.
	tasks       int
	liveRestore bool
	engineErr   error
	agentErr    error // the agent runs long enough and does not answer
}

// want adds what one publisher wants.
func (s *sight) want(inputs facts.Inputs) {
	for unit, parts := range inputs {
		if s.wanted[unit] == nil {
			s.wanted[unit] = map[string]facts.Input{}
		}
		maps.Copy(s.wanted[unit], parts)
	}
}

// wantOfUnits adds what follows from the units themselves: an agent that was
// started before its Docker may hold a dead socket, and a Docker that is to be
// restarted at every boot must have been started by the boot.
func (s *sight) wantOfUnits(bootID string) {
	if s.docker.Running() && s.docker.Invocation != "" {
		s.want(facts.Inputs{ECS: {Docker: {Value: s.docker.Invocation, At: s.docker.Started}}})
	}
	if s.boot && s.policy == Always {
		s.want(facts.Inputs{Docker: {atBoot: {Value: bootID, At: s.now}}})
	}
}

// atBoot is the part that a Docker lacks which the boot has not started.
const atBoot = "restart at boot"

func (s sight) stale(u facts.Unit) string { return s.ran.stale(u, s.wanted[u.Name]) }

// decision is what a pass does, and what it says.
type decision struct {
	act      action
	warnings []string
	problems []error
	again    time.Duration
}

// action is one order to the service manager.
type action struct {
	verb  verb
	unit  string
	why   string
	reset bool // it is over its start limit: forget that first
}

type verb string

const (
	nothing verb = ""
	start   verb = "start"
	enqueue verb = "enqueue a start of"
	restart verb = "restart"
)

// decide is pure. Docker comes first: without it there is no ECS agent.
func decide(s sight) decision {
	var d decision
	if !s.docker.Exists() {
		d.problem("%s is %s: install Docker", Docker, s.docker.Load)
		return d
	}
	d.aboutDocker(s)
	if d.act.verb == nothing {
		d.aboutECS(s)
	}
	return d
}

func (d *decision) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Errorf(format, args...))
}

func (d *decision) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

func (d *decision) aboutDocker(s sight) {
	switch u := s.docker; {
	case u.Running():
		d.owed(s)
	case u.Queued, u.Active == "activating", u.Active == "deactivating":
		d.again = settle
	case s.held != "":
		d.problem("Docker is held back: %s", s.held)
	case u.Active == "failed":
		d.dockerJob(s, action{verb: start, unit: Docker, why: "it failed: " + u.Result, reset: true})
	case u.Stopped.IsZero(): // not up since the node booted, and nobody has asked for it
		d.dockerJob(s, action{verb: start, unit: Docker, why: "it is down"})
	default:
		d.problem("%s was stopped; if that is not meant to be: systemctl start docker", Docker)
	}
}

// owed decides about a restart that running units need.
func (d *decision) owed(s sight) {
	unit, why := Docker, s.stale(s.docker)
	// containerd first: its clients are then started against the new one.
	if stale := s.stale(s.containerd); stale != "" {
		unit, why = Containerd, stale
	}
	if why == "" {
		return
	}
	debt := fmt.Sprintf("a restart of %s is owed (%s)", unit, why)
	switch {
	case s.policy == Never:
		d.warn("%s; units.restart_docker is never", debt)
	case s.engineErr != nil:
		d.warn("%s; not now, since nobody can tell whether tasks run: %v", debt, s.engineErr)
	case s.tasks > 0 && !s.liveRestore:
		d.warn("%s; not now, since the containers of %s would die of it: drain the node, or set live-restore in daemon.json",
			debt, plural(s.tasks))
	case unit == Containerd:
		d.act = action{verb: restart, unit: Containerd, why: why}
	default:
		d.dockerJob(s, action{verb: restart, unit: Docker, why: why})
	}
}

func plural(tasks int) string {
	if tasks == 1 {
		return "a task (1 container)"
	}
	return fmt.Sprintf("tasks (%d containers)", tasks)
}

// dockerJob takes the action unless the last one is too near. A clock that was
// set back does not keep it off, nor does the failure of a Docker that was started
// before what it should run with last changed.
func (d *decision) dockerJob(s sight, a action) {
	since := s.now.Sub(s.ran.DockerJob)
	if since >= 0 && since < dockerPause && (s.docker.Running() || !s.changedSince(s.ran.DockerJob, Docker)) {
		d.again = dockerPause - since
		if !s.docker.Running() {
			d.problem("%s is down (%s); ecsnode started it %v ago and tries again in %v",
				Docker, a.why, since.Round(time.Second), d.again.Round(time.Second))
		}
		return
	}
	d.act = a
}

// changedSince tells whether what the unit should run with became so after a time.
func (s sight) changedSince(t time.Time, unit string) bool {
	for part, in := range s.wanted[unit] {
		if part != atBoot && in.At.After(t) && !in.At.After(s.now) {
			return true
		}
	}
	return false
}

func (d *decision) aboutECS(s sight) {
	u := s.ecs
	switch {
	case !u.Exists():
		d.problem("%s is %s: install ecs-init", ECS, u.Load)
	case !s.docker.Running() || u.Enabled == "disabled":
		// Nothing: Docker's state says it, or an operator wants no agent.
	case !s.boot && !s.identity.IsZero() && u.Sub == autoRestart && u.Stopped.Before(s.identity):
		// A start, and one that is queued, waits for RestartSec; a restart does not.
		d.act = action{verb: restart, unit: ECS, why: "the identity of the node is established"}
	case u.Queued || u.Active == "deactivating":
		d.again = settle
	case s.boot:
		if u.Active == "inactive" && s.mayStart() {
			d.act = action{verb: enqueue, unit: ECS, why: "nothing else has asked for it"}
		}
	case s.identity.IsZero():
		// Held back: what is missing stands at the duty identity.
	case u.Running():
		d.runningECS(s)
	case u.Active == "failed":
		d.problem("%s failed (%s): see journalctl -u ecs; once mended: systemctl start ecs", ECS, u.Result)
	case u.Active == "inactive" && s.mayStart():
		d.act = action{verb: start, unit: ECS, why: "it is down and Docker is up"}
	case u.Active == "inactive":
		d.problem("%s was stopped; if that is not meant to be: systemctl start ecs", ECS)
	}
}

func (d *decision) runningECS(s sight) {
	if why := s.stale(s.ecs); why != "" {
		d.act = action{verb: restart, unit: ECS, why: why}
		return
	}
	if s.agentErr != nil {
		d.problem("%s runs and its agent does not answer: see journalctl -u ecs and docker logs ecs-agent: %w", ECS, s.agentErr)
	}
}

// mayStart tells an agent that is down because it was never asked for in this
// boot, or because Docker went down under it, from one that somebody stopped.
func (s sight) mayStart() bool {
	return s.ecs.Stopped.IsZero() || !s.docker.Started.Before(s.ecs.Stopped)
}

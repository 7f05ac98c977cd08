// Package units is the only duty that starts or restarts Docker and the ECS
// agent. Others publish what a unit should run with; this one compares it with
// what the unit does run with, and restarts the least, when it is safe.
package units

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// The units.
const (
	Docker     = "docker.service"
	Containerd = "containerd.service"
	ECS        = "ecs.service"
)

// Manager is the service manager.
type Manager interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
	// Enqueue asks for a start and does not wait for it.
	Enqueue(ctx context.Context, name string) error
	// Start and Restart wait until the unit is up or has failed to be.
	Start(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	ResetFailed(ctx context.Context, name string) error
}

// Engine is the Docker Engine.
type Engine interface {
	Info(ctx context.Context) (facts.Docker, error)
	Containers(ctx context.Context) ([]facts.Container, error)
}

// Agent is the ECS agent, asked whether it answers.
type Agent interface {
	ContainerInstance(ctx context.Context) (facts.ContainerInstance, error)
}

// Duty keeps the units running with what they should run with.
type Duty struct {
	FS       fsx.FS
	Config   cell.Reader[Config]
	Manager  Manager
	Engine   Engine
	Agent    Agent
	Wanted   []cell.Reader[facts.Inputs]
	Identity cell.Reader[time.Time] // when the identity of this boot was established; zero: it is not
	// Held says why Docker must not be started, or "". Nil: never.
	Held func() string
	// Boot: this process is a unit that comes before ecs.service. A start of
	// ecs is then enqueued only: waiting for it would be waiting for oneself.
	Boot   bool
	BootID string
}

// Name implements duty.Duty.
func (*Duty) Name() string { return Name }

// Name of the duty.
const Name = "units"

// settle is how soon after an action the next pass looks at what came of it.
const settle = time.Second

// Reconcile implements duty.Duty. A pass takes one action at most; the next one
// looks again.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	past, pastErr := readLedger(d.FS)
	s, err := d.look(ctx, cfg, past)
	if err != nil {
		return duty.Outcome{}, errors.Join(err, pastErr)
	}
	dec := decide(s)
	out := duty.Outcome{Summary: dec.summary(s), Warnings: dec.warnings, Again: dec.again}
	if pastErr != nil {
		out.Warnings = append(out.Warnings, pastErr.Error()+"; what the units run with is told by when they started")
	}
	if dec.act.verb == nothing {
		_, err := s.ran.write(d.FS)
		return out, errors.Join(append(dec.problems, err)...)
	}
	out.Changed, out.Again = true, settle
	err = d.do(ctx, s, dec.act)
	return out, errors.Join(append(dec.problems, err)...)
}

// look observes the units, and the engine where what to do depends on it.
func (d *Duty) look(ctx context.Context, cfg Config, past ledger) (sight, error) {
	s := sight{now: time.Now(), boot: d.Boot, policy: cfg.RestartDocker, ran: past, wanted: facts.Inputs{}}
	s.identity, _ = d.Identity.Get()
	if d.Held != nil {
		s.held = d.Held()
	}
	for _, u := range []struct {
		name string
		into *facts.Unit
	}{{Docker, &s.docker}, {Containerd, &s.containerd}, {ECS, &s.ecs}} {
		var err error
		if *u.into, err = d.Manager.Unit(ctx, u.name); err != nil {
			return s, err
		}
	}
	for _, cell := range d.Wanted {
		if inputs, ok := cell.Get(); ok {
			s.want(inputs)
		}
	}
	s.wantOfUnits(d.BootID)
	s.ran.observe(s.docker, s.wanted[Docker])
	s.ran.observe(s.containerd, s.wanted[Containerd])
	s.ran.observe(s.ecs, s.wanted[ECS])
	if s.docker.Running() && (s.stale(s.docker) != "" || s.stale(s.containerd) != "") {
		s.tasks, s.liveRestore, s.engineErr = d.tasks(ctx)
	}
	if s.ecs.Running() && !d.Boot && s.now.Sub(s.ecs.Started) > agentPatience {
		if _, err := d.Agent.ContainerInstance(ctx); errors.Is(err, facts.ErrUnavailable) || errors.Is(err, facts.ErrRefused) {
			s.agentErr = err
		}
	}
	return s, nil
}

func (d *Duty) tasks(ctx context.Context) (running int, liveRestore bool, err error) {
	info, err := d.Engine.Info(ctx)
	if err != nil {
		return 0, false, err
	}
	all, err := d.Engine.Containers(ctx)
	if err != nil {
		return 0, false, err
	}
	for _, c := range all {
		if c.OfTask() {
			running++
		}
	}
	return running, info.LiveRestore, nil
}

// do takes one action and remembers what the unit was started with. What is
// wanted was read before: a change during the start is another restart.
func (d *Duty) do(ctx context.Context, s sight, a action) error {
	if a.unit == Docker {
		// Before the job: if it is cut short, the next one still keeps its distance.
		s.ran.DockerJob = s.now
		if _, err := s.ran.write(d.FS); err != nil {
			return err
		}
	}
	if err := d.order(ctx, a); err != nil {
		return fmt.Errorf("cannot %s %s (%s): %w", a.verb, a.unit, a.why, err)
	}
	if a.verb == enqueue {
		return nil
	}
	after, err := d.Manager.Unit(ctx, a.unit)
	if err != nil {
		return err
	}
	s.ran.started(after, s.wanted[a.unit])
	_, err = s.ran.write(d.FS)
	return err
}

func (d *Duty) order(ctx context.Context, a action) error {
	if a.reset {
		if err := d.Manager.ResetFailed(ctx, a.unit); err != nil {
			return err
		}
	}
	switch a.verb {
	case restart:
		return d.Manager.Restart(ctx, a.unit)
	case enqueue:
		return d.Manager.Enqueue(ctx, a.unit)
	default:
		return d.Manager.Start(ctx, a.unit)
	}
}

func (d decision) summary(s sight) string {
	line := []string{state(s.docker), state(s.ecs)}
	if d.act.verb != nothing {
		line = append(line, fmt.Sprintf("%s of %s: %s", d.act.verb, d.act.unit, d.act.why))
	}
	return strings.Join(line, ", ")
}

func state(u facts.Unit) string {
	name := strings.TrimSuffix(u.Name, ".service")
	switch {
	case !u.Exists():
		return name + " " + u.Load
	case u.Sub == autoRestart:
		return name + " held back or failing, tried again"
	case u.Queued && !u.Running():
		return name + " about to start"
	}
	return name + " " + u.Active
}

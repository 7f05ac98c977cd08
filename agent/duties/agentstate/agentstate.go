// Package agentstate is the duty that keeps the ECS agent from starting with
// what an agent on another instance has saved, as an image of a node that was
// registered carries it, and says beforehand when the agent will refuse to
// start with what it has saved itself.
package agentstate

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

// Data is what the agent has saved.
type Data interface {
	// State returns what a file says. facts.ErrAbsent: it is not there.
	// facts.ErrUnavailable: it cannot be read now, as while the agent runs. Any
	// other error: it is damaged.
	State(file string) (facts.AgentState, error)
}

// Manager is the service manager.
type Manager interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
}

// Duty looks after the saved state of the agent. It removes nothing but on the
// first boot of an instance, and nothing while the agent runs.
type Duty struct {
	FS       fsx.FS
	Instance cell.Reader[facts.Instance]
	Cluster  cell.Reader[string] // the cluster that the node is to join, or is in
	Data     Data
	Manager  Manager
}

const ecsUnit = "ecs.service"

// settle is how soon a unit is looked at again that is on its way up or down.
const settle = time.Second

// Name implements duty.Duty.
func (*Duty) Name() string { return "agentstate" }

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	instance, ok := d.Instance.Get()
	if !ok || instance.ID == "" {
		return duty.Outcome{}, duty.WaitingFor("it is not known yet which instance this is")
	}
	s := sight{instance: instance.ID}
	s.cluster, _ = d.Cluster.Get()
	s.seen, s.seenErr = readRecord(d.FS)
	for _, file := range []string{facts.AgentDB, facts.AgentJSON} {
		state, err := d.Data.State(file)
		s.files = append(s.files, saved{file, state, err})
	}
	dec := decide(s)
	if dec.needsUnit() {
		unit, err := d.Manager.Unit(ctx, ecsUnit)
		dec = dec.permit(unit, err)
	}
	return d.act(s, dec)
}

func (d *Duty) act(s sight, dec decision) (duty.Outcome, error) {
	out := duty.Outcome{Warnings: dec.warnings, Again: dec.again}
	problems := dec.problems
	var removed []string
	for _, r := range dec.remove {
		changed, err := d.FS.Remove(r.file)
		if err != nil {
			problems = append(problems, fmt.Errorf("%w: it %s, and the ECS agent must not start with it", err, r.why))
			dec.settled = false
			continue
		}
		if changed {
			removed = append(removed, fmt.Sprintf("%s, which %s", r.file, r.why))
		}
	}
	out.Changed = len(removed) > 0
	if dec.settled && s.seen != dec.record {
		changed, err := dec.record.write(d.FS)
		out.Changed = out.Changed || changed
		problems = append(problems, err)
	}
	out.Summary = dec.summary
	if len(removed) > 0 {
		out.Summary = "removed " + strings.Join(removed, "; ")
	}
	return out, errors.Join(problems...)
}

// Package registration is the duty that finds out what the ECS agent on this
// node is registered as.
//
// What was last known stays while the agent does not answer, also over a
// reboot, because a registered node must not be taken for a new one.
package registration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Agent is the ECS agent on this node.
type Agent interface {
	// ContainerInstance is facts.ErrAbsent if the agent is not registered.
	ContainerInstance(ctx context.Context) (facts.ContainerInstance, error)
}

// Duty asks the agent and publishes what it is registered as.
type Duty struct {
	FS           fsx.FS
	Agent        Agent
	Instance     cell.Reader[facts.Instance]
	Registration *cell.Cell[facts.ContainerInstance]
	// Off, unless nil, says why there is no agent to ask, or "". The node is
	// then published as not registered.
	Off func() string
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "registration" }

// Reconcile implements duty.Duty. That the agent does not answer is no failure:
// it is usual before the first registration, and a warning afterwards.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	if d.Off != nil {
		if why := d.Off(); why != "" {
			d.Registration.Set(facts.ContainerInstance{})
			return duty.Outcome{Summary: why}, nil
		}
	}
	found, err := d.Agent.ContainerInstance(ctx)
	switch {
	case err == nil:
		return d.registered(found)
	case errors.Is(err, facts.ErrAbsent):
		return d.notRegistered("the ECS agent runs and is not registered")
	default:
		return d.silent(err)
	}
}

func (d *Duty) registered(found facts.ContainerInstance) (duty.Outcome, error) {
	d.Registration.Set(found)
	out := duty.Outcome{Summary: "registered in " + found.Cluster}
	if found.AgentVersion != "" {
		out.Summary += ", ECS agent " + found.AgentVersion
	}
	if instance, ok := d.Instance.Get(); ok {
		return out, save(d.FS, record{instance.ID, found})
	}
	return out, nil // saved once it is known whose it is
}

func (d *Duty) notRegistered(why string) (duty.Outcome, error) {
	d.Registration.Set(facts.ContainerInstance{})
	_, err := d.FS.Remove(file)
	if err != nil {
		err = fmt.Errorf("cannot forget the former registration: %w", err)
	}
	return duty.Outcome{Summary: "not registered: " + why}, err
}

// silent falls back on what is known when the agent gives no usable answer.
func (d *Duty) silent(cause error) (duty.Outcome, error) {
	out := duty.Outcome{Summary: "not registered: " + cause.Error()}
	known, err := load(d.FS)
	if errors.Is(err, fs.ErrNotExist) {
		d.Registration.Set(facts.ContainerInstance{})
		return out, nil
	}
	if err != nil {
		d.Registration.Set(facts.ContainerInstance{})
		out.Warnings = []string{err.Error()}
		return out, nil
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return out, duty.WaitingFor("the identity of the instance, to tell whether it was registered (%v)", cause)
	}
	switch {
	case known.InstanceID != instance.ID:
		return d.notRegistered(fmt.Sprintf("%s was, and this is %s", known.InstanceID, instance.ID))
	case !agentState(d.FS):
		return d.notRegistered("the ECS agent has no state of a registration")
	}
	d.Registration.Set(known.ContainerInstance)
	out.Summary = "last registered in " + known.Cluster
	out.Warnings = []string{fmt.Sprintf("the ECS agent does not answer; it was last registered in %s: %v", known.Cluster, cause)}
	return out, nil
}

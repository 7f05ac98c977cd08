// Package registration is the duty that finds out what the ECS agent on this
// node is registered as.
//
// What was last known stays while the agent gives no answer that fits this
// instance, also over a reboot, because a registered node must not be taken for
// a new one.
package registration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

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

// Saved is what the agent keeps for its next start, in [facts.AgentDB] and
// [facts.AgentJSON]. Errors are facts.ErrAbsent for a file that is not there;
// any other says that nobody can tell, as while the agent runs.
type Saved interface {
	State(file string) (facts.AgentState, error)
}

// Duty asks the agent and publishes what it is registered as.
type Duty struct {
	FS           fsx.FS
	Agent        Agent
	Instance     cell.Reader[facts.Instance]
	Registration *cell.Cell[facts.ContainerInstance]
	Saved        Saved // nil: not looked at
	// Off, unless nil, says why there is no agent to ask, or "". The node is
	// then published as not registered.
	Off func() string

	began time.Time // of the first pass
	last  record    // believed in this process
	// fresh: the agent was seen without state. What it has later is of a
	// registration that began under our eyes.
	fresh bool
}

// An agent that has state of a registration that we have no record of is
// listened for this long, and this often. Not longer: on a boot it only starts
// once ecs.config is written, which waits for us.
const (
	patience = 30 * time.Second
	askAgain = 5 * time.Second
)

const unseen = "the ECS agent has state of a registration that ecsnode has not seen; ECS_CLUSTER may not fit it"

// Name implements duty.Duty.
func (*Duty) Name() string { return "registration" }

// Reconcile implements duty.Duty. That the agent does not answer is no failure:
// it is usual before the first registration, and a warning afterwards.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	if d.began.IsZero() {
		d.began = time.Now()
	}
	if d.Off != nil {
		if why := d.Off(); why != "" {
			d.Registration.Set(facts.ContainerInstance{})
			return duty.Outcome{Summary: why}, nil
		}
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the identity of the instance, which a registration must fit")
	}
	said, err := d.Agent.ContainerInstance(ctx)
	if err == nil {
		err = believe(said, instance)
	}
	if err != nil {
		return d.fallBack(instance, err)
	}
	return d.registered(record{instance.ID, said})
}

func (d *Duty) registered(r record) (duty.Outcome, error) {
	d.last = r
	d.Registration.Set(r.ContainerInstance)
	out := duty.Outcome{Summary: "registered in " + nameOf(r.Cluster)}
	if r.AgentVersion != "" {
		out.Summary += ", ECS agent " + r.AgentVersion
	}
	return out, save(d.FS, r)
}

// fallBack goes by what is known when the agent gives no answer to go by.
func (d *Duty) fallBack(instance facts.Instance, cause error) (duty.Outcome, error) {
	known, problem := d.known()
	if !agentState(d.FS) {
		d.fresh = true
		return d.notRegistered(whyWithoutState(known, cause), cause)
	}
	switch {
	case problem != nil && d.fresh:
		return d.notRegistered(cause.Error(), cause)
	case problem != nil:
		r, told := d.saved(instance)
		switch {
		case r.ARN != "":
			known = r
		case told && errors.Is(cause, facts.ErrUnavailable):
			out, err := d.notRegistered("its agent gives no answer, and has saved that it is not", cause)
			if !errors.Is(problem, fs.ErrNotExist) {
				out.Warnings = append(out.Warnings, problem.Error())
			}
			return out, err
		default:
			return d.unseen(cause, problem)
		}
	case known.InstanceID != instance.ID:
		return d.notRegistered(fmt.Sprintf("%s was, and this is %s", known.InstanceID, instance.ID), cause)
	}
	out, err := d.registered(known)
	cluster := nameOf(known.Cluster)
	out.Summary = "last registered in " + cluster
	out.Warnings = []string{fmt.Sprintf("the ECS agent gives no answer to go by; it was last registered in %s: %v", cluster, cause)}
	return out, err
}

// saved returns the registration of this instance that the agent has saved: it
// was made under nobody's eyes, as right before a power cut. told is false where
// what is saved cannot be read, as while an agent runs that has [facts.AgentDB]: all
// since 1.44.
func (d *Duty) saved(instance facts.Instance) (r record, told bool) {
	if d.Saved == nil {
		return record{}, false
	}
	for _, file := range []string{facts.AgentDB, facts.AgentJSON} {
		state, err := d.Saved.State(file)
		switch {
		case errors.Is(err, facts.ErrAbsent):
		case err != nil, state.InstanceID != instance.ID:
			return record{}, false
		case state.ARN != "" && state.Cluster != "":
			return record{instance.ID, facts.ContainerInstance{ARN: state.ARN, Cluster: state.Cluster, AgentVersion: state.AgentVersion}}, true
		default:
			told = true
		}
	}
	return record{}, told
}

// known returns the record of the latest answer that was believed.
func (d *Duty) known() (record, error) {
	if d.last.ARN != "" {
		return d.last, nil
	}
	return load(d.FS)
}

func whyWithoutState(known record, cause error) string {
	switch {
	case errors.Is(cause, facts.ErrAbsent):
		return "the ECS agent runs and is not registered"
	case known.ARN != "":
		return "the ECS agent has no state of a registration"
	}
	return cause.Error()
}

func (d *Duty) notRegistered(why string, cause error) (duty.Outcome, error) {
	d.last = record{}
	d.Registration.Set(facts.ContainerInstance{})
	_, err := d.FS.Remove(file)
	if err != nil {
		err = fmt.Errorf("cannot forget the former registration: %w", err)
	}
	return duty.Outcome{Summary: "not registered: " + why, Warnings: disbelief(cause)}, err
}

// unseen is for an agent that has state, of which there is no record because of
// problem.
func (d *Duty) unseen(cause, problem error) (duty.Outcome, error) {
	out := duty.Outcome{Warnings: disbelief(cause)}
	if !errors.Is(problem, fs.ErrNotExist) {
		out.Warnings = append(out.Warnings, problem.Error())
	}
	left := patience - time.Since(d.began)
	if _, published := d.Registration.Get(); !published && left > 0 {
		out.Again = min(left, askAgain)
		return out, duty.WaitingFor("the ECS agent, which has state of a registration that ecsnode has not seen (%v)", cause)
	}
	d.Registration.Set(facts.ContainerInstance{})
	out.Summary = "not registered, as far as is known: " + cause.Error()
	out.Warnings = append(out.Warnings, unseen)
	return out, nil
}

// disbelief is cause where an operator should look at it: that nobody answers
// is usual.
func disbelief(cause error) []string {
	if errors.Is(cause, errNotBelieved) {
		return []string{cause.Error()}
	}
	return nil
}

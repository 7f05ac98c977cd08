package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/duties/interruption"
	"github.com/ecsnode/ecsnode/agent/duties/notice"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// Simulation is a notice that an operator makes up.
type Simulation = notice.Simulation

// UsualNotice is what a source says most, and how long before it happens.
func UsualNotice(source string) (what string, in time.Duration) { return notice.Usual(source) }

// Rehearsal is what this node would do about a notice.
type Rehearsal struct {
	Notice facts.Notice
	// Begins is how long after the notice the drain would begin; the steps count
	// from there.
	Begins time.Duration
	Policy string           // why there would be no drain, or ""
	Drain  *drain.Rehearsal // nil: there would be none
}

// Rehearse looks at the node and tells what it would do if the notice came now.
// It changes nothing.
func (n *Node) Rehearse(ctx context.Context, s Simulation) (*Rehearsal, error) {
	if !n.hasDocker() {
		return nil, fmt.Errorf("simulate works on the machine itself and not below --root %s", n.disk.Root())
	}
	files := fsx.NewOverlay(n.disk)
	out, _ := n.dry()
	shift := n.newShift(applying, files, out, "", "simulate")
	_ = shift.engine.Pass(ctx, shift.table) // what is not known is told below
	c, ok := n.config.Get()
	if !ok {
		return nil, fmt.Errorf("cannot rehearse: %w", context.Cause(ctx))
	}
	instance, ok := n.instance.Get()
	if !ok {
		return nil, errors.New("cannot rehearse: it is not known which instance this is: ecsnode status")
	}
	now := clock{n.bootID}.Now()
	simulated, err := s.Notice(c.Interruption, instance.ID, now.Wall)
	if err != nil {
		return nil, err
	}
	r := &Rehearsal{Notice: simulated}
	if !simulated.Drain {
		r.Policy = fmt.Sprintf("nothing is drained for it: interruption.%s.policy", s.Source)
		return r, nil
	}
	i, begins := interruption.Of(simulated, now)
	r.Begins = begins
	r.Drain, err = n.drainDuty(files, out).Rehearse(ctx, i, now.Add(begins))
	return r, err
}

// Simulate makes the node drain as if for the notice, until [Node.Undrain]. It
// returns when that was asked for, for [Node.AwaitDrain].
func (n *Node) Simulate(s Simulation) (at time.Time, err error) {
	c := n.load(n.disk)
	simulated, err := s.Notice(c.Interruption, n.id, time.Now())
	if err != nil {
		return time.Time{}, err
	}
	if !simulated.Drain {
		return time.Time{}, fmt.Errorf("cannot simulate %s for real: nothing is drained for it: interruption.%s.policy", s.Source, s.Source)
	}
	return n.Drain(DrainRequest{Simulated: &simulated})
}

// Text writes the rehearsal for a person.
func (r *Rehearsal) Text(w io.Writer) {
	what := strings.TrimSpace(r.Notice.Source + " " + r.Notice.What)
	if !r.Notice.By.IsZero() {
		what += " at " + r.Notice.By.Format("15:04:05Z")
	}
	fmt.Fprintf(w, "If this came now: %s\n", what)
	if r.Drain == nil {
		fmt.Fprintln(w, r.Policy)
		return
	}
	d := r.Drain
	if d.Container.Registered() {
		fmt.Fprintf(w, "container instance %s, %s now\n", d.Container.ARN, strings.ToLower(d.Status))
	} else {
		fmt.Fprintln(w, "the node is no container instance: there is nothing to drain in ECS")
	}
	if r.Begins > 0 {
		fmt.Fprintf(w, "the drain would begin in %s\n", status.Age(r.Begins))
	}
	fmt.Fprintln(w)
	for _, s := range d.Steps {
		fmt.Fprintf(w, "  +%7.1fs  %s\n", s.After.Seconds(), status.Printable(s.What))
	}
	if len(d.Afterwards) > 0 {
		fmt.Fprintln(w, "  as soon as nothing is left but what leaves last:")
	}
	for _, s := range d.Afterwards {
		fmt.Fprintf(w, "  %9s  %s\n", "", status.Printable(s))
	}
	if len(d.Tasks) > 0 {
		fmt.Fprintln(w)
	}
	for _, t := range d.Tasks {
		fmt.Fprintf(w, "  %s\n", status.Printable(t))
	}
	for _, p := range d.Problems {
		fmt.Fprintf(w, "! %s\n", status.Printable(p))
	}
}

// Package instancehealth is the duty that gives up: it reports a node that does
// not find out what it is unhealthy to Auto Scaling, which then replaces it.
package instancehealth

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// AutoScaling is the API of the group that the instance is in.
type AutoScaling interface {
	ReportUnhealthy(ctx context.Context, region, instanceID string) error
}

// Duty reports the instance once the node has been up for After without an
// identity.
type Duty struct {
	FS          fsx.FS
	After       cell.Reader[time.Duration] // zero: never
	Instance    cell.Reader[facts.Instance]
	Identity    cell.Reader[time.Time] // zero: not established in this boot
	AutoScaling AutoScaling

	reported time.Time
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "instancehealth" }

// reportAgain is how often a report is repeated: a group whose processes are
// suspended keeps an instance that it holds unhealthy.
const reportAgain = 15 * time.Minute

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	after, ok := d.After.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	if at, _ := d.Identity.Get(); !at.IsZero() {
		return duty.Outcome{Summary: "identity is established: nothing to report"}, nil
	}
	if after == 0 {
		return duty.Outcome{Summary: "off: a node without identity waits (boot.unhealthy_after)"}, nil
	}
	up, err := d.uptime()
	if err != nil {
		return duty.Outcome{}, err
	}
	if left := after - up; left > 0 {
		return duty.Outcome{
			Summary: fmt.Sprintf("the node has no identity yet; %v after its boot it is reported unhealthy", after), Again: left,
		}, nil
	}
	return d.report(ctx, after)
}

// report fails in any case: a node that gives up is not well.
func (d *Duty) report(ctx context.Context, after time.Duration) (duty.Outcome, error) {
	instance, ok := d.Instance.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the instance, to report it unhealthy: it is not known")
	}
	out := duty.Outcome{}
	if d.reported.IsZero() || time.Since(d.reported) >= reportAgain {
		if err := d.AutoScaling.ReportUnhealthy(ctx, instance.Region, instance.ID); err != nil {
			return out, err
		}
		d.reported, out.Changed = time.Now(), true
	}
	out.Again = reportAgain
	return out, fmt.Errorf("the node has had no identity for %v after its boot: reported unhealthy to Auto Scaling at %s, which replaces it",
		after, d.reported.UTC().Format("15:04Z"))
}

const uptimeFile = "/proc/uptime"

// uptime is how long ago the node booted, suspended or not: proc(5).
func (d *Duty) uptime() (time.Duration, error) {
	text, err := fsx.ReadTrimmed(d.FS, uptimeFile)
	if err != nil {
		return 0, err
	}
	seconds, _, _ := strings.Cut(text, " ")
	up, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", uptimeFile, err)
	}
	return up, nil
}

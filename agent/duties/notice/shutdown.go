package notice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Logind is the login manager, which asks those who hold an inhibitor before it
// lets the machine go down. systemd-inhibit(1), org.freedesktop.login1(5)
type Logind interface {
	Inhibit(ctx context.Context, why string) (release func() error, err error)
	DelayMax(ctx context.Context) (time.Duration, error)
	Preparing(ctx context.Context) (bool, error)
	Stopping(ctx context.Context) (kind string, err error)
}

// Shutdown is the duty that delays a shutdown or reboot of the host until the
// node is drained.
type Shutdown struct {
	Logind Logind
	// Drained: there is nothing that the shutdown has to wait for. Its value is
	// the key of the notice that the node was drained for.
	Drained cell.Reader[string]
	Notices *cell.Cell[[]facts.Notice]

	release func() error
	max     time.Duration
	notice  *facts.Notice // while the host is about to go down
}

// Name implements duty.Duty.
func (*Shutdown) Name() string { return facts.NoticeShutdown }

// leastDelay is what a drain for a shutdown should be given: what
// systemd/logind.conf.d asks for.
const leastDelay = 100 * time.Second

// Reconcile implements duty.Duty.
func (d *Shutdown) Reconcile(ctx context.Context) (duty.Outcome, error) {
	preparing, err := d.Logind.Preparing(ctx)
	if err != nil {
		return duty.Outcome{}, err
	}
	if preparing {
		return d.prepare(ctx)
	}
	d.notice = nil
	d.Notices.Set(nil)
	var errs []error
	if d.release == nil {
		d.release, err = d.Logind.Inhibit(ctx, "tasks of this container instance leave first")
		errs = append(errs, err)
	}
	d.max, err = d.Logind.DelayMax(ctx)
	errs = append(errs, err)
	out := duty.Outcome{Summary: fmt.Sprintf("no notice; a shutdown is delayed by up to %v", d.max)}
	if err == nil && d.max < leastDelay {
		out.Warnings = []string{fmt.Sprintf("a shutdown leaves %v for a drain, not %v: set InhibitDelayMaxSec= of logind (logind.conf.d)", d.max, leastDelay)}
	}
	return out, errors.Join(errs...)
}

func (d *Shutdown) prepare(ctx context.Context) (duty.Outcome, error) {
	if d.notice == nil {
		kind, err := d.Logind.Stopping(ctx)
		if kind == "" || err != nil {
			kind = "shutdown"
		}
		now := time.Now().UTC().Round(0)
		d.notice = &facts.Notice{
			Source: facts.NoticeShutdown, What: kind, ID: stamp(now), Drain: true, By: now.Add(d.max), Hard: true,
		}
	}
	d.Notices.Set([]facts.Notice{*d.notice})
	out := duty.Outcome{Summary: summary([]facts.Notice{*d.notice})}
	drained, _ := d.Drained.Get()
	if drained != d.notice.Key() || d.release == nil {
		return out, nil
	}
	err := d.release()
	d.release = nil
	return out, err
}

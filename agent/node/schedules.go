package node

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
	"github.com/ecsnode/ecsnode/agent/when"
)

// scheduled runs things at set times: the daemon's alone, since a pass by hand is
// no tick, and none once a hold stands.
func (n *Node) scheduled(files fsx.FS, out outside, drains cell.Reader[bool]) duty.Entry {
	sec, min := time.Second, time.Minute
	return duty.Entry{
		Duty: &schedules.Duty{
			FS: files, ID: n.id, Clock: clock{n.bootID}, Config: n.schedulesConfig(), Instance: n.instance, Cluster: n.cluster,
			Registration: n.registration, Drains: drains, Requests: requestsDir, Jobs: n.jobs(out), ECS: n.hosts.ecs,
			Agent: &agent{n: n}, Docker: n.hosts.docker, Store: n.hosts.s3, Schedules: n.schedules,
		},
		// Ticks come by Again; each minute it looks whether the clock was set.
		When: when.Every(min), On: []cell.Waker{n.config, n.instance, n.registration, n.cluster, drains}, Stream: n.watch(arrived, requestsDir),
		Timeout: 2 * min, Gap: 10 * time.Millisecond, Retry: duty.Retry{Min: sec, Max: min}, Changes: true,
	}
}

// runsSchedules reports whether the node runs anything at set times.
func (n *Node) runsSchedules() bool { return !n.scratch() || n.opts.Jobs != nil }

// jobs is who runs commands.
func (n *Node) jobs(out outside) schedules.Jobs {
	if n.scratch() && n.opts.Jobs != nil {
		return n.opts.Jobs
	}
	return out.manager
}

func (n *Node) schedulesConfig() cell.Reader[schedules.Config] {
	return cell.View(n.config, func(e *effective) schedules.Config { return e.Schedules })
}

func sameSchedules(a, b []facts.Schedule) bool { return reflect.DeepEqual(a, b) }

// scheduleAsked is how old a request may be for another one to join it. One that
// is older may be of another clock, or on its way to be dropped.
const scheduleAsked = time.Hour

// ErrNoSchedule: there is none of that name.
var ErrNoSchedule = errors.New("there is no such schedule: ecsnode schedules lists them")

// Schedules tells how the schedules stand, with what the latest runs wrote, as
// far as the caller may read that.
func (n *Node) Schedules() ([]facts.Schedule, error) {
	d, err := status.Load(n.disk, status.Path)
	if err != nil {
		return nil, err
	}
	return n.WithOutput(d.Schedules), nil
}

// WithOutput adds what the latest runs wrote, which is kept for root alone: who
// may not read it does without.
func (n *Node) WithOutput(all []facts.Schedule) []facts.Schedule {
	outputs, err := schedules.Outputs(n.disk)
	if err != nil {
		return all
	}
	all = slices.Clone(all)
	for i, s := range all {
		if run := outputs[s.Name]; s.Last != nil && s.Last.Tick.Equal(run.Tick) {
			last := *s.Last
			last.Output = run.Output
			all[i].Last = &last
		}
	}
	return all
}

// RunSchedule asks for a run now and returns when it was asked for, which is the
// run's tick. One that was asked for and that nobody has taken yet is that run.
func (n *Node) RunSchedule(name string) (time.Time, error) {
	if err := n.hasSchedule(name); err != nil {
		return time.Time{}, err
	}
	file := path.Join(requestsDir, schedules.RunFile(name))
	r, _ := readRequest[schedules.Request](n.disk, file) // what cannot be read is replaced
	now := time.Now().UTC()
	if taken, err := schedules.Taken(n.disk, name, r.ID); r.ID == "" || taken || err != nil || now.Sub(r.At).Abs() > scheduleAsked {
		r = schedules.Request{ID: strconv.FormatInt(now.UnixNano(), 36), At: now.Truncate(time.Millisecond)}
		if err := n.ask(file, r); err != nil {
			return time.Time{}, err
		}
	}
	running, err := n.daemonRuns()
	if err == nil && !running {
		err = errors.New("ecsnode is not running: the run begins when it does: systemctl start ecsnode")
	}
	return r.At, err
}

// PauseSchedule keeps ticks from running until [Node.ResumeSchedule], over
// reboots. A run under way goes on.
func (n *Node) PauseSchedule(name string) error {
	if err := n.hasSchedule(name); err != nil {
		return err
	}
	now := time.Now().UTC()
	return n.ask(path.Join(requestsDir, schedules.PauseFile(name)), schedules.Request{ID: strconv.FormatInt(now.UnixNano(), 36), At: now})
}

// ResumeSchedule ends a pause and reports whether there was one.
func (n *Node) ResumeSchedule(name string) (bool, error) {
	if !schedules.ValidName(name) {
		return false, fmt.Errorf("%s: %w", name, ErrNoSchedule)
	}
	return n.disk.Remove(path.Join(requestsDir, schedules.PauseFile(name)))
}

func (n *Node) hasSchedule(name string) error {
	if _, is := n.load(n.disk).Schedules.Items[name]; !is {
		return fmt.Errorf("%s: %w", name, ErrNoSchedule)
	}
	return nil
}

// AwaitSchedule waits until the run that was asked for at that time has ended, or
// was left out, which is an error.
func (n *Node) AwaitSchedule(ctx context.Context, name string, asked time.Time) (facts.ScheduleRun, error) {
	for {
		d, err := status.Load(n.disk, status.Path)
		if err != nil && !errors.Is(err, status.ErrNone) {
			return facts.ScheduleRun{}, err
		}
		var all []facts.Schedule
		if err == nil {
			all = n.WithOutput(d.Schedules)
			for _, r := range d.Duties {
				if r.Name == (&schedules.Duty{}).Name() && r.State == duty.Held {
					return facts.ScheduleRun{}, fmt.Errorf("%s runs when the hold ends: schedules are %s", name, r.Summary)
				}
			}
		}
		for _, s := range all {
			switch {
			case s.Name != name:
			case s.Last != nil && s.Last.Tick.Equal(asked):
				return *s.Last, nil
			case s.LeftOut.Equal(asked):
				return facts.ScheduleRun{}, fmt.Errorf("%s was not run: %s", name, s.LeftOutWhy)
			}
		}
		select {
		case <-ctx.Done():
			return facts.ScheduleRun{}, fmt.Errorf("%s has not ended yet: %w", name, context.Cause(ctx))
		case <-time.After(applyPoll):
		}
	}
}

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/duties/interruption"
	"github.com/ecsnode/ecsnode/agent/duties/nodetasks"
	"github.com/ecsnode/ecsnode/agent/duties/notice"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
	"github.com/ecsnode/ecsnode/agent/when"
)

// What asks for a drain as long as it is there.
const (
	drainFile    = requestsDir + "/drain.json"
	shutdownFile = requestsDir + "/shutdown.json"
)

// leaving is what sees the end of the node coming and empties it: the daemon's,
// from its start on, also while boot is under way. It is never held: a node that
// goes takes its tasks along, whoever looks into it.
func (n *Node) leaving(files fsx.FS, out outside) []duty.Entry {
	sec, min := time.Second, time.Minute
	source := func(name string) duty.Entry {
		return duty.Entry{
			Duty: &notice.Duty{
				Source: name, Config: n.noticeConfig(), Metadata: n.hosts.imds,
				Instance: n.instance, Registration: n.registration, Notices: n.notices[name],
			},
			When: n.asks(name),
			On:   []cell.Waker{n.config, n.instance, n.registration}, Timeout: 5 * sec, Retry: duty.Retry{Min: sec, Max: 5 * sec},
		}
	}
	spot := source(facts.NoticeSpot)
	spot.Core = true
	table := []duty.Entry{
		spot,
		source(facts.NoticeRebalance),
		source(facts.NoticeAutoScaling),
		source(facts.NoticeMaintenance),
		{
			Duty: &notice.Operator{
				FS: files, File: drainFile, Shutdown: shutdownFile, BootID: n.bootID,
				Config: n.noticeConfig(), Notices: n.notices[facts.NoticeOperator],
			},
			When: when.Every(10 * sec), On: []cell.Waker{n.config}, Stream: n.watch(arrived, requestsDir), Timeout: 5 * sec,
		},
	}
	if !n.scratch() {
		table = append(table, duty.Entry{
			Duty: &notice.Shutdown{Logind: n.hosts.logind, Drained: n.drained, Notices: n.notices[facts.NoticeShutdown]},
			When: when.Every(min), On: []cell.Waker{n.drained}, Stream: n.hosts.logind.Watch,
			Timeout: 5 * sec, Retry: duty.Retry{Max: min},
		})
	}
	merged := &interruption.Duty{FS: files, Clock: clock{n.bootID}, Interruption: n.interruption}
	var wakers []cell.Waker
	for _, name := range noticeSources {
		if name == facts.NoticeShutdown && n.scratch() {
			continue // the host's, and not this node's
		}
		merged.Sources = append(merged.Sources, interruption.Source{Name: name, Notices: n.notices[name]})
		wakers = append(wakers, n.notices[name])
	}
	table = append(table, duty.Entry{
		Duty: merged, When: when.Every(min), On: wakers, Timeout: 5 * sec, Retry: duty.Retry{Max: 10 * sec}, Core: true,
	})
	if n.hasDocker() {
		table = append(table, n.draining(files, out)...)
	}
	return table
}

// draining empties the node, and tells of it.
func (n *Node) draining(files fsx.FS, out outside) []duty.Entry {
	sec, min := time.Second, time.Minute
	return []duty.Entry{{
		Duty: n.drainDuty(files, out),
		When: when.Every(min), On: []cell.Waker{n.interruption, n.established, n.config, n.registration, n.cluster},
		Timeout: 30 * sec, Retry: duty.Retry{Min: sec, Max: 5 * sec}, Core: true,
	}, {
		Duty: &drain.WebhookDuty{
			FS: files, Clock: clock{n.bootID}, Config: n.drainConfig(), Instance: n.instance, Cluster: n.cluster,
			Plan: n.plan, Poster: n.hosts.webhook,
		},
		On: []cell.Waker{n.plan, n.config}, Timeout: 2 * min, Retry: duty.Retry{Min: sec, Max: 10 * sec},
	}, {
		Duty: &drain.UploadDuty{Config: n.drainConfig(), Instance: n.instance, Plan: n.plan, Store: n.hosts.s3},
		On:   []cell.Waker{n.plan, n.config}, Gap: 2 * sec, Timeout: min, Retry: duty.Retry{Min: sec, Max: 10 * sec},
	}}
}

func (n *Node) drainDuty(files fsx.FS, out outside) *drain.Duty {
	return &drain.Duty{
		FS: files, Clock: clock{n.bootID}, Config: n.drainConfig(), Interruption: n.interruption,
		Instance: n.instance, Cluster: n.cluster, Registration: n.registration, Identity: n.established,
		ECS: n.hosts.ecs, Agent: &agent{n: n}, Docker: n.hosts.docker, AutoScaling: n.hosts.autoscaling, Jobs: n.jobs(out),
		Scheduled: func() (map[string]string, error) { return schedules.JobNames(files) },
		Plan:      n.plan, Drained: n.drained,
	}
}

// asks is when a source in instance metadata is asked. One that is off costs
// nothing: its inputs wake it.
func (n *Node) asks(source string) when.Schedule {
	return schedule(func(t time.Time) time.Time {
		c := n.inEffect()
		instance, _ := n.instance.Get()
		interval := c.Interruption.Interval(source, instance)
		if interval == 0 {
			return time.Time{}
		}
		return when.Every(interval).Next(t)
	})
}

// noticeSources are those that are asked, in the order of the status.
var noticeSources = []string{
	facts.NoticeSpot, facts.NoticeRebalance, facts.NoticeAutoScaling, facts.NoticeMaintenance,
	facts.NoticeOperator, facts.NoticeShutdown,
}

func newNotices() map[string]*cell.Cell[[]facts.Notice] {
	all := map[string]*cell.Cell[[]facts.Notice]{}
	for _, name := range noticeSources {
		all[name] = cell.New(slices.Equal[[]facts.Notice])
	}
	return all
}

// clock is the machine's.
type clock struct{ bootID string }

// Now implements drain.Clock.
func (c clock) Now() facts.Moment {
	m := facts.Moment{Wall: time.Now()}
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err == nil {
		m.Boot, m.BootID = time.Duration(since.Nano()), c.bootID
	}
	return m
}

func (n *Node) noticeConfig() cell.Reader[notice.Config] {
	return cell.View(n.config, func(e *effective) notice.Config { return e.Interruption })
}

func (n *Node) drainConfig() cell.Reader[drain.Config] {
	return cell.View(n.config, func(e *effective) drain.Config {
		c := e.Drain
		if dir := e.loaded.BundleDir(); dir != "" {
			c.Hooks = path.Join(dir, bundle.HookDir)
		}
		c.LeaveWith = e.NodeTasks.Leaving(nodetasks.WithWorkload)
		with := func(family string) bool { return slices.Contains(c.LeaveWith, family) }
		c.LeaveLast = slices.Concat(slices.DeleteFunc(slices.Clone(c.LeaveLast), with), e.NodeTasks.Leaving(nodetasks.Last))
		return c
	})
}

// DrainRequest is what an operator asks for, DrainRecord what became of it.
type (
	DrainRequest = notice.Request
	DrainRecord  = drain.Plan
)

// WatchesDrains returns an error if no daemon runs to see what is asked for.
func (n *Node) WatchesDrains() error {
	running, err := n.daemonRuns()
	if err != nil {
		return err
	}
	if !running {
		return errors.New("ecsnode is not running: the drain begins when it does: systemctl start ecsnode")
	}
	return nil
}

// Drain asks for a drain of the node until [Node.Undrain]. It counts over
// reboots. A drain that is asked for already gets what is asked for now.
func (n *Node) Drain(r DrainRequest) (at time.Time, err error) {
	r.At = time.Now().UTC().Truncate(time.Second)
	return r.At, n.ask(drainFile, r)
}

// Undrain takes the request back and reports whether there was one.
func (n *Node) Undrain() (bool, error) { return n.disk.Remove(drainFile) }

// ErrNoDrain: no drain is on record.
var ErrNoDrain = errors.New("this node has never been drained by ecsnode")

// Drains returns the records of drains, the newest first, at most max.
func (n *Node) Drains(max int) ([]*DrainRecord, error) {
	names, err := drain.Records(n.disk)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, ErrNoDrain
	}
	var all []*drain.Plan
	for _, name := range names[:min(max, len(names))] {
		p, err := drain.Load(n.disk, name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// AwaitDrain waits until the drain that was asked for at that time, as [Node.Drain]
// returned it, is done or its deadline has passed. It calls tell with the record
// and how the drain stands, in one line, whenever either says more. It reports
// whether the node is drained.
func (n *Node) AwaitDrain(ctx context.Context, asked time.Time, tell TellDrain) (drained bool, err error) {
	id := "/" + asked.Format(time.RFC3339)
	return n.awaitDrain(ctx, func(key string) bool {
		return strings.HasPrefix(key, facts.NoticeOperator+"/") && strings.HasSuffix(key, id)
	}, tell)
}

// TellDrain is told how a drain goes.
type TellDrain func(r *DrainRecord, stands string)

func (n *Node) awaitDrain(ctx context.Context, isFor func(key string) bool, tell TellDrain) (drained bool, err error) {
	told, stood := -1, ""
	for {
		all, err := n.Drains(1)
		if err != nil && !errors.Is(err, ErrNoDrain) {
			return false, err
		}
		if len(all) > 0 && all[0].Open() && !all[0].Undoing && slices.ContainsFunc(all[0].For, isFor) {
			p := all[0]
			if stands := n.drainStands(); len(p.Milestones) != told || stands != stood {
				told, stood = len(p.Milestones), stands
				tell(p, stands)
			}
			switch {
			case p.DrainedAt != (facts.Moment{}):
				return true, nil
			case p.Missed:
				return false, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("the node is not drained yet: %w", context.Cause(ctx))
		case <-time.After(applyPoll):
		}
	}
}

// drainStands is how the daemon's drain stands, or "".
func (n *Node) drainStands() string {
	d, err := status.Load(n.disk, status.Path)
	if err != nil {
		return ""
	}
	for _, r := range d.Duties {
		if r.Name == (&drain.Duty{}).Name() {
			return cmp.Or(r.Err, r.Summary)
		}
	}
	return ""
}

// shutdownTime is what a drain is given that the login manager does not tell of.
const shutdownTime = 100 * time.Second

// Shutdown empties the node if its host is going down, and returns once it is
// empty or the time for it is over. A daemon that runs is asked to; without one
// it is done here. kind says where the host goes, "" that it stays.
func (n *Node) Shutdown(ctx context.Context, tell TellDrain) (kind string, drained bool, err error) {
	if n.scratch() {
		return "", false, fmt.Errorf("shutdown works on the machine itself and not below --root %s", n.disk.Root())
	}
	if kind, err = n.hosts.logind.Stopping(ctx); err != nil || kind == "" {
		return "", false, err
	}
	by := time.Now().Add(shutdownTime)
	ctx, cancel := context.WithDeadline(ctx, by.Add(5*time.Second))
	defer cancel()
	forShutdown := func(key string) bool { return strings.HasPrefix(key, facts.NoticeShutdown+"/") }
	if all, err := n.Drains(1); err == nil && all[0].Open() && all[0].BootID == n.bootID && slices.ContainsFunc(all[0].For, forShutdown) &&
		(empty(all[0]) || all[0].Missed) {
		return kind, empty(all[0]), nil // the login manager has waited for it
	}
	if err := n.ask(shutdownFile, notice.ShutdownRequest{Kind: kind, By: by, BootID: n.bootID}); err != nil {
		return kind, false, err
	}
	if running, err := n.daemonRuns(); err == nil && !running {
		work, stop := context.WithCancel(ctx)
		s := n.newShift(serving, n.disk, n.outside(), "", "shutdown")
		looks := slices.DeleteFunc(slices.Clone(s.table), func(en duty.Entry) bool { return en.Changes })
		done := make(chan struct{})
		go func() { defer close(done); s.engine.Run(work, looks) }()
		defer func() { stop(); <-done }()
	}
	waiting, enough := context.WithCancel(ctx)
	defer enough()
	drained, err = n.awaitDrain(waiting, forShutdown, func(p *DrainRecord, stands string) {
		if tell(p, stands); empty(p) {
			enough()
		}
	})
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return kind, true, nil
	}
	return kind, drained, err
}

// empty reports whether a host that shuts down need not wait any longer.
func empty(p *DrainRecord) bool { return p.DrainedAt != (facts.Moment{}) || p.LetGo }

// drainStatus is the drain under way, or nil.
func (n *Node) drainStatus() *status.Drain {
	p, _ := n.plan.Get()
	if !p.Open() {
		return nil
	}
	d := &status.Drain{Began: p.Began.Wall, For: p.For, Hard: p.Hard, State: "draining"}
	if p.Deadline != (facts.Moment{}) {
		d.Deadline = p.Deadline.Wall
	}
	switch {
	case p.Undoing:
		d.State = "undoing"
	case p.DrainedAt != (facts.Moment{}):
		d.State = "drained"
	case p.Missed:
		d.State = "late"
	}
	for _, m := range p.Milestones {
		d.Milestones = append(d.Milestones, status.Milestone{At: m.At, What: m.What})
	}
	return d
}

// DrainText writes a record for a person: what happened, and when.
func DrainText(p *DrainRecord) string {
	var b strings.Builder
	outcome := p.Outcome
	switch {
	case outcome != "":
	case p.DrainedAt != (facts.Moment{}):
		outcome = "drained after " + p.DrainedAt.Wall.Sub(p.Began.Wall).Round(100*time.Millisecond).String()
	case p.Missed:
		outcome = "not drained by its deadline"
	default:
		outcome = "under way"
	}
	fmt.Fprintf(&b, "%s  %s: %s\n", p.Began.Wall.UTC().Format("2006-01-02 15:04:05Z"), strings.Join(p.For, ", "), outcome)
	for _, m := range p.Milestones {
		left := ""
		if m.Left != 0 {
			left = fmt.Sprintf("%7.1fs left", m.Left.Seconds())
		}
		fmt.Fprintf(&b, "  +%7.1fs %13s  %s\n", m.At.Sub(p.Began.Wall).Seconds(), left, status.Printable(m.What))
	}
	return b.String()
}

package schedules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

const (
	grace = 10 * time.Second // after SIGTERM
	// listed is how long ECS's lists may lack a task that it has started.
	listed = time.Minute
	// toldAgain is how often what is to end is told so.
	toldAgain = 30 * time.Second
)

// start is a run that is to begin.
type start struct {
	*one
	run
	container string                  // of a command in one
	on        facts.ContainerInstance // of a task
}

// beginAll starts what is due: first what asks nobody, then what needs Docker or
// ECS, then what needs a lease, so that one who hangs delays little else.
func (p *pass) beginAll(each []*one) {
	var host, own, leased []*one
	for _, o := range each {
		r := p.record(o.name)
		switch {
		case p.drains || r.Due == nil || r.Run != nil || p.tries[o.name].next.After(time.Now()):
		case o.s.perCluster() && !r.Due.ByHand && !r.Due.Owned:
			leased = append(leased, o)
		case len(o.s.Command) > 0:
			host = append(host, o)
		default:
			own = append(own, o)
		}
	}
	p.begin(p.prepareAll(host))
	p.begin(p.prepareAll(own))
	p.begin(p.claimAll(p.prepareAll(leased)))
}

// prepareAll looks for what runs need, before a lease is taken that others could
// have had.
func (p *pass) prepareAll(each []*one) (ready []start) {
	for _, o := range each {
		if s, err := p.prepare(o); err != nil {
			p.notBegun(o.name, err)
		} else {
			ready = append(ready, s)
		}
	}
	return ready
}

func (p *pass) prepare(o *one) (start, error) {
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	s := start{one: o, run: run{
		due: *p.record(o.name).Due, BootID: p.now.BootID, Began: p.now.Wall.Round(0).UTC(), Deadline: p.now.Add(time.Duration(o.s.Timeout)),
	}}
	s.Why = ""
	switch {
	case o.s.Task.Definition != "":
		var ok bool
		if s.on, ok = p.Registration.Get(); !ok || !s.on.Registered() {
			return s, duty.WaitingFor("the ECS agent to be registered")
		}
		s.StartedBy, s.Instance = startedBy(o.name, s.due), s.on.ARN
		return s, nil
	case len(o.s.Exec.Command) > 0:
		var err error
		if s.container, err = p.container(ctx, o.s.Exec); err != nil {
			return s, err
		}
	}
	s.Job = jobOf(o.name, s.due)
	return s, nil
}

// begin begins runs, all of which are written down before. Jobs are so at once:
// systemd tells one that was never begun. A task is so alone: whether it was
// begun may remain unknown, and it is not begun again then.
func (p *pass) begin(all []start) {
	var jobs []start
	for _, s := range all {
		if s.StartedBy == "" {
			jobs = append(jobs, s)
		}
	}
	for _, s := range p.writeDown(jobs...) {
		p.began(s, p.runJob(s))
	}
	for _, s := range all {
		if s.StartedBy != "" && len(p.writeDown(s)) > 0 {
			p.began(s, p.startTask(s))
		}
	}
}

// writeDown notes that runs begin, and returns those of which the disk has it.
func (p *pass) writeDown(all ...start) []start {
	if len(all) == 0 {
		return nil
	}
	err := p.mayBegin()
	if err == nil {
		for _, s := range all {
			r := p.record(s.name)
			r.Run, r.Due = &s.run, nil
			p.put(s.name, r)
		}
		err = p.save()
	}
	if err == nil {
		return all
	}
	for _, s := range all {
		p.takeBack(s)
		p.notBegun(s.name, err)
	}
	return nil
}

// mayBegin says why nothing may begin any more in this pass.
func (p *pass) mayBegin() error {
	if drains, told := p.Drains.Get(); drains || !told {
		return duty.WaitingFor("%s", whyDrains)
	}
	if err := p.ctx.Err(); err != nil {
		return duty.WaitingFor("this pass had no time for it: %w", err)
	}
	return nil
}

// takeBack makes a run due again that was not begun.
func (p *pass) takeBack(s start) {
	r := p.record(s.name)
	if d := s.due; r.Run != nil {
		r.Run, r.Due = nil, &d
	}
	p.put(s.name, r)
}

// began notes how the beginning of a run went.
func (p *pass) began(s start, err error) {
	if p.record(s.name).Run != nil {
		p.out.Changed = true
		p.tell("%s of %s begins", s.name, clock(s.Tick))
	}
	if err != nil {
		p.notBegun(s.name, err)
		return
	}
	delete(p.tries, s.name)
}

// notBegun notes why a run has not begun, as far as is known, and when that is
// tried again.
func (p *pass) notBegun(name string, err error) {
	if r := p.record(name); r.Due != nil {
		r.Due = r.Due.because(err.Error())
		p.put(name, r)
	}
	t := p.tries[name]
	pause := min(retryMin<<min(t.n, 5), retryMax)
	t.n++
	t.next = time.Now().Add(pause - when.Offset(fmt.Sprintf("%s/%s/%d", p.ID, name, t.n), pause/2))
	p.tries[name] = t
	p.fail(p.named(name, err))
}

func (p *pass) runJob(s start) error {
	if err := p.mayBegin(); err != nil {
		p.takeBack(s)
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	command := facts.Command{
		Name: s.Job, Argv: s.s.Command, RuntimeMax: time.Duration(s.s.Timeout), Grace: grace, MemoryMax: uint64(s.s.Memory) << 20, Kept: true,
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root",
			"ECSNODE_SCHEDULE=" + s.name, "ECSNODE_TICK=" + s.Tick.UTC().Format(time.RFC3339),
		},
	}
	if s.container != "" {
		command.Argv, command.Container = s.s.Exec.Command, s.container
	}
	err := p.Jobs.RunJob(ctx, command)
	r := p.record(s.name)
	if r.Run.Started = err == nil; err != nil {
		// Whether it runs is told by the next pass, which begins it again if not.
		r.Run.Why = err.Error()
	}
	return err
}

// container is that of a family which was started last.
func (p *pass) container(ctx context.Context, e Exec) (id string, err error) {
	if !p.looked {
		p.containers, p.docker = p.Docker.Containers(ctx)
		p.looked = true
	}
	all := p.containers
	if p.docker != nil {
		return "", p.docker
	}
	names := map[string]bool{}
	var found facts.Container
	for _, name := range []string{cmp.Or(e.Container, e.Family), ""} {
		for _, c := range all {
			own := c.Labels[facts.LabelContainerName]
			if c.Labels[facts.LabelFamily] != e.Family || strings.HasPrefix(own, "~internal~") || name != "" && own != name {
				continue
			}
			names[own] = true
			if found.ID == "" || c.Created.After(found.Created) {
				found = c
			}
		}
		if found.ID != "" || e.Container != "" {
			break
		}
	}
	switch {
	case found.ID == "":
		return "", duty.WaitingFor("a container of %s to run", strings.TrimSuffix(e.Family+"/"+e.Container, "/"))
	case len(names) > 1:
		return "", fmt.Errorf("a task of %s has several containers: say which with exec.container", e.Family)
	}
	return found.ID, nil
}

// startTask starts the task of a run that is written down.
func (p *pass) startTask(s start) error {
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	task, err := p.ECS.StartTask(ctx, s.on, facts.TaskStart{Definition: s.s.Task.Definition, StartedBy: s.StartedBy})
	switch {
	case err == nil:
		run := p.record(s.name).Run
		run.Task, run.Started = task.ARN, true
		return nil
	case errors.Is(err, facts.ErrUnavailable) && !errors.Is(err, facts.ErrThrottled):
		return fmt.Errorf("whether the task was started is not known yet: %w", err)
	}
	p.takeBack(s)
	return err
}

// observe sees how the run under way stands.
func (p *pass) observe(name string, r record, s Schedule) record {
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	var err error
	if r.Run.StartedBy != "" {
		r, err = p.observeTask(ctx, name, r, s)
	} else {
		r, err = p.observeJob(ctx, name, r, s)
	}
	p.fail(p.named(name, err))
	if r.Run == nil {
		p.out.Changed = true
	}
	return r
}

func (p *pass) observeJob(ctx context.Context, name string, r record, s Schedule) (record, error) {
	if r.Run.BootID != p.now.BootID {
		return p.ended(name, r, facts.ScheduleRun{Result: "cut short: the node was rebooted", Unknown: true}, s), nil
	}
	job, err := p.Jobs.Job(ctx, r.Run.Job)
	if err != nil {
		return r, err
	}
	switch {
	case job.State == facts.JobRunning:
		r.Run.Started = true
		return r, nil
	case job.State == facts.JobEnded:
		r.Forget = r.Run.Job
		return p.ended(name, r, facts.ScheduleRun{Started: job.Started, Ended: job.Ended, Result: r.Run.result(job, p.drains), Output: job.Output}, s), nil
	case r.Run.Ending != "":
		r.Forget = r.Run.Job // its unit is gone, and its output is not
		return p.ended(name, r, facts.ScheduleRun{Result: r.Run.Ending, Output: job.Output}, s), nil
	case r.Run.Started:
		r.Forget = r.Run.Job
		return p.ended(name, r, facts.ScheduleRun{Result: "nobody can tell how it ended: its unit is gone", Unknown: true}, s), nil
	}
	// It was written down and not begun.
	d := r.Run.due
	r.Run = nil
	if r.Due == nil {
		r.Due = &d
	}
	return r, nil
}

// result is how a job ended, in words. One of a node that drains, which nobody told
// to end but systemd, went down with it.
func (r *run) result(j facts.Job, drains bool) string {
	switch {
	case r.Ending != "":
		return r.Ending
	case drains && j.Result == "exit-code" && (j.ExitStatus == bySIGTERM || j.ExitStatus == bySIGKILL):
		return "cut short: the node went down (exit status " + strconv.Itoa(j.ExitStatus) + ")"
	case j.Result == "exit-code":
		return "exit status " + strconv.Itoa(j.ExitStatus)
	case j.Result == "timeout":
		return timedOut
	case j.Result == "oom-kill":
		return "killed: it took more memory than it may (setting memory)"
	}
	return j.Result
}

// Exit statuses of a command that was ended by a signal, as of a shell.
const (
	bySIGTERM = 128 + 15
	bySIGKILL = 128 + 9
)

const (
	success  = "success"
	timedOut = "timed out"
)

// ended notes how the run under way ended, of which how has what is known.
func (p *pass) ended(name string, r record, how facts.ScheduleRun, s Schedule) record {
	how.Tick, how.ByHand, how.Replaced = r.Run.Tick, r.Run.ByHand, r.Run.Replaced
	how.Started, how.Ended = how.Started.UTC(), how.Ended.UTC()
	if how.Started.IsZero() {
		how.Started = r.Run.Began
	}
	if how.Ended.IsZero() && !how.Unknown {
		how.Ended = p.now.Wall.Round(0).UTC()
	}
	how.Failed = how.Result != success && !how.Replaced
	how.Output = end(how.Output, maxOutputs/max(len(p.c.Items), 1))
	p.tell("%s of %s: %s", name, clock(how.Tick), how.Result)
	if how.Result == success {
		r.LeftOut = leftOut{}
	}
	if r.Due != nil { // it has waited for this
		r.Due.Until = p.now.Add(time.Duration(s.StartWithin))
	}
	r.Run, r.Last = nil, &how
	return r
}

// end is at most the last n bytes of a text.
func end(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[len(text)-n:], "")
}

// end tells a run to end that is to, now and then.
func (p *pass) end(name string, r record) record {
	if p.now.Wall.Sub(r.Run.Told).Abs() < toldAgain {
		return r
	}
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	var err error
	switch {
	case r.Run.Job != "":
		err = p.Jobs.EndJob(ctx, r.Run.Job)
	case r.Run.Task != "":
		on, _ := p.Registration.Get()
		err = p.ECS.StopTask(ctx, on, r.Run.Task, "ecsnode: schedule "+name+" "+r.Run.Ending)
	}
	if err == nil {
		r.Run.Told = p.now.Wall.Round(0).UTC()
	}
	p.fail(p.named(name, err))
	return r
}

func (p *pass) observeTask(ctx context.Context, name string, r record, s Schedule) (record, error) {
	on, _ := p.Registration.Get()
	switch {
	case !on.Registered():
		return r, duty.WaitingFor("the ECS agent to be registered")
	case on.ARN != r.Run.Instance:
		return p.ended(name, r, facts.ScheduleRun{Result: "nobody can tell how it ended: the node is another container instance now", Unknown: true}, s), nil
	}
	if r.Run.Task != "" {
		// The agent costs nothing to ask.
		if tasks, err := p.Agent.Tasks(ctx); err == nil && slices.ContainsFunc(tasks, func(t facts.Task) bool { return t.ARN == r.Run.Task }) {
			return p.timeOut(r), nil
		}
	}
	var also []string
	if r.Run.Task != "" {
		also = append(also, r.Run.Task)
	}
	tasks, err := p.ECS.StartedBy(ctx, on, r.Run.StartedBy, also...)
	if err != nil {
		return p.timeOut(r), err
	}
	i := slices.IndexFunc(tasks, func(t facts.Task) bool { return r.Run.Task == "" || t.ARN == r.Run.Task })
	switch {
	case i < 0 && p.now.Wall.Sub(r.Run.Began).Abs() < listed:
		return r, nil
	case i < 0 && r.Run.Task == "":
		return p.ended(name, r, facts.ScheduleRun{Result: "whether ECS started it is not known: it is not started again", Unknown: true}, s), nil
	case i < 0:
		return p.ended(name, r, facts.ScheduleRun{Result: "nobody can tell how it ended: ECS has forgotten the task", Unknown: true}, s), nil
	}
	r.Run.Task, r.Run.Started = tasks[i].ARN, true
	if tasks[i].Last != facts.TaskStopped {
		return p.timeOut(r), nil
	}
	return p.stopped(ctx, name, r, s, tasks[i])
}

// timeOut has a task end that runs too long. systemd does so with jobs.
func (p *pass) timeOut(r record) record {
	if r.Run.Ending == "" && r.Run.Deadline.Passed(p.now) {
		r.Run.Ending = timedOut
	}
	return r
}

// stopped reads what a task has left on the node. Its agent has told ECS how its
// containers ended, and has no more use for them.
func (p *pass) stopped(ctx context.Context, name string, r record, s Schedule, t facts.Task) (record, error) {
	left, err := p.Docker.Ended(ctx, t.ARN)
	if err != nil {
		return r, err
	}
	how := facts.ScheduleRun{Output: left.Output, Result: success}
	switch {
	case r.Run.Ending != "":
		how.Result = r.Run.Ending
	case left.ExitStatus != 0:
		how.Result = "exit status " + strconv.Itoa(left.ExitStatus)
	case t.StoppedReason != "" && t.StoppedReason != essentialEnded: // a status other than 0 is in it
		how.Result = t.StoppedReason
	case t.StoppedReason == "" && left.Containers == 0:
		how.Result, how.Unknown = "nobody can tell how it ended: its containers are gone", true
	}
	r.Clean = t.ARN
	return p.ended(name, r, how, s), nil
}

// essentialEnded is ECS's reason for a task that ended by itself:
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
const essentialEnded = "Essential container in task exited"

// jobOf is the name of the job of a tick: no other run ever has it.
func jobOf(name string, d due) string { return "schedule-" + name + "-" + stamp(d) }

// startedBy names the tick in the 36 characters that ECS takes. Of one by hand
// it has the milliseconds of the latest 25 days, which is longer than a task runs.
func startedBy(name string, d due) string {
	const most = 7
	s := stamp(d)
	return "ecsnode/" + name + "/" + s[max(0, len(s)-most):]
}

// stamp is a tick in few characters: the minute, or the millisecond and one more
// character if it was asked for by hand.
func stamp(d due) string {
	if d.ByHand {
		return strconv.FormatInt(d.Tick.UnixMilli(), 36) + "h"
	}
	return strconv.FormatInt(d.Tick.Unix()/60, 36)
}

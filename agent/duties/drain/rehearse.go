package drain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Rehearsal is what a drain would do if it began now and no task left by itself.
type Rehearsal struct {
	Container facts.ContainerInstance // zero: nothing to drain in ECS
	Status    string                  // of the container instance now
	Tasks     []string                // what would become of each, in words
	Steps     []Step                  // in the order of their times
	// Afterwards is what would be done as soon as nothing is left but what leaves
	// last.
	Afterwards []string
	Problems   []string // what could not be seen
}

// Step is something that a drain would do, so long after its beginning.
type Step struct {
	After time.Duration
	What  string
}

// Rehearse looks at what is there and tells what a drain for i that began at a
// moment would do. It changes nothing.
func (d *Duty) Rehearse(ctx context.Context, i facts.Interruption, began facts.Moment) (*Rehearsal, error) {
	c, ok := d.Config.Get()
	if !ok {
		return nil, duty.WaitingFor("the configuration has not been read yet")
	}
	limit := patience(0, false)
	d.plan = &Plan{Began: d.Clock.Now()}
	r := &Rehearsal{}
	problem := func(err error) {
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
	}
	_, err := d.containerInstance(ctx, limit)
	problem(err)
	r.Container = d.plan.Container
	var services []facts.Service
	s, errs := d.look(ctx, limit, func(ctx context.Context) (func(), error) {
		if !r.Container.Registered() {
			return nil, nil
		}
		state, err := d.ECS.State(ctx, r.Container)
		return func() { r.Status = state.Status }, err
	})
	for _, err := range append(s.errs, errs...) {
		problem(err)
	}
	first, last := c.sort(s.tasks)
	if wanted := servicesOf(first); len(wanted) > 0 {
		bounded, cancel := context.WithTimeout(ctx, limit)
		services, err = d.ECS.Services(bounded, r.Container, wanted)
		cancel()
		problem(err)
	}
	for _, t := range s.tasks {
		r.Tasks = append(r.Tasks, t.name()+": "+c.fate(t, services))
	}
	hooks, err := d.hooksOf(onNotice)
	problem(err)
	r.Steps = c.steps(i, began, r.Container, first, last, hooks)
	if len(last) > 0 {
		r.Afterwards = append(r.Afterwards, fmt.Sprintf("%v later these are told to stop: %s", c.Flush, names(last)))
	}
	hooks, err = d.hooksOf(onDrained)
	problem(err)
	for _, hook := range hooks {
		r.Afterwards = append(r.Afterwards, fmt.Sprintf("hook %s is run", hook))
	}
	if i.Standing[0].Source == facts.NoticeAutoScaling {
		for _, hook := range c.LifecycleHooks {
			r.Afterwards = append(r.Afterwards, fmt.Sprintf("lifecycle hook %s, kept waiting until then, is completed", hook))
		}
	}
	return r, nil
}

// fate says what becomes of a task in a drain.
func (c Config) fate(t task, services []facts.Service) string {
	named := func(s facts.Service) bool { return s.Name == t.Service() }
	switch n := slices.IndexFunc(services, named); {
	case slices.Contains(c.LeaveLast, t.Family):
		return "leaves last"
	case slices.Contains(c.LeaveWith, t.Family):
		return "leaves once the others have"
	case !t.byECS && t.Service() == "":
		return "ECS does not tell of it: it is waited for"
	case t.standalone():
		return "standalone: " + string(c.policy(t.Family))
	case n >= 0 && services[n].Stuck():
		return "service " + t.Service() + ": ECS cannot move it: " + noRoom
	}
	return "service " + t.Service() + ": ECS moves it"
}

// steps plays a drain in time, with the decisions of the real one.
func (c Config) steps(i facts.Interruption, now facts.Moment, ci facts.ContainerInstance, first, last []task, hooks []string) (all []Step) {
	add := func(after time.Duration, format string, args ...any) {
		all = append(all, Step{after, fmt.Sprintf(format, args...)})
	}
	if ci.Registered() {
		add(0, "DRAINING is asked for, and proven")
	}
	for _, hook := range hooks {
		add(0, "hook %s is run", hook)
	}
	if c.Webhook.URL != "" {
		add(0, "the webhook is told")
	}
	if len(first) > 0 {
		add(0, "%s to leave: %s", counted(first), names(first))
	}
	final, bounded := i.StopBy != (facts.Moment{}), i.Deadline != (facts.Moment{})
	told := map[string]bool{}
	for _, after := range c.instants(i, now) {
		left, stopIn := time.Duration(0), time.Duration(0)
		if bounded {
			left = i.Deadline.Left(now) - after
		}
		if final {
			stopIn = i.StopBy.Left(now) - after
		}
		stops := c.stops(first, left, bounded, stopIn, final)
		if c.lastChance(stopIn, final) {
			for _, t := range last {
				stops = append(stops, stop{task: t})
			}
		}
		var tasks, containers []string
		for _, s := range stops {
			if told[s.key()] {
				continue
			}
			told[s.key()] = true
			if s.container.ID == "" {
				tasks = append(tasks, s.task.name())
			} else {
				containers = append(containers, s.task.name()+" "+s.container.Labels[facts.LabelContainerName])
			}
		}
		if len(tasks) > 0 {
			add(after, "what still runs is told to stop through ECS: %s", strings.Join(tasks, ", "))
		}
		if len(containers) > 0 {
			add(after, "containers that still run are told to stop through Docker: %s", strings.Join(containers, ", "))
		}
	}
	if bounded {
		kind := "soft: nothing is stopped for it"
		if i.Hard {
			kind = "hard: the node goes"
		} else if final {
			kind = "soft, and forced"
		}
		add(max(0, i.Deadline.Left(now)), "the deadline, %s", kind)
	}
	slices.SortStableFunc(all, func(a, b Step) int { return int(a.After - b.After) })
	return all
}

// instants are when a decision may be another, in order.
func (c Config) instants(i facts.Interruption, now facts.Moment) []time.Duration {
	all := []time.Duration{0}
	if i.Deadline != (facts.Moment{}) {
		all = append(all, i.Deadline.Left(now)-time.Duration(c.StopStandalone))
	}
	if i.StopBy != (facts.Moment{}) {
		for _, part := range []time.Duration{1, 2, 4} {
			all = append(all, i.StopBy.Left(now)-time.Duration(c.StopBefore)/part)
		}
	}
	all = slices.DeleteFunc(all, func(d time.Duration) bool { return d < 0 })
	slices.Sort(all)
	return slices.Compact(all)
}

// hooksOf names the programs of an event that would be run or refused.
func (d *Duty) hooksOf(event string) (all []string, err error) {
	dir := path.Join(HookDir, event+".d")
	entries, err := d.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		if why := d.unsafe(dir, fs.FileMode.IsDir); why != "" {
			return nil, fmt.Errorf("hooks of %s would be refused: %s.d: %s", event, event, why)
		}
	}
	var errs []error
	for _, e := range entries {
		if why := d.unsafe(path.Join(dir, e.Name()), fs.FileMode.IsRegular); why != "" {
			errs = append(errs, fmt.Errorf("hook %s/%s would be refused: %s", event, e.Name(), why))
			continue
		}
		all = append(all, event+"/"+e.Name())
	}
	return all, errors.Join(append(errs, err)...)
}

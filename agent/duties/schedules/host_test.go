package schedules_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

const (
	instanceARN = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123"
	requests    = "/var/lib/ecsnode/requests"
)

// host is a node around the duty: its clocks, its service manager, Docker, ECS
// and S3, all with state. A process that is killed leaves all of it as it was.
type host struct {
	t      testing.TB
	id     string
	files  fsx.FS
	skew   time.Duration // of the wall clock
	slept  time.Duration // both clocks count it, and timers do not
	booted time.Time
	boot   string

	cells struct {
		config *cell.Cell[schedules.Config]
		drains *cell.Cell[bool]
		shown  *cell.Cell[[]facts.Schedule]
	}
	duty *schedules.Duty
	out  duty.Outcome
	err  error

	does    map[string]does // by schedule
	jobs    map[string]*job
	ran     []string // "name tick", in the order in which they began
	forgot  int
	ended   []string
	down    error // the service manager's
	dieAt   string
	dieIn   int // steps; 0: never
	died    int
	writes  int    // of the state
	began   func() // after a command has; nil: nothing
	passes  int
	store   schedules.Store
	ecs     *ecs
	running []facts.Container
	dockers error
}

// does is what the command of a schedule does.
type does struct {
	takes   time.Duration // 0: no time at all
	status  int
	output  string
	ignores bool // its end, until it is killed
}

type job struct {
	facts.Command
	began, ends time.Time // by the clock of timers
	wall        time.Time
	does        does
	told        bool
}

// killed is the panic of a process that is.
type killed struct{ at string }

// die kills the process at a point, or after so many of them, once.
func (h *host) die(at string) {
	if h.dieIn--; h.dieAt == at || h.dieIn == 0 {
		h.dieAt = ""
		panic(killed{at})
	}
}

// disk is that of a host, on which each write is a step.
type disk struct {
	fsx.FS
	h *host
}

func (d disk) WriteFile(name string, data []byte, how fsx.How) (bool, error) {
	d.h.die("before a write")
	d.h.writes++
	changed, err := d.FS.WriteFile(name, data, how)
	d.h.die("after a write")
	return changed, err
}

func (h *host) Now() facts.Moment {
	return facts.Moment{Wall: time.Now().Add(h.skew + h.slept), Boot: time.Since(h.booted) + h.slept, BootID: h.boot}
}

func (h *host) RunJob(_ context.Context, c facts.Command) error {
	h.die("before RunJob")
	if h.down != nil {
		return h.down
	}
	if h.jobs[c.Name] != nil && c.Kept {
		return nil
	}
	name, tick := env(c, "ECSNODE_SCHEDULE"), env(c, "ECSNODE_TICK")
	d := h.does[name]
	now := time.Now()
	j := &job{Command: c, began: now, wall: h.Now().Wall, ends: now.Add(d.takes), does: d}
	h.jobs[c.Name] = j
	at, err := time.Parse(time.RFC3339, tick)
	if err != nil {
		h.t.Errorf("%s has tick %q", name, tick)
	}
	h.ran = append(h.ran, name+" "+at.Format("02T15:04"))
	if h.began != nil {
		h.began()
	}
	h.die("after RunJob")
	return nil
}

func env(c facts.Command, name string) string {
	for _, pair := range c.Env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

func (h *host) Job(_ context.Context, name string) (facts.Job, error) {
	if h.down != nil {
		return facts.Job{}, h.down
	}
	j := h.jobs[name]
	if j == nil {
		return facts.Job{}, nil
	}
	end, result, status := j.ends, "success", j.does.status
	if status != 0 {
		result = "exit-code"
	}
	if last := j.began.Add(j.RuntimeMax); j.RuntimeMax > 0 && last.Before(end) {
		end, result, status = last, "timeout", 0
		if j.does.ignores {
			end = end.Add(j.Grace)
		}
	}
	answer := facts.Job{State: facts.JobRunning, Started: j.wall, Output: j.does.output}
	if !end.After(time.Now()) {
		if j.told {
			delete(h.jobs, name)
			return facts.Job{}, nil
		}
		answer.State, answer.Result, answer.ExitStatus = facts.JobEnded, result, status
		answer.Ended = j.wall.Add(end.Sub(j.began))
	}
	return answer, nil
}

func (h *host) EndJob(_ context.Context, name string) error {
	h.ended = append(h.ended, name)
	if j := h.jobs[name]; j != nil && !j.told {
		j.told = true
		j.ends = time.Now().Add(time.Second)
		if j.does.ignores {
			j.ends = time.Now().Add(j.Grace)
		}
	}
	return nil
}

func (h *host) ForgetJob(_ context.Context, name string) error {
	h.die("before ForgetJob")
	h.forgot++
	if j := h.jobs[name]; j != nil && j.ends.After(time.Now()) && (j.RuntimeMax == 0 || j.began.Add(j.RuntimeMax).After(time.Now())) {
		h.t.Errorf("%s is forgotten while it runs, and so stopped", name)
	}
	delete(h.jobs, name)
	h.die("after ForgetJob")
	return nil
}

// Tasks implements schedules.Agent.
func (h *host) Tasks(context.Context) (all []facts.Task, err error) {
	for _, t := range h.ecs.here() {
		if t.Last != facts.TaskStopped {
			all = append(all, t)
		}
	}
	return all, nil
}

func (h *host) Containers(context.Context) ([]facts.Container, error) { return h.running, h.dockers }

func (h *host) Ended(_ context.Context, arn string) (facts.Ended, error) {
	t := h.ecs.tasks[arn]
	if t == nil || t.removed {
		return facts.Ended{}, nil
	}
	return facts.Ended{ExitStatus: t.does.status, Output: t.does.output, Containers: 1}, h.dockers
}

func (h *host) RemoveEnded(_ context.Context, arn string) error {
	if t := h.ecs.tasks[arn]; t != nil {
		t.removed = true
	}
	return h.dockers
}

// ecs has the tasks of one node.
type ecs struct {
	h     *host
	tasks map[string]*task
	calls int
	fails error // of StartTask
	done  bool  // which took effect
	lists error
	lag   time.Duration
}

type task struct {
	facts.Task
	began, ends time.Time
	does        does
	removed     bool
}

func (e *ecs) here() (all []facts.Task) {
	for _, t := range e.tasks {
		if !t.ends.After(time.Now()) && t.Last != facts.TaskStopped {
			t.Last, t.Desired = facts.TaskStopped, facts.TaskStopped
			if t.StoppedReason == "" {
				t.StoppedReason = "Essential container in task exited"
			}
		}
		all = append(all, t.Task)
	}
	return all
}

func (e *ecs) StartTask(_ context.Context, on facts.ContainerInstance, s facts.TaskStart) (facts.Task, error) {
	e.h.die("before StartTask")
	e.calls++
	if on.ARN != instanceARN || len(s.StartedBy) > 36 {
		e.h.t.Errorf("on %s by %q", on.ARN, s.StartedBy)
	}
	if e.fails != nil && !e.done {
		return facts.Task{}, e.fails
	}
	parts := strings.Split(s.StartedBy, "/")
	d := e.h.does[parts[1]]
	arn := fmt.Sprintf("arn:aws:ecs:eu-west-1:123456789012:task/web/%d", len(e.tasks)+1)
	t := &task{Task: facts.Task{ARN: arn, StartedBy: s.StartedBy, Last: "RUNNING", Desired: "RUNNING"}, began: time.Now(), ends: time.Now().Add(d.takes), does: d}
	e.tasks[arn] = t
	e.h.ran = append(e.h.ran, parts[1])
	e.h.die("after StartTask")
	return t.Task, e.fails
}

func (e *ecs) StopTask(_ context.Context, _ facts.ContainerInstance, arn, reason string) error {
	if t := e.tasks[arn]; t != nil && t.ends.After(time.Now().Add(time.Second)) {
		t.ends, t.StoppedReason = time.Now().Add(time.Second), reason
	}
	return nil
}

func (e *ecs) StartedBy(_ context.Context, _ facts.ContainerInstance, by string, also ...string) (all []facts.Task, err error) {
	if e.lists != nil {
		return nil, e.lists
	}
	for _, t := range e.here() {
		listed := t.StartedBy == by && t.Desired != facts.TaskStopped && time.Since(e.tasks[t.ARN].began) >= e.lag
		if listed || slices.Contains(also, t.ARN) {
			all = append(all, t)
		}
	}
	return all, nil
}

// settings reads like the configuration does: what is not set has its default.
func settings(s schedules.Schedule) schedules.Schedule {
	var d schedules.Schedule
	d.SetDefaults()
	if s.Zone != "" {
		d.Zone = s.Zone
	}
	if s.Overlap != "" {
		d.Overlap = s.Overlap
	}
	if s.OncePer != "" {
		d.OncePer = s.OncePer
	}
	if s.Missed != "" {
		d.Missed = s.Missed
	}
	if s.Timeout != 0 {
		d.Timeout = s.Timeout
	}
	if s.StartWithin != 0 {
		d.StartWithin = s.StartWithin
	}
	d.Cron, d.Splay, d.Command, d.Exec, d.Task = s.Cron, s.Splay, s.Command, s.Exec, s.Task
	if len(d.Command)+len(d.Exec.Command)+len(d.Task.Definition) == 0 {
		d.Command = []string{"/bin/true"}
	}
	return d
}

type items = map[string]schedules.Schedule

func (h *host) configure(c items) {
	h.t.Helper()
	all := schedules.Config{Items: items{}, Leases: schedules.Leases{Bucket: "acme-leases", Prefix: "leases/"}}
	for name, s := range c {
		all.Items[name] = settings(s)
	}
	all.Validate(func(path, message string) { h.t.Errorf("%s: %s", path, message) })
	h.cells.config.Set(all)
}

func never[T any](T, T) bool { return false }

func known[T any](v T) cell.Reader[T] {
	c := cell.New(never[T])
	c.Set(v)
	return c
}

// newHost is one at a time of its own wall clock.
func newHost(t testing.TB, at string, c items) *host {
	t.Helper()
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{
		t: t, id: "i-0123456789abcdef0", files: fsx.NewOverlay(disk), boot: "boot-1", booted: time.Now(),
		does: map[string]does{}, jobs: map[string]*job{},
	}
	h.ecs = &ecs{h: h, tasks: map[string]*task{}}
	begin, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	h.skew = time.Until(begin)
	h.cells.config, h.cells.drains, h.cells.shown = cell.New(never[schedules.Config]), cell.Comparable[bool](), cell.New(never[[]facts.Schedule])
	h.configure(c)
	h.cells.drains.Set(false)
	h.start()
	return h
}

// start is another process of the agent.
func (h *host) start() {
	h.duty = &schedules.Duty{
		FS: disk{h.files, h}, ID: h.id, Clock: h, Config: h.cells.config, Instance: known(facts.Instance{ID: h.id, Region: "eu-west-1"}), Cluster: known("web"),
		Registration: known(facts.ContainerInstance{ARN: instanceARN, Cluster: "web", AgentVersion: "1"}), Drains: h.cells.drains,
		Requests: requests, Jobs: h, ECS: h.ecs, Agent: h, Docker: h, Store: h.store, Schedules: h.cells.shown,
	}
}

// reboot is another boot. Nothing that ran survives it.
func (h *host) reboot(down time.Duration) {
	h.slept += down
	h.boot += "+"
	h.booted, h.jobs = time.Now(), map[string]*job{}
	h.start()
}

// once makes a pass, and another process if that is killed in it.
func (h *host) once(t testing.TB) {
	defer func() {
		switch p := recover(); p.(type) {
		case nil:
		case killed:
			h.died++
			h.err, h.out = nil, duty.Outcome{Again: 2 * time.Second} // RestartSec=
			h.start()
		default:
			panic(p)
		}
	}()
	h.passes++
	h.out, h.err = h.duty.Reconcile(t.Context())
}

// pass lets time pass, as the engine does.
func (h *host) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		h.once(h.t)
		wait := time.Minute - time.Duration(time.Now().UnixNano())%time.Minute
		if h.out.Again > 0 {
			wait = min(wait, h.out.Again)
		}
		if h.err != nil {
			wait = min(wait, time.Second)
		}
		time.Sleep(min(max(wait, 10*time.Millisecond), time.Until(end)))
	}
}

func (h *host) wantRan(want ...string) {
	h.t.Helper()
	if !slices.Equal(h.ran, want) {
		h.t.Errorf("at %v ran %q, want %q\n%+v", h.Now().Wall.UTC(), h.ran, want, h.shown())
	}
}

func (h *host) shown() []facts.Schedule { all, _ := h.cells.shown.Get(); return all }

func (h *host) one() facts.Schedule {
	h.t.Helper()
	all := h.shown()
	if len(all) != 1 {
		h.t.Fatalf("%d schedules: %+v", len(all), all)
	}
	return all[0]
}

func (h *host) wantWarning(text string) {
	h.t.Helper()
	if !strings.Contains(strings.Join(h.out.Warnings, "\n"), text) {
		h.t.Errorf("warnings %q, want %q", h.out.Warnings, text)
	}
}

func (h *host) wantWell() {
	h.t.Helper()
	if len(h.out.Warnings) > 0 || h.err != nil {
		h.t.Errorf("warnings %q, error %v", h.out.Warnings, h.err)
	}
}

func (h *host) ask(file string, at time.Time) {
	h.t.Helper()
	if _, err := h.files.MkdirAll(requests, 0o700); err != nil {
		h.t.Fatal(err)
	}
	text := fmt.Sprintf(`{"id":"%d","at":%q}`, at.UnixNano(), at.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano))
	if _, err := h.files.WriteFile(path.Join(requests, file), []byte(text), fsx.How{Mode: 0o600}); err != nil {
		h.t.Fatal(err)
	}
}

// on runs f in virtual time.
func on(t *testing.T, at string, c items, f func(t *testing.T, h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newHost(t, at, c)) })
}

var errDown = fmt.Errorf("it does not answer: %w", facts.ErrUnavailable)

func minutes(n int) when.Duration { return when.Duration(time.Duration(n) * time.Minute) }

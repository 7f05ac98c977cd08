package drain_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

const arn = "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/0123"

// running is a task on the node. It has one container, and one more for each
// sidecar.
type running struct {
	facts.Task
	leaves   time.Duration // after DRAINING or StopTask it takes this long to stop; zero: at once
	deaf     bool          // SIGTERM does nothing to it
	moves    bool          // ECS stops it because of DRAINING
	sidecars []string
	restarts bool // its agent starts its containers again

	stopping time.Time // ECS has told it to
	dead     map[string]time.Time
	signals  map[string]int
}

// aws is ECS, its agent, Docker and Auto Scaling around one node.
type aws struct {
	mu       sync.Mutex
	status   string
	tasks    []*running
	ecsErr   error
	agentErr error
	stateErr error
	ignores  bool // SetState is answered and does nothing
	hook     *hook
	calls    []string
}

type hook struct {
	timeout time.Duration
	beats   int
	done    bool
}

func (a *aws) call(format string, args ...any) {
	a.calls = append(a.calls, fmt.Sprintf(format, args...))
}

func (a *aws) count(call string) (n int) {
	for _, c := range a.calls {
		if strings.HasPrefix(c, call) {
			n++
		}
	}
	return n
}

func (a *aws) SetState(_ context.Context, ci facts.ContainerInstance, status string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.call("SetState %s", status)
	switch {
	case a.ecsErr != nil:
		return a.ecsErr
	case ci.ARN != arn:
		return facts.ErrAbsent
	case a.ignores:
		return nil
	}
	a.status = status
	for _, t := range a.tasks {
		if t.moves && status == facts.StatusDraining && t.stopping.IsZero() {
			t.stopping, t.Desired = time.Now(), facts.TaskStopped
		}
	}
	return nil
}

func (a *aws) State(context.Context, facts.ContainerInstance) (facts.InstanceState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.call("State")
	return facts.InstanceState{Status: a.status}, errors.Join(a.ecsErr, a.stateErr)
}

func (a *aws) Find(context.Context, string, string, string) (facts.ContainerInstance, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.call("Find")
	return facts.ContainerInstance{ARN: arn, Cluster: "web"}, a.ecsErr
}

// up reports whether a container of t runs.
func (t *running) up(container string) bool {
	if !t.stopping.IsZero() && !t.deaf && time.Since(t.stopping) >= t.leaves {
		return false
	}
	at, told := t.dead[container]
	return !told || time.Now().Before(at)
}

func (t *running) containers() []string { return append([]string{"main"}, t.sidecars...) }

func (t *running) gone() bool {
	return !slices.ContainsFunc(t.containers(), t.up)
}

func (a *aws) list() (all []facts.Task) {
	for _, t := range a.tasks {
		if !t.gone() {
			all = append(all, t.Task)
		}
	}
	return all
}

func (a *aws) Tasks(context.Context, facts.ContainerInstance) ([]facts.Task, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.call("Tasks")
	return a.list(), a.ecsErr
}

func (a *aws) StopTask(_ context.Context, _ facts.ContainerInstance, arn, _ string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.call("StopTask %s", arn)
	for _, t := range a.tasks {
		if t.ARN == arn && t.stopping.IsZero() && a.ecsErr == nil {
			t.stopping, t.Desired = time.Now(), facts.TaskStopped
		}
	}
	return a.ecsErr
}

func (a *aws) Services(_ context.Context, _ facts.ContainerInstance, names []string) (all []facts.Service, _ error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range names {
		all = append(all, facts.Service{Name: name, MinimumHealthyPercent: 100, MaximumPercent: 100})
	}
	return all, a.ecsErr
}

type agent struct{ *aws }

func (a agent) Tasks(context.Context) (all []facts.Task, _ error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.list() {
		t.Group = "" // introspection does not tell
		all = append(all, t)
	}
	return all, a.agentErr
}

type engine struct{ *aws }

func (e engine) Containers(context.Context) (all []facts.Container, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tasks {
		for _, name := range t.containers() {
			if t.up(name) {
				all = append(all, facts.Container{ID: t.ARN + "/" + name, Labels: map[string]string{
					facts.LabelTaskARN: t.ARN, facts.LabelFamily: t.Family, facts.LabelContainerName: name,
				}})
			}
		}
	}
	return all, nil
}

func (e engine) Stop(_ context.Context, id string, timeout time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.call("Stop %s", id)
	for _, t := range e.tasks {
		name, ok := strings.CutPrefix(id, t.ARN+"/")
		if !ok {
			continue
		}
		if t.dead == nil {
			t.dead, t.signals = map[string]time.Time{}, map[string]int{}
		}
		t.signals[name]++
		switch {
		case t.restarts && t.signals[name] < 3:
		case t.deaf:
			if _, told := t.dead[name]; !told { // each stop kills in its own time
				t.dead[name] = time.Now().Add(timeout)
			}
		default:
			t.dead[name] = time.Now().Add(t.leaves)
		}
		if !t.up(name) {
			return nil
		}
		wait := timeout // docker stop waits, and kills
		if at, told := t.dead[name]; told {
			wait = time.Until(at)
		}
		e.mu.Unlock()
		defer e.mu.Lock()
		time.Sleep(min(wait, time.Minute))
	}
	return nil
}

func (a *aws) Group(context.Context, string, string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hook == nil {
		return "", facts.ErrAbsent
	}
	return "group", nil
}

func (a *aws) HookTimeout(context.Context, string, string, string) (time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hook.timeout, nil
}

func (a *aws) Heartbeat(context.Context, string, string, string, string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hook.beats++
	return nil
}

func (a *aws) Complete(_ context.Context, _, _, name, _ string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.call("Complete %s", name)
	if a.hook.done {
		return facts.ErrAbsent
	}
	a.hook.done = true
	return nil
}

// jobs is a service manager.
type jobs struct {
	mu  sync.Mutex
	ran []facts.Command
	err error
	is  facts.Job
}

func (j *jobs) RunJob(_ context.Context, c facts.Command) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ran = append(j.ran, c)
	return j.err
}

func (j *jobs) Job(context.Context, string) (facts.Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.is, nil
}

type rig struct {
	t            *testing.T
	aws          *aws
	jobs         *jobs
	disk         *fsx.Disk
	boot         string
	since        time.Time
	ahead        time.Duration // of the wall clock
	config       *cell.Cell[drain.Config]
	interruption *cell.Cell[facts.Interruption]
	registration *cell.Cell[facts.ContainerInstance]
	identity     *cell.Cell[time.Time]
	drained      *cell.Cell[string]
	plan         *cell.Cell[*drain.Plan]
	duty         *drain.Duty
	last         duty.Outcome
	err          error
}

func (r *rig) Now() facts.Moment {
	return facts.Moment{Wall: time.Now().Add(r.ahead), Boot: time.Since(r.since), BootID: r.boot}
}

func onNode(t *testing.T, tasks []*running, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		disk, err := fsx.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for i, task := range tasks {
			task.ARN = fmt.Sprintf("arn:aws:ecs:eu-west-1:123456789012:task/web/%d", i)
			task.Last, task.Desired = "RUNNING", "RUNNING"
		}
		r := &rig{
			t: t, aws: &aws{status: facts.StatusActive, tasks: tasks}, jobs: &jobs{}, disk: disk, boot: "first", since: time.Now(),
			config: cell.New(func(a, b drain.Config) bool { return false }),
		}
		r.config.Set(drain.Default())
		r.restart()
		r.notice()
		f(t, r)
		time.Sleep(2 * time.Minute) // stops under way end
	})
}

// restart is a new process.
func (r *rig) restart() {
	r.interruption = cell.New(facts.Interruption.Equal)
	r.registration = cell.Comparable[facts.ContainerInstance]()
	r.registration.Set(facts.ContainerInstance{ARN: arn, Cluster: "web"})
	r.identity = cell.New(time.Time.Equal)
	r.identity.Set(time.Now())
	r.drained = cell.Comparable[string]()
	r.plan = cell.Comparable[*drain.Plan]()
	instance := cell.New(facts.Instance.Equal)
	instance.Set(facts.Instance{ID: "i-1", Region: "eu-west-1"})
	cluster := cell.Comparable[string]()
	cluster.Set("web")
	r.duty = &drain.Duty{
		FS: r.disk, Clock: r, Config: r.config, Interruption: r.interruption, Instance: instance, Cluster: cluster,
		Registration: r.registration, Identity: r.identity, ECS: r.aws, Agent: agent{r.aws}, Docker: engine{r.aws}, AutoScaling: r.aws, Jobs: r.jobs,
		Plan: r.plan, Drained: r.drained,
	}
}

// notice makes these notices stand, and no others.
func (r *rig) notice(all ...facts.Standing) {
	i := facts.Interruption{Standing: all, Drain: len(all) > 0}
	for _, s := range all {
		if i.Deadline, i.Hard = s.Until, s.Hard; s.Hard || s.Force {
			i.StopBy = s.Until
		}
	}
	r.interruption.Set(i)
}

func (r *rig) spot(in time.Duration) facts.Standing {
	return facts.Standing{
		Notice: facts.Notice{Source: facts.NoticeSpot, What: "terminate", Drain: true, Hard: true}, Seen: r.Now(), Until: r.Now().Add(in),
	}
}

func (r *rig) operator(in time.Duration) facts.Standing {
	s := facts.Standing{Notice: facts.Notice{Source: facts.NoticeOperator, What: "drain", Drain: true}, Seen: r.Now()}
	if in > 0 {
		s.Until = r.Now().Add(in)
	}
	return s
}

// passes makes passes at the pace that the duty asks for.
func (r *rig) passes(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); ; {
		ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
		r.last, r.err = r.duty.Reconcile(ctx)
		cancel()
		pause := r.last.Again
		if pause == 0 {
			pause = 30 * time.Second
		}
		if r.err != nil {
			pause = min(pause, time.Second)
		}
		if !time.Now().Add(pause).Before(end) {
			time.Sleep(time.Until(end))
			synctest.Wait()
			return
		}
		time.Sleep(pause)
	}
}

// record is what is written down of the newest drain.
func (r *rig) record() *drain.Plan {
	r.t.Helper()
	names, err := drain.Records(r.disk)
	if err != nil || len(names) == 0 {
		r.t.Fatal("there is no record of a drain: ", err)
	}
	p, err := drain.Load(r.disk, names[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// says checks that the record has these milestones, in this order.
func (r *rig) says(want ...string) {
	r.t.Helper()
	var got []string
	for _, m := range r.record().Milestones {
		got = append(got, m.What)
	}
	rest := got
	for _, w := range want {
		i := slices.IndexFunc(rest, func(s string) bool { return strings.Contains(s, w) })
		if i < 0 {
			r.t.Errorf("the record does not say %q, or not in its place:\n%s", w, strings.Join(got, "\n"))
			return
		}
		rest = rest[i+1:]
	}
}

func service(leaves time.Duration) *running {
	return &running{Task: facts.Task{Family: "web", Group: "service:web"}, leaves: leaves, moves: true}
}

func shipper() *running {
	return &running{Task: facts.Task{Family: "logspout", Group: "family:logspout"}}
}

func standalone(family string, leaves time.Duration) *running {
	return &running{Task: facts.Task{Family: family, Group: "family:" + family}, leaves: leaves}
}

func TestADrainFromBeginningToEnd(t *testing.T) {
	onNode(t, []*running{service(20 * time.Second), shipper()}, func(t *testing.T, r *rig) {
		r.notice(r.spot(2 * time.Minute))
		r.passes(time.Millisecond)
		if slices.Index(r.aws.calls, "SetState DRAINING") > 2 || r.aws.status != facts.StatusDraining {
			t.Errorf("first was asked %q", r.aws.calls)
		}
		r.passes(15 * time.Second)
		if want := "1 task to leave"; !strings.HasPrefix(r.last.Summary, want) {
			t.Errorf("it says %q", r.last.Summary)
		}
		if r.aws.tasks[1].gone() {
			t.Error("the log shipper has left before the others")
		}
		r.passes(30 * time.Second)
		r.says("notice: spot terminate", "DRAINING was asked for", "ECS says DRAINING", "1 task to leave", "minimumHealthyPercent is 100",
			"no task is left but what leaves last", "told to stop: logspout", "the node is drained")
		p := r.record()
		empty, drained := p.EmptyAt, p.DrainedAt
		if after := drained.Wall.Sub(empty.Wall); after < 5*time.Second || after > 8*time.Second {
			t.Errorf("the log shipper left after %v", after)
		}
		if r.err != nil || r.last.Summary != "drained" {
			t.Errorf("%q, %v", r.last.Summary, r.err)
		}
	})
}

func TestBeforeAHardDeadlineWhatIsLeftGetsItsSignal(t *testing.T) {
	batch := standalone("batch", 10*time.Second)
	mesh := standalone("mesh", time.Second)
	mesh.sidecars = []string{"envoy"}
	deaf := service(0)
	deaf.deaf = true
	onNode(t, []*running{batch, mesh, deaf, shipper()}, func(t *testing.T, r *rig) {
		r.notice(r.spot(2 * time.Minute))
		r.passes(85 * time.Second)
		if n := r.aws.count("Stop"); n != 0 {
			t.Errorf("stopped before its time: %q", r.aws.calls)
		}
		r.passes(8 * time.Second) // 27 s left
		if batch.stopping.IsZero() {
			t.Errorf("nothing was told to stop: %q", r.aws.calls)
		}
		if r.aws.count("Stop arn") != 0 {
			t.Error("containers were stopped while ECS answers")
		}
		r.passes(26500 * time.Millisecond)
		if deaf.signals["main"] == 0 {
			t.Error("the task that ignores ECS never had a signal from Docker")
		}
		for i, task := range r.aws.tasks {
			if !task.gone() {
				t.Errorf("task %d is still there", i)
			}
		}
	})
}

func TestWhereECSIsOutOfReachContainersAreStoppedAndSidecarsLast(t *testing.T) {
	mesh := standalone("mesh", 3*time.Second)
	mesh.sidecars = []string{"envoy"}
	again := standalone("again", 0)
	again.restarts = true
	onNode(t, []*running{mesh, again, shipper()}, func(t *testing.T, r *rig) {
		r.aws.ecsErr = fmt.Errorf("cannot ask ECS: %w", facts.ErrUnavailable)
		r.notice(r.spot(2 * time.Minute))
		r.passes(89 * time.Second)
		if n := r.aws.count("Stop arn"); n != 0 {
			t.Errorf("ECS out of reach alone has stopped: %q", r.aws.calls)
		}
		if n := r.aws.count("SetState DRAINING"); n < 20 {
			t.Errorf("DRAINING was asked for %d times only", n)
		}
		r.passes(30900 * time.Millisecond)
		main, envoy := mesh.dead["main"], mesh.dead["envoy"]
		if main.IsZero() || envoy.IsZero() || envoy.Before(main) {
			t.Errorf("main ends %v, its proxy %v", main, envoy)
		}
		if again.signals["main"] != 3 {
			t.Errorf("the container that is started again has had %d signals", again.signals["main"])
		}
		for i, task := range r.aws.tasks {
			if !task.gone() {
				t.Errorf("task %d is still there", i)
			}
		}
	})
}

func TestASoftDeadlineStopsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		force bool
		lives bool
	}{"a batch task lives": {false, true}, "by force": {true, false}} {
		t.Run(name, func(t *testing.T) {
			onNode(t, []*running{standalone("batch", time.Second)}, func(t *testing.T, r *rig) {
				s := r.operator(10 * time.Minute)
				s.Force = c.force
				r.notice(s)
				r.passes(11 * time.Minute)
				if lives := !r.aws.tasks[0].gone(); lives != c.lives {
					t.Errorf("it lives: %v", lives)
				}
				if c.lives {
					r.says("DRAINING was asked for", "the deadline has passed, 1 task left: batch")
				}
			})
		})
	}
}

func TestStandaloneTasksByPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		policy  drain.Policy
		drained bool // while the task runs
		stopped bool // 61 s before the deadline, or with 59 s
	}{
		"wait":   {drain.Wait, false, false},
		"ignore": {drain.Ignore, true, false},
		"stop":   {drain.Stop, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, []*running{standalone("batch", time.Second)}, func(t *testing.T, r *rig) {
				config := drain.Default()
				config.Families = map[string]drain.Policy{"batch": c.policy}
				r.config.Set(config)
				r.notice(r.spot(2 * time.Minute))
				r.passes(58 * time.Second)
				if n := r.aws.count("StopTask"); n != 0 {
					t.Error("stopped too soon")
				}
				r.passes(20 * time.Second)
				if stopped := r.aws.count("StopTask") > 0; stopped != c.stopped {
					t.Errorf("stopped: %v", stopped)
				}
				if drained := r.record().DrainedAt != (facts.Moment{}); drained != c.drained {
					t.Errorf("drained: %v", drained)
				}
			})
		})
	}
}

func TestADrainIsUndone(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(r *rig)
		after   func(r *rig)
		status  string
		says    string
	}{
		"the notice is withdrawn": {func(*rig) {}, func(*rig) {}, facts.StatusActive, "ECS says ACTIVE: the drain is undone"},
		"after a reboot": {func(*rig) {}, func(r *rig) {
			r.boot, r.since = "second", time.Now()
			r.restart()
		}, facts.StatusActive, "ECS says ACTIVE: the drain is undone"},
		"somebody else had set it": {func(r *rig) { r.aws.status = facts.StatusDraining }, func(*rig) {}, facts.StatusDraining, "stays DRAINING"},
		"ECS was never reached":    {func(r *rig) { r.aws.ecsErr = facts.ErrUnavailable }, func(r *rig) { r.aws.ecsErr = nil }, facts.StatusActive, "ECS says ACTIVE: the drain is undone"},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, nil, func(t *testing.T, r *rig) {
				c.arrange(r)
				r.notice(r.spot(2 * time.Minute))
				r.passes(10 * time.Second)
				c.after(r)
				r.notice()
				r.passes(10 * time.Second)
				if r.aws.status != c.status || r.record().Open() {
					t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
				}
				r.says("no notice stands any longer", c.says)
				r.passes(time.Minute)
				if r.last.Summary != "the node stays" {
					t.Errorf("it says %q", r.last.Summary)
				}
			})
		})
	}
}

func TestNothingIsUndoneBeforeAllIsKnownAndTheNodeIsWell(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.notice(r.spot(2 * time.Minute))
		r.passes(10 * time.Second)
		r.boot, r.since = "second", time.Now()
		r.restart()
		r.identity.Set(time.Time{})
		r.interruption.Set(facts.Interruption{Silent: []string{facts.NoticeSpot}})
		r.passes(time.Minute)
		if r.aws.status != facts.StatusDraining || !errors.Is(r.err, duty.ErrNotReady) {
			t.Errorf("ECS says %s, %v", r.aws.status, r.err)
		}
		r.notice()
		r.passes(time.Minute)
		if r.aws.status != facts.StatusDraining || !errors.Is(r.err, duty.ErrNotReady) {
			t.Errorf("without identity ECS says %s, %v", r.aws.status, r.err)
		}
		r.identity.Set(time.Now())
		r.passes(time.Minute)
		if r.aws.status != facts.StatusActive {
			t.Errorf("ECS says %s, %v", r.aws.status, r.err)
		}
	})
}

func TestAnOperatorsDrainSurvivesAReboot(t *testing.T) {
	onNode(t, []*running{service(time.Second)}, func(t *testing.T, r *rig) {
		s := r.operator(0)
		r.notice(s)
		r.passes(30 * time.Second)
		began := r.record().Began
		r.boot, r.since = "second", time.Now()
		r.aws.status = facts.StatusActive // somebody has meddled
		r.restart()
		r.notice(s)
		r.passes(10 * time.Second)
		if r.aws.status != facts.StatusDraining || r.record().Began != began || r.record().Adopted {
			t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
		}
		r.says("the node is drained", "the node has rebooted", "ECS says DRAINING")
	})
}

func TestARestartGoesOnWhereItWas(t *testing.T) {
	onNode(t, []*running{service(20 * time.Second), shipper()}, func(t *testing.T, r *rig) {
		s := r.spot(2 * time.Minute)
		for range 45 { // killed each second
			r.restart()
			r.notice(s)
			r.passes(time.Second)
		}
		if n := r.aws.count("SetState"); n != 1 {
			t.Errorf("DRAINING was asked for %d times", n)
		}
		p := r.record()
		if p.DrainedAt == (facts.Moment{}) || p.Adopted {
			t.Errorf("%+v", p)
		}
		seen := map[string]bool{}
		for _, m := range p.Milestones {
			if seen[m.What] && !strings.HasSuffix(m.What, "to leave: web 0") && !strings.Contains(m.What, "cannot move") {
				t.Errorf("said twice: %s", m.What)
			}
			seen[m.What] = true
		}
	})
}

func TestECSIsProvenToSayDRAINING(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.aws.ignores = true
		r.notice(r.spot(2 * time.Minute))
		r.passes(5 * time.Second)
		if r.err == nil || !strings.Contains(r.err.Error(), "ECS says ACTIVE after DRAINING was asked for") {
			t.Errorf("%v", r.err)
		}
		if r.record().Verified || r.record().DrainedAt != (facts.Moment{}) {
			t.Error("it is taken for drained")
		}
		r.aws.ignores = false
		r.passes(5 * time.Second)
		if r.err != nil || !r.record().Verified {
			t.Errorf("%v", r.err)
		}
	})
}

func TestAShutdownIsLetGoOnceTheNodeIsDrained(t *testing.T) {
	onNode(t, []*running{service(10 * time.Second)}, func(t *testing.T, r *rig) {
		s := r.spot(100 * time.Second)
		s.Source, s.What = facts.NoticeShutdown, "reboot"
		r.notice(s)
		r.passes(8 * time.Second)
		if key, _ := r.drained.Get(); key != "" {
			t.Errorf("let go of %s while a task runs", key)
		}
		r.passes(10 * time.Second)
		if key, _ := r.drained.Get(); key != s.Key() {
			t.Errorf("let go of %q", key)
		}
	})
}

func TestAnEmptyHostThatShutsDownDoesNotWaitForECS(t *testing.T) {
	onNode(t, []*running{service(20 * time.Second)}, func(t *testing.T, r *rig) {
		r.aws.ecsErr = facts.ErrUnavailable
		r.aws.tasks[0].stopping = time.Now() // it leaves by itself
		s := r.spot(100 * time.Second)
		s.Source, s.What = facts.NoticeShutdown, "reboot"
		r.notice(s)
		r.passes(18 * time.Second)
		if key, _ := r.drained.Get(); key != "" {
			t.Error("let go while a task runs")
		}
		r.passes(5 * time.Second)
		if key, _ := r.drained.Get(); key != s.Key() {
			t.Errorf("%+v", r.record())
		}
	})
}

func TestTheLifecycleHookWaitsForTasksAndIsCompleted(t *testing.T) {
	terminated := func(r *rig, in time.Duration) facts.Standing {
		s := r.operator(in)
		s.Source, s.What = facts.NoticeAutoScaling, "Terminated"
		return s
	}
	t.Run("drained", func(t *testing.T) {
		onNode(t, []*running{service(5 * time.Minute)}, func(t *testing.T, r *rig) {
			r.aws.hook = &hook{timeout: time.Minute}
			r.notice(terminated(r, 15*time.Minute))
			r.passes(4 * time.Minute)
			if r.aws.hook.beats < 7 || r.aws.hook.beats > 9 || r.aws.hook.done {
				t.Errorf("%+v", r.aws.hook)
			}
			r.passes(2 * time.Minute)
			if !r.aws.hook.done || r.aws.count("Complete") != 1 {
				t.Errorf("%+v, %q", r.aws.hook, r.aws.calls)
			}
			r.says("the node is drained", "lifecycle hook ecsnode-drain is completed")
		})
	})
	t.Run("no longer than heartbeats count", func(t *testing.T) {
		onNode(t, []*running{service(24 * time.Hour)}, func(t *testing.T, r *rig) {
			r.aws.hook = &hook{timeout: 30 * time.Second}
			r.notice(terminated(r, 20*time.Hour))
			r.passes(time.Hour)
			if r.aws.hook.beats != 100 {
				t.Errorf("%d heartbeats", r.aws.hook.beats)
			}
			r.says("has had 100 heartbeats")
		})
	})
	t.Run("at the cap", func(t *testing.T) {
		onNode(t, []*running{standalone("batch", 0)}, func(t *testing.T, r *rig) {
			r.aws.hook = &hook{timeout: time.Hour}
			r.notice(terminated(r, 15*time.Minute))
			r.passes(16 * time.Minute)
			if !r.aws.hook.done || r.aws.tasks[0].gone() {
				t.Errorf("%+v", r.aws.hook)
			}
		})
	})
	t.Run("another notice touches no hook", func(t *testing.T) {
		onNode(t, nil, func(t *testing.T, r *rig) {
			r.aws.hook = &hook{timeout: time.Hour}
			r.notice(r.spot(2 * time.Minute))
			r.passes(30 * time.Second)
			if r.aws.hook.done || r.aws.hook.beats > 0 {
				t.Errorf("%+v", r.aws.hook)
			}
		})
	})
}

func TestAnAgentThatDoesNotAnswerKeepsNothingFromDraining(t *testing.T) {
	onNode(t, []*running{service(time.Second)}, func(t *testing.T, r *rig) {
		r.aws.agentErr = facts.ErrUnavailable
		r.registration.Set(facts.ContainerInstance{})
		r.notice(r.spot(2 * time.Minute))
		r.passes(20 * time.Second)
		if r.aws.status != facts.StatusDraining || r.record().DrainedAt == (facts.Moment{}) {
			t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
		}
	})
}

func TestATaskThatIgnoresSIGTERMHasAllTheTimeThereIs(t *testing.T) {
	deaf := standalone("deaf", 0)
	deaf.deaf = true
	onNode(t, []*running{deaf}, func(t *testing.T, r *rig) {
		r.aws.ecsErr = facts.ErrUnavailable
		r.notice(r.spot(2 * time.Minute))
		r.passes(115 * time.Second)
		if deaf.gone() || deaf.signals["main"] == 0 {
			t.Errorf("gone %v, signals %v", deaf.gone(), deaf.signals)
		}
		r.passes(4900 * time.Millisecond)
		if !deaf.gone() {
			t.Error("it is still there")
		}
	})
}

func TestWhatCannotBeSeenIsNotTakenForGone(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.aws.agentErr = facts.ErrUnavailable
		r.aws.ecsErr = facts.ErrUnavailable
		r.notice(r.spot(2 * time.Minute))
		r.passes(20 * time.Second)
		if r.record().EmptyAt != (facts.Moment{}) || r.err == nil {
			t.Errorf("%v: %+v", r.err, r.record())
		}
	})
}

func TestECSIsNotAskedForTasksInEveryPass(t *testing.T) {
	onNode(t, []*running{standalone("batch", 0)}, func(t *testing.T, r *rig) {
		r.notice(r.operator(0))
		r.passes(time.Minute)
		if n := r.aws.count("Tasks"); n < 10 || n > 14 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}

// ill makes calls of one kind get no answer.
type ill struct {
	*aws
	docker, ecs, stop bool
}

func hang(ctx context.Context, is bool) error {
	if !is {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (i ill) SetState(ctx context.Context, ci facts.ContainerInstance, status string) error {
	return errors.Join(hang(ctx, i.ecs), i.aws.SetState(ctx, ci, status))
}

func (i ill) State(ctx context.Context, ci facts.ContainerInstance) (facts.InstanceState, error) {
	if err := hang(ctx, i.ecs); err != nil {
		return facts.InstanceState{}, err
	}
	return i.aws.State(ctx, ci)
}

func (i ill) Tasks(ctx context.Context, ci facts.ContainerInstance) ([]facts.Task, error) {
	if err := hang(ctx, i.ecs); err != nil {
		return nil, err
	}
	return i.aws.Tasks(ctx, ci)
}

func (i ill) StopTask(ctx context.Context, ci facts.ContainerInstance, arn, reason string) error {
	if err := hang(ctx, i.ecs || i.stop); err != nil {
		return err
	}
	return i.aws.StopTask(ctx, ci, arn, reason)
}

type illEngine struct {
	engine
	ill bool
}

func (e illEngine) Containers(ctx context.Context) ([]facts.Container, error) {
	if err := hang(ctx, e.ill); err != nil {
		return nil, err
	}
	return e.engine.Containers(ctx)
}

func TestWhatGetsNoAnswerTakesNoTimeFromTasks(t *testing.T) {
	for name, c := range map[string]struct{ ecs, stop, docker bool }{
		"ECS hangs": {ecs: true}, "only StopTask hangs": {stop: true}, "Docker hangs": {docker: true},
	} {
		t.Run(name, func(t *testing.T) {
			var tasks []*running
			for range 45 {
				tasks = append(tasks, standalone("batch", 5*time.Second))
			}
			onNode(t, tasks, func(t *testing.T, r *rig) {
				r.duty.ECS = ill{r.aws, c.docker, c.ecs, c.stop}
				r.duty.Docker = illEngine{engine{r.aws}, c.docker}
				r.notice(r.spot(2 * time.Minute))
				r.passes(115 * time.Second)
				for i, task := range tasks {
					if c.docker && task.stopping.IsZero() || !c.docker && task.signals["main"] == 0 {
						t.Fatalf("task %d was never told: %q", i, r.aws.calls[max(0, len(r.aws.calls)-20):])
					}
				}
			})
		})
	}
}

func TestANoticeDuringAnUndoIsDrainedFor(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.notice(r.operator(0))
		r.passes(10 * time.Second)
		r.notice()
		r.aws.stateErr = facts.ErrUnavailable
		r.passes(3 * time.Second)
		r.aws.status = facts.StatusActive // it was taken, and nobody could tell
		r.notice(r.spot(2 * time.Minute))
		r.aws.stateErr = nil
		r.passes(10 * time.Second)
		if r.aws.status != facts.StatusDraining || r.record().Adopted {
			t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
		}
	})
}

func TestOurOwnDRAININGIsNotTakenForSomebodyElses(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.notice(r.spot(2 * time.Minute))
		r.aws.stateErr = facts.ErrUnavailable // it was taken, and the answer is lost
		r.passes(5 * time.Second)
		r.aws.stateErr = nil
		r.restart()
		r.notice(r.spot(2 * time.Minute))
		r.passes(10 * time.Second)
		r.notice()
		r.passes(10 * time.Second)
		if r.aws.status != facts.StatusActive {
			t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
		}
	})
}

func TestDRAININGThatSomebodyTakesBackIsAskedForAgain(t *testing.T) {
	onNode(t, []*running{standalone("batch", 0)}, func(t *testing.T, r *rig) {
		r.notice(r.operator(0))
		r.passes(10 * time.Second)
		r.aws.status = facts.StatusActive
		r.passes(40 * time.Second)
		if r.aws.status != facts.StatusDraining {
			t.Errorf("ECS says %s", r.aws.status)
		}
		r.says("ECS says DRAINING", "ECS says ACTIVE: DRAINING is asked for again", "ECS says DRAINING")
	})
}

func TestAnUndoWaitsUntilTheContainerInstanceIsKnown(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.notice(r.spot(2 * time.Minute))
		r.passes(10 * time.Second)
		r.restart()
		r.registration.Set(facts.ContainerInstance{})
		r.notice()
		r.passes(10 * time.Second)
		if r.aws.status != facts.StatusActive {
			t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
		}
	})
}

func TestTasksThatComeAfterTheNodeWasDrainedAreTold(t *testing.T) {
	onNode(t, []*running{standalone("batch", 0)}, func(t *testing.T, r *rig) {
		late := r.aws.tasks
		r.aws.tasks = nil
		r.notice(r.operator(10 * time.Minute))
		r.passes(20 * time.Second)
		if r.record().DrainedAt == (facts.Moment{}) {
			t.Error("an empty node is not drained")
		}
		r.aws.tasks = late
		r.passes(11 * time.Minute)
		if p := r.record(); p.DrainedAt != (facts.Moment{}) || !p.Missed {
			t.Errorf("%+v", p)
		}
		r.says("the node is drained", "1 task came after the node was drained: batch", "the deadline has passed, 1 task left: batch")
		// A later deadline is a new chance.
		r.notice(r.operator(10 * time.Minute))
		r.passes(time.Second)
		if r.record().Missed {
			t.Error("a later deadline counts as missed")
		}
	})
}

func TestAnInstanceThatECSDoesNotKnowIsDrainedOfWhatRuns(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.registration.Set(facts.ContainerInstance{ARN: "arn:aws:ecs:eu-west-1:123456789012:container-instance/web/gone", Cluster: "web"})
		r.notice(r.spot(2 * time.Minute))
		r.passes(20 * time.Second)
		p := r.record()
		if p.DrainedAt == (facts.Moment{}) || r.aws.status != facts.StatusDraining {
			t.Errorf("ECS says %s: %+v", r.aws.status, p)
		}
	})
}

func TestAHookThatBeginsToWaitLaterIsCompleted(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.aws.hook = &hook{timeout: time.Hour, done: true} // connection draining goes first
		s := r.operator(15 * time.Minute)
		s.Source, s.What = facts.NoticeAutoScaling, "Terminated"
		r.notice(s)
		r.passes(time.Minute)
		r.aws.hook.done = false
		r.passes(30 * time.Second)
		if !r.aws.hook.done {
			t.Errorf("%q", r.aws.calls)
		}
	})
}

func TestADrainedNodeAsksLittle(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.notice(r.operator(0))
		r.passes(time.Minute)
		before := len(r.aws.calls)
		r.passes(10 * time.Minute)
		if n := len(r.aws.calls) - before; n > 50 {
			t.Errorf("%d calls in ten minutes", n)
		}
	})
}

func (r *rig) hook(name string, mode fs.FileMode) { r.hookIn(drain.HookDir, name, mode) }

func (r *rig) hookIn(dir, name string, mode fs.FileMode) {
	r.t.Helper()
	file := path.Join(dir, name)
	if _, err := r.disk.MkdirAll(path.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.disk.WriteFile(file, []byte("#!/bin/sh\n"), fsx.How{Mode: mode}); err != nil {
		r.t.Fatal(err)
	}
}

func TestHooksOfABundleAreRunAndComeBeforeThoseOfTheSameName(t *testing.T) {
	const dir = "/var/lib/bundles/1/hooks"
	onNode(t, nil, func(t *testing.T, r *rig) {
		c := drain.Default()
		c.Hooks = dir
		r.config.Set(c)
		r.hook("notice.d/10-tell", 0o755)
		r.hook("notice.d/20-image", 0o755)
		r.hookIn(dir, "notice.d/10-tell", 0o755)
		r.hookIn(dir, "notice.d/30-bundle", 0o755)
		r.hookIn(dir, "notice.d/40-open-to-all", 0o757)
		r.notice(r.spot(2 * time.Minute))
		r.passes(4 * time.Second)
		var ran []string
		for _, c := range r.jobs.ran {
			ran = append(ran, c.Argv[0])
		}
		want := []string{"/etc/ecsnode/hooks/notice.d/20-image", dir + "/notice.d/10-tell", dir + "/notice.d/30-bundle"}
		slices.Sort(ran)
		if !slices.Equal(ran[:min(3, len(ran))], want) {
			t.Errorf("ran %q", ran)
		}
		r.says("hook notice/40-open-to-all is refused: others than root may write it")
	})
}

func TestHooksAreRunOnceForEachEventAndTold(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.hook("notice.d/10-tell", 0o755)
		r.hook("notice.d/20-open-to-all", 0o757)
		r.hook("notice.d/30-no-program", 0o644)
		r.hook("drained.d/10-tell", 0o700)
		r.hook("undrained.d/10-tell", 0o755)
		r.jobs.is = facts.Job{State: facts.JobRunning}
		s := r.spot(2 * time.Minute)
		r.notice(s)
		for range 5 {
			r.passes(4 * time.Second)
			r.restart()
			r.notice(s)
		}
		r.jobs.is = facts.Job{State: facts.JobEnded, Result: "timeout", ExitStatus: 143}
		r.passes(10 * time.Second)
		r.notice()
		r.passes(10 * time.Second)
		var ran []string
		for _, c := range r.jobs.ran {
			ran = append(ran, c.Name+" "+c.Argv[0])
			if c.RuntimeMax != 30*time.Second || !c.Journal {
				t.Errorf("%+v", c)
			}
		}
		want := []string{
			"hook-notice-10-tell /etc/ecsnode/hooks/notice.d/10-tell", "hook-drained-10-tell /etc/ecsnode/hooks/drained.d/10-tell",
			"hook-undrained-10-tell /etc/ecsnode/hooks/undrained.d/10-tell",
		}
		if !slices.Equal(ran, want) {
			t.Errorf("ran %q", ran)
		}
		env := []string{
			"ECSNODE_EVENT=notice", "ECSNODE_NOTICES=spot/terminate/", "ECSNODE_DEADLINE=2000-01-01T00:02:00Z", "ECSNODE_SECONDS_LEFT=120",
		}
		if got := r.jobs.ran[0].Env; !slices.Equal(got, env) {
			t.Errorf("environment %q", got)
		}
		r.says("DRAINING was asked for", "hook notice/20-open-to-all is refused: others than root may write it",
			"hook notice/30-no-program is refused: it is not executable", "hook notice/10-tell is run", "hook drained/10-tell is run",
			"failed: timeout, exit status 143", "hook undrained/10-tell is run")
	})
}

func TestAHookThatCannotBeRunKeepsNothingFromDraining(t *testing.T) {
	onNode(t, []*running{service(time.Second)}, func(t *testing.T, r *rig) {
		r.hook("notice.d/10-tell", 0o755)
		r.jobs.err = facts.ErrUnavailable
		r.notice(r.spot(2 * time.Minute))
		r.passes(20 * time.Second)
		if r.err != nil || r.record().DrainedAt == (facts.Moment{}) {
			t.Errorf("%v: %+v", r.err, r.record())
		}
		r.says("hook notice/10-tell is not run: unavailable", "the node is drained")
	})
}

// full is a disk without room, but for what is removed from it.
type full struct {
	fsx.FS
	room *int
}

func (f full) WriteFile(name string, data []byte, how fsx.How) (bool, error) {
	if len(data) > *f.room {
		return false, errors.New("no space left on device")
	}
	return f.FS.WriteFile(name, data, how)
}

func (f full) Remove(name string) (bool, error) {
	info, err := f.FS.Stat(name)
	if err == nil {
		*f.room += int(info.Size())
	}
	return f.FS.Remove(name)
}

func TestADrainIsWrittenDownOnAFullDiskAndUndoneAfterwards(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		room := 1 << 20
		r.duty.FS = full{r.disk, &room}
		r.passes(time.Minute)
		room = 0
		s := r.spot(100 * time.Second)
		s.Source, s.What = facts.NoticeShutdown, "reboot"
		r.notice(s)
		r.passes(20 * time.Second)
		if r.err != nil {
			t.Errorf("%v", r.err)
		}
		r.boot, r.since = "second", time.Now()
		r.restart()
		r.notice()
		r.passes(20 * time.Second)
		if r.aws.status != facts.StatusActive {
			t.Errorf("ECS says %s: %+v", r.aws.status, r.record())
		}
	})
}

func TestAClockThatIsSetByAnHourTakesNoTaskItsSignal(t *testing.T) {
	for name, c := range map[string]struct {
		by   time.Duration
		told time.Duration // when the task gets its signal, of 2 minutes
	}{
		"back":    {-time.Hour, 90 * time.Second},
		"forward": {time.Hour, 30 * time.Second}, // the shorter time counts: it may be true
	} {
		t.Run(name, func(t *testing.T) {
			task := standalone("batch", time.Hour)
			onNode(t, []*running{task}, func(t *testing.T, r *rig) {
				r.notice(r.spot(2 * time.Minute))
				r.passes(30 * time.Second)
				if n := r.aws.count("StopTask"); n != 0 {
					t.Errorf("told %d times before the clock was set", n)
				}
				r.ahead = c.by
				r.passes(70 * time.Second)
				if told := task.stopping.Sub(r.since); told < c.told || told > c.told+2*time.Second {
					t.Errorf("told after %v, want %v", told, c.told)
				}
			})
		})
	}
}

func TestARehearsalTellsWhatADrainWouldDoAndChangesNothing(t *testing.T) {
	tasks := []*running{service(time.Hour), standalone("batch", time.Hour), standalone("cache", time.Hour), shipper()}
	onNode(t, tasks, func(t *testing.T, r *rig) {
		c := drain.Default()
		c.Families = map[string]drain.Policy{"batch": drain.Stop, "cache": drain.Ignore}
		r.config.Set(c)
		r.hook("notice.d/10-tell", 0o755)
		r.hook("notice.d/20-open", 0o777)
		s := r.spot(2 * time.Minute)
		i := facts.Interruption{Standing: []facts.Standing{s}, Drain: true, Hard: true, Deadline: s.Until, StopBy: s.Until}
		got, err := r.duty.Rehearse(t.Context(), i, r.Now())
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, s := range got.Steps {
			steps = append(steps, fmt.Sprintf("%v %s", s.After, s.What))
		}
		all := strings.Join(slices.Concat(steps, got.Tasks, got.Afterwards, got.Problems), "\n")
		for _, want := range []string{
			"0s DRAINING is asked for", "0s hook notice/10-tell is run", "0s 2 tasks to leave",
			"1m0s what still runs is told to stop through ECS: batch 1", "1m30s what still runs is told to stop through ECS: web 0",
			"1m45s containers that still run are told to stop through Docker", "1m52.5s what still runs is told to stop through ECS: logspout 3",
			"2m0s the deadline, hard", "web 0: service web: ECS cannot move it: minimumHealthyPercent", "batch 1: standalone: stop", "cache 2: standalone: ignore",
			"logspout 3: leaves last", "5s later these are told to stop: logspout 3", "hook notice/20-open would be refused",
		} {
			if !strings.Contains(all, want) {
				t.Errorf("it does not say %q:\n%s", want, all)
			}
		}
		if n := r.aws.count("SetState") + r.aws.count("StopTask") + len(r.jobs.ran); n != 0 {
			t.Errorf("%d calls that change something: %q", n, r.aws.calls)
		}
		if names, err := drain.Records(r.disk); err != nil || len(names) != 0 {
			t.Errorf("records %q, %v", names, err)
		}
	})
}

func TestTheDefaultIsValid(t *testing.T) {
	drain.Default().Validate(func(path, message string) { t.Errorf("%s: %s", path, message) })
	c := drain.Default()
	c.LifecycleHooks = []string{"ecs-managed-draining-termination-hook"}
	n := 0
	c.Validate(func(string, string) { n++ })
	if n != 1 {
		t.Error("ECS's own hook is taken")
	}
}

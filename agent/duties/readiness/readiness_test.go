package readiness_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/readiness"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// ecs is what ECS knows of container instances.
type ecs struct {
	attributes map[string]map[string]string // by ARN
	calls      int
	err        error
}

func (e *ecs) PutAttributes(_ context.Context, on facts.ContainerInstance, attributes map[string]string) error {
	e.calls++
	if e.err != nil {
		return e.err
	}
	if e.attributes[on.ARN] == nil {
		e.attributes[on.ARN] = map[string]string{}
	}
	maps.Copy(e.attributes[on.ARN], attributes)
	return nil
}

type rig struct {
	t        *testing.T
	disk     *fsx.Disk
	ecs      *ecs
	boot     string
	closed   bool
	config   *cell.Cell[readiness.Config]
	text     *cell.Cell[string]
	on       *cell.Cell[facts.ContainerInstance]
	identity *cell.Cell[time.Time]
	tasks    *cell.Cell[[]facts.NodeTask]
	drains   *cell.Cell[bool]
	duty     *readiness.Duty
	warnings string
}

func onNode(t *testing.T, f func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		disk, err := fsx.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, disk: disk, ecs: &ecs{attributes: map[string]map[string]string{}}, boot: "first"}
		r.config, r.text = cell.Comparable[readiness.Config](), cell.Comparable[string]()
		r.config.Set(readiness.Default())
		r.text.Set("a=1")
		r.on = cell.Comparable[facts.ContainerInstance]()
		r.on.Set(facts.ContainerInstance{ARN: "arn", Cluster: "web"})
		r.restart()
		f(t, r)
	})
}

// restart is another process; nothing is known to it yet.
func (r *rig) restart() {
	r.identity, r.drains = cell.New(time.Time.Equal), cell.Comparable[bool]()
	r.tasks = cell.New(func(a, b []facts.NodeTask) bool { return false })
	r.duty = &readiness.Duty{
		FS: r.disk, Config: r.config, Effective: r.text, Version: "v1", BootID: r.boot, Closed: r.closed, Registration: r.on,
		Identity: r.identity, Tasks: r.tasks, Drains: r.drains, ECS: r.ecs,
	}
}

// serve makes known what a node in service knows, with these tasks.
func (r *rig) serve(tasks ...facts.NodeTask) {
	if at, _ := r.identity.Get(); at.IsZero() {
		r.identity.Set(time.Now())
	}
	r.drains.Set(false)
	r.tasks.Set(tasks)
}

// says makes passes and compares what ECS knows, "" for nothing, and with how
// many calls.
func (r *rig) says(ready string, calls int) {
	r.t.Helper()
	before := r.ecs.calls
	for range 2 {
		out, err := r.duty.Reconcile(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		r.warnings = strings.Join(out.Warnings, "; ")
	}
	arn, _ := r.on.Get()
	if got := r.ecs.attributes[arn.ARN][readiness.Ready]; got != ready || r.ecs.calls-before != calls {
		r.t.Errorf("%q after %d calls, want %q after %d", got, r.ecs.calls-before, ready, calls)
	}
}

func task(state, needed string) facts.NodeTask {
	return facts.NodeTask{Name: "logspout", State: state, Needed: needed}
}

func TestANodeIsReadyOnceItsTasksRun(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.says("", 0)
		r.serve(task(facts.NodeTaskStarting, "hard"))
		r.says("", 0)
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 1)
		if got := r.ecs.attributes["arn"]; got[readiness.Version] != "v1" || len(got[readiness.Hash]) != 12 {
			t.Errorf("%v", got)
		}
		r.serve(task(facts.NodeTaskWaiting, "hard")) // started again in a moment
		r.says("true", 0)
		r.drains.Set(true)
		r.says("false", 1)
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 1)
	})
}

func TestARestartOfTheAgentTellsNothingAndARebootTellsFalse(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 1)
		r.restart()
		r.identity.Set(time.Now())
		r.says("true", 0)
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 0)

		r.boot, r.closed = "second", true // before the ECS agent starts
		r.restart()
		r.says("false", 1)
		r.closed = false
		r.restart()
		r.serve(task(facts.NodeTaskStarting, "hard"))
		r.says("false", 0)
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 1)
	})
}

func TestWhatIsNeededSoftOpensTheGateAfterFiveMinutes(t *testing.T) {
	for needed, opens := range map[string]bool{"soft": true, "hard": false} {
		t.Run(needed, func(t *testing.T) {
			onNode(t, func(t *testing.T, r *rig) {
				r.serve(task(facts.NodeTaskRefused, needed))
				time.Sleep(5*time.Minute - time.Second)
				r.says("", 0)
				time.Sleep(time.Second)
				if opens {
					r.says("true", 1)
				} else {
					r.says("", 0)
				}
				if warned := strings.Contains(r.warnings, "counts as ready without logspout"); warned != opens {
					t.Errorf("%q", r.warnings)
				}
			})
		})
	}
}

func TestATaskThatIsNeededHardAndStaysAwayClosesTheGate(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 1)
		r.serve(task(facts.NodeTaskWaiting, "hard"))
		r.says("true", 0)
		time.Sleep(5 * time.Minute)
		r.says("false", 1)
		r.serve(task(facts.NodeTaskRunning, "hard"))
		r.says("true", 1)
	})
}

func TestWhatChangesAloneIsToldAndAnotherContainerInstanceAnew(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.serve()
		r.says("true", 1)
		r.text.Set("a=2")
		r.says("true", 1)
		r.on.Set(facts.ContainerInstance{ARN: "another", Cluster: "web"})
		r.says("true", 1)
	})
}

func TestARoleThatMayNotIsAWarning(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		r.ecs.err = fmt.Errorf("%w: the instance role must allow ecs:PutAttributes", facts.ErrRefused)
		r.serve()
		r.says("", 2)
		if !strings.Contains(r.warnings, "ecs:PutAttributes; or set readiness.publish: false") {
			t.Errorf("%q", r.warnings)
		}
		r.ecs.err = fmt.Errorf("%w: HTTP status 500", facts.ErrUnavailable)
		if _, err := r.duty.Reconcile(t.Context()); err == nil {
			t.Error("no answer is no failure")
		}
		r.config.Set(readiness.Config{})
		r.says("", 0)
	})
}

func TestATaskThatEndsAsSoonAsItRunsOpensNoGate(t *testing.T) {
	onNode(t, func(t *testing.T, r *rig) {
		one := task(facts.NodeTaskRunning, "hard")
		one.Since = time.Now()
		r.serve(one)
		r.says("", 0)
		time.Sleep(4 * time.Second)
		one.State = facts.NodeTaskWaiting
		r.serve(one)
		r.says("", 0)
		one.State, one.Since, one.Restarts = facts.NodeTaskRunning, time.Now(), 1
		r.serve(one)
		time.Sleep(59 * time.Second)
		r.says("", 0)
		time.Sleep(time.Second)
		r.says("true", 1)
	})
}

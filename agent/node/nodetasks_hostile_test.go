package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// up counts the containers of a family.
func (l *leaver) up(family string) (n int) {
	for _, c := range l.world.Containers() {
		if c.Family == family && c.EndedAt.IsZero() {
			n++
		}
	}
	return n
}

// configure replaces the configuration, which is seen within half a minute.
func (l *leaver) configure(yaml string) { l.write("/etc/ecsnode/ecsnode.yaml", basic+yaml) }

func (l *leaver) define(family string, revision int) {
	l.world.AddTaskDefinition(sim.TaskDefinition{Family: family, Revision: revision, StartTakes: 2 * time.Second, StopTakes: time.Second})
}

func (l *leaver) stops() int { return l.world.Count("ecs/StopTask") }

const atOnce = "  splay: 0s\n"

var revision13 = strings.Replace(twoTasks, "logspout:12", "logspout:13", 1)

func TestOfTwoThatChangeTogetherOneIsReplacedAtATime(t *testing.T) {
	yaml := strings.Replace(twoTasks, "leave: with-workload", `environment: {ENV: '{{ tag "env" }}'}`, 1)
	onTasked(t, yaml+atOnce, func(t *testing.T, l *leaver) {
		l.pass(5 * time.Minute)
		if err := l.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			l.pass(100 * time.Millisecond)
			if l.up("logspout") == 0 && l.up("datadog") == 0 {
				t.Fatal("both are down")
			}
		}
		l.wantOne("logspout", "datadog")
		if n := l.starts(); n != 4 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

func TestATaskOfAServiceIsNotReplacedEither(t *testing.T) {
	onTasked(t, "\n", func(t *testing.T, l *leaver) {
		l.define("logspout", 13)
		if err := l.world.SetService(sim.Service{Name: "logs", Daemon: true, Task: sim.TaskDefinition{Family: "logspout", Revision: 12}}); err != nil {
			t.Fatal(err)
		}
		l.pass(time.Minute)
		l.configure(revision13 + atOnce)
		l.pass(30 * time.Minute)
		if rec := l.state("nodetasks"); l.stops() != 0 || l.starts() != 1 || len(rec.Warnings) == 0 || !strings.Contains(rec.Warnings[0], "belongs to service logs") {
			t.Errorf("%d stops, %d starts, %q", l.stops(), l.starts(), rec.Warnings)
		}
	})
}

func TestAFileThatIsLeftOutStopsNoNodeTask(t *testing.T) {
	onTasked(t, "\n", func(t *testing.T, l *leaver) {
		l.write("/etc/ecsnode/conf.d/50-tasks.yaml", twoTasks)
		l.pass(5 * time.Minute)
		l.write("/etc/ecsnode/conf.d/50-tasks.yaml", twoTasks+"  splay: soonish\n")
		l.pass(5 * time.Minute)
		l.stop()
		l.start()
		l.pass(10 * time.Minute)
		l.wantOne("logspout", "datadog")
		if n := l.stops(); n != 0 {
			t.Errorf("%d calls of StopTask", n)
		}
	})
}

func TestNoTaskIsStartedOnceADrainHasBegun(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(5*time.Minute + 8*time.Second)
		l.fault("ecs/ListTasks", sim.Fault{Latency: 8 * time.Second})
		l.world.EndTasks("logspout")
		if _, err := l.node().Drain(node.DrainRequest{}); err != nil {
			t.Fatal(err)
		}
		before := l.starts()
		l.pass(30 * time.Second)
		if n := l.starts() - before; n != 0 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

func TestWhereCapacityHasComeToBeManagedWhatRunsIsNotStopped(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(5 * time.Minute)
		l.world.SetCapacityProvider(sim.CapacityProvider{Name: "asg", ManagedScaling: true})
		l.pass(20 * time.Minute)
		l.define("logspout", 13)
		l.configure(revision13 + atOnce)
		l.pass(10 * time.Minute)
		l.wantOne("logspout", "datadog")
		if rec := l.state("nodetasks"); rec.State != duty.Failing || !strings.Contains(rec.Err, "managed scaling") {
			t.Errorf("%s: %s", rec.State, rec.Err)
		}
		l.world.SetCapacityProvider(sim.CapacityProvider{Name: "asg"})
		l.pass(20 * time.Minute)
		if s := l.nodeTask("logspout"); s.Definition != "logspout:13" {
			t.Errorf("%+v", s)
		}
	})
}

func TestAWayBackThatIsClosedIsNoDeadEnd(t *testing.T) {
	onTasked(t, twoTasks+atOnce, func(t *testing.T, l *leaver) {
		l.pass(5 * time.Minute)
		l.world.AddTaskDefinition(sim.TaskDefinition{Family: "logspout", Revision: 13, RunsFor: 2 * time.Second, ExitCode: 1})
		l.configure(revision13 + atOnce)
		l.pass(2 * time.Second)
		if err := l.world.DeregisterTaskDefinition("logspout", 12); err != nil {
			t.Fatal(err)
		}
		l.pass(2 * time.Minute)
		l.define("logspout", 13) // what it depends on is back
		l.pass(15 * time.Minute)
		l.wantOne("logspout")
		if s := l.nodeTask("logspout"); s.Definition != "logspout:13" {
			t.Errorf("%+v", s)
		}
	})
}

func TestARoleThatMayNotIsNoFaultOfTheRevision(t *testing.T) {
	onTasked(t, twoTasks+atOnce, func(t *testing.T, l *leaver) {
		l.pass(5 * time.Minute)
		l.define("logspout", 13)
		l.world.Deny("ecs:StartTask")
		l.configure(revision13 + atOnce)
		l.pass(time.Minute)
		l.world.Allow("ecs:StartTask")
		l.pass(6 * time.Minute)
		if s := l.nodeTask("logspout"); s.Definition != "logspout:13" || !s.Up() {
			t.Errorf("%+v", s)
		}
	})
}

func TestAMissingServiceKeepsNoOtherTaskFromItsNewRevision(t *testing.T) {
	yaml := strings.Replace(twoTasks, `task_definition: "datadog:3", leave: with-workload`, `task_definition: "datadog:3", mode: service, needed: no`, 1) + atOnce
	onTasked(t, yaml, func(t *testing.T, l *leaver) {
		l.pass(5 * time.Minute)
		l.define("logspout", 13)
		l.configure(strings.Replace(yaml, "logspout:12", "logspout:13", 1))
		l.pass(5 * time.Minute)
		if s := l.nodeTask("logspout"); s.Definition != "logspout:13" {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatLeavesWithTheWorkloadDoesSoUnderEveryPolicy(t *testing.T) {
	for _, policy := range []string{"stop", "ignore", "wait"} {
		t.Run(policy, func(t *testing.T) {
			onTasked(t, twoTasks+"drain: {standalone: "+policy+", families: {batch: wait}}\n", func(t *testing.T, l *leaver) {
				l.task(sim.TaskDefinition{Family: "batch", StopTakes: time.Second})
				l.pass(2 * time.Minute)
				if _, err := l.node().Drain(node.DrainRequest{Deadline: 3 * time.Minute}); err != nil {
					t.Fatal(err)
				}
				l.pass(2*time.Minute + 30*time.Second)
				l.wantRuns("batch datadog logspout")
				l.world.EndTasks("batch")
				l.pass(30 * time.Second)
				l.wantRuns("")
			})
		})
	}
}

package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const twoTasks = `
node_tasks:
  tasks:
    logspout: {task_definition: "logspout:12", needed: hard, environment: {NODE: '{{ node "instance_id" }}', ENV: '{{ tag "env" }}'}}
    datadog: {task_definition: "datadog:3", leave: with-workload}
`

// onTasked runs f on a node in service in whose cluster both are defined.
func onTasked(t *testing.T, yaml string, f func(t *testing.T, l *leaver)) {
	t.Helper()
	inNode(t, basic+yaml, func(t *testing.T, r *rig) {
		l := &leaver{rig: r, from: time.Now()}
		for _, d := range []sim.TaskDefinition{{Family: "logspout", Revision: 12}, {Family: "datadog", Revision: 3}} {
			d.StartTakes, d.StopTakes = 2*time.Second, time.Second
			r.world.AddTaskDefinition(d)
		}
		r.world.SetRegistered("web")
		l.start()
		f(t, l)
		l.stop()
	})
}

// tasks are those of ECS of a family that are not STOPPED.
func (l *leaver) tasks(family string) (all []sim.ECSTask) {
	for _, t := range l.world.ECSTasks() {
		if t.Family == family && t.Last != facts.TaskStopped {
			all = append(all, t)
		}
	}
	return all
}

func (l *leaver) wantOne(families ...string) {
	l.t.Helper()
	for _, family := range families {
		var up []string
		for _, c := range l.world.Containers() {
			if c.Family == family && c.EndedAt.IsZero() {
				up = append(up, c.ID)
			}
		}
		if n := len(l.tasks(family)); n != 1 || len(up) != 1 {
			l.t.Errorf("%v after: %d tasks and %d containers of %s, want one: %+v\n%+v", time.Since(l.from), n, len(up), family, l.tasks(family), l.nodeTask(family))
		}
	}
}

func (l *leaver) nodeTask(name string) facts.NodeTask {
	l.t.Helper()
	for _, t := range l.status().NodeTasks {
		if t.Name == name {
			return t
		}
	}
	return facts.NodeTask{}
}

func (l *leaver) starts() int { return l.world.Count("ecs/StartTask") }

func (l *leaver) ready() string {
	ci, _ := l.world.ContainerInstance()
	return ci.Attributes["ecsnode.ready"]
}

func TestAFreshNodeRunsOneOfEachNodeTask(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(4 * time.Second)
		l.wantOne("logspout", "datadog")
		l.pass(5 * time.Second)
		task := l.tasks("logspout")[0]
		if task.StartedBy != "ecsnode/"+l.world.Instance().ID {
			t.Errorf("%+v", task)
		}
		if got := l.ready(); got != "true" {
			t.Errorf("ecsnode.ready is %q", got)
		}
		l.pass(time.Minute)
		before := l.world.Counts()
		l.pass(time.Hour)
		for op, n := range l.world.Counts() {
			if strings.HasPrefix(op, "ecs") && n != before[op] {
				t.Errorf("%d calls of %s in a steady hour", n-before[op], op)
			}
		}
		if s := l.nodeTask("logspout"); s.State != facts.NodeTaskRunning || s.Definition != "logspout:12" || s.Container == "" || s.Since.IsZero() {
			t.Errorf("%+v", s)
		}
		l.stop()
		l.start()
		l.pass(time.Minute)
		if n := l.starts(); n != 2 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

func TestACrashLoopBacksOffAndIsSeen(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(time.Minute)
		before := l.starts()
		for end := time.Now().Add(30 * time.Minute); time.Now().Before(end); l.pass(time.Second) {
			l.world.EndTasks("logspout")
		}
		if n := l.starts() - before; n < 9 || n > 17 {
			t.Errorf("started %d times in 30 minutes", n)
		}
		if s := l.nodeTask("logspout"); s.Restarts < 9 || s.LastEnd == "" {
			t.Errorf("%+v", s)
		}
		if rec := l.state("nodetasks"); rec.State != duty.Failing || !strings.Contains(rec.Err, "times in a row") {
			t.Errorf("%s: %s", rec.State, rec.Err)
		}
		l.wantOne("datadog")
		l.pass(6 * time.Minute)
		l.wantOne("logspout")
	})
}

func TestAStartWhoseAnswerIsLostIsNotMadeTwice(t *testing.T) {
	for name, c := range map[string]struct {
		fault  sim.Fault
		starts int
	}{
		"it took effect":                       {sim.Fault{Kind: sim.FaultReset, Processed: true, Count: 1}, 2},
		"it took effect and ECS answers late":  {sim.Fault{Kind: sim.FaultHang, Processed: true, Count: 1}, 2},
		"it took no effect":                    {sim.Fault{Kind: sim.FaultReset, Count: 1}, 3},
		"ECS is at fault, and it took effect":  {sim.Fault{Kind: sim.FaultStatus, Status: 500, Processed: true, Count: 1}, 2},
		"ECS is at fault, and it took nothing": {sim.Fault{Kind: sim.FaultStatus, Status: 503, Count: 1}, 3},
	} {
		for _, lag := range []time.Duration{0, 5 * time.Second} {
			t.Run(fmt.Sprintf("%s, lists are %v late", name, lag), func(t *testing.T) {
				onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
					l.fault("ecs/StartTask", c.fault)
					l.world.SetListLag(lag)
					l.pass(time.Minute)
					l.wantOne("logspout", "datadog")
					if n := l.starts(); n != c.starts {
						t.Errorf("%d calls of StartTask, want %d", n, c.starts)
					}
				})
			})
		}
	}
}

func TestADaemonKilledBetweenTheCallAndItsRecordStartsNoSecond(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.world.SetListLag(5 * time.Second)
		l.fault("ecs/StartTask", sim.Fault{Kind: sim.FaultHang, Processed: true})
		l.pass(time.Second) // the first is under way
		l.stop()
		l.world.ClearFaults()
		l.start()
		l.pass(time.Minute)
		l.wantOne("logspout", "datadog")
	})
}

func TestOfTwoThatWereStartedByARaceTheNewestIsStopped(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(10 * time.Second)
		first := l.tasks("logspout")[0].ARN
		l.task(sim.TaskDefinition{Family: "logspout", Revision: 12, StopTakes: time.Second})
		l.pass(10 * time.Second)
		l.wantOne("logspout")
		if got := l.tasks("logspout")[0].ARN; got != first {
			t.Errorf("%s is left, want %s", got, first)
		}
	})
}

func TestATaskOfAServiceIsNeverStoppedAsOneTooMany(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(10 * time.Second)
		if err := l.world.SetService(sim.Service{Name: "logs", Daemon: true, Task: sim.TaskDefinition{Family: "logspout", Revision: 12}}); err != nil {
			t.Fatal(err)
		}
		l.pass(time.Minute)
		if n := len(l.tasks("logspout")); n != 2 {
			t.Errorf("%d tasks", n)
		}
		if rec := l.state("nodetasks"); len(rec.Warnings) == 0 {
			t.Errorf("it is not said: %+v", rec)
		}
	})
}

func TestAContainerOfOthersIsAdopted(t *testing.T) {
	yaml := strings.Replace(twoTasks, "needed: hard", `needed: hard, recognise: {images: ["gliderlabs/logspout*"]}`, 1)
	onTasked(t, "\n", func(t *testing.T, l *leaver) {
		l.stop()
		l.write("/etc/ecsnode/ecsnode.yaml", basic+yaml)
		id := l.world.RunContainer(sim.ContainerSpec{Name: "logspout", Image: "gliderlabs/logspout:v3.2"})
		l.start()
		l.pass(time.Minute)
		if s := l.nodeTask("logspout"); s.State != facts.NodeTaskAdopted || s.Container != id || len(l.tasks("logspout")) != 0 {
			t.Errorf("%+v", s)
		}
		if err := l.world.RemoveContainer(id); err != nil {
			t.Fatal(err)
		}
		l.pass(5 * time.Second)
		l.wantOne("logspout")
	})
}

func TestRefusalsOfECSAreToldAndOvercome(t *testing.T) {
	for name, c := range map[string]struct {
		ails  func(l *leaver)
		heals func(l *leaver)
		says  string
	}{
		"throttled": {
			func(l *leaver) { l.fault("ecs/StartTask", sim.Fault{Kind: sim.FaultThrottle}) },
			func(l *leaver) { l.world.ClearFaults() }, "throttled",
		},
		"no memory": {
			func(l *leaver) { l.world.SetMemory(300) },
			func(l *leaver) { l.world.SetMemory(4096) }, "RESOURCE:MEMORY: the node has too little left",
		},
		"not allowed": {
			func(l *leaver) { l.world.Deny("ecs:StartTask") },
			func(l *leaver) { l.world.Allow("ecs:StartTask") }, "the instance role must allow ecs:StartTask",
		},
		"not allowed to look": {
			func(l *leaver) { l.world.Deny("ecs:ListTasks") },
			func(l *leaver) { l.world.Allow("ecs:ListTasks") }, "the instance role must allow ecs:ListTasks",
		},
		"not allowed to ask for its capacity": {
			func(l *leaver) { l.world.Deny("ecs:DescribeContainerInstances") },
			func(l *leaver) { l.world.Allow("ecs:DescribeContainerInstances") }, "the instance role must allow ecs:DescribeContainerInstances",
		},
		"the agent is down": {
			func(l *leaver) { l.world.SetAgentRunning(false) },
			func(l *leaver) { l.world.SetAgentRunning(true) }, "the ECS agent",
		},
		"Docker is down": {
			func(l *leaver) { l.world.SetDockerRunning(false) },
			func(l *leaver) { l.world.SetDockerRunning(true) }, "Docker",
		},
	} {
		t.Run(name, func(t *testing.T) {
			onTasked(t, "\n", func(t *testing.T, l *leaver) {
				l.stop()
				c.ails(l)
				l.write("/etc/ecsnode/ecsnode.yaml", basic+twoTasks)
				l.start()
				l.pass(30 * time.Second)
				if rec := l.state("nodetasks"); rec.State == duty.OK || !strings.Contains(rec.Err, c.says) {
					t.Errorf("%s: %q, want %q", rec.State, rec.Err, c.says)
				}
				if got := l.ready(); got == "true" {
					t.Error("the gate is open")
				}
				c.heals(l)
				l.pass(2 * time.Minute)
				l.wantOne("logspout", "datadog")
				if rec := l.state("nodetasks"); rec.State != duty.OK {
					t.Errorf("%s: %q", rec.State, rec.Err)
				}
				if got := l.ready(); got != "true" {
					t.Errorf("ecsnode.ready is %q", got)
				}
			})
		})
	}
}

func TestThatDockerIsRestartedIsNoDeathTwice(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		before := l.starts()
		l.world.SetDockerRunning(false)
		l.pass(10 * time.Second)
		if rec := l.state("nodetasks"); rec.State != duty.Waiting {
			t.Errorf("%s: %s", rec.State, rec.Err)
		}
		l.world.SetDockerRunning(true)
		l.pass(time.Minute)
		l.wantOne("logspout", "datadog")
		if n := l.starts() - before; n != 0 { // containers have lived on
			t.Errorf("%d calls of StartTask", n)
		}
		// The stream of events is there again.
		l.world.EndTasks("datadog")
		l.pass(time.Second)
		if n := l.starts() - before; n != 1 {
			t.Errorf("%d calls of StartTask after one died", n)
		}
	})
}

func TestANewRevisionReplacesTheOldOneInItsOwnTime(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		l.world.AddTaskDefinition(sim.TaskDefinition{Family: "logspout", Revision: 13, StartTakes: 2 * time.Second, StopTakes: time.Second})
		l.write("/etc/ecsnode/ecsnode.yaml", basic+strings.Replace(twoTasks, "logspout:12", "logspout:13", 1))
		l.pass(31 * time.Second)
		if s := l.nodeTask("logspout"); s.Definition != "logspout:12" || s.Wanted != "logspout:13" || !strings.Contains(s.Why, "is replaced by what is wanted at") {
			t.Errorf("%+v", s)
		}
		l.pass(16 * time.Minute)
		l.wantOne("logspout", "datadog")
		if s := l.nodeTask("logspout"); s.Definition != "logspout:13" || s.Restarts != 0 {
			t.Errorf("%+v", s)
		}
		if n := l.starts(); n != 3 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

func TestAChangedEnvironmentReplacesToo(t *testing.T) {
	onTasked(t, twoTasks+"  splay: 0s\n", func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		first := l.tasks("logspout")[0].ARN
		if err := l.world.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		l.pass(2 * time.Minute)
		l.wantOne("logspout", "datadog")
		if l.tasks("logspout")[0].ARN == first {
			t.Error("the task with the former environment runs on")
		}
	})
}

func TestANodeTaskThatIsNoLongerConfiguredIsStopped(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		l.write("/etc/ecsnode/ecsnode.yaml", basic)
		l.pass(time.Minute)
		if n := len(l.tasks("logspout")) + len(l.tasks("datadog")); n != 0 {
			t.Errorf("%d tasks are left", n)
		}
	})
}

func TestWhileTheNodeDrainsNothingIsStarted(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.task(sim.TaskDefinition{Family: "batch", StopTakes: time.Second})
		l.pass(2 * time.Minute)
		before := l.starts()
		if _, err := l.node().Drain(node.DrainRequest{}); err != nil {
			t.Fatal(err)
		}
		l.pass(11 * time.Second)
		if got := l.ready(); got != "false" {
			t.Errorf("ecsnode.ready is %q", got)
		}
		l.world.EndTasks("datadog")
		l.pass(30 * time.Second)
		l.wantRuns("batch logspout")
		l.world.EndTasks("batch")
		l.pass(30 * time.Second)
		l.wantRuns("") // last of all
		if n := l.starts() - before; n != 0 {
			t.Errorf("%d calls of StartTask", n)
		}
		l.stop() // also not by a process that does not know of the drain yet
		l.start()
		l.pass(time.Minute)
		l.wantRuns("")
		if _, err := l.node().Undrain(); err != nil {
			t.Fatal(err)
		}
		l.pass(20 * time.Second)
		l.wantOne("logspout", "datadog")
		l.pass(time.Minute)
		l.wantECS(facts.StatusActive)
		if got := l.ready(); got != "true" {
			t.Errorf("ecsnode.ready is %q", got)
		}
	})
}

func TestInServiceModeTheTaskOfTheServiceIsLookedFor(t *testing.T) {
	const yaml = `
node_tasks: {tasks: {logspout: {task_definition: "logspout:12", mode: service, service: logs}}}
`
	onTasked(t, yaml, func(t *testing.T, l *leaver) {
		l.pass(10 * time.Second)
		if s := l.nodeTask("logspout"); s.State != facts.NodeTaskMissing || !strings.Contains(s.Why, "has no active service logs") {
			t.Errorf("%+v", s)
		}
		if err := l.world.SetService(sim.Service{Name: "logs", Daemon: true, Task: sim.TaskDefinition{Family: "logspout", Revision: 12}}); err != nil {
			t.Fatal(err)
		}
		l.pass(5 * time.Second)
		if s := l.nodeTask("logspout"); s.State != facts.NodeTaskRunning {
			t.Errorf("%+v", s)
		}
		if n := l.starts(); n != 0 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

// 300 containers of others are no node tasks.
func TestAFullNode(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.world.SetMemory(1 << 20)
		for range 300 {
			l.task(sim.TaskDefinition{Family: "web", MemoryMiB: 64})
		}
		l.pass(time.Minute)
		l.wantOne("logspout", "datadog")
		if n := l.starts(); n != 2 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

func TestABadRevisionIsTakenBack(t *testing.T) {
	for name, bad := range map[string]sim.TaskDefinition{
		"that ends at once":      {RunsFor: 2 * time.Second, ExitCode: 1},
		"that cannot be pulled":  {Fails: "CannotPullContainerError: pull image manifest has been retried 1 time(s)"},
		"that never is there":    {},
		"that is not active now": {RunsFor: 100 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			onTasked(t, twoTasks+"  splay: 0s\n", func(t *testing.T, l *leaver) {
				l.pass(5 * time.Minute)
				bad.Family, bad.Revision = "logspout", 13
				if name != "that never is there" {
					l.world.AddTaskDefinition(bad)
				}
				if name == "that is not active now" {
					if err := l.world.DeregisterTaskDefinition("logspout", 13); err != nil {
						t.Fatal(err)
					}
				}
				l.write("/etc/ecsnode/ecsnode.yaml", basic+strings.Replace(twoTasks, "logspout:12", "logspout:13", 1)+"  splay: 0s\n")
				l.pass(10 * time.Minute)
				l.wantOne("logspout", "datadog")
				rec := l.state("nodetasks")
				if s := l.nodeTask("logspout"); s.Definition != "logspout:12" || !s.Up() || rec.State != duty.Failing {
					t.Errorf("%s %q: %+v", rec.State, rec.Err, s)
				}
				if n := l.starts(); n > 8 {
					t.Errorf("%d calls of StartTask", n)
				}
				l.pass(time.Hour) // it is not tried again by itself
				l.wantOne("logspout")
				before := l.starts()
				l.world.AddTaskDefinition(sim.TaskDefinition{Family: "logspout", Revision: 14})
				l.write("/etc/ecsnode/ecsnode.yaml", basic+strings.Replace(twoTasks, "logspout:12", "logspout:14", 1)+"  splay: 0s\n")
				l.pass(2 * time.Minute)
				if s := l.nodeTask("logspout"); s.Definition != "logspout:14" || l.starts() != before+1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestAPinnedRevisionThatIsDeregisteredRunsOnAndIsToldOnceItDies(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(5 * time.Minute)
		if err := l.world.DeregisterTaskDefinition("logspout", 12); err != nil {
			t.Fatal(err)
		}
		l.pass(10 * time.Minute)
		l.wantOne("logspout")
		l.world.EndTasks("logspout")
		l.pass(time.Minute)
		if rec := l.state("nodetasks"); rec.State != duty.Failing || !strings.Contains(rec.Err, "nactive") {
			t.Errorf("%s: %s", rec.State, rec.Err)
		}
		l.wantOne("datadog")
	})
}

func TestAContainerThatItsAgentRestartsIsLeftToIt(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.world.AddTaskDefinition(sim.TaskDefinition{Family: "logspout", Revision: 12, RestartPolicy: true, RestartTakes: 3 * time.Second, RunsFor: time.Minute})
		l.pass(10 * time.Minute)
		l.wantOne("logspout", "datadog")
		if n := l.starts(); n != 2 {
			t.Errorf("%d calls of StartTask", n)
		}
	})
}

func TestWhereCapacityIsManagedNothingIsStartedUnlessThatIsAllowed(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			onTasked(t, "\n", func(t *testing.T, l *leaver) {
				l.stop()
				l.world.SetCapacityProvider(sim.CapacityProvider{Name: "asg", ManagedScaling: true, TerminationProtection: true})
				yaml := basic + twoTasks
				if allowed {
					yaml += "  managed_capacity: allow\n"
				}
				l.write("/etc/ecsnode/ecsnode.yaml", yaml)
				l.start()
				l.pass(time.Minute)
				if allowed {
					l.wantOne("logspout", "datadog")
					return
				}
				if n := l.starts(); n != 0 {
					t.Errorf("%d calls of StartTask", n)
				}
				for _, part := range []string{"capacity provider asg has managed scaling, managed termination protection", "mode: service"} {
					if s := l.nodeTask("logspout"); s.State != facts.NodeTaskRefused || !strings.Contains(s.Why, part) {
						t.Errorf("%+v", s)
					}
				}
			})
		})
	}
}

func TestAContainerRemovedByForceIsStartedAgain(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		before := l.starts()
		if err := l.world.RemoveContainer(l.nodeTask("datadog").Container); err != nil {
			t.Fatal(err)
		}
		l.pass(time.Second)
		if n := l.starts() - before; n != 1 {
			t.Errorf("%d calls of StartTask", n)
		}
		l.pass(5 * time.Second)
		l.wantOne("logspout", "datadog")
	})
}

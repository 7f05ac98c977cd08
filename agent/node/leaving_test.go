package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// leaver is a Spot Instance with tasks, in service.
type leaver struct {
	*rig
	cancel context.CancelFunc
	done   chan error
	from   time.Time // when the case began
}

const (
	app   = "web"      // a service's task that takes 5 s to end
	batch = "batch"    // a standalone task that takes an hour by itself
	last  = "logspout" // leaves last
)

// onLeaver runs f on a node in service with one task of each kind, or those that
// more starts, and checks afterwards that no application was killed unheard.
func onLeaver(t *testing.T, yaml string, f func(t *testing.T, l *leaver)) {
	t.Helper()
	inNode(t, basic+yaml, func(t *testing.T, r *rig) {
		l := &leaver{rig: r, from: time.Now()}
		r.world.SetLifecycle(facts.Spot)
		r.world.SetRegistered("web")
		half := 50
		if err := r.world.SetService(sim.Service{
			Name: app, Desired: 2, Elsewhere: 1, MinimumHealthyPercent: &half,
			Task: sim.TaskDefinition{StopTakes: 5 * time.Second, Sidecars: []string{"log_router"}},
		}); err != nil {
			t.Fatal(err)
		}
		l.task(sim.TaskDefinition{Family: last, StopTakes: time.Second})
		l.start()
		l.pass(5 * time.Second)
		f(t, l)
		l.stop()
		l.everyAppWasTold()
	})
}

func (l *leaver) task(d sim.TaskDefinition) {
	l.t.Helper()
	if _, err := l.world.AddTask(d, ""); err != nil {
		l.t.Fatal(err)
	}
}

// start runs the daemon, and stop ends it. To the world it is killed: nothing is
// told to anybody.
func (l *leaver) start() {
	n := l.node()
	ctx, cancel := context.WithCancel(l.t.Context())
	l.cancel, l.done = cancel, make(chan error, 1)
	go func() { l.done <- n.Run(ctx) }()
}

func (l *leaver) stop() {
	l.t.Helper()
	l.cancel()
	if err := <-l.done; err != nil {
		l.t.Errorf("run: %v", err)
	}
}

// reboot is another boot, of whatever length. Tasks do not survive it.
func (l *leaver) reboot(id string, down time.Duration) {
	l.t.Helper()
	l.stop()
	l.world.SetAgentRunning(false)
	time.Sleep(down)
	l.write("/proc/sys/kernel/random/boot_id", id)
	l.world.SetAgentRunning(true)
	l.start()
	l.pass(5 * time.Second)
}

// everyAppWasTold: no container of an application ended without its SIGTERM.
func (l *leaver) everyAppWasTold() {
	l.t.Helper()
	for _, c := range l.world.Containers() {
		if c.Killed && c.SignalAt.IsZero() && !c.EndedAt.Before(l.from) {
			l.t.Errorf("%s %s was killed at %v and never got a SIGTERM", c.Family, c.Name, c.EndedAt.Sub(l.from))
		}
	}
}

// runs returns the families that have a container, in order.
func (l *leaver) runs() string {
	all := map[string]bool{}
	for _, c := range l.world.Containers() {
		if c.EndedAt.IsZero() {
			all[c.Family] = true
		}
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (l *leaver) wantRuns(want string) {
	l.t.Helper()
	if got := l.runs(); got != want {
		l.t.Errorf("%v after: %q run, want %q\n%s", time.Since(l.from), got, want, l.milestones())
	}
}

func (l *leaver) wantECS(want string) {
	l.t.Helper()
	if ci, _ := l.world.ContainerInstance(); ci.Status != want {
		l.t.Errorf("%v after: ECS says %q, want %s\n%s", time.Since(l.from), ci.Status, want, l.milestones())
	}
}

// record is the newest record of a drain, or nil.
func (l *leaver) record() *node.DrainRecord {
	all, err := l.node().Drains(1)
	if err != nil {
		return nil
	}
	return all[0]
}

func (l *leaver) milestones() string {
	r := l.record()
	if r == nil {
		return "no drain is on record"
	}
	return node.DrainText(r)
}

// says checks that the record says these, in this order.
func (l *leaver) says(want ...string) {
	l.t.Helper()
	rest := l.milestones()
	for _, w := range want {
		_, after, found := strings.Cut(rest, w)
		if !found {
			l.t.Errorf("the record does not say %q, or not there:\n%s", w, l.milestones())
			return
		}
		rest = after
	}
}

func (l *leaver) spot(action string, in time.Duration) {
	l.world.SetSpotInterruption(action, time.Now().Add(in))
}

func (l *leaver) fault(pattern string, f sim.Fault) {
	l.t.Helper()
	if err := l.world.SetFault(pattern, f); err != nil {
		l.t.Fatal(err)
	}
}

func event(code, state string, in time.Duration) []sim.ScheduledEvent {
	return []sim.ScheduledEvent{{Code: code, EventID: "instance-event-1", State: state, NotBefore: time.Now().Add(in)}}
}

const drainsForAll = `
interruption: {splay: 0s, rebalance: {policy: drain}, maintenance: {policy: drain}}
`

func TestEachSourceAloneDrainsTheNode(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(l *leaver)
		within  time.Duration // until DRAINING
	}{
		"spot terminate": {func(l *leaver) { l.spot("terminate", 2*time.Minute) }, time.Second},
		"spot stop":      {func(l *leaver) { l.spot("stop", 2*time.Minute) }, time.Second},
		"spot hibernate": {func(l *leaver) { l.spot("hibernate", 2*time.Minute) }, time.Second},
		"rebalance":      {func(l *leaver) { l.world.SetRebalanceRecommendation(time.Now()) }, 6 * time.Second},
		"Auto Scaling":   {func(l *leaver) { l.world.SetTargetLifecycleState("Terminated") }, 6 * time.Second},
		"a warm pool":    {func(l *leaver) { l.world.SetTargetLifecycleState("Warmed:Stopped") }, 6 * time.Second},
		"maintenance":    {func(l *leaver) { l.world.SetScheduledEvents(event("system-reboot", "active", 20*time.Minute)) }, 61 * time.Second},
		"an operator": {func(l *leaver) {
			if _, err := l.node().Drain(node.DrainRequest{}); err != nil {
				l.t.Fatal(err)
			}
		}, 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			onLeaver(t, drainsForAll, func(t *testing.T, l *leaver) {
				c.happens(l)
				l.pass(c.within)
				l.wantECS(facts.StatusDraining)
				l.pass(30 * time.Second)
				l.wantRuns("")
				l.says("drained after", "DRAINING was asked for", "ECS says DRAINING", "to leave", "told to stop: "+last, "the node is drained")
			})
		})
	}
}

func TestAHibernationIsNotWaitedFor(t *testing.T) {
	onLeaver(t, "drain: {families: {batch: wait}}\n", func(t *testing.T, l *leaver) {
		l.task(sim.TaskDefinition{Family: batch})
		l.spot("hibernate", 2*time.Minute) // the time that it says means nothing
		l.pass(3 * time.Second)
		l.wantRuns("logspout web") // web is told and ending
		l.pass(4 * time.Second)
		l.wantRuns("")
		// Later the processes go on as if nothing had been.
		time.Sleep(10 * time.Minute)
		l.wantECS(facts.StatusDraining)
		l.world.ClearSpotInterruption()
		l.pass(5 * time.Second)
		l.wantECS(facts.StatusActive)
		l.says("the drain is undone")
	})
}

func TestOfSeveralNoticesTheEarliestHardDeadlineRules(t *testing.T) {
	onLeaver(t, drainsForAll+"drain: {standalone: wait}\n", func(t *testing.T, l *leaver) {
		l.task(sim.TaskDefinition{Family: batch})
		left := func() time.Duration { return time.Until(l.status().Drain.Deadline).Round(time.Second) }
		l.world.SetRebalanceRecommendation(time.Now())
		l.pass(10 * time.Second)
		if got := left(); got < 14*time.Minute || l.status().Drain.Hard {
			t.Errorf("a rebalance recommendation: %v left, hard %v", got, l.status().Drain.Hard)
		}
		l.world.SetTargetLifecycleState("Terminated")
		l.world.SetScheduledEvents(event("instance-stop", "active", 20*time.Minute))
		l.pass(time.Minute)
		if got := left(); got < 18*time.Minute || !l.status().Drain.Hard {
			t.Errorf("with maintenance: %v left, hard %v", got, l.status().Drain.Hard)
		}
		l.spot("terminate", 2*time.Minute)
		l.pass(2 * time.Second)
		if got := left(); got < 117*time.Second || got > 2*time.Minute {
			t.Errorf("with a Spot notice: %v left", got)
		}
		l.wantRuns("batch logspout") // nothing began anew
		if n := l.world.Count("ecs/UpdateContainerInstancesState"); n != 1 {
			t.Errorf("DRAINING was asked for %d times", n)
		}
		l.pass(2 * time.Minute)
		l.wantRuns("")
		l.says("notice: rebalance", "notice: autoscaling Terminated", "notice: spot terminate", "told to stop: batch", "the node is drained")
	})
}

func TestANoticeThatStandsWhenTheAgentStartsIsDrainedFor(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.stop()
		l.spot("terminate", 2*time.Minute)
		time.Sleep(10 * time.Second)
		l.start()
		l.pass(time.Second)
		l.wantECS(facts.StatusDraining)
		l.pass(30 * time.Second)
		l.wantRuns("")
	})
}

func TestAnIllECSDelaysADrainAndEndsItNot(t *testing.T) {
	for name, c := range map[string]struct {
		pattern string
		fault   sim.Fault
		for_    time.Duration
	}{
		"throttled for 30 s":           {"ecs", sim.Fault{Kind: sim.FaultThrottle}, 30 * time.Second},
		"one call of three is dropped": {"ecs", sim.Fault{Kind: sim.FaultReset, Every: 3}, time.Hour},
		"hangs for 30 s":               {"ecs", sim.Fault{Kind: sim.FaultHang}, 30 * time.Second},
		"the state is taken and the answer lost": {
			"ecs/UpdateContainerInstancesState", sim.Fault{Kind: sim.FaultReset, Processed: true, Count: 2}, time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			onLeaver(t, "", func(t *testing.T, l *leaver) {
				l.fault(c.pattern, c.fault)
				l.spot("terminate", 2*time.Minute)
				l.pass(min(c.for_, 60*time.Second))
				l.world.ClearFaults()
				l.pass(20 * time.Second)
				l.wantECS(facts.StatusDraining)
				l.pass(15 * time.Second)
				l.wantRuns("")
				l.says("the node is drained")
			})
		})
	}
}

func TestWhereECSIsOutOfReachThroughoutEveryTaskGetsItsSignal(t *testing.T) {
	for _, kind := range []sim.FaultKind{sim.FaultReset, sim.FaultHang} {
		t.Run(string(kind), func(t *testing.T) {
			onLeaver(t, "", func(t *testing.T, l *leaver) {
				l.task(sim.TaskDefinition{Family: batch, StopTakes: 3 * time.Second})
				l.fault("ecs", sim.Fault{Kind: kind})
				l.world.SetAgentRunning(false) // it cannot reach ECS either
				l.spot("terminate", 2*time.Minute)
				l.pass(80 * time.Second)
				l.wantRuns("batch logspout web") // unreachable alone stops nothing
				l.pass(39 * time.Second)
				l.wantRuns("")
				l.world.PowerOff()
				app, sidecar := l.ended(app, app), l.ended(app, "log_router")
				if !sidecar.After(app) {
					t.Errorf("the sidecar ended at %v, its application at %v", sidecar.Sub(l.from), app.Sub(l.from))
				}
				if shipper := l.ended(last, last); !shipper.After(app) {
					t.Errorf("the log shipper ended at %v, the application at %v", shipper.Sub(l.from), app.Sub(l.from))
				}
			})
		})
	}
}

// ended is when a container ended.
func (l *leaver) ended(family, name string) time.Time {
	l.t.Helper()
	for _, c := range l.world.Containers() {
		if c.Family == family && c.Name == name && !c.EndedAt.IsZero() {
			return c.EndedAt
		}
	}
	l.t.Errorf("%s %s has not ended", family, name)
	return time.Time{}
}

func TestAnInstanceThatECSDoesNotKnowIsEmptiedAllTheSame(t *testing.T) {
	for _, status := range []string{"MISSING", "INACTIVE"} {
		t.Run(status, func(t *testing.T) {
			onLeaver(t, "", func(t *testing.T, l *leaver) {
				if status == "INACTIVE" {
					l.world.SetContainerInstanceStatus(status)
				} else {
					l.world.Deregister() // and what ran goes with it
					l.pass(time.Second)
					l.from = time.Now()
					l.world.RunContainer(sim.ContainerSpec{Name: "left", Labels: map[string]string{
						facts.LabelTaskARN: "arn:aws:ecs:eu-west-1:123456789012:task/web/0", facts.LabelFamily: "left", facts.LabelContainerName: "left",
					}, StopTakes: time.Second})
				}
				l.spot("terminate", 2*time.Minute)
				l.pass(2 * time.Minute)
				l.wantRuns("")
				l.says("notice: spot terminate", "the node is drained")
			})
		})
	}
}

func TestWithoutIntrospectionTheInstanceIsFoundInECS(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.stop()
		l.fault("introspection", sim.Fault{Kind: sim.FaultHang})
		l.start()
		l.pass(2 * time.Second)
		l.spot("terminate", 2*time.Minute)
		l.pass(15 * time.Second)
		l.wantECS(facts.StatusDraining)
		l.pass(time.Minute)
		l.wantRuns("")
	})
}

func TestMetadataThatRefusesForAMinuteHidesNoNotice(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.fault("imds", sim.Fault{Kind: sim.FaultStatus, Status: 401})
		l.pass(30 * time.Second)
		if rec := l.state(facts.NoticeSpot); rec.State != duty.Failing {
			t.Errorf("a source that is refused is %s: %s %s", rec.State, rec.Summary, rec.Err)
		}
		l.pass(30 * time.Second)
		l.wantECS(facts.StatusActive)
		l.spot("terminate", 2*time.Minute)
		l.world.ClearFaults()
		l.pass(6 * time.Second)
		l.wantECS(facts.StatusDraining)
		l.pass(30 * time.Second)
		l.wantRuns("")
	})
}

func TestADaemonKilledAtAnyMilestoneGoesOn(t *testing.T) {
	const yaml = "drain: {families: {batch: stop}, flush: 2s}\n"
	drain := func(t *testing.T, killAt int) (milestones int) {
		onLeaver(t, yaml, func(t *testing.T, l *leaver) {
			l.task(sim.TaskDefinition{Family: batch, StopTakes: 2 * time.Second})
			l.spot("terminate", 2*time.Minute)
			for range 4 * 118 {
				if r := l.record(); r != nil && len(r.Milestones) == killAt {
					l.stop()
					l.pass(time.Second)
					l.start()
					killAt = -1
				}
				l.pass(250 * time.Millisecond)
			}
			l.wantECS(facts.StatusDraining)
			l.wantRuns("")
			l.says("notice: spot", "DRAINING was asked for", "told to stop: batch", "no task is left", "told to stop: "+last, "the node is drained")
			if n := strings.Count(l.milestones(), "the node is drained"); n != 1 {
				t.Errorf("drained %d times:\n%s", n, l.milestones())
			}
			milestones = len(l.record().Milestones)
		})
		return milestones
	}
	whole := drain(t, -1)
	for at := 1; at < whole; at++ {
		t.Run(fmt.Sprintf("%d of %d", at, whole), func(t *testing.T) { drain(t, at) })
	}
}

func TestATaskThatTakesLongerThanThereIsGetsAllTheTime(t *testing.T) {
	for name, c := range map[string]sim.TaskDefinition{
		"ignores SIGTERM": {Family: "deaf", StopTakes: 24 * time.Hour, StopTimeout: 24 * time.Hour},
		"takes a minute":  {Family: "slow", StopTakes: time.Minute, StopTimeout: 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			onLeaver(t, "", func(t *testing.T, l *leaver) {
				l.task(c)
				gone := time.Now().Add(2 * time.Minute)
				l.spot("terminate", 2*time.Minute)
				time.Sleep(time.Until(gone))
				l.world.PowerOff()
				for _, one := range l.world.Containers() {
					if one.Family == c.Family && (one.SignalAt.IsZero() || one.EndedAt.Before(gone.Add(-2*time.Second))) {
						t.Errorf("told at %v, ended at %v of 2m", one.SignalAt.Sub(gone), one.EndedAt.Sub(gone))
					}
				}
			})
		})
	}
}

func TestStandaloneTasksUnderEachPolicy(t *testing.T) {
	for policy, stopped := range map[string]bool{"wait": false, "ignore": false, "stop": true} {
		t.Run(policy, func(t *testing.T) {
			onLeaver(t, "drain: {standalone: "+policy+"}\ninterruption: {soft_cap: 2m}\n", func(t *testing.T, l *leaver) {
				l.task(sim.TaskDefinition{Family: batch, StopTakes: time.Second})
				l.world.SetTargetLifecycleState("Terminated")
				l.pass(50 * time.Second)
				early := "batch"
				if policy != "ignore" {
					early += " logspout"
				}
				l.wantRuns(early)
				l.pass(time.Minute)
				drained := l.record().DrainedAt != (facts.Moment{})
				if batchRuns := strings.Contains(l.runs(), batch); batchRuns == stopped || drained == (policy == "wait") {
					t.Errorf("%q run, drained %v\n%s", l.runs(), drained, l.milestones())
				}
				l.pass(10 * time.Minute) // a soft deadline stops nothing
				if batchRuns := strings.Contains(l.runs(), batch); batchRuns == stopped {
					t.Errorf("after the deadline %q run\n%s", l.runs(), l.milestones())
				}
			})
		})
	}
}

func TestWhatSomebodyElseSetIsLeftAsItIs(t *testing.T) {
	// So does an ECS agent with ECS_ENABLE_SPOT_INSTANCE_DRAINING, which has seen
	// the notice first.
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.world.SetContainerInstanceStatus(facts.StatusDraining)
		l.spot("stop", 2*time.Minute)
		l.pass(30 * time.Second)
		l.wantRuns("") // the drain is whole
		l.says("ECS says DRAINING: somebody else has set it", "the node is drained")
		l.reboot("22222222-2222-4222-8222-222222222222", 10*time.Minute)
		l.world.ClearSpotInterruption()
		l.pass(10 * time.Second)
		l.wantECS(facts.StatusDraining)
		l.says("the instance stays DRAINING: somebody else has set it")
	})
}

func TestASpotStopAndStartBringsTheNodeBack(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.spot("stop", 2*time.Minute)
		l.pass(2 * time.Minute)
		l.wantECS(facts.StatusDraining)
		l.world.ClearSpotInterruption()
		l.reboot("22222222-2222-4222-8222-222222222222", 5*time.Hour)
		l.pass(5 * time.Second)
		l.wantECS(facts.StatusActive)
		l.says("the node has rebooted", "the drain is undone")
	})
}

func TestAnOperatorsDrainSurvivesARebootUntilUndrain(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		if _, err := l.node().Drain(node.DrainRequest{Why: "new AMI"}); err != nil {
			t.Fatal(err)
		}
		l.pass(30 * time.Second)
		l.reboot("22222222-2222-4222-8222-222222222222", time.Minute)
		l.pass(time.Minute)
		l.wantECS(facts.StatusDraining)
		if _, err := l.node().Undrain(); err != nil {
			t.Fatal(err)
		}
		l.pass(15 * time.Second)
		l.wantECS(facts.StatusActive)
	})
}

func TestMaintenanceThatIsCancelledOrCompletedIsUndone(t *testing.T) {
	for _, state := range []string{"canceled", "completed"} {
		t.Run(state, func(t *testing.T) {
			onLeaver(t, drainsForAll, func(t *testing.T, l *leaver) {
				l.world.SetScheduledEvents(event("system-reboot", "active", 40*time.Minute))
				l.pass(9 * time.Minute)
				l.wantECS(facts.StatusActive)
				l.pass(2 * time.Minute)
				l.wantECS(facts.StatusDraining)
				l.world.SetScheduledEvents(event("system-reboot", state, 30*time.Minute))
				l.pass(62 * time.Second)
				l.wantECS(facts.StatusActive)
			})
		})
	}
}

func TestTheLifecycleHookNamedInConfigAloneIsCompleted(t *testing.T) {
	const ours, ecsOwn = "ecsnode-drain", "ecs-managed-draining-termination-hook"
	for name, c := range map[string]struct {
		hooks []sim.LifecycleHook
		takes time.Duration // of the task to end by itself
		want  map[string]string
	}{
		"ours alone":          {[]sim.LifecycleHook{{Name: ours, HeartbeatTimeout: 30 * time.Second}}, 3 * time.Minute, map[string]string{ours: "CONTINUE"}},
		"ECS's own beside it": {[]sim.LifecycleHook{{Name: ecsOwn}, {Name: ours, HeartbeatTimeout: time.Minute}}, time.Minute, map[string]string{ours: "CONTINUE", ecsOwn: ""}},
		"none":                {nil, time.Minute, map[string]string{}},
		"a launch hook":       {[]sim.LifecycleHook{{Name: ours, Launching: true}}, time.Minute, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			onLeaver(t, "", func(t *testing.T, l *leaver) {
				l.world.SetGroup("web")
				l.world.SetLifecycleHooks(c.hooks...)
				l.task(sim.TaskDefinition{Family: batch})
				l.world.Terminate()
				l.pass(c.takes)
				l.wantRuns("batch logspout")
				l.world.EndTasks(batch)
				l.pass(30 * time.Second)
				l.wantRuns("")
				actions, _ := l.world.Termination()
				got := map[string]string{}
				for _, a := range actions {
					got[a.Hook] = a.Result
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("hooks ended as %v, want %v\n%s", got, c.want, l.milestones())
				}
			})
		})
	}
}

func TestALifecycleHookThatTimesOutIsTold(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.world.SetGroup("web")
		l.world.SetLifecycleHooks(sim.LifecycleHook{Name: "ecsnode-drain", HeartbeatTimeout: time.Minute})
		l.task(sim.TaskDefinition{Family: batch})
		l.world.Terminate()
		l.pass(20 * time.Second)
		l.fault("autoscaling", sim.Fault{Kind: sim.FaultReset})
		l.pass(2 * time.Minute)
		l.world.ClearFaults()
		l.pass(time.Minute)
		l.says("lifecycle hook ecsnode-drain", "waits no longer")
		l.world.EndTasks(batch)
		l.pass(10 * time.Second)
	})
}

func TestTheLoopOfAWarmPoolIsUndone(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		l.world.SetTargetLifecycleState("Warmed:Stopped")
		l.pass(10 * time.Second)
		l.wantECS(facts.StatusDraining)
		l.reboot("22222222-2222-4222-8222-222222222222", time.Hour)
		l.wantECS(facts.StatusDraining)
		l.world.SetTargetLifecycleState("InService")
		l.pass(10 * time.Second)
		l.wantECS(facts.StatusActive)
	})
}

func TestARehearsalOnALiveNodeChangesNothing(t *testing.T) {
	onLeaver(t, "", func(t *testing.T, l *leaver) {
		before := l.world.Count("ecs/UpdateContainerInstancesState") + l.world.Count("ecs/StopTask")
		var out strings.Builder
		for _, source := range []string{facts.NoticeSpot, facts.NoticeRebalance, facts.NoticeAutoScaling, facts.NoticeMaintenance, facts.NoticeShutdown} {
			r, err := l.node().Rehearse(t.Context(), node.Simulation{Source: source})
			if err != nil {
				t.Fatal(err)
			}
			r.Text(&out)
		}
		for _, want := range []string{
			"If this came now: spot terminate", "1 task to leave: web", "service web: ECS moves it", "leaves last",
			"nothing is drained for it: interruption.rebalance.policy", "lifecycle hook ecsnode-drain", "the drain would begin in",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q:\n%s", want, out.String())
			}
		}
		l.pass(time.Minute)
		l.wantECS(facts.StatusActive)
		if n := l.world.Count("ecs/UpdateContainerInstancesState") + l.world.Count("ecs/StopTask"); n != before {
			t.Errorf("%d calls that change something", n-before)
		}
		if _, err := l.node().Rehearse(t.Context(), node.Simulation{Source: facts.NoticeSpot, What: "explode"}); err == nil {
			t.Error("an action that EC2 does not have is simulated")
		}
		at, err := l.node().Simulate(node.Simulation{Source: facts.NoticeSpot})
		if err != nil {
			t.Fatal(err)
		}
		drained, err := l.node().AwaitDrain(t.Context(), at, func(*node.DrainRecord, string) {})
		if err != nil || !drained {
			t.Errorf("drained %v, %v", drained, err)
		}
		l.says("notice: operator simulated spot terminate")
	})
}

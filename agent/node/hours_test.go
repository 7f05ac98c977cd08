//go:build !race

package node_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/status"
)

// Hours of whole nodes, which the race detector would keep busy for minutes: the
// rest of the tests runs the same code under it.

func TestNewsOfRevisionsThatDoNotComeKeepNothingElse(t *testing.T) {
	yaml := strings.Replace(twoTasks, `"datadog:3"`, `"datadog@newest"`, 1)
	onTasked(t, yaml, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		l.world.Deny("ecs:DescribeTaskDefinition")
		l.pass(time.Hour)
		before := l.world.Count("ecs/DescribeTaskDefinition")
		l.pass(time.Hour)
		if n := l.world.Count("ecs/DescribeTaskDefinition") - before; n > 12 {
			t.Errorf("%d calls in an hour", n)
		}
		l.world.Allow("ecs:DescribeTaskDefinition")
		l.fault("ecs/DescribeTaskDefinition", sim.Fault{Kind: sim.FaultHang})
		l.pass(20 * time.Minute)
		for range 3 {
			before := l.starts()
			l.pass(67*time.Minute + 7*time.Second)
			l.world.EndTasks("logspout")
			l.pass(4 * time.Second)
			if n := l.starts() - before; n != 1 {
				t.Errorf("%d calls of StartTask after one died", n)
			}
		}
	})
}

func TestAFamilyThatIsNotThereReplacesNothing(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Hour)
		l.configure(strings.Replace(twoTasks, "logspout:12", "logspuot:12", 1) + atOnce)
		l.pass(10 * time.Minute)
		l.wantOne("logspout")
		if rec := l.state("nodetasks"); l.stops() != 0 || rec.State != duty.Failing || !strings.Contains(rec.Err, "logspuot:12") {
			t.Errorf("%d stops, %s: %s", l.stops(), rec.State, rec.Err)
		}
		l.define("logspuot", 12)
		l.pass(5 * time.Minute)
		l.wantOne("logspuot")
		if n := l.up("logspout"); n != 0 {
			t.Errorf("%d of the former family run", n)
		}
	})
}

func TestAnotherNameForTheSameTaskChangesNothing(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Hour)
		before := l.starts()
		l.configure(strings.Replace(twoTasks, "    logspout:", "    logs:", 1))
		l.pass(10 * time.Minute)
		l.wantOne("logspout")
		if l.stops() != 0 || l.starts() != before || l.nodeTask("logs").State != facts.NodeTaskRunning {
			t.Errorf("%d stops, %+v", l.stops(), l.nodeTask("logs"))
		}
	})
}

func TestAContainerOfAFormerRegistrationIsAdoptedAndTold(t *testing.T) {
	onTasked(t, "\n", func(t *testing.T, l *leaver) {
		l.stop()
		l.world.RunContainer(sim.ContainerSpec{Name: "ecs-logspout-12", Labels: map[string]string{
			facts.LabelTaskARN: "arn:aws:ecs:eu-west-1:123456789012:task/web/00000000000000000000000000000000", facts.LabelFamily: "logspout",
			facts.LabelRevision: "11", facts.LabelContainerName: "logspout",
		}})
		l.configure(twoTasks + atOnce)
		l.start()
		l.pass(30 * time.Minute)
		calls := l.world.Count("ecs")
		l.pass(time.Hour)
		if n := l.world.Count("ecs") - calls; n != 0 || l.stops() != 0 {
			t.Errorf("%d calls of ECS in a steady hour, %d stops", n, l.stops())
		}
		rec := l.state("nodetasks")
		if s := l.nodeTask("logspout"); s.State != facts.NodeTaskAdopted || len(rec.Warnings) == 0 || !strings.Contains(rec.Warnings[0], "does not know") {
			t.Errorf("%+v %q", s, rec.Warnings)
		}
	})
}

func TestATaskThatDiesIsStartedAgainWithinASecond(t *testing.T) {
	onTasked(t, twoTasks, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		for range 3 {
			before := l.starts()
			l.world.EndTasks("logspout")
			l.pass(time.Second)
			if n := l.starts() - before; n == 0 {
				t.Errorf("not started again: %+v", l.nodeTask("logspout"))
			}
			l.pass(5 * time.Second)
			l.wantOne("logspout", "datadog")
			l.pass(61 * time.Minute) // a healthy hour
		}
		if s := l.nodeTask("logspout"); s.Restarts != 0 {
			t.Errorf("%+v", s)
		}
		if got := l.ready(); got != "true" {
			t.Errorf("ecsnode.ready is %q", got)
		}
	})
}

func TestTheNewestRevisionIsFollowedWhereThatIsAskedFor(t *testing.T) {
	yaml := strings.Replace(twoTasks, `"logspout:12"`, `"logspout@newest"`, 1)
	onTasked(t, yaml, func(t *testing.T, l *leaver) {
		l.pass(2 * time.Minute)
		l.wantOne("logspout", "datadog")
		before := l.world.Counts()
		l.pass(time.Hour)
		calls := 0
		for op, n := range l.world.Counts() {
			if strings.HasPrefix(op, "ecs") {
				calls += n - before[op]
			}
		}
		if calls > 4 {
			t.Errorf("%d calls of ECS in a steady hour", calls)
		}
		l.world.AddTaskDefinition(sim.TaskDefinition{Family: "logspout", Revision: 20})
		l.pass(32 * time.Minute)
		if s := l.nodeTask("logspout"); s.Definition != "logspout:20" {
			t.Errorf("%+v", s)
		}
	})
}

func TestParametersReachTheirFilesAndNothingElse(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		r.want(nodeConfig, "URL='https://prod.example'", "LEVEL='info'", "NODE_CLUSTER='web'")
		r.want(ecsConfig, "ECS_CLUSTER=web", `ECS_ENGINE_AUTH_DATA={"https://r.example/v1/":{"auth":"hunter2"}}`)
		r.want(appEnv, "PORT=8080\n", "TOKEN=hunter1\n", "PASSWORD=hunter3\n")
		for name, want := range map[string]os.FileMode{ecsConfig: 0o600, appEnv: 0o640, "/var/lib/ecsnode/parameters.json": 0o600} {
			if info, err := os.Stat(filepath.Join(r.root, name)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		calls := r.world.Count("ssm") + r.world.Count("secretsmanager")
		r.pass(3 * time.Hour)
		if more := r.world.Count("ssm") + r.world.Count("secretsmanager") - calls; more > 3*4*callsOfAStart || more < 3*4 {
			t.Errorf("%d calls in three hours, after %d", more, calls)
		}
		stop()
		shown := r.log.String() + r.read(status.Path) + r.read(nodeConfig)
		p := r.node().Plan(t.Context())
		var b strings.Builder
		p.Diff(&b)
		asJSON, err := json.Marshal(p)
		if err != nil || !p.Empty() {
			t.Errorf("the plan is not empty: %v, %s", err, &b)
		}
		if shown += string(asJSON) + b.String(); strings.Contains(shown, "hunter") {
			t.Errorf("a secret is shown:\n%s", shown)
		}
	})
}

func TestAParameterThatIsDeniedNamesWhatIsMissingAndCostsNothingElse(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		if err := r.world.SetParameter(sim.Parameter{Name: "/prod/url", Value: "https://new.example"}); err != nil {
			t.Fatal(err)
		}
		if err := r.world.SetParameter(sim.Parameter{Name: "/app/port", Value: "9090"}); err != nil {
			t.Fatal(err)
		}
		r.world.Deny("ssm:GetParameters on " + theParameter)
		r.pass(time.Hour)
		rec := r.state("parameters")
		for _, says := range []string{"ssm:GetParameters on " + theParameter, "stays in use"} {
			if rec.State != duty.Failing || !strings.Contains(rec.Err, says) {
				t.Errorf("it does not say %q: %+v", says, rec)
			}
		}
		r.want(nodeConfig, "URL='https://prod.example'") // as before
		r.want(appEnv, "PORT=9090\n")                    // unrelated
		if rec := r.state("nodeconfig"); rec.State != duty.OK {
			t.Errorf("%+v", rec)
		}
		r.world.Allow("ssm:GetParameters on " + theParameter)
		r.pass(time.Hour)
		r.want(nodeConfig, "URL='https://new.example'")
		if rec := r.state("parameters"); rec.State != duty.OK {
			t.Errorf("%+v", rec)
		}
		stop()
	})
}

func TestParametersOutliveThrottling(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		stop := r.daemon()
		r.pass(10 * time.Second)
		if err := r.world.SetParameter(sim.Parameter{Name: "/prod/url", Value: "https://new.example"}); err != nil {
			t.Fatal(err)
		}
		r.world.SetFault("ssm", sim.Fault{Kind: sim.FaultThrottle})
		calls := r.world.Count("ssm")
		r.pass(time.Hour)
		if rec := r.state("parameters"); rec.State != duty.Failing || !strings.Contains(rec.Err, "stays in use") {
			t.Errorf("%+v", rec)
		}
		r.want(nodeConfig, "URL='https://prod.example'")
		// Two operations, each every five minutes and at first more often, and the SDK
		// tries up to three times.
		if n := r.world.Count("ssm") - calls; n > 2*3*(60/5+8) {
			t.Errorf("%d calls of SSM in an hour of throttling", n)
		}
		r.world.ClearFaults()
		r.pass(30 * time.Minute)
		r.want(nodeConfig, "URL='https://new.example'")
		if rec := r.state("parameters"); rec.State != duty.OK {
			t.Errorf("%+v", rec)
		}
		stop()
	})
}

func TestParametersOutOfReach(t *testing.T) {
	inAskingNode(t, func(t *testing.T, r *rig) {
		r.world.Deny("secretsmanager:GetSecretValue")
		stop := r.daemon()
		r.pass(30 * time.Second)
		r.want(nodeConfig, "URL='https://prod.example'")
		if rec := r.state("parameters"); rec.State != duty.Failing || !strings.Contains(rec.Err, "secretsmanager:GetSecretValue") {
			t.Errorf("%+v", rec)
		}
		if rec := r.state("files"); rec.State != duty.Waiting || !strings.Contains(rec.Err, `secret "db"`) {
			t.Errorf("%+v", rec)
		}
		if r.read(appEnv) != "" || strings.Contains(r.read(ecsConfig), "AUTH_DATA=") {
			t.Error("something was written without its secret")
		}
		r.world.Allow("secretsmanager:GetSecretValue")
		r.pass(5*time.Minute + 10*time.Second)
		r.want(appEnv, "PASSWORD=hunter3")
		r.want(ecsConfig, "hunter2")
		stop()
		// A reboot while nothing answers: what was read stays in use.
		r.world.SetFault("ssm", sim.Fault{Kind: sim.FaultStatus, Status: 503})
		r.world.SetFault("secretsmanager", sim.Fault{Kind: sim.FaultHang})
		for _, name := range []string{nodeConfig, ecsConfig, appEnv} {
			if err := os.Remove(filepath.Join(r.root, name)); err != nil {
				t.Fatal(err)
			}
		}
		stop = r.daemon()
		r.pass(time.Hour)
		r.want(nodeConfig, "URL='https://prod.example'")
		r.want(ecsConfig, "hunter2")
		r.want(appEnv, "PASSWORD=hunter3")
		if rec := r.state("parameters"); rec.State != duty.Failing || !strings.Contains(rec.Err, "stays in use") {
			t.Errorf("%+v", rec)
		}
		stop()
	})
}

// The node does not go before what runs has ended, and begins nothing new.
func TestADrainWaitsForWhatRuns(t *testing.T) {
	onScheduled(t, threeSchedules, func(t *testing.T, l *leaver, m *manager) {
		m.takes = 20 * time.Minute
		l.pass(15*time.Minute + 5*time.Second)
		if _, err := l.node().Drain(node.DrainRequest{Deadline: time.Hour}); err != nil {
			t.Fatal(err)
		}
		l.pass(18 * time.Minute)
		if r := l.record(); r == nil || r.DrainedAt != (facts.Moment{}) {
			t.Errorf("drained while a command runs\n%s", l.milestones())
		}
		l.stop()
		l.start()
		l.pass(4 * time.Minute)
		if r := l.record(); r == nil || r.DrainedAt == (facts.Moment{}) {
			t.Errorf("not drained\n%s", l.milestones())
		}
		l.pass(30 * time.Minute)
		if n := m.count(); n != 1 {
			t.Errorf("%d commands", n)
		}
		if s := l.schedule("tidy"); s.State != facts.ScheduleLeaving || s.Last == nil || s.Last.Result != "success" {
			t.Errorf("%+v", s)
		}
	})
}

func TestARunThatAnOperatorAsksForHasItsAnswer(t *testing.T) {
	onScheduled(t, threeSchedules, func(t *testing.T, l *leaver, m *manager) {
		l.pass(5 * time.Second)
		asked, err := l.node().RunSchedule("tidy")
		if err != nil {
			t.Fatal(err)
		}
		run, err := l.node().AwaitSchedule(t.Context(), "tidy", asked)
		if err != nil || run.Result != "success" || !run.ByHand || run.Output != "a secret\n" {
			t.Errorf("%+v, %v", run, err)
		}
		if err := l.node().PauseSchedule("tidy"); err != nil {
			t.Error(err)
		}
		if _, err := l.node().RunSchedule("nobody"); err == nil {
			t.Error("a schedule that is not there is run")
		}
		before := m.count()
		l.pass(55 * time.Minute)
		if m.count() != before || l.schedule("tidy").State != facts.SchedulePaused {
			t.Errorf("%d commands more", m.count()-before)
		}
		if was, err := l.node().ResumeSchedule("tidy"); !was || err != nil {
			t.Error(was, err)
		}
		l.pass(6 * time.Minute)
		if m.count() == before {
			t.Error("nothing runs again")
		}
	})
}

func TestANodeRunsWhatIsToRunAtSetTimes(t *testing.T) {
	onScheduled(t, threeSchedules, func(t *testing.T, l *leaver, m *manager) {
		l.pass(61*time.Minute + 30*time.Second)
		if n := m.count(); n != 5 {
			t.Errorf("%d commands: %+v", n, m.ran)
		}
		for _, name := range []string{"tidy", "report", "bill"} {
			if s := l.schedule(name); s.Last == nil || s.Last.Result != "success" || s.Last.Output != "" || s.LeftOutN > 0 {
				t.Errorf("%+v %+v", s, s.Last)
			}
		}
		if strings.Contains(l.read("/run/ecsnode/status.json"), "a secret") {
			t.Error("what anybody may read has what a command wrote")
		}
		all, err := l.node().Schedules()
		if err != nil || len(all) != 3 || all[2].Last.Output != "a secret\n" || all[1].Last.Output != "report\n" {
			t.Errorf("%+v, %v", all, err)
		}
		if n := len(l.world.Objects("acme-leases")); n != 1 {
			t.Errorf("%d leases", n)
		}
		if n := l.world.Count("docker/DELETE /containers"); n != 1 {
			t.Errorf("%d containers were removed", n)
		}
		if rec := l.state("schedules"); rec.State != duty.OK || !strings.Contains(rec.Summary, "3 configured, next: tidy at 2000-01-01 01:15:00Z") {
			t.Errorf("%+v", rec)
		}
	})
}

func TestARebalanceThatNothingFollowsLapses(t *testing.T) {
	onLeaver(t, drainsForAll, func(t *testing.T, l *leaver) {
		l.world.SetRebalanceRecommendation(time.Now())
		l.pass(2*time.Hour - time.Second)
		l.wantECS(facts.StatusDraining)
		l.pass(10 * time.Second)
		l.wantECS(facts.StatusActive)
		l.spot("terminate", 2*time.Minute)
		l.pass(time.Second)
		l.wantECS(facts.StatusDraining)
	})
}

func TestNothingIsRewrittenWhenNothingChanged(t *testing.T) {
	inNode(t, basic, func(t *testing.T, r *rig) {
		defer r.daemon()()
		r.pass(10 * time.Second)
		old := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, name := range []string{nodeConfig, ecsConfig} {
			if err := os.Chtimes(filepath.Join(r.root, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
		r.log.Reset()
		r.pass(3 * time.Hour)
		for _, name := range []string{nodeConfig, ecsConfig} {
			info, err := os.Stat(filepath.Join(r.root, name))
			if err != nil || !info.ModTime().Equal(old) {
				t.Errorf("%s was rewritten at %v (%v)", name, info.ModTime(), err)
			}
		}
		if r.log.Len() > 0 {
			t.Errorf("three quiet hours logged:\n%s", &r.log)
		}
	})
}

package node_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// manager is a service manager in virtual time. It outlives daemons.
type manager struct {
	mu    sync.Mutex
	takes time.Duration
	jobs  map[string]facts.Job
	ran   []facts.Command
}

func (m *manager) RunJob(_ context.Context, c facts.Command) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs[c.Name] = facts.Job{State: facts.JobRunning, Started: time.Now()}
	m.ran = append(m.ran, c)
	return nil
}

func (m *manager) Job(_ context.Context, name string) (facts.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, there := m.jobs[name]
	if there && time.Since(j.Started) >= m.takes {
		j.State, j.Result, j.Ended, j.Output = facts.JobEnded, "success", j.Started.Add(m.takes), "a secret\n"
	}
	return j, nil
}

func (m *manager) EndJob(ctx context.Context, name string) error { return m.ForgetJob(ctx, name) }

func (m *manager) ForgetJob(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, name)
	return nil
}

// count is how many commands have been run.
func (m *manager) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ran)
}

const threeSchedules = `
schedules:
  leases: {bucket: acme-leases}
  items:
    tidy: {cron: '*/15 * * * *', command: [/usr/bin/tidy, --all]}
    report: {cron: '30 * * * *', task: {task_definition: 'report:3'}}
    bill: {cron: '0 * * * *', once_per: cluster, command: [/usr/bin/bill]}
`

// onScheduled runs f on a node in service, at midnight.
func onScheduled(t *testing.T, yaml string, f func(t *testing.T, l *leaver, m *manager)) {
	t.Helper()
	inNode(t, basic+yaml, func(t *testing.T, r *rig) {
		m := &manager{takes: time.Minute, jobs: map[string]facts.Job{}}
		r.jobs = m
		l := &leaver{rig: r, from: time.Now()}
		r.world.CreateBucket("acme-leases", "")
		r.world.AddTaskDefinition(sim.TaskDefinition{Family: "report", Revision: 3, RunsFor: 2 * time.Minute})
		r.world.SetRegistered("web")
		l.start()
		f(t, l, m)
		l.stop()
	})
}

func (l *leaver) schedule(name string) facts.Schedule {
	l.t.Helper()
	for _, s := range l.status().Schedules {
		if s.Name == name {
			return s
		}
	}
	l.t.Fatalf("status has no %s", name)
	return facts.Schedule{}
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

// A plan starts nothing.
func TestAPlanRunsNothing(t *testing.T) {
	onScheduled(t, threeSchedules, func(t *testing.T, l *leaver, m *manager) {
		l.pass(14*time.Minute + 59*time.Second)
		l.stop()
		time.Sleep(2 * time.Second)
		n := l.node()
		n.Plan(t.Context())
		if _, err := n.Apply(t.Context()); err != nil {
			t.Error(err)
		}
		if m.count() != 0 {
			t.Errorf("%+v", m.ran)
		}
		l.start()
		l.pass(5 * time.Second)
		if m.count() != 1 {
			t.Errorf("%d commands", m.count())
		}
	})
}

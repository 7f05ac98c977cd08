package node_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
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

// Each run that is asked for is one, and one that nobody has taken yet is the
// same, however often it is asked for.
func TestRunsByHandOneAfterTheOther(t *testing.T) {
	onScheduled(t, threeSchedules, func(t *testing.T, l *leaver, m *manager) {
		m.takes = 100 * time.Millisecond
		l.pass(5 * time.Second)
		ask := func() time.Time {
			asked, err := l.node().RunSchedule("tidy")
			if err != nil && !strings.Contains(err.Error(), "ecsnode is not running") {
				t.Error(err)
			}
			return asked
		}
		first := ask()
		l.pass(61 * time.Second)
		if second := ask(); second.Equal(first) {
			t.Errorf("asked for twice, at %v", first)
		}
		l.pass(61 * time.Second)
		l.stop()
		if third := ask(); !third.Equal(ask()) {
			t.Error("what nobody has taken is asked for anew")
		}
		l.start()
		l.pass(5 * time.Second)
		if n := m.count(); n != 3 {
			t.Errorf("%d runs", n)
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

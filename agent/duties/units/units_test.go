package units_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/units"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// systemd is a service manager with Docker's start limit and PartOf.
type systemd struct {
	units  map[string]facts.Unit
	orders []string
	runs   int
	starts []time.Time // of Docker
	broken map[string]string
}

func newSystemd() *systemd {
	s := &systemd{units: map[string]facts.Unit{}, broken: map[string]string{}}
	for _, name := range []string{units.Docker, units.Containerd, units.ECS} {
		s.units[name] = facts.Unit{Name: name, Load: "loaded", Active: "inactive", Sub: "dead", Enabled: "enabled"}
	}
	return s
}

func (s *systemd) up(name string) {
	time.Sleep(100 * time.Millisecond)
	u := s.units[name]
	s.runs++
	u.Active, u.Sub, u.Result, u.Queued = "active", "running", "success", false
	u.Invocation, u.Started = fmt.Sprintf("%032d", s.runs), time.Now()
	s.units[name] = u
}

func (s *systemd) down(name, active, result string) {
	u := s.units[name]
	u.Active, u.Sub, u.Result, u.Stopped = active, "dead", result, time.Now()
	s.units[name] = u
}

func (s *systemd) set(name string, change func(*facts.Unit)) {
	u := s.units[name]
	change(&u)
	s.units[name] = u
}

func (s *systemd) Unit(_ context.Context, name string) (facts.Unit, error) { return s.units[name], nil }

func (s *systemd) Enqueue(_ context.Context, name string) error {
	s.orders = append(s.orders, "enqueue "+name)
	s.set(name, func(u *facts.Unit) { u.Queued = true })
	return nil
}

func (s *systemd) Start(_ context.Context, name string) error {
	s.orders = append(s.orders, "start "+name)
	return s.run(name)
}

func (s *systemd) Restart(_ context.Context, name string) error {
	s.orders = append(s.orders, "restart "+name)
	ecs := s.units[units.ECS].Running()
	if err := s.run(name); err != nil {
		return err
	}
	if name == units.Docker && ecs { // PartOf=docker.service
		s.down(units.ECS, "inactive", "success")
		s.up(units.ECS)
	}
	return nil
}

func (s *systemd) run(name string) error {
	if why := s.broken[name]; why != "" {
		s.down(name, "failed", why)
		return errors.New("the job ended with failed")
	}
	if name == units.Docker {
		recent := 0
		for _, t := range s.starts {
			if time.Since(t) < time.Minute {
				recent++
			}
		}
		if recent >= 3 {
			s.down(name, "failed", "start-limit-hit")
			return errors.New("the job ended with failed")
		}
		s.starts = append(s.starts, time.Now())
	}
	s.up(name)
	return nil
}

func (s *systemd) ResetFailed(_ context.Context, name string) error {
	s.orders = append(s.orders, "reset "+name)
	s.starts = nil
	return nil
}

// engine is Docker as far as it is asked.
type engine struct {
	liveRestore bool
	tasks       int
	others      int
	err         error
}

func (e *engine) Info(context.Context) (facts.Docker, error) {
	return facts.Docker{LiveRestore: e.liveRestore}, e.err
}

func (e *engine) Containers(context.Context) ([]facts.Container, error) {
	all := make([]facts.Container, e.others)
	for range e.tasks {
		all = append(all, facts.Container{Labels: map[string]string{facts.LabelTaskARN: "arn"}})
	}
	return all, e.err
}

type agent struct{ err error }

func (a *agent) ContainerInstance(context.Context) (facts.ContainerInstance, error) {
	return facts.ContainerInstance{}, a.err
}

// rig is a node whose packages were installed an hour ago.
type rig struct {
	t        *testing.T
	systemd  *systemd
	engine   engine
	agent    agent
	files    fsx.FS
	config   *cell.Cell[units.Config]
	wanted   *cell.Cell[facts.Inputs]
	identity *cell.Cell[time.Time]
	held     string
	duty     *units.Duty
}

func inNode(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		disk, err := fsx.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{
			t: t, systemd: newSystemd(), files: disk,
			config: cell.Comparable[units.Config](), wanted: cell.New(facts.Inputs.Equal), identity: cell.New(time.Time.Equal),
		}
		r.config.Set(units.Default())
		r.installed("docker", "25.0.3", time.Now().Add(-time.Hour))
		time.Sleep(time.Second)
		r.restartAgent(false)
		test(t, r)
	})
}

// restartAgent is a new process of ecsnode: boot or the daemon.
func (r *rig) restartAgent(boot bool) {
	r.duty = &units.Duty{
		FS: r.files, Config: r.config, Manager: r.systemd, Engine: &r.engine, Agent: &r.agent,
		Wanted: []cell.Reader[facts.Inputs]{r.wanted}, Identity: r.identity,
		Held: func() string { return r.held }, Boot: boot, BootID: "boot-1",
	}
}

// serving is a daemon on a node where all runs.
func (r *rig) serving() {
	r.systemd.up(units.Containerd)
	r.systemd.up(units.Docker)
	time.Sleep(time.Second)
	r.identity.Set(time.Now())
	r.systemd.up(units.ECS)
	time.Sleep(time.Second)
}

func (r *rig) installed(name, version string, at time.Time) {
	r.wanted.Set(facts.Inputs{units.Docker: {name: {Value: version, At: at}}})
}

// pass makes one pass and returns what was ordered in it.
func (r *rig) pass() (orders string, out duty.Outcome, err error) {
	r.t.Helper()
	r.systemd.orders = nil
	out, err = r.duty.Reconcile(r.t.Context())
	if out.Changed != (len(r.systemd.orders) > 0) {
		r.t.Errorf("changed is %v after %q", out.Changed, r.systemd.orders)
	}
	return strings.Join(r.systemd.orders, ", "), out, err
}

func (r *rig) wantPass(orders string) duty.Outcome {
	r.t.Helper()
	got, out, err := r.pass()
	if err != nil || got != orders {
		r.t.Errorf("ordered %q, want %q; %v; %+v", got, orders, err, out)
	}
	return out
}

func (r *rig) wantWarning(orders string, words ...string) {
	r.t.Helper()
	out := r.wantPass(orders)
	for _, w := range words {
		if !slices.ContainsFunc(out.Warnings, func(s string) bool { return strings.Contains(s, w) }) {
			r.t.Errorf("no warning says %q: %q", w, out.Warnings)
		}
	}
}

func (r *rig) wantError(orders string, words ...string) {
	r.t.Helper()
	got, _, err := r.pass()
	if got != orders || err == nil {
		r.t.Fatalf("ordered %q, want %q; %v", got, orders, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			r.t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestNothingIsRestartedWhereUnitsRunWithWhatTheyShould(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		for range 3 {
			r.wantPass("")
			r.restartAgent(false)
		}
	})
}

func TestDockerIsRestartedOnceForANewVersion(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.engine.others = 2 // containers of no task hold nothing up
		r.wantPass("")
		r.installed("docker", "25.0.8", time.Now())
		out := r.wantPass("restart docker.service")
		if !strings.Contains(out.Summary, "docker 25.0.3 -> 25.0.8") {
			t.Errorf("summary: %q", out.Summary)
		}
		for range 3 {
			time.Sleep(time.Hour)
			r.wantPass("")
			r.restartAgent(false)
		}
	})
}

func TestARestartByAnotherPaysTheDebt(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		r.engine.tasks = 1
		time.Sleep(time.Second)
		r.installed("docker", "25.0.8", time.Now())
		r.wantWarning("", "a restart of docker.service is owed (docker 25.0.3 -> 25.0.8)")
		time.Sleep(time.Second)
		if err := r.systemd.Restart(t.Context(), units.Docker); err != nil {
			t.Fatal(err)
		}
		if out := r.wantPass(""); len(out.Warnings) > 0 {
			t.Errorf("still owed: %q", out.Warnings)
		}
	})
}

func TestARestartIsOwedAsLongAsTasksWouldDieOfIt(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		r.engine.tasks = 3
		r.installed("docker", "25.0.8", time.Now())
		r.wantWarning("", "3 containers", "drain the node")
		r.restartAgent(false) // and is remembered over a restart of ecsnode
		r.wantWarning("", "3 containers")
		r.engine.tasks = 0
		r.wantPass("restart docker.service")
		r.wantPass("")
	})
}

func TestWithLiveRestoreTasksDoNotHoldARestartUp(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.engine.tasks, r.engine.liveRestore = 3, true
		r.wantPass("")
		r.installed("docker", "25.0.8", time.Now())
		r.wantPass("restart docker.service")
	})
}

func TestAnEngineThatDoesNotAnswerIsNotRestarted(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		r.engine.err = fmt.Errorf("cannot ask Docker: %w", facts.ErrUnavailable)
		r.installed("docker", "25.0.8", time.Now())
		r.wantWarning("", "nobody can tell whether tasks run")
	})
}

func TestTwoRestartsOfDockerKeepAMinuteApart(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		r.installed("docker", "25.0.8", time.Now())
		r.wantPass("restart docker.service")
		time.Sleep(10 * time.Second)
		r.installed("docker", "25.0.9", time.Now())
		out := r.wantPass("")
		if out.Again <= 0 || out.Again > 50*time.Second {
			t.Errorf("again after %v", out.Again)
		}
		time.Sleep(out.Again)
		r.wantPass("restart docker.service")
	})
}

func TestPolicyNeverOnlyReports(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.config.Set(units.Config{RestartDocker: units.Never})
		r.wantPass("")
		r.installed("docker", "25.0.8", time.Now())
		r.wantWarning("", "units.restart_docker is never")
	})
}

func TestPolicyAlwaysRestartsDockerOnceInABoot(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.systemd.up(units.Containerd)
		r.systemd.up(units.Docker)
		r.systemd.set(units.ECS, func(u *facts.Unit) { u.Queued = true })
		r.config.Set(units.Config{RestartDocker: units.Always})
		time.Sleep(time.Second)
		r.restartAgent(true)
		r.wantPass("restart docker.service")
		r.wantPass("")
		r.restartAgent(false)
		r.wantPass("") // the daemon adds none
	})
}

func TestANewContainerdIsStartedBeforeItsDocker(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		now := time.Now()
		r.wanted.Set(facts.Inputs{
			units.Containerd: {"containerd": {Value: "1.7.2", At: now}},
			units.Docker:     {"docker": {Value: "25.0.3"}, "containerd": {Value: "1.7.2", At: now}},
		})
		r.wantPass("restart containerd.service")
		r.wantPass("restart docker.service")
		r.wantPass("")
	})
}

func TestANewECSInitRestartsTheAgentOnly(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.engine.tasks = 5
		r.wantPass("")
		r.wanted.Set(facts.Inputs{units.ECS: {"ecs-init": {Value: "1.98.0-1", At: time.Now()}}})
		r.wantPass("restart ecs.service")
		r.wantPass("")
	})
}

func TestAnAgentOlderThanItsDockerIsRestarted(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		time.Sleep(time.Second)
		r.systemd.up(units.Docker) // crashed and came back; the agent noticed nothing
		r.wantPass("restart ecs.service")
		r.wantPass("")
	})
}

func TestDockerOverItsStartLimit(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		for range 3 {
			_ = r.systemd.Restart(t.Context(), units.Docker)
		}
		if err := r.systemd.Restart(t.Context(), units.Docker); err == nil {
			t.Fatal("no limit was hit")
		}
		r.systemd.down(units.ECS, "inactive", "success") // PartOf
		r.wantPass("reset docker.service, start docker.service")
		r.wantPass("start ecs.service") // systemd does not
		r.wantPass("")
	})
}

func TestADockerThatStaysDownIsTriedOnceAMinute(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.systemd.broken[units.Docker] = "exit-code"
		r.systemd.down(units.Docker, "failed", "exit-code")
		r.wantError("reset docker.service, start docker.service", "cannot start docker.service")
		time.Sleep(20 * time.Second)
		r.wantError("", "docker.service is down", "tries again in 40s")
		time.Sleep(40 * time.Second)
		delete(r.systemd.broken, units.Docker)
		r.wantPass("reset docker.service, start docker.service")
	})
}

func TestADockerThatStaysDownIsTriedAtOnceWithAnotherConfiguration(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.systemd.broken[units.Docker] = "exit-code"
		r.systemd.down(units.Docker, "failed", "exit-code")
		r.wantError("reset docker.service, start docker.service", "cannot start docker.service")
		time.Sleep(20 * time.Second)
		r.installed("daemon.json", "worse", time.Now())
		r.wantError("reset docker.service, start docker.service", "cannot start docker.service")
		time.Sleep(20 * time.Second)
		r.installed("daemon.json", "of a clock that was set since", time.Now().Add(time.Hour))
		r.wantError("", "docker.service is down", "tries again in 40s")
		delete(r.systemd.broken, units.Docker)
		r.installed("daemon.json", "mended", time.Now())
		r.wantPass("reset docker.service, start docker.service")
	})
}

func TestABootThatAlwaysRestartsDockerKeepsItsDistance(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.restartAgent(true)
		r.config.Set(units.Config{RestartDocker: units.Always})
		r.systemd.broken[units.Docker] = "exit-code"
		r.systemd.down(units.Docker, "failed", "exit-code")
		r.wantError("reset docker.service, start docker.service", "cannot start docker.service")
		time.Sleep(20 * time.Second)
		r.wantError("", "docker.service is down", "tries again in 40s")
	})
}

func TestDockerHeldBackIsNotStarted(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.systemd.down(units.Docker, "failed", "start-limit-hit")
		r.held = "volume docker: /dev/xvdcz is absent"
		r.wantError("", "held back", "/dev/xvdcz is absent")
		r.held = ""
		r.wantPass("reset docker.service, start docker.service")
	})
}

func TestWhatAnOperatorStoppedStaysStopped(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.systemd.down(units.ECS, "inactive", "success")
		r.wantError("", "ecs.service was stopped", "systemctl start ecs")
		r.systemd.down(units.Docker, "inactive", "success")
		r.wantError("", "docker.service was stopped", "systemctl start docker")
		r.systemd.set(units.ECS, func(u *facts.Unit) { u.Enabled = "disabled" })
		r.systemd.up(units.Docker)
		r.wantPass("")
	})
}

func TestTheAgentIsHeldBackUntilIdentityAndThenStartedAtOnce(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.systemd.up(units.Containerd)
		r.systemd.up(units.Docker)
		time.Sleep(time.Second)
		held := func() {
			r.systemd.set(units.ECS, func(u *facts.Unit) {
				u.Active, u.Sub, u.Result, u.Stopped = "activating", "auto-restart", "exit-code", time.Now()
			})
		}
		held()
		r.wantPass("")
		time.Sleep(time.Second)
		r.identity.Set(time.Now())
		r.wantPass("restart ecs.service")
		r.wantPass("")
		// What it fails of afterwards is not what held it back.
		time.Sleep(time.Second)
		held()
		r.wantPass("")
	})
}

func TestAnAgentThatFailedForGoodIsReported(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.systemd.down(units.ECS, "failed", "exit-code")
		r.wantError("", "ecs.service failed (exit-code)", "journalctl -u ecs")
	})
}

func TestAnAgentThatDoesNotAnswerIsReported(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.agent.err = fmt.Errorf("connection refused: %w", facts.ErrUnavailable)
		r.wantPass("") // it may still be registering
		time.Sleep(4 * time.Minute)
		r.wantError("", "does not answer", "connection refused")
		r.agent.err = facts.ErrAbsent // answers, not registered: another duty's news
		r.wantPass("")
	})
}

func TestInBootAStartOfTheAgentIsEnqueuedOnly(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.systemd.up(units.Containerd)
		r.systemd.up(units.Docker)
		time.Sleep(time.Second)
		r.restartAgent(true)
		r.wantPass("enqueue ecs.service") // its job was cancelled
		r.wantPass("")
		r.identity.Set(time.Now())
		r.wantPass("")
	})
}

func TestInBootADockerThatIsDownIsStarted(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.restartAgent(true)
		r.wantPass("start docker.service")
		r.wantPass("enqueue ecs.service")
	})
}

func TestWithoutItsUnitsANodeSaysWhatToInstall(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.systemd.set(units.ECS, func(u *facts.Unit) { *u = facts.Unit{Name: units.ECS, Load: "not-found", Active: "inactive"} })
		r.wantError("", "ecs.service is not-found", "install ecs-init")
		r.systemd.set(units.Docker, func(u *facts.Unit) { *u = facts.Unit{Name: units.Docker, Load: "not-found", Active: "inactive"} })
		r.wantError("", "docker.service is not-found", "install Docker")
	})
}

func TestADamagedLedgerCostsNoRestart(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.serving()
		r.wantPass("")
		if _, err := r.files.WriteFile("/var/lib/ecsnode/units.json", []byte("{"), fsx.How{}); err != nil {
			t.Fatal(err)
		}
		r.wantWarning("", "cannot use /var/lib/ecsnode/units.json")
		if out := r.wantPass(""); len(out.Warnings) > 0 {
			t.Errorf("not healed: %q", out.Warnings)
		}
	})
}

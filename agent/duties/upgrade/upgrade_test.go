package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/upgrade"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// machine is a host with packages, repositories and a dnf that takes 5 s.
type machine struct {
	t         *testing.T
	db        []facts.Package
	available map[string]string // newest version by name
	broken    string            // what dnf says before it fails, having done nothing
	exit      int               // with this status
	cut       bool              // the next transaction ends half way, by SIGTERM
	hangs     bool
	docker    string // ActiveState
	live      bool
	tasks     int
	engineErr error

	ran []string // commands
	job facts.Job
	end time.Time
	do  func()

	config *cell.Cell[upgrade.Config]
	inputs *cell.Cell[facts.Inputs]
	files  fsx.FS
	root   string
	duty   *upgrade.Duty
}

const options = "/usr/bin/dnf -y --setopt=exit_on_lock=True --setopt=*.skip_if_unavailable=0 --setopt=timeout=10 "

func inMachine(t *testing.T, packages map[string]upgrade.Version, f func(t *testing.T, m *machine)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{
			t: t, root: root, docker: "active", available: map[string]string{},
			config: cell.New(func(a, b upgrade.Config) bool { return false }), inputs: cell.New(facts.Inputs.Equal),
		}
		files, err := fsx.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		m.files = files
		for name, version := range map[string]string{"ecs-init": "1.0-1", "docker": "25.0.3-1", "containerd": "1.7.0-1", "runc": "1.1.0-1"} {
			m.db = append(m.db, facts.Package{Name: name, Version: version, InstalledAt: time.Now().Add(-time.Hour)})
		}
		m.config.Set(upgrade.Config{Packages: packages})
		m.restart()
		f(t, m)
	})
}

// restart is a new process of ecsnode.
func (m *machine) restart() {
	m.duty = &upgrade.Duty{FS: m.files, Config: m.config, Packages: m, Jobs: m, Engine: m, Inputs: m.inputs}
}

// reboot takes /run and the jobs away.
func (m *machine) reboot() {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.root, "run")); err != nil {
		m.t.Fatal(err)
	}
	m.job, m.do, m.tasks = facts.Job{}, nil, 0
	m.restart()
}

func (m *machine) Installed(_ context.Context, names ...string) (found []facts.Package, err error) {
	m.settle()
	for _, p := range m.db {
		if slices.Contains(names, p.Name) {
			found = append(found, p)
		}
	}
	return found, nil
}

func (m *machine) RunJob(_ context.Context, c facts.Command) error {
	if m.settle(); m.job.State == facts.JobRunning {
		return errors.New("it is running already")
	}
	if !c.NoKill || c.RuntimeMax <= 0 || c.MemoryMax == 0 || c.Name != "upgrade" {
		m.t.Errorf("the job is %+v", c)
	}
	m.ran = append(m.ran, strings.TrimPrefix(strings.Join(c.Argv, " "), options))
	m.job = facts.Job{State: facts.JobRunning, Started: time.Now()}
	m.end = time.Now().Add(5 * time.Second)
	if m.hangs {
		m.end = time.Now().Add(c.RuntimeMax)
	}
	argv := c.Argv
	m.do = func() { m.transact(argv, m.end) }
	return nil
}

// settle ends a transaction whose time is over.
func (m *machine) settle() {
	if m.do != nil && !time.Now().Before(m.end) {
		m.do()
		m.do = nil
	}
}

func (m *machine) transact(argv []string, at time.Time) {
	m.job.State, m.job.Result, m.job.Ended = facts.JobEnded, "success", at
	switch {
	case m.hangs:
		m.job.Result, m.job.Output = "timeout", "Extra Packages 0.0 B/s | 0 B 00:59"
		return
	case m.broken != "":
		m.job.Result, m.job.ExitStatus, m.job.Output = "exit-code", max(m.exit, 1), m.broken+"\n"
		return
	case slices.Contains(argv, "--duplicates"):
		var kept []facts.Package
		for i, p := range m.db {
			later := slices.ContainsFunc(m.db[i+1:], func(o facts.Package) bool { return o.Name == p.Name })
			if !later {
				kept = append(kept, p)
			}
		}
		m.db = kept
		return
	}
	touched := false
	for _, spec := range argv[slices.Index(argv, "upgrade")+1:] {
		for i, p := range m.db {
			to := m.available[p.Name]
			want := strings.TrimPrefix(strings.TrimPrefix(spec, p.Name), "-")
			if !strings.HasPrefix(spec, p.Name) || to <= p.Version || slices.Contains(argv, "--exclude="+p.Name) || want != "" && want != to {
				continue
			}
			touched = true
			next := facts.Package{Name: p.Name, Version: to, InstalledAt: at}
			if m.cut {
				m.db = append(m.db, next)
			} else {
				m.db[i] = next
			}
		}
	}
	if touched && m.cut {
		m.job.Result, m.job.ExitStatus, m.cut = "signal", 15, false
	}
}

func (m *machine) Job(context.Context, string) (facts.Job, error) { m.settle(); return m.job, nil }

func (m *machine) Unit(context.Context, string) (facts.Unit, error) {
	return facts.Unit{Load: "loaded", Active: m.docker}, nil
}

func (m *machine) Info(context.Context) (facts.Docker, error) {
	return facts.Docker{LiveRestore: m.live}, m.engineErr
}

func (m *machine) Containers(context.Context) ([]facts.Container, error) {
	all := []facts.Container{{Name: "ecs-agent"}}
	for range m.tasks {
		all = append(all, facts.Container{Labels: map[string]string{facts.LabelTaskARN: "arn"}})
	}
	return all, m.engineErr
}

// finish makes passes until one does not wait, and returns it.
func (m *machine) finish() (duty.Outcome, error) {
	m.t.Helper()
	for range 2000 {
		out, err := m.duty.Reconcile(m.t.Context())
		if !errors.Is(err, duty.ErrNotReady) {
			return out, err
		}
		if out.Again <= 0 {
			m.t.Fatalf("it waits for %v and does not look again", err)
		}
		time.Sleep(out.Again)
	}
	m.t.Fatal("it waits for ever")
	return duty.Outcome{}, nil
}

func (m *machine) good(summary string, warnings ...string) {
	m.t.Helper()
	out, err := m.finish()
	if err != nil {
		m.t.Fatal(err)
	}
	if out.Summary != summary {
		m.t.Errorf("summary %q, want %q", out.Summary, summary)
	}
	if diff := cmp.Diff(warnings, out.Warnings); diff != "" {
		m.t.Error(diff)
	}
}

func (m *machine) bad(says ...string) {
	m.t.Helper()
	_, err := m.finish()
	for _, s := range says {
		if err == nil || !strings.Contains(err.Error(), s) {
			m.t.Errorf("%v, want one with %q", err, s)
		}
	}
}

func (m *machine) wantRan(want ...string) {
	m.t.Helper()
	if diff := cmp.Diff(want, m.ran); diff != "" {
		m.t.Error(diff)
	}
}

var latest = map[string]upgrade.Version{"ecs-init": upgrade.Latest}

func TestAnUpgradeIsMadeOnceInABoot(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		m.good("ecs-init 1.1-1")
		m.restart() // the daemon after boot
		m.good("ecs-init 1.1-1")
		m.wantRan("--refresh upgrade ecs-init")
		in, _ := m.inputs.Get()
		if got := in["ecs.service"]["ecs-init"]; got.Value != "1.1-1" || got.At.Before(time.Now().Add(-time.Minute)) {
			t.Errorf("ecs.service should run with %+v", got)
		}
		if got := in["docker.service"]; len(got) != 3 || got["docker"].Value != "25.0.3-1" || got["runc"].Value != "1.1.0-1" {
			t.Errorf("docker.service should run with %+v", got)
		}
		m.reboot()
		m.good("ecs-init 1.1-1 (nothing newer)")
		m.wantRan("--refresh upgrade ecs-init", "--refresh upgrade ecs-init")
	})
}

func TestNothingNewerIsSuccess(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) { m.good("ecs-init 1.0-1 (nothing newer)") })
}

func TestNothingIsDoneWhereNothingIsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		packages map[string]upgrade.Version
		summary  string
	}{
		"no package":           {nil, "no package is listed under upgrade.packages"},
		"the version is there": {map[string]upgrade.Version{"ecs-init": "1.0-1"}, "ecs-init 1.0-1"},
		"it is not installed":  {map[string]upgrade.Version{"chrony": upgrade.Latest}, "chrony is not installed"},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, c.packages, func(t *testing.T, m *machine) {
				m.good(c.summary)
				m.wantRan()
			})
		})
	}
}

func TestAnExactVersion(t *testing.T) {
	inMachine(t, map[string]upgrade.Version{"ecs-init": "1.1-1", "docker": upgrade.Latest}, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		m.config.Set(upgrade.Config{Packages: map[string]upgrade.Version{"ecs-init": "1.1-1", "docker": upgrade.Latest}, Releasever: "2023.9.20251117"})
		m.good("docker 25.0.3-1, ecs-init 1.1-1")
		m.good("docker 25.0.3-1, ecs-init 1.1-1")
		m.wantRan("--refresh --releasever=2023.9.20251117 upgrade docker ecs-init-1.1-1")
	})
}

func TestAVersionThatCannotBeReachedIsReported(t *testing.T) {
	inMachine(t, map[string]upgrade.Version{"ecs-init": "0.9-1"}, func(t *testing.T, m *machine) {
		for range 2 {
			m.bad("ecs-init stays at 1.0-1: version 0.9-1 is not in the repositories", "never downgraded")
		}
		m.wantRan("--refresh upgrade ecs-init-0.9-1")
	})
}

func TestADnfThatFailsIsRunAgain(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		exit int
		want string
	}{
		"the repository refuses": {"Error: Failed to download metadata for repo 'amazonlinux'", 1, "Failed to download metadata for repo 'amazonlinux'"},
		"another dnf is at work": {"Failed to obtain the transaction lock", 200, "another dnf is at work (exit status 200)"},
		"rpm is at work":         {"error: can't create transaction lock on /var/lib/rpm/.rpm.lock", 1, "can't create transaction lock"},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, latest, func(t *testing.T, m *machine) {
				m.broken, m.exit, m.available["ecs-init"] = c.says, c.exit, "1.1-1"
				m.bad("cannot upgrade ecs-init: dnf: ", c.want)
				m.bad(c.want)
				m.broken = ""
				m.good("ecs-init 1.1-1")
				m.good("ecs-init 1.1-1")
				if len(m.ran) != 3 {
					t.Errorf("ran %q", m.ran)
				}
			})
		})
	}
}

func TestARepositoryThatHangs(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.hangs = true
		began := time.Now()
		m.bad("no end within the time it is given", "Extra Packages")
		if took := time.Since(began); took > 16*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestATransactionThatWasCutShortIsMendedFirst(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.cut, m.available["ecs-init"] = true, "1.1-1"
		if _, err := m.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		m.settle()
		m.reboot() // the power went
		m.good("ecs-init 1.1-1 (nothing newer)")
		m.wantRan("--refresh upgrade ecs-init", "remove --duplicates", "--refresh upgrade ecs-init")
	})
}

func TestATransactionThatWasToldToEndAndHasChangedSomething(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		if _, err := m.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		m.settle()
		m.job.Result, m.job.ExitStatus, m.job.Output = "exit-code", 143, "Upgraded: ecs-init-1.1-1\n"
		m.good("ecs-init 1.1-1", "dnf ended with an error, and packages have changed: Upgraded: ecs-init-1.1-1")
		m.good("ecs-init 1.1-1")
		m.wantRan("--refresh upgrade ecs-init")
	})
}

func TestWhatWouldRestartDockerUnderTasksIsLeftOut(t *testing.T) {
	all := map[string]upgrade.Version{"ecs-init": upgrade.Latest, "docker": upgrade.Latest}
	const owed = "containerd, docker, runc are left out of the upgrade, which is owed: "
	const excluded = "--refresh --exclude=containerd --exclude=docker --exclude=runc upgrade ecs-init"
	for name, c := range map[string]struct {
		arrange func(m *machine)
		ran     string
		docker  string
		warning string
	}{
		"tasks run":              {func(m *machine) { m.tasks = 2 }, excluded, "25.0.3-1", owed + "task containers run and live-restore is off"},
		"nobody can tell":        {func(m *machine) { m.engineErr = fmt.Errorf("no answer: %w", facts.ErrUnavailable) }, excluded, "25.0.3-1", owed + "nobody can tell whether tasks run: no answer: unavailable"},
		"they outlive a restart": {func(m *machine) { m.tasks, m.live = 2, true }, "--refresh upgrade docker ecs-init", "25.0.8-1", ""},
		"no tasks run":           {func(m *machine) {}, "--refresh upgrade docker ecs-init", "25.0.8-1", ""},
		"Docker is down":         {func(m *machine) { m.docker, m.engineErr = "failed", facts.ErrUnavailable }, "--refresh upgrade docker ecs-init", "25.0.8-1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, all, func(t *testing.T, m *machine) {
				m.available["docker"], m.available["ecs-init"] = "25.0.8-1", "1.1-1"
				c.arrange(m)
				var warnings []string
				if c.warning != "" {
					warnings = []string{c.warning}
				}
				m.finish()
				m.good("docker "+c.docker+", ecs-init 1.1-1", warnings...)
				m.wantRan(c.ran)
			})
		})
	}
}

func TestWhatIsOwedIsDoneOnceTasksHaveLeft(t *testing.T) {
	inMachine(t, map[string]upgrade.Version{"docker": "25.0.8-1"}, func(t *testing.T, m *machine) {
		m.available["docker"], m.tasks = "25.0.8-1", 1
		m.finish()
		time.Sleep(time.Hour)
		m.good("docker 25.0.3-1", "containerd, docker, runc are left out of the upgrade, which is owed: task containers run and live-restore is off")
		m.tasks = 0
		m.good("docker 25.0.8-1")
		m.tasks = 1 // comes and goes: nothing is done again
		m.good("docker 25.0.8-1")
		m.tasks = 0
		m.good("docker 25.0.8-1")
		m.wantRan("--refresh upgrade docker-25.0.8-1") // nothing was left to do before
	})
}

func TestANewConfigurationIsANewTransaction(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.good("ecs-init 1.0-1 (nothing newer)")
		m.config.Set(upgrade.Config{Packages: latest, Releasever: "latest"})
		m.available["ecs-init"] = "1.2-1"
		m.good("ecs-init 1.2-1")
		m.wantRan("--refresh upgrade ecs-init", "--refresh --releasever=latest upgrade ecs-init")
	})
}

func TestValidate(t *testing.T) {
	var got []string
	upgrade.Config{
		Packages:   map[string]upgrade.Version{"--best": "latest", "docker": "latest"},
		Releasever: "2024",
	}.Validate(func(path, message string) { got = append(got, path+": "+message) })
	want := []string{
		`packages."--best": this is no name of a package`,
		`releasever: "2024" is no release: expected one such as "2023.9.20251117", or "latest"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var v upgrade.Version
	for text, ok := range map[string]bool{"latest": true, "1.98.0-1.amzn2023": true, "1.98.0": false, "": false, "-1": false, "1-1 --best": false} {
		if err := v.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

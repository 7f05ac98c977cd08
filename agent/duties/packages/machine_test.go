package packages_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/packages"
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
	problem   map[string]string // what the newest of a package needs and nobody has
	protected string
	refuses   error
	docker    string // ActiveState
	live      bool
	tasks     int
	engineErr error

	ran []string // commands
	job facts.Job
	end time.Time
	do  func()

	needs  map[string][]string // by package, installed ones that need it
	either []string            // some package needs one of these
	does   []string            // in words, by command

	config *cell.Cell[packages.Config]
	states *cell.Cell[facts.Packages]
	inputs *cell.Cell[facts.Inputs]
	files  fsx.FS
	root   string
	duty   *packages.Duty
}

const options = "/usr/bin/dnf -y --setopt=exit_on_lock=True --setopt=*.skip_if_unavailable=0 --setopt=timeout=10 "

// look is written @ in what was run.
const look = "--refresh --setopt=strict=0 --setopt=best=1"

func inMachine(t *testing.T, ensure map[string]packages.Wanted, f func(t *testing.T, m *machine)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{
			t: t, root: root, docker: "active", available: map[string]string{},
			config: cell.New(func(a, b packages.Config) bool { return false }), inputs: cell.New(facts.Inputs.Equal),
			states: cell.New(facts.Packages.Equal), needs: map[string][]string{},
		}
		files, err := fsx.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		m.files = files
		for name, version := range map[string]string{"ecs-init": "1.0-1", "docker": "25.0.3-1", "containerd": "1.7.0-1", "runc": "1.1.0-1"} {
			m.db = append(m.db, facts.Package{Name: name, Version: version, Arch: "noarch", InstalledAt: time.Now().Add(-time.Hour)})
		}
		m.config.Set(packages.Config{Ensure: ensure})
		m.restart()
		f(t, m)
	})
}

// restart is a new process of ecsnode.
func (m *machine) restart() {
	m.duty = &packages.Duty{FS: m.files, Config: m.config, Packages: m, Jobs: m, Engine: m, Inputs: m.inputs, States: m.states}
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
	if m.refuses != nil {
		return m.refuses
	}
	if m.settle(); m.job.State == facts.JobRunning {
		return errors.New("it is running already")
	}
	if !c.NoKill || c.RuntimeMax <= 0 || c.MemoryMax == 0 || c.Name != "packages" {
		m.t.Errorf("the job is %+v", c)
	}
	m.ran = append(m.ran, strings.Replace(strings.TrimPrefix(strings.Join(c.Argv, " "), options), look, "@", 1))
	m.does = append(m.does, strings.Join(c.Does, "; "))
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
	if slices.Contains(argv, "replay") {
		m.replay(argv[len(argv)-1])
		return
	}
	touched := false
	for _, spec := range argv[slices.Index(argv, "install")+1:] {
		name, want := spec, ""
		if i := strings.LastIndexByte(spec, '-'); i > 0 && m.available[name] == "" { // NAME-VERSION-RELEASE
			i = strings.LastIndexByte(spec[:i], '-')
			if i > 0 {
				name, want = spec[:i], spec[i+1:]
			}
		}
		to := m.available[name]
		if want == "" && to == "" && m.has(name) {
			m.job.Output += "Package " + name + " is already installed.\n"
			continue
		}
		if to == "" || want != "" && want != to {
			m.job.Output += "No match for argument: " + spec + "\n"
			continue
		}
		if m.problem[name] != "" {
			m.job.Output += " Problem 1: cannot install the best candidate for the job\n  - nothing provides " + m.problem[name] + " needed by " + name + "-" + to + ".noarch\n"
			continue
		}
		if slices.Contains(argv, "--exclude="+name) {
			m.t.Errorf("%s is asked for and left out", name)
		}
		i := slices.IndexFunc(m.db, func(p facts.Package) bool { return p.Name == name })
		next := facts.Package{Name: name, Version: to, Arch: "noarch", InstalledAt: at}
		switch {
		case i < 0:
			m.db = append(m.db, next)
		case m.db[i].Version == to:
			continue
		case m.cut:
			m.db = append(m.db, next)
		default:
			m.db[i] = next
		}
		touched = true
	}
	if touched && m.cut {
		m.job.Result, m.job.ExitStatus, m.cut = "signal", 15, false
	}
	m.job.Output += "Complete!\n"
}

// replay removes what a file says, if nothing else needs it.
func (m *machine) replay(name string) {
	data, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		m.t.Error(err)
	}
	gone := func(p facts.Package) bool {
		return strings.Contains(string(data), `{"action":"Removed","nevra":"`+p.NEVRA()+`","reason":"user","repo_id":"@System"}`)
	}
	for _, p := range m.db {
		if gone(p) && m.protected == p.Name {
			m.job.Result, m.job.ExitStatus = "exit-code", 1
			m.job.Output = "Error: \n Problem: The operation would result in removing the following protected packages: " + p.Name + "\n"
			return
		}
	}
	m.db = slices.DeleteFunc(m.db, gone)
}

func (m *machine) has(name string) bool {
	return slices.ContainsFunc(m.db, func(p facts.Package) bool { return p.Name == name })
}

func (m *machine) install(names ...string) {
	for _, name := range names {
		m.db = append(m.db, facts.Package{Name: name, Version: "1.0-1", Arch: "noarch", InstalledAt: time.Now()})
	}
}

func (m *machine) uninstall(name string) {
	m.db = slices.DeleteFunc(m.db, func(p facts.Package) bool { return p.Name == name })
}

func (m *machine) Dependants(_ context.Context, names ...string) (all []facts.Dependant, err error) {
	if len(m.either) > 0 && !slices.ContainsFunc(m.either, func(n string) bool { return !slices.Contains(names, n) }) {
		all = append(all, facts.Dependant{Name: "cron", Needs: "smtpd"})
	}
	for _, name := range names {
		for _, by := range m.needs[name] {
			if m.has(by) && !slices.Contains(names, by) {
				all = append(all, facts.Dependant{Name: by, Needs: name})
			}
		}
	}
	return all, nil
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

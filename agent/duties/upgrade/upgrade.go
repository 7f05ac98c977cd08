// Package upgrade is the duty that upgrades packages at boot: ecs-init, and what
// else is listed.
//
// dnf runs as a job of its own, which neither the boot budget nor a restart of
// ecsnode cuts short. What it did is judged by the RPM database before and
// after. Packages whose scriptlets restart Docker are left out while task
// containers would die of that.
package upgrade

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Packages is the RPM database.
type Packages interface {
	Installed(ctx context.Context, names ...string) ([]facts.Package, error)
}

// Jobs are commands that outlive a pass, and the units of the service manager.
type Jobs interface {
	RunJob(ctx context.Context, c facts.Command) error
	Job(ctx context.Context, name string) (facts.Job, error)
	Unit(ctx context.Context, name string) (facts.Unit, error)
}

// Engine is the Docker Engine.
type Engine interface {
	Info(ctx context.Context) (facts.Docker, error)
	Containers(ctx context.Context) ([]facts.Container, error)
}

// Duty upgrades packages once in a boot, and again when the configuration
// changes.
type Duty struct {
	FS       fsx.FS
	Config   cell.Reader[Config]
	Packages Packages
	Jobs     Jobs
	Engine   Engine
	// Inputs gets what Docker, containerd and the ECS agent should run with.
	Inputs *cell.Cell[facts.Inputs]
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "upgrade" }

const (
	jobName = "upgrade"
	// lookAgain is how soon a transaction under way is looked at.
	lookAgain = time.Second
)

// engine are the packages whose scriptlets restart Docker, or whose change
// takes a restart of it.
var engine = [...]string{"containerd", "docker", "runc"}

// units is which packages the processes of a unit run with.
var units = map[string][]string{
	"docker.service":     {"docker", "containerd", "runc"},
	"containerd.service": {"containerd", "runc"},
	"ecs.service":        {"ecs-init"},
}

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	if len(cfg.Packages) == 0 {
		d.Inputs.Set(facts.Inputs{})
		return duty.Outcome{Summary: "no package is listed under upgrade.packages"}, nil
	}
	now, err := d.installed(ctx, cfg)
	if err != nil {
		return duty.Outcome{}, err
	}
	job, err := d.Jobs.Job(ctx, jobName)
	if err != nil {
		return duty.Outcome{}, err
	}
	if job.State == facts.JobRunning {
		out := duty.Outcome{Again: lookAgain}
		return out, duty.WaitingFor("dnf, at work since %s", job.Started.UTC().Format("15:04:05Z"))
	}
	d.Inputs.Set(now.inputs()) // not while files are being replaced
	return d.decide(ctx, cfg, now, job)
}

func (d *Duty) decide(ctx context.Context, cfg Config, now installed, job facts.Job) (duty.Outcome, error) {
	r, err := readRecord(d.FS)
	if err != nil {
		return duty.Outcome{}, err
	}
	if twice := now.twice(); len(twice) > 0 {
		return d.mend(ctx, now, r, job, twice)
	}
	wanted := asked(cfg)
	if transaction(cfg, now, nil) == nil && !slices.Equal(r.Wanted, wanted) {
		return duty.Outcome{Summary: now.summary(cfg, "")}, nil
	}
	unsafe, err := d.unsafe(ctx)
	if err != nil {
		return duty.Outcome{}, err
	}
	settled := r.Done && slices.Equal(r.Wanted, wanted) && (len(r.Excluded) == 0 || unsafe != "")
	switch {
	case settled:
		return outcome(cfg, now, r, unsafe), now.unreached(cfg, r)
	case slices.Equal(r.Wanted, wanted) && !r.Done && job.State == facts.JobEnded:
		return d.judge(cfg, now, r, job)
	}
	var excluded []string
	if unsafe != "" {
		excluded = engine[:]
	}
	r = record{Wanted: wanted, Excluded: excluded, Before: now.versions()}
	argv := transaction(cfg, now, excluded)
	if argv == nil {
		r.Done = true
		return outcome(cfg, now, r, unsafe), r.write(d.FS)
	}
	return d.start(ctx, r, argv)
}

// judge tells from the RPM database what a transaction has done. One that failed
// is forgotten, so that the next pass, which comes at the engine's pace, starts
// it again.
func (d *Duty) judge(cfg Config, now installed, r record, job facts.Job) (duty.Outcome, error) {
	changed := !maps.Equal(r.Before, now.versions())
	if job.Result != "success" && !changed {
		if err := (record{}).write(d.FS); err != nil {
			return duty.Outcome{}, err
		}
		return duty.Outcome{}, fmt.Errorf("cannot upgrade %s: dnf: %s", strings.Join(names(cfg), ", "), why(job))
	}
	r.Done = true
	if err := r.write(d.FS); err != nil {
		return duty.Outcome{}, err
	}
	out := outcome(cfg, now, r, "")
	out.Changed = changed
	if job.Result != "success" {
		out.Warnings = append(out.Warnings, "dnf ended with an error, and packages have changed: "+why(job))
	}
	return out, now.unreached(cfg, r)
}

// mend removes the older of two versions of one package, which a transaction
// that was cut short has left in the database.
func (d *Duty) mend(ctx context.Context, now installed, r record, job facts.Job, twice []string) (duty.Outcome, error) {
	wanted := []string{"remove --duplicates"}
	if slices.Equal(r.Wanted, wanted) && job.State == facts.JobEnded {
		if err := (record{}).write(d.FS); err != nil {
			return duty.Outcome{}, err
		}
		return duty.Outcome{}, fmt.Errorf("cannot mend %s, installed in two versions: dnf: %s", strings.Join(twice, ", "), why(job))
	}
	return d.start(ctx, record{Wanted: wanted, Before: now.versions()}, dnf("remove", "--duplicates"))
}

func (d *Duty) start(ctx context.Context, r record, argv []string) (duty.Outcome, error) {
	// First, so that a job without a record is never taken for another's.
	if err := r.write(d.FS); err != nil {
		return duty.Outcome{}, err
	}
	err := d.Jobs.RunJob(ctx, facts.Command{
		Name: jobName, Argv: argv, Env: []string{"LC_ALL=C.UTF-8", "HOME=/root"},
		RuntimeMax: 15 * time.Minute, MemoryMax: 1 << 30,
		NoKill: true, // dnf ends its transaction at SIGTERM; killed it leaves two versions
	})
	if err != nil {
		return duty.Outcome{}, err
	}
	return duty.Outcome{Changed: true, Again: lookAgain}, duty.WaitingFor("dnf, just started")
}

// unsafe says why Docker must not be restarted by a scriptlet now, or "".
func (d *Duty) unsafe(ctx context.Context) (string, error) {
	docker, err := d.Jobs.Unit(ctx, "docker.service")
	if err != nil {
		return "", err
	}
	if !docker.Running() {
		return "", nil
	}
	info, err := d.Engine.Info(ctx)
	if err != nil {
		return "nobody can tell whether tasks run: " + err.Error(), nil
	}
	if info.LiveRestore {
		return "", nil
	}
	all, err := d.Engine.Containers(ctx)
	if err != nil {
		return "nobody can tell whether tasks run: " + err.Error(), nil
	}
	if slices.ContainsFunc(all, facts.Container.OfTask) {
		return "task containers run and live-restore is off", nil
	}
	return "", nil
}

func outcome(cfg Config, now installed, r record, unsafe string) duty.Outcome {
	note := ""
	if len(r.Excluded) == 0 && maps.Equal(r.Before, now.versions()) {
		note = "nothing newer"
	}
	out := duty.Outcome{Summary: now.summary(cfg, note)}
	if len(r.Excluded) > 0 {
		reason := unsafe
		if reason == "" {
			reason = "task containers ran"
		}
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s are left out of the upgrade, which is owed: %s", strings.Join(r.Excluded, ", "), reason))
	}
	return out
}

// why is the end of what dnf said, which is where it names the cause.
func why(job facts.Job) string {
	lines := slices.DeleteFunc(strings.Split(job.Output, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
	said := strings.Join(lines[max(0, len(lines)-2):], "; ")
	switch {
	case job.Result == "timeout":
		return "no end within the time it is given; it last said: " + said
	case job.ExitStatus == exitLocked:
		return "another dnf is at work (exit status 200)"
	case said == "":
		return fmt.Sprintf("%s, exit status %d, and it said nothing", job.Result, job.ExitStatus)
	}
	return said
}

// exitLocked is dnf's exit status under exit_on_lock: dnf.conf(5).
const exitLocked = 200

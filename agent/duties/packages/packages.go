// Package packages is the duty that keeps packages installed, absent or in a
// version, as they are configured.
//
// dnf runs as a job of its own, which neither the boot budget nor a restart of
// ecsnode cuts short. What it did is judged by the RPM database before and
// after. Packages whose scriptlets restart Docker are left out while task
// containers would die of that.
//
// One transaction installs and upgrades, another one removes, though dnf's shell
// could do both at once: what its "remove" needs lets it take away, for the whole
// transaction, whatever stands in the way of what is installed.
package packages

import (
	"context"
	"errors"
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
	Dependants(ctx context.Context, names ...string) ([]facts.Dependant, error)
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

// Duty keeps the packages. What deviates is put right whenever it does; newer
// versions are looked for once in a boot, and again when the configuration changes.
type Duty struct {
	FS       fsx.FS
	Config   cell.Reader[Config]
	Packages Packages
	Jobs     Jobs
	Engine   Engine
	// States gets how the packages stand.
	States *cell.Cell[facts.Packages]
	// Inputs gets what Docker, containerd and the ECS agent should run with.
	Inputs *cell.Cell[facts.Inputs]
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "packages" }

const (
	jobName = "packages"
	// lookAgain is how soon a transaction under way is looked at.
	lookAgain = time.Second
	// tryAgain is how soon dnf is asked again for what it could do nothing about.
	tryAgain = 5 * time.Minute
)

// engine are the packages whose scriptlets restart Docker, or whose change
// takes a restart of it.
var engine = []string{"containerd", "docker", "runc"}

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
	made, err := readMade(d.FS)
	if err != nil {
		return duty.Outcome{}, err
	}
	if len(cfg.Ensure)+len(made) == 0 {
		d.Inputs.Set(facts.Inputs{})
		d.States.Set(facts.Packages{})
		return duty.Outcome{Summary: "no package is listed under packages.ensure"}, nil
	}
	p := &pass{Duty: d, ctx: ctx, cfg: cfg, made: made, failed: map[string]string{}, outside: map[string]bool{}}
	if p.now, err = d.installed(ctx, cfg, made); err != nil {
		return duty.Outcome{}, err
	}
	if p.record, err = readRecord(d.FS); err != nil {
		return duty.Outcome{}, err
	}
	if p.job, err = d.Jobs.Job(ctx, jobName); err != nil {
		return duty.Outcome{}, err
	}
	err = p.make()
	d.States.Set(p.now.states(cfg, p.failed, p.outside))
	return p.out, err
}

// pass is one pass.
type pass struct {
	*Duty
	ctx     context.Context
	cfg     Config
	now     installed
	made    []string
	record  record
	job     facts.Job
	failed  map[string]string // why a package is not as it should be
	outside map[string]bool   // and a repository may be to blame
	out     duty.Outcome

	unsafe   string   // why Docker must not be restarted by a scriptlet now
	excluded []string // is therefore left out of a transaction
	owed     bool     // something of it is to be done
}

// make judges what has ended and starts what is to be done.
func (p *pass) make() error {
	if p.job.State == facts.JobRunning {
		p.out.Again = lookAgain
		for name := range p.cfg.Ensure { // until that has ended
			f, _ := p.record.failure(name, p.cfg, p.now)
			p.failed[name], p.outside[name] = f.Why, f.Outside
		}
		return duty.WaitingFor("dnf, at work since %s", p.job.Started.UTC().Format("15:04:05Z"))
	}
	if len(p.cfg.Ensure) == 0 {
		p.Inputs.Set(facts.Inputs{})
	} else {
		p.Inputs.Set(p.now.inputs()) // not while files are being replaced
	}
	if err := p.judge(); err != nil {
		return err
	}
	if twice := p.now.twice(); len(twice) > 0 {
		return p.start(transaction{What: mends}, dnf("remove", "--duplicates"),
			[]string{"remove the older versions of " + strings.Join(twice, ", ") + ", left by a transaction that was cut short"})
	}
	look := len(p.cfg.latest()) > 0 && !slices.Equal(p.record.Looked, p.cfg.asked())
	t, err := p.safe(&look)
	if err == nil {
		t, err = p.possible(t)
	}
	if err != nil {
		return err
	}
	due := t.without(p.tried)
	switch {
	case len(due.remove) > 0:
		err = p.remove(due)
	case len(due.install) > 0: // what was tried in vain is asked for along with it
		err = p.install(t, look)
	case look: // all of it is left out
		p.looked(p.cfg.asked(), p.excluded, p.now.versions())
		err = p.record.write(p.FS)
	}
	return p.report(err)
}

// safe returns what is to be done, without what would restart Docker while task
// containers would die of it. What was left out of the last look for newer
// versions takes another one.
func (p *pass) safe(look *bool) (todo, error) {
	owed := len(p.record.Owed) > 0 && len(p.cfg.latest()) > 0
	t := decide(p.cfg, p.now, *look || owed)
	if len(t.install) == 0 {
		return t, nil
	}
	var err error
	if p.unsafe, err = p.whyUnsafe(p.ctx); err != nil {
		return t, err
	}
	if p.unsafe == "" {
		*look = *look || owed
		return t, nil
	}
	if owed && !*look {
		t = decide(p.cfg, p.now, false)
	}
	p.excluded = engine
	all := len(t.install)
	t.install = slices.DeleteFunc(t.install, func(i item) bool { return slices.Contains(engine, i.name) })
	p.owed = owed || len(t.install) < all
	return t, nil
}

// possible drops what must not be removed.
func (p *pass) possible(t todo) (todo, error) {
	maps.Copy(p.failed, t.refused)
	if len(t.remove) == 0 {
		return t, nil
	}
	all, err := p.Packages.Dependants(p.ctx, t.remove...)
	if err != nil || len(all) == 0 {
		return t, err
	}
	needs := map[string][]facts.Dependant{}
	for _, name := range t.remove {
		if needs[name], err = p.Packages.Dependants(p.ctx, name); err != nil {
			return t, err
		}
	}
	can, refused := removable(t.remove, needs)
	if all, err = p.Packages.Dependants(p.ctx, can...); err != nil {
		return t, err
	}
	if len(all) > 0 { // each can go, and not all of them
		for _, name := range can {
			refused[name] = fmt.Sprintf("cannot remove %s: %s needs one of those that are to be absent (%s)", name, all[0].Name, all[0].Needs)
		}
		can = nil
	}
	maps.Copy(p.failed, refused)
	t.remove = can
	return t, nil
}

// tried reports whether dnf could do nothing about a package a while ago.
func (p *pass) tried(name string) bool {
	f, is := p.record.failure(name, p.cfg, p.now)
	looks := f.Wanted == Latest && f.Had != "" // for a newer version, when that is due
	return is && !looks && time.Since(f.At) < tryAgain
}

// report is how the packages stand after what was done, or begun.
func (p *pass) report(err error) error {
	looked := p.record.Looked != nil && len(p.record.Owed) == 0
	note := ""
	if looked && len(p.cfg.latest()) > 0 && !p.now.changed(p.record.Before) {
		note = "nothing newer"
	}
	p.out.Summary = p.now.summary(p.cfg, p.made, note)
	if p.owed {
		p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("%s are left out of the upgrade, which is owed: %s", strings.Join(engine, ", "), p.unsafe))
	}
	errs := []error{err}
	for _, name := range p.cfg.names() {
		f, is := p.record.failure(name, p.cfg, p.now)
		if is {
			p.failed[name], p.outside[name] = f.Why, f.Outside
			if left := time.Until(f.At.Add(tryAgain)); left > 0 && (p.out.Again == 0 || left < p.out.Again) {
				p.out.Again = left
			}
		}
		if why := p.failed[name]; why != "" {
			err := errors.New(why)
			if p.outside[name] {
				err = facts.Unanswered(err)
			}
			errs = append(errs, duty.Lasting(err))
		}
	}
	return errors.Join(errs...)
}

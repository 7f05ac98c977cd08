package packages

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// dnf is a command line that neither waits for another dnf without end nor takes
// a repository that is down for one without news. Measured with dnf 4.14.
func dnf(args ...string) []string {
	return append([]string{
		"/usr/bin/dnf", "-y",
		"--setopt=exit_on_lock=True", "--setopt=*.skip_if_unavailable=0", "--setopt=timeout=10",
	}, args...)
}

// install starts a transaction that installs and upgrades. With best=1, "install"
// upgrades what is installed; with strict=0 it does what it can and leaves out
// what is not there, or cannot be had, under exit status 0: what became of each
// package is seen in the RPM database.
func (p *pass) install(t todo, look bool) error {
	args := []string{"--refresh", "--setopt=strict=0", "--setopt=best=1"}
	if p.cfg.Releasever != "" {
		args = append(args, "--releasever="+p.cfg.Releasever)
	}
	for _, name := range slices.Concat(p.excluded, p.pinned()) {
		args = append(args, "--exclude="+name)
	}
	args = append(args, "install")
	items := map[string]asked{}
	for _, i := range t.install {
		args = append(args, i.spec)
		items[i.name] = asked{p.cfg.Ensure[i.name], i.spec}
	}
	tx := transaction{What: installs, Items: items, Excluded: p.excluded}
	if look {
		tx.Asked = p.cfg.asked()
	}
	return p.start(tx, dnf(args...), t.words())
}

// pinned are packages in the one version that they should have: they neither
// move up nor down because another one would have them otherwise.
func (p *pass) pinned() (names []string) {
	for _, name := range p.cfg.names() {
		want := p.cfg.Ensure[name]
		if have := p.now[name]; want.exact() && len(have) > 0 && same(have[0], want) && !slices.Contains(p.excluded, name) {
			names = append(names, name)
		}
	}
	return names
}

// replay is a stored transaction as dnf 4.14 takes it: dnf/transaction_sr.py.
type replay struct {
	Version string       `json:"version"`
	RPMs    []replayItem `json:"rpms"`
}

type replayItem struct {
	Action string `json:"action"`
	NEVRA  string `json:"nevra"`
	Reason string `json:"reason"`
	Repo   string `json:"repo_id"`
}

// remove starts a transaction that removes packages and nothing else. "remove"
// would take along what needs them; a replay of just these does not, whatever
// was installed since we asked: dnf then says why and does nothing.
func (p *pass) remove(t todo) error {
	file := replay{Version: "0.0", RPMs: []replayItem{}}
	items := map[string]asked{}
	for _, name := range t.remove {
		items[name] = asked{Absent, name}
		for _, have := range p.now[name] {
			file.RPMs = append(file.RPMs, replayItem{"Removed", have.NEVRA(), "user", "@System"})
		}
	}
	if err := write(p.FS, removeFile, file, true); err != nil {
		return err
	}
	// No repository is needed, and none may be down.
	return p.start(transaction{What: removes, Items: items}, dnf("--disablerepo=*", "history", "replay", removeFile), t.words())
}

func (p *pass) start(tx transaction, argv, does []string) error {
	tx.Before, tx.At = p.now.versions(), time.Now().UTC()
	p.record.Running = &tx
	// First, so that a job without a record is never taken for another's.
	if err := p.record.write(p.FS); err != nil {
		return err
	}
	err := p.Jobs.RunJob(p.ctx, facts.Command{
		Name: jobName, Argv: argv, Does: does, Env: []string{"LC_ALL=C.UTF-8", "HOME=/root"},
		RuntimeMax: 15 * time.Minute, MemoryMax: 1 << 30,
		NoKill: true, // dnf ends its transaction at SIGTERM; killed it leaves two versions
	})
	if err != nil {
		return err
	}
	p.out.Changed, p.out.Again = true, lookAgain
	return duty.WaitingFor("dnf, just started")
}

// judge tells from the RPM database what a transaction has done. One that failed
// whole is forgotten, so that the next pass, which comes at the engine's pace,
// starts it again.
func (p *pass) judge() error {
	tx := p.record.Running
	if tx == nil {
		return nil
	}
	p.record.Running = nil
	if p.job.State != facts.JobEnded || p.job.Started.Before(tx.At) {
		return p.record.write(p.FS) // it was never started, or nobody knows of it
	}
	changed := p.now.changed(tx.Before)
	p.out.Changed = p.out.Changed || changed
	names := slices.Sorted(maps.Keys(tx.Items))
	good := p.job.Result == "success"
	var err error
	switch twice := p.now.twice(); {
	case tx.What == mends && len(twice) > 0:
		err = fmt.Errorf("cannot mend %s, installed in two versions: dnf: %s", strings.Join(twice, ", "), why(p.job))
	case !good && !changed && (tx.What == installs || p.job.ExitStatus == exitLocked):
		err = fmt.Errorf("cannot %s %s: dnf: %s", tx.What, strings.Join(names, ", "), why(p.job))
		// A repository, or another dnf, unless dnf says otherwise.
		outside := !slices.ContainsFunc(names, func(name string) bool { return said(p.job.Output, name, tx.Items[name].Spec, p.now[name]) != "" })
		for _, name := range names {
			p.failed[name], p.outside[name] = err.Error(), outside
		}
		if outside {
			err = facts.Unanswered(err)
		}
	default:
		if !good && changed {
			p.out.Warnings = append(p.out.Warnings, "dnf ended with an error, and packages have changed: "+why(p.job))
		}
		p.outcomes(*tx, names)
		if tx.Asked != nil {
			p.looked(tx.Asked, tx.Excluded, tx.Before)
		}
	}
	if wrote := p.record.write(p.FS); wrote != nil {
		return wrote
	}
	return err
}

// looked keeps what a look for newer versions was made with.
func (p *pass) looked(asked, excluded []string, before map[string]string) {
	p.record.Looked, p.record.Owed, p.record.Before = asked, excluded, before
}

// outcomes keeps what became of each package of a transaction.
func (p *pass) outcomes(tx transaction, names []string) {
	var made []string
	for _, name := range names {
		delete(p.record.Failed, name)
		if tx.What == installs && tx.Before[name] != p.now.versions()[name] {
			made = append(made, name)
		}
		if why, outside := p.amiss(tx, name); why != "" {
			if p.record.Failed == nil {
				p.record.Failed = map[string]failure{}
			}
			p.record.Failed[name] = failure{p.cfg.Ensure[name], p.now.versions()[name], why, outside, time.Now().UTC()}
		}
	}
	if err := keepMade(p.FS, p.made, made, p.now); err != nil {
		p.out.Warnings = append(p.out.Warnings, "it is not kept which packages were installed here: "+err.Error())
	}
}

// amiss says why a package is not as it should be after a transaction, or "", and
// whether somebody's repository may be to blame: dnf has not said otherwise, or
// there is just nothing newer to be had.
func (p *pass) amiss(tx transaction, name string) (reason string, outside bool) {
	want, have := p.cfg.Ensure[name], p.now[name]
	heard := said(p.job.Output, name, tx.Items[name].Spec, have)
	switch {
	case want != tx.Items[name].Wanted: // it is another question now
	case want == Absent && len(have) > 0:
		return fmt.Sprintf("cannot remove %s: dnf: %s", name, why(p.job)), false
	case want == Absent:
	case len(have) == 0 && heard == "":
		return fmt.Sprintf("cannot install %s: dnf has left it out: %s", name, why(p.job)), true
	case len(have) == 0:
		return fmt.Sprintf("cannot install %s: dnf: %s (in the repositories %s)", name, heard, ofRelease(p.cfg)), false
	case want.exact() && !same(have[0], want) && heard == "":
		return fmt.Sprintf("%s stays at %s: version %s is not in the repositories %s", name, have[0].Version, want, ofRelease(p.cfg)), true
	case want.exact() && !same(have[0], want), want == Latest && heard != "":
		return fmt.Sprintf("%s stays at %s: dnf: %s (in the repositories %s)", name, have[0].Version, heard, ofRelease(p.cfg)), want == Latest
	}
	return "", false
}

// whyUnsafe says why Docker must not be restarted by a scriptlet now, or "".
func (d *Duty) whyUnsafe(ctx context.Context) (string, error) {
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

// why is why dnf did not succeed.
func why(job facts.Job) string {
	if job.ExitStatus == exitLocked {
		return "another dnf is at work (exit status 200)"
	}
	return job.Why()
}

// exitLocked is dnf's exit status under exit_on_lock: dnf.conf(5).
const exitLocked = 200

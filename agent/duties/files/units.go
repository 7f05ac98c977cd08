package files

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// others restart these units.
var theirs = []string{"docker.service", "containerd.service", "ecs.service"}

// ofSystemd reports whether systemd reads a path as one of its units' files:
// systemd.unit(5).
func ofSystemd(name string) bool {
	for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// units restarts and reloads what runs with older files. A unit that is not up
// reads them when it starts.
func (p *pass) units() (errs []error) {
	if p.ledger.Unread {
		if err := p.Manager.ReloadUnits(p.ctx); err != nil {
			return []error{err} // with the old ones nothing is to be restarted
		}
		p.ledger.Unread = false
	}
	restart, reload := p.wanted()
	published := facts.Inputs{}
	for _, unit := range slices.Sorted(maps.Keys(restart)) {
		if slices.Contains(theirs, unit) {
			published[unit] = restart[unit]
			continue
		}
		if err := p.restart(unit, newest(restart[unit])); err != nil {
			errs = append(errs, err)
		}
	}
	p.Inputs.Set(published)
	maps.DeleteFunc(p.ledger.Reloaded, func(unit, _ string) bool { return reload[unit] == nil })
	for _, unit := range slices.Sorted(maps.Keys(reload)) {
		if err := p.reload(unit, reload[unit]); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// wanted is what units should run with, by unit and path.
func (p *pass) wanted() (restart, reload facts.Inputs) {
	restart, reload = facts.Inputs{}, facts.Inputs{}
	add := func(to facts.Inputs, unit, part string, in facts.Input) {
		if to[unit] == nil {
			to[unit] = map[string]facts.Input{}
		}
		to[unit][part] = in
	}
	for name, e := range p.ledger.Items {
		if p.failed[name] && e.Hash == "" {
			continue
		}
		for _, unit := range e.Restart {
			add(restart, unit, name, facts.Input{Value: e.Hash, At: e.At})
		}
		for _, unit := range e.Reload {
			add(reload, unit, name, facts.Input{Value: e.Hash, At: e.At})
		}
	}
	for unit, at := range p.ledger.Owed {
		add(restart, unit, "what was taken away", facts.Input{Value: at.Format(time.RFC3339), At: at})
	}
	return restart, reload
}

func newest(parts map[string]facts.Input) (at time.Time) {
	for _, in := range parts {
		if in.At.After(at) {
			at = in.At
		}
	}
	return at
}

func (p *pass) restart(unit string, at time.Time) error {
	u, err := p.Manager.Unit(p.ctx, unit)
	if err != nil {
		return err
	}
	asked, open := p.ledger.Asked[unit]
	if at.After(asked) {
		p.tries.Forget(unit)
	}
	switch {
	case u.Sub == "auto-restart": // systemd starts it again, then with its files
		return p.crashes(u, open)
	case u.Queued || u.Active == "activating" || u.Active == "deactivating":
		p.soon(time.Second)
		return nil
	case u.Running() && (!u.Started.Before(at) || open && !u.Started.Before(asked)), // it has them
		!u.Exists(), !u.Running() && !open: // it reads them when it starts
		delete(p.ledger.Owed, unit)
		delete(p.ledger.Asked, unit)
		p.tries.Forget(unit)
		return nil
	}
	if err := p.tries.Early(unit); err != nil && !p.Now {
		return err
	}
	if wait := p.later(unit, at); wait > 0 {
		p.warnings = append(p.warnings, fmt.Sprintf("%s runs with older files: it is restarted in %v", unit, wait.Round(time.Second)))
		p.soon(wait)
		return nil
	}
	p.ledger.Asked[unit] = time.Now().UTC() // until it is up again, whatever comes of it
	if p.kept, err = p.ledger.save(p.FS, p.kept); err != nil {
		return err
	}
	if u.NeedReload { // one of the files was its own
		if err := p.Manager.ReloadUnits(p.ctx); err != nil {
			return err
		}
	}
	if err := p.Manager.Restart(p.ctx, unit); err != nil {
		return p.tries.Failed(unit, fmt.Errorf("%s runs with older files, or is down: %w: see journalctl -u %s", unit, err, unit))
	}
	p.changed = true
	p.soon(stays) // up, a later pass sees
	if open && !u.Running() {
		_ = p.tries.Failed(unit, fmt.Errorf("%s does not stay up with its files (%s): see journalctl -u %s", unit, u.Result, unit))
	}
	return nil
}

// crashes tells of a unit in a crash loop, which is not for files to end.
func (p *pass) crashes(u facts.Unit, open bool) error {
	if u.NeedReload {
		if err := p.Manager.ReloadUnits(p.ctx); err != nil {
			return err
		}
	}
	why := fmt.Sprintf("%s does not stay up (%s): see journalctl -u %s", u.Name, u.Result, u.Name)
	if open { // since it was restarted for its files
		return errors.New(why)
	}
	p.warnings = append(p.warnings, why)
	return nil
}

// stays is when a unit that was restarted is looked at again: for systemd most
// units are up as soon as their process is there.
const stays = 2 * time.Second

// later is how long this node waits until it restarts a unit for what came to be
// at a time.
func (p *pass) later(unit string, at time.Time) time.Duration {
	if p.Now || p.Dry {
		return 0
	}
	return time.Until(at.Add(when.Offset(p.ID+"/"+unit, time.Duration(p.config.Splay))))
}

func (p *pass) reload(unit string, parts map[string]facts.Input) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintln(&b, name, parts[name].Value)
	}
	sum := hash([]byte(b.String()))
	if p.ledger.Reloaded[unit] == sum {
		return nil
	}
	u, err := p.Manager.Unit(p.ctx, unit)
	if err != nil {
		return err
	}
	if u.Queued || u.Active == "activating" {
		p.soon(time.Second)
		return nil
	}
	if u.Exists() && u.Running() && u.Started.Before(newest(parts)) {
		if wait := p.later(unit, newest(parts)); wait > 0 {
			p.soon(wait)
			return nil
		}
		if err := p.Manager.Reload(p.ctx, unit); err != nil {
			return fmt.Errorf("%s is not reloaded for its files: %w", unit, err)
		}
		p.changed = true
	}
	p.ledger.Reloaded[unit] = sum
	return nil
}

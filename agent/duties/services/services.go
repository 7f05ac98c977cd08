// Package services is the duty that keeps units of the node enabled or not, and
// up or down, as they are configured. Units that ECS needs are others' to start.
package services

import (
	"cmp"
	"context"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// State is whether a unit is up. "" leaves that to others.
type State string

// The states.
const (
	Started State = "started"
	Stopped State = "stopped"
)

var _ encoding.TextUnmarshaler = (*State)(nil)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *State) UnmarshalText(b []byte) error {
	if v := State(b); v == Started || v == Stopped {
		*s = v
		return nil
	}
	return fmt.Errorf("%q is no state of a unit", b)
}

// MarshalText implements [encoding.TextMarshaler].
func (s State) MarshalText() ([]byte, error) { return []byte(s), nil }

// Expected is what a message says in place of another value.
func (State) Expected() string { return `"started" or "stopped"` }

// SchemaEnum lists the values.
func (State) SchemaEnum() []string { return []string{string(Started), string(Stopped)} }

// Config says how units are, by their names.
type Config struct {
	Units map[string]Unit `yaml:"units" help:"Units of systemd, by their names, such as rsyslog.service. Their files and drop-ins stand under files."`
}

// Unit is how one is.
type Unit struct {
	Enabled *bool `yaml:"enabled" help:"Whether it is started at boot."`
	Masked  *bool `yaml:"masked" help:"Whether it cannot be started at all."`
	State   State `yaml:"state" help:"started or stopped. One that comes down by itself is started again."`
}

// Default configures none.
func Default() Config { return Config{Units: map[string]Unit{}} }

var (
	unitName = pattern.New(`^[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|path|mount|target)$`)
	others   = []string{"docker.service", "docker.socket", "containerd.service", "ecs.service"}
)

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for _, name := range slices.Sorted(maps.Keys(c.Units)) {
		u, at := c.Units[name], fmt.Sprintf("units.%q", name)
		switch {
		case !unitName.MatchString(name):
			report(at, "this is no name of a unit, such as rsyslog.service")
		case slices.Contains(others, name) || strings.HasPrefix(name, "ecsnode"):
			report(at, "ecsnode looks after this unit by itself")
		case u.Masked != nil && *u.Masked && (u.State == Started || u.Enabled != nil && *u.Enabled):
			report(at, "what is masked cannot be started")
		}
	}
}

// Manager is the service manager. What changes a unit waits until it has.
type Manager interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
	Start(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	Enable(ctx context.Context, name string, on bool) error
	Mask(ctx context.Context, name string, on bool) error
	ReloadUnits(ctx context.Context) error
}

// Duty keeps the units.
type Duty struct {
	Config  cell.Reader[Config]
	Manager Manager
	// Packages are those that units may belong to.
	Packages cell.Reader[facts.Packages]
	Asked    cell.Reader[string] // changes when somebody asks for a pass

	started map[string]time.Time // by this duty, and not known to stay up since
	tries   duty.Attempts        // at starting units
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "services" }

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	names := slices.Sorted(maps.Keys(c.Units))
	if len(names) == 0 {
		return duty.Outcome{Summary: "no unit is configured"}, nil
	}
	var errs []error
	out := duty.Outcome{Summary: "1 unit is as configured"}
	if len(names) > 1 {
		out.Summary = fmt.Sprintf("%d units are as configured", len(names))
	}
	if stale, err := d.stale(ctx, names); err != nil {
		return duty.Outcome{}, err
	} else if stale {
		if err := d.Manager.ReloadUnits(ctx); err != nil {
			return duty.Outcome{}, err
		}
		out.Changed = true
		for _, name := range names {
			d.tries.Forget(name) // it may be another unit by now
		}
	}
	for _, name := range names {
		changed, err := d.unit(ctx, name, c.Units[name])
		out.Changed = out.Changed || changed
		errs = append(errs, err)
	}
	if out.Changed {
		out.Again = lookAgain
	}
	return out, errors.Join(errs...)
}

// stale reports whether systemd has not read what it should: once for all units.
func (d *Duty) stale(ctx context.Context, names []string) (bool, error) {
	for _, name := range names {
		u, err := d.Manager.Unit(ctx, name)
		if err != nil || u.NeedReload {
			return u.NeedReload, err
		}
	}
	return false, nil
}

func (d *Duty) unit(ctx context.Context, name string, want Unit) (changed bool, err error) {
	u, err := d.Manager.Unit(ctx, name)
	if err != nil {
		return false, err
	}
	masked := u.Load == "masked" || strings.HasPrefix(u.Enabled, "masked")
	if want.Masked != nil && *want.Masked != masked {
		if err := d.Manager.Mask(ctx, name, *want.Masked); err != nil {
			return false, err
		}
		changed = true
		if u, err = d.Manager.Unit(ctx, name); err != nil {
			return changed, err
		}
		masked = *want.Masked
	}
	switch {
	case masked && want.Masked == nil && (want.State == Started || want.Enabled != nil && *want.Enabled):
		return changed, duty.Lasting(fmt.Errorf("cannot start %s: it is masked: set masked: false", name))
	case !u.Exists() && !masked:
		if want.State == Stopped && want.Enabled == nil {
			return changed, nil // what is not there is not up
		}
		if pending := d.pending(); pending != "" && u.Load == "not-found" {
			return changed, duty.WaitingFor("there is no unit %s yet: %s", name, pending)
		}
		err := fmt.Errorf("%w: there is no unit %s (%s): install what it belongs to", facts.ErrAbsent, name, u.Load)
		if d.outage() {
			err = facts.Unanswered(err)
		}
		return changed, duty.Lasting(err)
	}
	if want.Enabled != nil && !masked && enabled(u) != *want.Enabled && !static(u) {
		if err := d.Manager.Enable(ctx, name, *want.Enabled); err != nil {
			return changed, err
		}
		changed = true
	}
	switch {
	case want.State == Started && u.Sub == "auto-restart":
		return changed, doesNotStay(u) // systemd starts it again
	case want.State == Started && u.Running():
		if time.Since(d.started[name]) >= stays {
			delete(d.started, name)
			d.tries.Forget(name)
		}
	case want.State == Started && !u.Queued && u.Active != "activating":
		started, err := d.start(ctx, u)
		return changed || started, err
	case want.State == Stopped && (u.Running() || u.Active == "activating"):
		return true, d.Manager.Stop(ctx, name)
	}
	return changed, nil
}

// pending says which packages may bring units along yet, or "".
func (d *Duty) pending() string {
	all, known := d.Packages.Get()
	if !known {
		return "packages have not been looked at"
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if p := all[name]; !p.Installed && p.Failed == "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ", ") + " is not installed yet"
}

// outage reports whether a package, which may bring the unit along, cannot be had
// for somebody else's repository.
func (d *Duty) outage() bool {
	all, _ := d.Packages.Get()
	for _, p := range all {
		if !p.Installed && p.Outside {
			return true
		}
	}
	return false
}

// For systemd most units are up as soon as their process is there. Whether they
// are is looked at soon after, and taken for good after stays.
const (
	lookAgain = 2 * time.Second
	stays     = time.Minute
)

// start starts a unit that is down. One that went down again soon after it was
// started is started at once, the next time later and later.
func (d *Duty) start(ctx context.Context, u facts.Unit) (started bool, err error) {
	if d.started == nil {
		d.started = map[string]time.Time{}
		d.tries = duty.Attempts{Retry: duty.Retry{Min: 5 * time.Second, Max: 5 * time.Minute}, Asked: d.Asked}
	}
	if err := d.tries.Early(u.Name); err != nil {
		return false, err
	}
	_, again := d.started[u.Name]
	d.started[u.Name] = time.Now()
	if err := d.Manager.Start(ctx, u.Name); err != nil {
		return false, d.tries.Failed(u.Name, fmt.Errorf("%w: see journalctl -u %s", err, u.Name))
	}
	if again {
		_ = d.tries.Failed(u.Name, doesNotStay(u))
	}
	return true, nil
}

func doesNotStay(u facts.Unit) error {
	return fmt.Errorf("%s does not stay up (%s): see journalctl -u %s", u.Name, cmp.Or(u.Result, u.Active), u.Name)
}

func enabled(u facts.Unit) bool { return strings.HasPrefix(u.Enabled, "enabled") }

// static is a unit without an [Install] section: there is nothing to enable.
func static(u facts.Unit) bool {
	return slices.Contains([]string{"static", "generated", "transient", "indirect", "alias"}, u.Enabled)
}

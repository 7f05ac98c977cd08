// Package volumes is the duty that mounts extra volumes before Docker starts.
// It formats a device on which nothing was found, mounts one that holds the
// file system which is configured, and leaves any other alone.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Devices tells what is on a device. Nothing waits: done is false until there
// is an answer, and a call that asks again gets it.
type Devices interface {
	// Look is facts.ErrAbsent if there is no such device.
	Look(ctx context.Context, volume, device string) (d facts.BlockDevice, done bool, err error)
	// UnderWay names the change to a volume that has not ended, or is "". The
	// error is that of a change which has failed.
	UnderWay(ctx context.Context, volume string) (string, error)
}

// Maker changes volumes, in the same manner.
type Maker interface {
	Format(ctx context.Context, volume, device, fileSystem, label string) (done bool, err error)
	// Mount makes the directory too.
	Mount(ctx context.Context, volume, device, fileSystem, dir string, options []string) (done bool, err error)
	// Grow makes a mounted file system as large as its device, which has size bytes.
	Grow(ctx context.Context, volume, device, fileSystem, dir string, size uint64) (done bool, err error)
}

// Duty keeps the volumes mounted.
type Duty struct {
	FS      fsx.FS
	Config  cell.Reader[Config]
	Devices Devices
	Maker   Maker
	Volumes *cell.Cell[facts.Volumes] // set by every pass

	missed map[string]time.Time // since when a volume is missing, to this process
	told   map[string]error     // why, at the last look that has ended
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "volumes" }

// How soon the next pass looks again.
const (
	settle  = 50 * time.Millisecond  // at a command that is under way
	growing = 500 * time.Millisecond // which nobody waits for
	soon    = 2 * time.Second        // for a device that is waited for
	late    = 30 * time.Second       // for one that is overdue
)

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	p := pass{Duty: d, cfg: cfg, mounted: map[string]bool{}}
	var err error
	if len(cfg) > 0 {
		err = p.look()
	}
	for _, name := range cfg.order() {
		if err != nil { // nothing is known of any
			p.hold(name, "nobody can tell what is mounted")
			continue
		}
		p.volume(ctx, name)
	}
	p.save()
	d.Volumes.Set(facts.Volumes{Held: len(p.held) > 0, Why: strings.Join(p.held, "; ")})
	p.out.Summary = fmt.Sprintf("%d of %d mounted", len(p.mounted), len(cfg))
	if len(cfg) == 0 {
		p.out.Summary = "none configured"
	}
	return p.out, errors.Join(append(p.errs, err)...)
}

// pass is one pass over all volumes.
type pass struct {
	*Duty
	cfg      Config
	mounts   mounts
	ledger   ledger
	dirty    bool // the ledger
	mounted  map[string]bool
	held     []string
	released []string // Docker is let start without these from now on
	out      duty.Outcome
	errs     []error
}

// save writes the ledger. Docker is not let start unless that is noted, since a
// volume that comes later would be mounted under it.
func (p *pass) save() {
	if !p.dirty {
		return
	}
	if err := p.ledger.write(p.FS); err != nil {
		p.errs = append(p.errs, err)
		for _, name := range p.released {
			p.held = append(p.held, fmt.Sprintf("volume %s: %v", name, err))
		}
	}
}

func (p *pass) look() (err error) {
	if p.mounts, err = readMounts(p.FS); err != nil {
		return err
	}
	var damaged error
	if p.ledger, damaged = readLedger(p.FS); damaged != nil {
		p.out.Warnings = append(p.out.Warnings, damaged.Error())
	}
	if p.missed == nil {
		p.missed, p.told = map[string]time.Time{}, map[string]error{}
	}
	return nil
}

// note changes what the ledger says of a volume.
func (p *pass) note(name string, change func(*entry)) {
	e := p.ledger[name]
	old := e
	change(&e)
	if e != old {
		p.ledger[name], p.dirty = e, true
	}
}

func (p *pass) again(after time.Duration) {
	if p.out.Again == 0 || after < p.out.Again {
		p.out.Again = after
	}
}

// hold keeps Docker back, unless it was let start: it may run by now.
func (p *pass) hold(name, why string) {
	if p.cfg[name].required() && !p.ledger[name].Released {
		p.held = append(p.held, fmt.Sprintf("volume %s: %s", name, why))
	}
}

// volume makes the next step of one volume, and says what comes of it.
func (p *pass) volume(ctx context.Context, name string) {
	if _, ok := p.missed[name]; !ok {
		p.missed[name] = time.Now()
	}
	if on, ok := p.mounts.at(p.cfg[name].MountPoint); ok {
		p.keep(ctx, name, on)
		return
	}
	if parent := p.cfg.below(name); parent != "" && !p.mounted[parent] {
		why := fmt.Sprintf("%s is within volume %s, which is not mounted", p.cfg[name].MountPoint, parent)
		p.errs = append(p.errs, duty.WaitingFor("volume %s: %s", name, why))
		if !p.ledger[parent].Released {
			p.hold(name, why)
		}
		return
	}
	doing, err := p.bring(ctx, name)
	switch {
	case errors.Is(err, errLooking):
		p.looking(name)
	case err != nil:
		p.without(name, err)
	default:
		delete(p.told, name)
		p.underWay(name, doing)
	}
}

// errLooking means that a look has not ended.
var errLooking = errors.New("it is looked at")

// looking goes on telling what the look before this one has found.
func (p *pass) looking(name string) {
	if told := p.told[name]; told != nil {
		p.without(name, told)
		p.again(settle)
		return
	}
	p.underWay(name, p.cfg[name].Device+" is looked at")
}

// underWay looks again soon, and less often the longer it takes.
func (p *pass) underWay(name, doing string) {
	p.again(min(max(settle, time.Since(p.missed[name])/8), soon))
	p.hold(name, doing)
	p.errs = append(p.errs, duty.WaitingFor("volume %s: %s", name, doing))
}

// keep looks after a volume on whose directory something is mounted.
func (p *pass) keep(ctx context.Context, name string, on mounted) {
	v := p.cfg[name]
	if p.ledger[name].Number != on.number {
		device, done, err := p.Devices.Look(ctx, name, v.Device)
		switch {
		case err == nil && !done:
			p.looking(name)
			return
		case err != nil && !errors.Is(err, facts.ErrAbsent):
			p.without(name, err)
			return
		case err != nil || device.Number != on.number:
			p.without(name, &refusal{fmt.Errorf("%s is a mount of %s (%s) already: %s is not mounted over it",
				v.MountPoint, on.source, on.fileSystem, v.Device)})
			return
		}
		p.note(name, func(e *entry) { e.Number = on.number })
	}
	p.mounted[name] = true
	delete(p.missed, name)
	delete(p.told, name)
	if on.fileSystem != string(v.FileSystem) {
		p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("volume %s: %s holds %s, and not %s", name, v.MountPoint, on.fileSystem, v.FileSystem))
		return
	}
	if err := p.grow(ctx, name, on); err != nil {
		p.errs = append(p.errs, fmt.Errorf("volume %s: %w", name, err))
	}
}

// grow makes the file system fill a device that was enlarged.
func (p *pass) grow(ctx context.Context, name string, on mounted) error {
	size, err := sizeOf(p.FS, on.number)
	if err != nil || size == p.ledger[name].Size {
		return err
	}
	v := p.cfg[name]
	done, err := p.Maker.Grow(ctx, name, on.source, on.fileSystem, v.MountPoint, size)
	if err != nil {
		return err
	}
	if !done {
		p.again(growing)
		return nil
	}
	p.out.Changed = true
	p.note(name, func(e *entry) { e.Size = size })
	return nil
}

// refusal is an error that waiting does not mend.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// bring makes the next step towards a volume that is not mounted, and tells
// what is under way, or why there is none.
func (p *pass) bring(ctx context.Context, name string) (doing string, err error) {
	v := p.cfg[name]
	verb, err := p.Devices.UnderWay(ctx, name)
	if err != nil || verb != "" {
		return doingOf(verb, v), err
	}
	device, done, err := p.Devices.Look(ctx, name, v.Device)
	if err == nil && !done {
		err = errLooking
	}
	if err != nil {
		return "", err
	}
	s := sight{device: device, mounts: p.mounts}
	if s.content, s.oddDir, err = contentOf(p.FS, v.MountPoint); err != nil {
		return "", err
	}
	return p.do(ctx, name, s)
}

func (p *pass) do(ctx context.Context, name string, s sight) (doing string, err error) {
	v := p.cfg[name]
	step, err := decide(v, s)
	if step != refuse && p.ledger[name].Released {
		step, err = refuse, fmt.Errorf("%s is there, but too late for this boot, since Docker may use %s: stop Docker, empty the directory and reboot", v.Device, v.MountPoint)
	}
	switch step {
	case refuse:
		return "", &refusal{err}
	case format:
		_, err = p.Maker.Format(ctx, name, s.device.Path, string(v.FileSystem), v.label(name))
	case mountNow:
		p.note(name, func(e *entry) { e.Number = s.device.Number })
		_, err = p.Maker.Mount(ctx, name, s.device.Path, string(v.FileSystem), v.MountPoint, v.Options)
	}
	if err != nil {
		return "", err
	}
	p.out.Changed = true
	return doingOf(string(step), v), nil // the next pass sees what came of it
}

func doingOf(verb string, v Volume) string {
	switch verb {
	case "":
		return ""
	case string(format):
		return fmt.Sprintf("%s is formatted with %s", v.Device, v.FileSystem)
	case string(mountNow):
		return fmt.Sprintf("%s is mounted on %s", v.Device, v.MountPoint)
	}
	return fmt.Sprintf("%s: %s is under way", v.Device, verb)
}

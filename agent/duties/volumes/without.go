package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// without says what becomes of the node while a volume cannot be had, and why.
func (p *pass) without(name string, why error) {
	v := p.cfg[name]
	p.told[name] = why
	var refused *refusal
	absent := !errors.As(why, &refused) && errors.Is(why, facts.ErrAbsent)
	if absent {
		why = fmt.Errorf("there is no %s", v.Device)
	}
	left := p.patience(name, why)
	switch {
	case !v.required() && absent:
		p.again(late)
		p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("volume %s is not mounted: %v", name, why))
		return
	case !v.required():
		p.again(late)
	case absent && left > 0:
		p.again(min(soon, left))
		p.hold(name, why.Error())
		p.errs = append(p.errs, duty.WaitingFor("volume %s: %w; it is waited for until %s UTC",
			name, why, p.missed[name].Add(v.wait()).UTC().Format(time.TimeOnly)))
		return
	case left > 0:
		p.again(min(soon, left))
		p.hold(name, why.Error())
	case v.Otherwise == Start:
		p.again(late)
		if !p.ledger[name].Released {
			p.note(name, func(e *entry) { e.Released = true })
			p.released = append(p.released, name)
		}
		why = fmt.Errorf("%w; Docker is let start without it (otherwise: start)", why)
	default:
		p.again(late)
		p.hold(name, why.Error())
		why = fmt.Errorf("%w; Docker is held back (otherwise: hold)", why)
	}
	err := fmt.Errorf("volume %s: %w", name, why)
	if refused != nil {
		err = duty.Lasting(err)
	}
	p.errs = append(p.errs, err)
}

// patience is how long it may still take before Docker is let start, or waiting
// is a failure. A refusal does not mend itself. While nobody can tell what is
// under way, Docker must not start on a directory that is being mounted on.
func (p *pass) patience(name string, why error) time.Duration {
	var refused *refusal
	switch {
	case errors.As(why, &refused):
		return 0
	case errors.Is(why, facts.ErrUnavailable):
		return soon
	case p.ledger[name].Released:
		return 0
	}
	return p.cfg[name].wait() - time.Since(p.missed[name])
}

// contentOf lists a directory that is to be mounted on; odd says why that
// cannot be, or is "".
func contentOf(files fsx.FS, dir string) (names []string, odd string, err error) {
	info, err := files.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", nil
	case err != nil:
		return nil, "", err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, "is a symbolic link", nil
	case !info.IsDir():
		return nil, "is no directory", nil
	}
	entries, err := files.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != "lost+found" {
			names = append(names, e.Name())
		}
	}
	return names, "", err
}

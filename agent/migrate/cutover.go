package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Units is the service manager of the node.
type Units interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
	ReloadUnits(ctx context.Context) error
	Stop(ctx context.Context, name string) error
	Start(ctx context.Context, name string) error
}

// plan is what a cut-over is to change.
type plan struct {
	edits  []edit
	create map[string]fsx.Exact // files where none are
	// What ecsnode will write: its way back is kept too.
	nodeConfig, ecsConfig string
	timers                []string
}

// cut changes the node, and returns the names it changed. What is to be changed
// is written down first, with what was there: whenever it is cut short, another
// cut or an undo goes on from there. A cut-over that stands gets what has come
// since.
func cut(ctx context.Context, disk Disk, units Units, p plan) (names []string, err error) {
	j, err := Standing(disk)
	if err != nil {
		return nil, err
	}
	switch {
	case j != nil && j.State == undoing:
		return nil, errors.New("an undo was cut short: ecsnode migrate --undo")
	case j == nil:
		j = &Journal{Began: time.Now().UTC()}
	case j.State == cuttingOver:
		p = plan{} // what it began is enough: the rest shows the next time
	}
	before, first := len(j.Changes), j.State == ""
	if err = j.add(disk, p); err == nil {
		err = j.addTimers(ctx, units, p.timers)
	}
	if err == nil {
		if j.State == cutOver && len(j.Changes) == before && len(p.timers) == 0 {
			return nil, nil
		}
		j.State = cuttingOver
		err = j.save(disk)
	}
	if err != nil {
		if first { // nothing is changed, and what was kept is of no use
			_ = forget(disk)
		}
		return nil, err
	}
	names, err = j.make(ctx, disk, units)
	if err != nil {
		return names, fmt.Errorf("the cut-over was cut short, once more goes on with it, --undo takes it back: %w", err)
	}
	return names, nil
}

// make changes what is written down.
func (j *Journal) make(ctx context.Context, disk Disk, units Units) (names []string, err error) {
	for _, c := range j.Changes {
		done, err := c.make(disk)
		if err != nil {
			return names, err
		}
		if done {
			names = append(names, c.Name)
		}
	}
	if err := stopTimers(ctx, units, j.Timers); err != nil {
		return names, err
	}
	j.State = cutOver
	return names, j.save(disk)
}

func stopTimers(ctx context.Context, units Units, timers []string) error {
	if units == nil || len(timers) == 0 {
		return nil
	}
	if err := units.ReloadUnits(ctx); err != nil {
		return err
	}
	for _, t := range timers {
		if err := units.Stop(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// add writes down what a plan changes.
func (j *Journal) add(disk Disk, p plan) error {
	known := func(name string) bool {
		return slices.ContainsFunc(j.Changes, func(c change) bool { return c.Name == name })
	}
	record := func(kind, name string, before, after *fsx.Exact) error {
		c := change{Name: name, Kind: kind}
		var err error
		if c.Before, err = keep(disk, before); err == nil {
			c.After, err = keep(disk, after)
		}
		j.Changes = append(j.Changes, c)
		return err
	}
	for _, one := range []struct{ kind, name string }{{nodeConfigFile, p.nodeConfig}, {ecsConfigFile, p.ecsConfig}} {
		if one.name == "" || known(one.name) {
			continue
		}
		there, err := disk.Capture(one.name)
		if err == nil {
			err = record(one.kind, one.name, there, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.create)) {
		if known(name) {
			continue
		}
		if err := j.addDirectories(disk, path.Dir(name)); err != nil {
			return err
		}
		e := p.create[name]
		if err := record(made, name, nil, &e); err != nil {
			return err
		}
	}
	for _, e := range p.edits {
		if known(e.name) {
			return fmt.Errorf("%w: it runs ansible again; --undo --force, or mend it by hand", &ChangedError{[]string{e.name}})
		}
		there, err := disk.Capture(e.name)
		if err != nil {
			return err
		}
		if there == nil {
			continue
		}
		if err := record(disabled, e.name, there, e.after(there)); err != nil {
			return err
		}
	}
	return nil
}

// addTimers writes down which timers are to be stopped: those that are up, so that
// an undo starts no other.
func (j *Journal) addTimers(ctx context.Context, units Units, timers []string) error {
	for _, t := range timers {
		if units == nil || slices.Contains(j.Timers, t) {
			continue
		}
		u, err := units.Unit(ctx, t)
		if err != nil {
			return err
		}
		if u.Running() {
			j.Timers = append(j.Timers, t)
		}
	}
	return nil
}

// addDirectories writes down the directories that have to be made.
func (j *Journal) addDirectories(disk Disk, dir string) error {
	info, err := disk.Stat(dir)
	if err == nil && (info.IsDir() || info.Mode().Type() == fs.ModeSymlink) {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is no directory", dir))
	}
	if err := j.addDirectories(disk, path.Dir(dir)); err != nil {
		return err
	}
	if !slices.ContainsFunc(j.Changes, func(c change) bool { return c.Name == dir }) {
		j.Changes = append(j.Changes, change{Name: dir, Kind: directory})
	}
	return nil
}

// after is a file as an edit leaves it; nil: removed.
func (e edit) after(there *fsx.Exact) *fsx.Exact {
	if e.remove {
		return nil
	}
	next := *there
	next.ModTime = time.Now().UTC()
	if e.data != nil {
		next.Data = e.data
	}
	if e.shut {
		next.Mode &^= 0o111
	}
	return &next
}

// make changes one name, unless that is done.
func (c change) make(disk Disk) (done bool, err error) {
	switch c.Kind {
	case nodeConfigFile, ecsConfigFile:
		return false, nil
	case directory:
		return disk.MkdirAll(c.Name, 0o755)
	}
	now, before, after, err := c.states(disk)
	switch {
	case err != nil:
		return false, err
	case now.Same(after):
		return false, nil
	case !now.Same(before):
		return false, &ChangedError{[]string{c.Name}}
	case after == nil:
		return disk.Remove(c.Name)
	}
	return true, disk.Place(c.Name, *after)
}

func (c change) states(disk Disk) (now, before, after *fsx.Exact, err error) {
	if now, err = disk.Capture(c.Name); err == nil {
		before, err = c.Before.exact(disk)
	}
	if err == nil {
		after, err = c.After.exact(disk)
	}
	return now, before, after, err
}

// Undone is what an undo did.
type Undone struct {
	Names []string `json:"restored"`
	Aside []string `json:"kept_aside,omitempty"` // where what others had changed is now
	None  bool     `json:"nothing_to_undo,omitempty"`
}

// Undo gives back every file of a cut-over as it was: content, mode, owner, time.
// A file that others have changed since makes it do nothing, unless it is forced:
// then that one is kept aside. When it is cut short, another one goes on.
func Undo(ctx context.Context, disk Disk, units Units, force bool) (u Undone, err error) {
	j, err := Standing(disk)
	if err != nil {
		return u, err
	}
	if j == nil {
		u.None = true
		return u, forget(disk)
	}
	var foreign []change
	for _, c := range j.Changes {
		is, err := c.isForeign(disk)
		if err != nil {
			return u, err
		}
		if is {
			foreign = append(foreign, c)
		}
	}
	if len(foreign) > 0 && !force {
		e := &ChangedError{}
		for _, c := range foreign {
			e.Names = append(e.Names, c.Name)
		}
		return u, fmt.Errorf("cannot undo the cut-over: %w", e)
	}
	for _, c := range foreign {
		name, err := putAside(disk, c.Name)
		if err != nil {
			return u, err
		}
		u.Aside = append(u.Aside, name)
	}
	if j.State != undoing {
		j.State = undoing
		if err := j.save(disk); err != nil {
			return u, err
		}
	}
	for _, c := range slices.Backward(j.Changes) {
		done, err := c.unmake(disk)
		if err != nil {
			return u, err
		}
		if done {
			u.Names = append(u.Names, c.Name)
		}
	}
	slices.Sort(u.Names)
	if units != nil && len(j.Timers) > 0 {
		if err := units.ReloadUnits(ctx); err != nil {
			return u, err
		}
		for _, t := range j.Timers {
			if err := units.Start(ctx, t); err != nil {
				return u, err
			}
		}
	}
	if _, err := disk.Remove(journal); err != nil {
		return u, err
	}
	return u, forget(disk)
}

// forget removes what was kept for a journal that is no more.
func forget(disk Disk) error {
	entries, err := disk.ReadDir(kept)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if _, err := disk.Remove(path.Join(kept, e.Name())); err != nil {
			return err
		}
	}
	if _, err := disk.Remove(kept); err != nil {
		return err
	}
	if left, err := disk.ReadDir(Dir); err == nil && len(left) == 0 {
		_, err := disk.Remove(Dir)
		return err
	}
	return nil
}

// isForeign reports whether others have changed a file since.
func (c change) isForeign(disk Disk) (bool, error) {
	if c.Kind == directory {
		return false, nil
	}
	now, before, after, err := c.states(disk)
	if errors.Is(err, fsx.ErrNotRegular) {
		return false, fmt.Errorf("cannot undo the cut-over: %w: move it away", err)
	}
	if err != nil || now.Same(before) || c.Kind != nodeConfigFile && c.Kind != ecsConfigFile && now.Same(after) {
		return false, err
	}
	switch {
	case c.Kind == nodeConfigFile && now != nil:
		return !oursNodeConfig(now.Data), nil
	case c.Kind == ecsConfigFile && now != nil:
		outside, err := ecsconfig.WithoutBlock(now.Data)
		was := ""
		if before != nil {
			was = string(before.Data)
		}
		return err != nil || string(outside) != was, nil
	case c.Kind == disabled && now == nil && c.Before != nil, c.Kind == made && now == nil:
		return c.Kind == disabled, nil // what we made may be gone
	}
	return true, nil
}

// oursNodeConfig reports whether ecsnode wrote a file.
func oursNodeConfig(data []byte) bool {
	all, err := nodeconfig.Assignments(string(data))
	return err == nil && slices.ContainsFunc(all, func(a nodeconfig.Assignment) bool { return a.Name == "NODE_CONFIG_VERSION" })
}

// putAside copies a file that others have changed.
func putAside(disk Disk, name string) (string, error) {
	e, err := disk.Capture(name)
	if err != nil || e == nil {
		return name + " (it is gone)", err
	}
	if _, err := disk.MkdirAll(aside, 0o700); err != nil {
		return "", err
	}
	to := path.Join(aside, strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", "-")+"."+hash(append([]byte(e.Target), e.Data...))[:8])
	return to, disk.Place(to, *e)
}

// unmake gives one name back, unless that is done.
func (c change) unmake(disk Disk) (done bool, err error) {
	if c.Kind == directory {
		entries, err := disk.ReadDir(c.Name)
		if err != nil || len(entries) > 0 {
			return false, nil // others have put something there, or it is gone
		}
		return disk.Remove(c.Name)
	}
	now, before, _, err := c.states(disk)
	switch {
	case err != nil || now.Equal(before):
		return false, err
	case before == nil:
		return disk.Remove(c.Name)
	}
	return true, disk.Place(c.Name, *before)
}

// Package files is the duty that keeps files, directories and symbolic links of
// the node as they are configured, and restarts the units that read them.
//
// It compares what is with what should be, and when a unit was started with when
// its files came to be as they are: nothing is done because something changed.
package files

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Manager is the service manager.
type Manager interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
	// Restart and Reload wait until the unit is up again or has failed to be.
	Restart(ctx context.Context, name string) error
	Reload(ctx context.Context, name string) error
	ReloadUnits(ctx context.Context) error
	RunJob(ctx context.Context, c facts.Command) error
	Job(ctx context.Context, name string) (facts.Job, error)
	ForgetJob(ctx context.Context, name string) error
}

// Duty keeps the files.
type Duty struct {
	FS       fsx.FS
	ID       string // of the node, for its own time in the fleet
	Config   cell.Reader[Config]
	Instance cell.Reader[facts.Instance]
	Cluster  cell.Reader[string]
	Whole    cell.Reader[bool]           // nothing of the configuration is left out
	Packages cell.Reader[facts.Packages] // nil: nobody knows, and nothing is waited for
	Manager  Manager
	// Inputs gets what Docker, containerd and the ECS agent should run with.
	// These are restarted by others.
	Inputs *cell.Cell[facts.Inputs]
	Supply render.Supply
	Asked  cell.Reader[string] // changes when somebody asks for a pass
	Now    bool                // restarts are not spread: the node boots, or somebody waits
	Dry    bool                // no check is run

	loaded bool
	ledger ledger
	kept   []byte
	checks map[string]*check
	parsed map[string]parsed // templates, by the name of their file
	tries  duty.Attempts     // at restarting units
	swept  bool
	tidied bool
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "files" }

// Reconcile implements duty.Duty. An item that fails keeps those that need it
// from being made, and no others.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	var errs []error
	if !d.loaded {
		l, err := load(d.FS)
		if err != nil {
			return duty.Outcome{}, err
		}
		d.ledger, d.loaded = l, true
		d.tries = duty.Attempts{Retry: duty.Retry{Min: 5 * time.Second, Max: 5 * time.Minute}, Asked: d.Asked}
	}
	p := &pass{Duty: d, ctx: ctx, config: c, failed: map[string]bool{}, secret: map[string]bool{}}
	instance, _ := d.Instance.Get()
	cluster, _ := d.Cluster.Get()
	p.in = d.Supply.Inputs(instance, cluster)
	order := c.order()
	for _, name := range order {
		err := p.packages(name)
		if err == nil {
			err = p.enter(name)
		}
		if err != nil {
			p.failed[name] = true
			errs = append(errs, err)
		}
	}
	var err error
	if d.kept, err = d.ledger.save(d.FS, d.kept); err != nil {
		return duty.Outcome{}, errors.Join(append(errs, err)...) // what could not be restored is not replaced
	}
	errs = append(errs, p.make(order)...)
	d.Supply.Tell(p.in)
	errs = append(errs, p.forget()...)
	p.sweep()
	d.kept, err = d.ledger.save(d.FS, d.kept)
	errs = append(errs, err)
	errs = append(errs, p.units()...)
	if d.kept, err = d.ledger.save(d.FS, d.kept); err == nil {
		p.tidy()
	}
	out := duty.Outcome{Changed: p.changed, Summary: summary(c, p.failed), Warnings: p.warnings, Again: p.again}
	return out, errors.Join(append(errs, err)...)
}

func summary(c Config, failed map[string]bool) string {
	switch n := len(c.Items); {
	case n == 0:
		return "no file is configured"
	case len(failed) > 0:
		return fmt.Sprintf("%d of %d items are as configured", n-len(failed), n)
	case n == 1:
		return "1 item is as configured"
	default:
		return fmt.Sprintf("%d items are as configured", n)
	}
}

// pass is one pass.
type pass struct {
	*Duty
	ctx      context.Context
	config   Config
	in       render.Inputs
	failed   map[string]bool
	changed  bool
	warnings []string
	again    time.Duration
	users    map[string]map[string]int // by file, ids by name
	secret   map[string]bool           // items whose text has a secret
}

func (p *pass) soon(d time.Duration) {
	if d > 0 && (p.again == 0 || d < p.again) {
		p.again = d
	}
}

// packages tells whether the packages are there that an item comes after.
func (p *pass) packages(name string) error {
	if p.Packages == nil {
		return nil
	}
	all, _ := p.Packages.Get()
	for _, of := range p.config.Items[name].Packages() {
		switch state := all[of]; {
		case state.Failed != "":
			err := fmt.Errorf("cannot make %s: it comes after package %s, which is not there: %s", name, of, state.Failed)
			if state.Outside {
				err = facts.Unanswered(err)
			}
			return err
		case !state.Installed:
			return duty.WaitingFor("%s: it comes after package %s, which is not there yet", name, of)
		}
	}
	return nil
}

// enter writes down what is at a path before it is touched. An item that was of
// another kind is taken back first.
func (p *pass) enter(name string) error {
	f := p.config.Items[name]
	if why := p.unsafe(name); why != "" {
		return fmt.Errorf("cannot make %s: %w: %s", name, facts.ErrRefused, why)
	}
	old, known := p.ledger.Items[name]
	changed := old.Kind != f.kind() || old.Block != f.Block || old.Block != "" && cmp.Or(old.Comment, "#") != cmp.Or(f.Comment, "#")
	if known && (changed || old.Undoing) {
		old.Keep = false
		if err := p.undo(name, old); err != nil {
			return err
		}
		delete(p.ledger.Items, name)
		known = false
	}
	if known && (old.Hash != "" || old.Making) {
		return nil
	}
	// Until it is made for the first time, what is there may still change.
	now, _, data, err := look(p.FS, name)
	if err != nil {
		return err
	}
	if known && old.Was.equal(now) {
		return nil
	}
	if why := now.strange(); why != "" && f.kind() != aDirectory {
		return fmt.Errorf("cannot make %s: %w: %s", name, facts.ErrRefused, why)
	}
	if now.Kind == aFile && f.Block == "" {
		if err := put(p.FS, data); err != nil {
			return fmt.Errorf("cannot make %s: what is there cannot be kept: %w", name, err)
		}
	}
	p.ledger.Items[name] = entry{Kind: f.kind(), Block: f.Block, Comment: f.Comment, Was: now}
	return nil
}

// making is an item that is not what it should be.
type making struct {
	name string
	act  func() (changed bool, err error)
}

// make brings the items to what they should be. That they are about to be changed
// is written down before the first one is.
func (p *pass) make(order []string) (errs []error) {
	fail := func(name string, err error) {
		p.failed[name] = true
		errs = append(errs, err)
	}
	var todo []making
	for _, name := range order {
		if p.failed[name] {
			continue
		}
		m, err := p.look(name)
		if err != nil {
			fail(name, err)
		} else if m.act != nil {
			todo = append(todo, m)
		}
	}
	for _, m := range todo {
		p.ledger.Unread = p.ledger.Unread || ofSystemd(m.name)
	}
	var err error
	if p.kept, err = p.ledger.save(p.FS, p.kept); err != nil {
		return append(errs, err)
	}
	for _, m := range todo {
		if before := p.waits(m.name); before != "" {
			fail(m.name, duty.WaitingFor("%s: it comes after %s, which is not there", m.name, before))
			continue
		}
		changed, err := m.act()
		p.changed = p.changed || changed
		if err != nil {
			fail(m.name, p.hint(m.name, err))
			continue
		}
		e := p.ledger.Items[m.name]
		e.At, e.Making, e.Former = time.Now().UTC(), false, ""
		p.ledger.Items[m.name] = e
	}
	return errs
}

// hint adds what to do where the directory of an item is not there. It is not
// made by itself: its owner and mode would be a guess.
func (p *pass) hint(name string, err error) error {
	dir := path.Dir(name)
	if _, stat := p.FS.Stat(dir); !errors.Is(stat, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: list %s: {directory: true} too", err, dir)
}

// waits names an item that failed and without which this one is not made, or "".
func (p *pass) waits(name string) string {
	for _, before := range p.config.needs(name) {
		if p.failed[before] {
			return before
		}
	}
	return ""
}

// look compares an item with what is at its path.
func (p *pass) look(name string) (making, error) {
	f := p.config.Items[name]
	if before := p.waits(name); before != "" {
		return making{}, duty.WaitingFor("%s: it comes after %s, which is not there", name, before)
	}
	now, info, data, err := look(p.FS, name)
	if err != nil {
		return making{}, err
	}
	e := p.ledger.Items[name]
	e.Keep, e.Restart, e.Reload, e.Comment = f.Keep, f.Restart, f.Reload, f.Comment
	want, act, err := p.prepare(name, f, now, data)
	switch {
	case err != nil:
		return making{}, err
	case act != nil && e.Hash == "" && !e.Making && !e.Was.equal(now):
		p.soon(checkLook)
		return making{}, duty.WaitingFor("%s: somebody else is writing it", name)
	case act != nil && !e.Making:
		e.Making, e.Former, e.Hash = true, e.Hash, want
	case act != nil:
		e.Hash = want
	case e.Hash != want || e.Making: // it was so before, or we were cut short
		e.Hash, e.At, e.Making, e.Former = want, time.Now().UTC(), false, ""
		if info != nil && info.ModTime().Before(e.At) {
			e.At = info.ModTime().UTC()
		}
	}
	p.ledger.Items[name] = e
	return making{name, act}, nil
}

func (f File) kind() string {
	switch {
	case f.Block != "":
		return aBlock
	case f.Directory:
		return aDirectory
	case f.Link != "":
		return aLink
	case f.Absent:
		return nothing
	}
	return aFile
}

// prepare returns the hash of what should be at the path, as far as it is ours,
// and what makes it so; nil if it is.
func (p *pass) prepare(name string, f File, now was, data []byte) (want string, act func() (bool, error), err error) {
	switch f.kind() {
	case nothing:
		switch now.Kind {
		case "":
			return nothing, nil, nil
		case aDirectory, other:
			return "", nil, fmt.Errorf("cannot remove %s: it is no file and no link", name)
		}
		return nothing, func() (bool, error) { return p.FS.Remove(name) }, nil
	case aLink:
		want = hash([]byte(f.Link))
		if now.Kind == aLink && now.Target == f.Link {
			return want, nil, nil
		}
		return want, func() (bool, error) {
			if err := p.clear(name, now, aLink); err != nil {
				return false, err
			}
			return p.FS.Symlink(name, f.Link)
		}, nil
	case aDirectory:
		owner, err := p.owner(f)
		if err != nil {
			return "", nil, fmt.Errorf("cannot make %s: %w", name, err)
		}
		how := fsx.How{Mode: f.Mode.fileMode()}
		if f.Owner+f.Group != "" {
			how.Owner = &owner
		}
		if now.Kind == aDirectory && now.has(how) {
			return aDirectory, nil, nil
		}
		return aDirectory, func() (bool, error) { return p.directory(name, how, now) }, nil
	}
	text, err := p.text(name, f)
	if err != nil {
		return "", nil, err
	}
	if f.Block != "" && len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	whole, how, err := p.whole(name, f, now, data, text)
	if err != nil {
		return "", nil, err
	}
	same := now.Kind == aFile && bytes.Equal(whole, data)
	if same && now.has(how) {
		return hash(text), nil, nil
	}
	if f.Block != "" && now.Mode&0o004 == 0 { // what others wrote there is not for everybody
		p.secret[name] = true
	}
	if !same {
		if err := p.check(name, f, whole); err != nil {
			return "", nil, err
		}
	}
	return hash(text), func() (bool, error) {
		if err := p.clear(name, now, aFile); err != nil {
			return false, err
		}
		return p.FS.WriteFile(name, whole, how)
	}, nil
}

// clear takes a file away where a link is to be, or a link where a file is: what
// it was is kept, and that it is being replaced is written down.
func (p *pass) clear(name string, now was, for_ string) error {
	if now.Kind == aFile && for_ == aLink || now.Kind == aLink && for_ == aFile {
		_, err := p.FS.Remove(name)
		return err
	}
	return nil
}

// whole is the content of the file with our text in it.
func (p *pass) whole(name string, f File, now was, data, text []byte) ([]byte, fsx.How, error) {
	owner, err := p.owner(f)
	if err != nil {
		return nil, fsx.How{}, fmt.Errorf("cannot make %s: %w", name, err)
	}
	how := fsx.How{Mode: cmp.Or(f.Mode, 0o644).fileMode(), Owner: &owner}
	if f.Block == "" {
		return text, how, nil
	}
	if now.Kind != aFile {
		return nil, how, fmt.Errorf("cannot put a block into %s: %w: there is no such file", name, facts.ErrAbsent)
	}
	if f.Owner == "" && f.Group == "" {
		how.Owner = nil
	}
	if how.Mode = f.Mode.fileMode(); f.Mode == 0 {
		how.Mode = 0 // as it is
	}
	whole, err := withBlock(data, f.Block, cmp.Or(f.Comment, "#"), text)
	if err != nil {
		err = fmt.Errorf("cannot put a block into %s: %w", name, err)
	}
	return whole, how, err
}

// directory makes one. Its owner comes before its mode: nobody else may enter it
// in between.
func (p *pass) directory(name string, how fsx.How, now was) (changed bool, err error) {
	mode := cmp.Or(how.Mode, 0o755)
	first := mode
	if how.Owner != nil && now.Kind == "" {
		first = 0o700
	}
	if changed, err = p.FS.MkdirAll(name, first); err != nil {
		return changed, err
	}
	if how.Owner != nil {
		set, err := p.FS.Chown(name, *how.Owner)
		if changed = changed || set; err != nil {
			return changed, err
		}
	}
	if now.Kind == aDirectory && how.Mode == 0 {
		return changed, nil
	}
	set, err := p.FS.Chmod(name, mode)
	return changed || set, err
}

// unsafe says why a path must not be written to, or "": a link in a directory
// that others than root may write to can be anybody's.
func (p *pass) unsafe(name string) string {
	dir := "/"
	for _, part := range strings.Split(strings.Trim(path.Dir(name), "/"), "/") {
		next := path.Join(dir, part)
		info, err := p.FS.Stat(next)
		if err != nil {
			return "" // what is not there is no link
		}
		if info.Mode().Type() == fs.ModeSymlink {
			if in, err := p.FS.Stat(dir); err != nil || in.Mode().Perm()&0o002 != 0 || !p.rootOwns(in) {
				return next + " is a link in a directory that others than root may write to"
			}
		}
		dir = next
	}
	return ""
}

// rootOwns reports whether the owner is that of the root directory.
func (p *pass) rootOwns(info fs.FileInfo) bool {
	root, err := p.FS.Stat("/")
	if err != nil {
		return false
	}
	owner, known := fsx.OwnerOf(info)
	of, _ := fsx.OwnerOf(root)
	return known && owner.UID == of.UID
}

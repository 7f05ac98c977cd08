package fsx

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Overlay is a dry run: an [FS] that keeps every change to itself, reads as if
// it had been made, and refuses with the same errors as a Disk would. It does
// not foresee what only a real write meets: a full disk, a read-only file
// system, missing permission. It is safe for concurrent use.
type Overlay struct {
	base FS
	// links is base if that knows about symbolic links, as a Disk does.
	links linked
	root  string

	mu     sync.Mutex
	staged map[string]*entry // by name, with every link in it resolved
}

// linked is what an Overlay asks of a base that has symbolic links: a Disk or
// another Overlay.
type linked interface {
	Root() string
	readLink(name string) (string, error)
}

// entry is a name that was changed.
type entry struct {
	before, after state
	// opaque means that nothing of the base shows below this name: it is not,
	// or was not all the time, the directory that the base has there.
	opaque bool
}

// state is what is at a name.
type state struct {
	absent bool
	attrs
	kind    fs.FileMode // type bits
	size    int64
	modTime time.Time
	data    []byte // of a regular file, unless it is unread
	unread  error
}

// NewOverlay returns an Overlay over base with nothing changed. If others
// write to base meanwhile, what the Overlay shows of it follows.
func NewOverlay(base FS) *Overlay {
	o := &Overlay{base: base, root: "/", staged: map[string]*entry{}}
	if links, ok := base.(linked); ok {
		o.links, o.root = links, links.Root()
	}
	return o
}

// Root returns the root of the base, "/" if that has none.
func (o *Overlay) Root() string { return o.root }

// ReadFile implements [FS].
func (o *Overlay) ReadFile(name string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err := clean(name)
	var data []byte
	if err == nil {
		data, err = o.readFile(name)
	}
	return data, fail(o.root, "read", name, err)
}

func (o *Overlay) readFile(name string) ([]byte, error) {
	resolved, info, err := o.walk(name, true)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(info.Mode())
	}
	return o.content(resolved)
}

// Stat implements [FS].
func (o *Overlay) Stat(name string) (fs.FileInfo, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err := clean(name)
	var info fs.FileInfo
	if err == nil {
		_, info, err = o.walk(name, false)
	}
	return info, fail(o.root, "stat", name, err)
}

// ReadDir implements [FS].
func (o *Overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err := clean(name)
	var entries []fs.DirEntry
	if err == nil {
		entries, err = o.readDir(name)
	}
	return entries, fail(o.root, "list", name, err)
}

func (o *Overlay) readDir(name string) ([]fs.DirEntry, error) {
	resolved, info, err := o.walk(name, true)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, syscall.ENOTDIR
	}
	var entries []fs.DirEntry
	if !o.opaque(resolved) {
		if entries, err = o.base.ReadDir(resolved); err != nil {
			return nil, err
		}
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return o.staged[path.Join(resolved, e.Name())] != nil
	})
	for name, e := range o.staged {
		if path.Dir(name) == resolved && !e.after.absent {
			entries = append(entries, fs.FileInfoToDirEntry(stagedInfo{path.Base(name), e.after}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// WriteFile implements [FS].
func (o *Overlay) WriteFile(name string, data []byte, how How) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = o.writeFile(name, data, how)
	}
	return changed, fail(o.root, "write", name, err)
}

func (o *Overlay) writeFile(name string, data []byte, how How) (changed bool, err error) {
	if err := how.check(data); err != nil {
		return false, err
	}
	resolved, info, err := o.lookAt(name, fs.FileMode.IsRegular)
	if err != nil {
		return false, err
	}
	after := state{data: bytes.Clone(data), size: int64(len(data)), modTime: time.Now()}
	if info == nil {
		after.attrs = how.want(nil)
		after.owner = after.owner.or(self())
		o.stage(resolved, after)
		return true, nil
	}
	have := attrsOf(info)
	after.attrs = how.want(&have)
	got, err := o.content(resolved)
	if err == nil && bytes.Equal(got, data) {
		if after.attrs == have {
			return false, nil
		}
		after.modTime = info.ModTime()
	}
	o.stage(resolved, after)
	return true, nil
}

// MkdirAll implements [FS].
func (o *Overlay) MkdirAll(name string, perm fs.FileMode) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = clean(name)
	if err == nil {
		changed, err = mkdirAll(name, perm, o.stat, o.mkdir)
	}
	return changed, fail(o.root, "make directory", name, err)
}

// stat follows links.
func (o *Overlay) stat(name string) (fs.FileInfo, error) {
	_, info, err := o.walk(name, true)
	return info, err
}

func (o *Overlay) mkdir(name string, perm fs.FileMode) error {
	resolved, err := o.walkParent(name)
	if err != nil {
		return err
	}
	if _, err := o.lstat(resolved); err == nil {
		return syscall.EEXIST
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o.stage(resolved, state{kind: fs.ModeDir, attrs: attrs{mode: perm, owner: self()}, modTime: time.Now()})
	return nil
}

// Chmod implements [FS].
func (o *Overlay) Chmod(name string, perm fs.FileMode) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = o.chmod(name, perm)
	}
	return changed, fail(o.root, "set the mode of", name, err)
}

// Chown implements [FS].
func (o *Overlay) Chown(name string, owner Owner) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = o.become(name, func(have attrs) attrs { return attrs{have.mode, owner.or(have.owner)} })
	}
	return changed, fail(o.root, "set the owner of", name, err)
}

func (o *Overlay) chmod(name string, perm fs.FileMode) (changed bool, err error) {
	if err := checkPerm(perm); err != nil {
		return false, err
	}
	return o.become(name, func(have attrs) attrs { return attrs{perm, have.owner} })
}

// become sets the attributes of what is there.
func (o *Overlay) become(name string, want func(have attrs) attrs) (changed bool, err error) {
	resolved, info, err := o.lookAt(name, hasMode)
	if err != nil {
		return false, err
	}
	if info == nil {
		return false, syscall.ENOENT
	}
	after := o.current(resolved)
	if after.attrs == want(after.attrs) {
		return false, nil
	}
	after.attrs = want(after.attrs)
	o.stage(resolved, after)
	return true, nil
}

// Remove implements [FS].
func (o *Overlay) Remove(name string) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = o.remove(name)
	}
	return changed, fail(o.root, "remove", name, err)
}

func (o *Overlay) remove(name string) (changed bool, err error) {
	resolved, err := o.walkParent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := o.lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		entries, err := o.readDir(resolved)
		if err != nil {
			return false, err
		}
		if len(entries) > 0 {
			return false, syscall.ENOTEMPTY
		}
	}
	o.stage(resolved, state{absent: true})
	return true, nil
}

// Change is one name that reads differently through the Overlay than in its
// base, links in the name resolved.
type Change struct {
	Name string
	// Existed and Removed tell whether the name was there before, and is not
	// any more.
	Existed, Removed bool
	// ModeBefore and ModeAfter have the type bits as well, so they tell files
	// from directories; 0 where there is nothing.
	ModeBefore, ModeAfter fs.FileMode
	// OwnerBefore and OwnerAfter are zero where there is nothing.
	OwnerBefore, OwnerAfter Owner
	// Before and After are the content of regular files, and where links lead. Before is nil too for
	// a file that could not be read.
	Before, After []byte
}

// Changes lists what a real run would have changed so far, sorted by name.
// What was changed and changed back is not in it.
func (o *Overlay) Changes() []Change {
	o.mu.Lock()
	defer o.mu.Unlock()
	var changes []Change
	for name, e := range o.staged {
		if e.before.equal(e.after) {
			continue
		}
		changes = append(changes, Change{
			Name:        name,
			Existed:     !e.before.absent,
			Removed:     e.after.absent,
			ModeBefore:  e.before.kind | e.before.mode,
			ModeAfter:   e.after.kind | e.after.mode,
			OwnerBefore: e.before.owner,
			OwnerAfter:  e.after.owner,
			Before:      bytes.Clone(e.before.data),
			After:       bytes.Clone(e.after.data),
		})
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return changes
}

package fsx

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Symlink implements [FS].
func (d *Disk) Symlink(name, target string) (changed bool, err error) {
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = d.symlink(name, target)
	}
	return changed, fail(d.root, "link", name, err)
}

func (d *Disk) symlink(name, target string) (changed bool, err error) {
	dir, base, err := d.openParent(name)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	switch info, err := dir.Lstat(base); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case info.Mode().Type() != fs.ModeSymlink:
		return false, &cause{text: "there is " + kind(info.Mode()) + " in its place: move it away", is: ErrNotRegular}
	default:
		if now, err := dir.Readlink(base); err != nil || now == target {
			return false, err
		}
	}
	return replaceLink(dir, base, target)
}

// replaceLink makes the link beside its place first: there is no other way to
// put one where one is.
func replaceLink(dir *os.Root, base, target string) (changed bool, err error) {
	made := tempPrefix(base) + strconv.FormatUint(rand.Uint64(), 10)
	if err := dir.Symlink(target, made); err != nil {
		return false, err
	}
	if err := renameCause(dir.Rename(made, base)); err != nil {
		_ = dir.Remove(made)
		return false, err
	}
	return true, syncDir(dir)
}

// ReadLink implements [FS].
func (d *Disk) ReadLink(name string) (target string, err error) {
	name, err = clean(name)
	if err == nil {
		if target, err = d.readLink(name); errors.Is(err, syscall.EINVAL) {
			err = &cause{text: "it is no symbolic link", is: ErrNotRegular}
		}
	}
	return target, fail(d.root, "read link", name, err)
}

// Symlink implements [FS].
func (o *Overlay) Symlink(name, target string) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = o.symlink(name, target)
	}
	return changed, fail(o.root, "link", name, err)
}

func (o *Overlay) symlink(name, target string) (changed bool, err error) {
	resolved, err := o.walkParent(name)
	if err != nil {
		return false, err
	}
	switch info, err := o.lstat(resolved); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case info.Mode().Type() != fs.ModeSymlink:
		return false, &cause{text: "there is " + kind(info.Mode()) + " in its place: move it away", is: ErrNotRegular}
	default:
		if now, err := o.readLink(resolved); err != nil || now == target {
			return false, err
		}
	}
	o.stage(resolved, state{
		kind: fs.ModeSymlink, attrs: attrs{mode: fs.ModePerm, owner: self()}, data: []byte(target), size: int64(len(target)), modTime: time.Now(),
	})
	return true, nil
}

// ReadLink implements [FS].
func (o *Overlay) ReadLink(name string) (target string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, err = clean(name)
	if err == nil {
		target, err = o.readLinkOf(name)
	}
	return target, fail(o.root, "read link", name, err)
}

func (o *Overlay) readLinkOf(name string) (string, error) {
	resolved, err := o.walkParent(name)
	if err != nil {
		return "", err
	}
	info, err := o.lstat(resolved)
	if err != nil {
		return "", err
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return "", &cause{text: "it is no symbolic link", is: ErrNotRegular}
	}
	return o.readLink(resolved)
}

package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// WriteFile implements [FS].
func (d *Disk) WriteFile(name string, data []byte, how How) (changed bool, err error) {
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = d.writeFile(name, data, how)
	}
	return changed, fail(d.root, "write", name, err)
}

func (d *Disk) writeFile(name string, data []byte, how How) (changed bool, err error) {
	if err := how.check(data); err != nil {
		return false, err
	}
	dir, base, err := d.openParent(name)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	info, err := lookAt(dir, base, fs.FileMode.IsRegular)
	if err != nil {
		return false, err
	}
	if info == nil {
		want := how.want(nil)
		removeLeftovers(dir, base, want.owner)
		return replace(dir, base, data, want, how.Volatile)
	}
	have := attrsOf(info)
	want := how.want(&have)
	removeLeftovers(dir, base, have.owner, want.owner)
	switch {
	case !hasContent(dir, base, info, data):
		return replace(dir, base, data, want, how.Volatile)
	case have != want:
		return setAttrs(dir, base, have, want, how.Volatile)
	}
	return false, nil
}

// Chmod implements [FS].
func (d *Disk) Chmod(name string, perm fs.FileMode) (changed bool, err error) {
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = d.chmod(name, perm)
	}
	return changed, fail(d.root, "set the mode of", name, err)
}

// Chown implements [FS].
func (d *Disk) Chown(name string, owner Owner) (changed bool, err error) {
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = d.become(name, func(have attrs) attrs { return attrs{have.mode, owner.or(have.owner)} })
	}
	return changed, fail(d.root, "set the owner of", name, err)
}

func (d *Disk) chmod(name string, perm fs.FileMode) (changed bool, err error) {
	if err := checkPerm(perm); err != nil {
		return false, err
	}
	return d.become(name, func(have attrs) attrs { return attrs{perm, have.owner} })
}

// become sets the attributes of what is there.
func (d *Disk) become(name string, want func(have attrs) attrs) (changed bool, err error) {
	dir, base, err := d.openParent(name)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	info, err := lookAt(dir, base, hasMode)
	if err != nil {
		return false, err
	}
	if info == nil {
		return false, syscall.ENOENT
	}
	have := attrsOf(info)
	if have == want(have) {
		return false, nil
	}
	return setAttrs(dir, base, have, want(have), false)
}

// hasMode tells whether a file of this kind is one whose mode Chmod sets.
func hasMode(mode fs.FileMode) bool { return mode.IsRegular() || mode.IsDir() }

// lookAt describes base in dir, nil if there is nothing, and refuses what is
// not of the right kind.
func lookAt(dir *os.Root, base string, right func(fs.FileMode) bool) (fs.FileInfo, error) {
	info, err := dir.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || right(info.Mode()) {
		return info, err
	}
	link, err := "", error(nil)
	if info.Mode()&fs.ModeSymlink != 0 {
		link, err = dir.Readlink(base)
	}
	if err != nil {
		return nil, err
	}
	return nil, inTheWay(info.Mode(), link)
}

// hasContent tells whether the file holds exactly data. One that cannot be
// read does not: replacing it heals it.
func hasContent(dir *os.Root, base string, info fs.FileInfo, data []byte) bool {
	if info.Size() != int64(len(data)) {
		return false
	}
	f, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	got, err := readRegular(f)
	return err == nil && bytes.Equal(got, data)
}

// replace puts a new file in the place of base, or where nothing is yet.
func replace(dir *os.Root, base string, data []byte, want attrs, volatile bool) (changed bool, err error) {
	tmp, tmpName, err := createTemp(dir, base)
	if err != nil {
		return false, err
	}
	defer tmp.Close() // after the rename, for closing gives up the claim on the name
	if err = fill(tmp, data, want); err == nil && !volatile {
		err = tmp.Sync()
	}
	if err == nil {
		err = renameCause(dir.Rename(tmpName, base))
	}
	if err != nil {
		_ = dir.Remove(tmpName) // if it stays, the next write removes it
		return false, err
	}
	if volatile {
		return true, nil
	}
	return true, syncDir(dir)
}

// fill gives the new file its content, then its owner, then its mode: in this
// order nobody can read it who may not, and a chown drops no mode bits.
func fill(f *os.File, data []byte, want attrs) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	have := attrsOf(info)
	if owner := want.owner.or(have.owner); owner != have.owner {
		if err := f.Chown(owner.UID, owner.GID); err != nil {
			return ownerCause(owner, err)
		}
	}
	return f.Chmod(want.mode)
}

// setAttrs changes owner and mode of what is there.
func setAttrs(dir *os.Root, base string, have, want attrs, volatile bool) (changed bool, err error) {
	if have.owner != want.owner {
		if err := dir.Lchown(base, want.owner.UID, want.owner.GID); err != nil {
			return false, ownerCause(want.owner, err)
		}
		changed = true
	}
	// After a chown also when it is right already: chown drops setuid.
	if err := dir.Chmod(base, want.mode); err != nil {
		return changed, err
	}
	if volatile {
		return true, nil
	}
	f, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return true, nil // a mode that shuts us out leaves nothing to sync by
	}
	if err != nil {
		return true, err
	}
	defer f.Close()
	return true, fsync(f)
}

func ownerCause(owner Owner, err error) error {
	err = causeOf(err)
	return &cause{text: fmt.Sprintf("owner %d:%d cannot be set: %v", owner.UID, owner.GID, err), is: err}
}

// renameCause explains the one failure of a rename that is a matter of how the
// node was set up.
func renameCause(err error) error {
	if errors.Is(err, syscall.EBUSY) {
		return &cause{text: "it is a mount of its own and cannot be replaced: mount its directory instead", is: syscall.EBUSY}
	}
	return err
}

// syncDir makes what was created, renamed or removed in dir durable.
func syncDir(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return fsync(f)
}

// fsync makes f durable, where the file system can do that for such a file.
func fsync(f *os.File) error {
	if err := f.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

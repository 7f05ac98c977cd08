package fsx

import (
	"errors"
	"io/fs"
	"syscall"
)

// MkdirAll implements [FS].
func (d *Disk) MkdirAll(name string, perm fs.FileMode) (changed bool, err error) {
	name, err = clean(name)
	if err == nil {
		changed, err = mkdirAll(name, perm, d.stat, d.mkdir)
	}
	return changed, fail(d.root, "make directory", name, err)
}

// mkdirAll makes what is missing of name from the top. stat follows links.
func mkdirAll(name string, perm fs.FileMode,
	stat func(string) (fs.FileInfo, error), mkdir func(string, fs.FileMode) error,
) (changed bool, err error) {
	if err := checkPerm(perm); err != nil {
		return false, err
	}
	for _, dir := range prefixes(name) {
		info, err := stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = mkdir(dir, perm)
			if err == nil {
				changed = true
				continue
			}
			// Somebody else made it just now, or a link there leads nowhere.
			if errors.Is(err, fs.ErrExist) {
				info, err = stat(dir)
				if errors.Is(err, fs.ErrNotExist) {
					err = &cause{text: "it is a symbolic link to what does not exist", is: causeOf(err)}
				}
			}
		}
		if err != nil {
			return changed, mkdirCause(name, dir, err)
		}
		if !info.IsDir() {
			return changed, mkdirCause(name, dir, &cause{text: "it is " + kind(info.Mode()), is: syscall.ENOTDIR})
		}
	}
	return changed, nil
}

// mkdirCause names the directory that failed if it is one on the way.
func mkdirCause(name, dir string, err error) error {
	err = causeOf(err)
	if dir == name {
		return err
	}
	return &cause{text: dir + ": " + err.Error(), is: err}
}

// mkdir makes one directory durably, with exactly this mode.
func (d *Disk) mkdir(name string, perm fs.FileMode) error {
	dir, base, err := d.openParent(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Mkdir(base, perm); err != nil {
		return err
	}
	info, err := dir.Lstat(base)
	if err != nil {
		return err
	}
	if info.Mode().Perm() != perm {
		// The group bit is inherited from the directory above on purpose.
		if err := dir.Chmod(base, perm|info.Mode()&fs.ModeSetgid); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

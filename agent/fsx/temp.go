package fsx

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A temporary file is named ".<name>.ecsnode-<digits>": hidden, so that no
// reader of a conf.d takes it for its own, and not to be confused with another
// program's. While it is being written its writer holds a lock (flock) on it,
// which ends with the writer however that dies: an unlocked one is left over.

func tempPrefix(base string) string { return "." + base + ".ecsnode-" }

// createTemp creates a temporary file for base, mode 0600, locked until closed.
func createTemp(dir *os.Root, base string) (f *os.File, name string, err error) {
	const attempts = 100
	for range attempts {
		name = tempPrefix(base) + strconv.FormatUint(rand.Uint64(), 10)
		f, err = dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if claim(f) {
			return f, name, nil
		}
		f.Close()
	}
	return nil, "", &cause{text: "no temporary file: others remove them while they are written", is: fs.ErrExist}
}

// claim locks a new temporary file and reports false if another writer took it
// for a leftover before that, and so has removed or is about to remove it.
func claim(f *os.File) bool {
	if err := tryFlock(f); errors.Is(err, ErrLocked) {
		return false
	}
	// Other errors mean that this file system has no locks; then nobody can
	// get one to remove the file either.
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink > 0
}

// removeLeftovers removes temporary files for base whose writer was killed:
// those of our name that are regular files, belong to this process's user or
// to one of owners, and are not locked. It is a courtesy; what fails is left
// for the next time.
func removeLeftovers(dir *os.Root, base string, owners ...Owner) {
	removeAllLeftovers(dir, map[string][]Owner{base: owners}, nil)
}

// removeAllLeftovers is removeLeftovers for many bases, except for names that
// somebody else removes.
func removeAllLeftovers(dir *os.Root, owners map[string][]Owner, except []string) {
	self, err := dir.Open(".")
	if err != nil {
		return
	}
	defer self.Close()
	names, err := self.Readdirnames(-1)
	if err != nil {
		return
	}
	others := map[string]bool{}
	for _, name := range except {
		others[name] = true
	}
	for _, name := range names {
		base, temporary := baseOf(name)
		if of, ours := owners[base]; temporary && ours && !others[name] {
			removeLeftover(dir, name, of)
		}
	}
}

// baseOf returns what a temporary file is for.
func baseOf(name string) (base string, temporary bool) {
	at := strings.LastIndexByte(name, '-') + 1
	base, ok := strings.CutPrefix(name[:at], ".")
	base, also := strings.CutSuffix(base, strings.TrimPrefix(tempPrefix(""), "."))
	digits := name[at:]
	return base, ok && also && digits != "" && strings.Trim(digits, "0123456789") == ""
}

func removeLeftover(dir *os.Root, name string, owners []Owner) {
	info, err := dir.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	uid := attrsOf(info).owner.UID
	ours := uid == os.Geteuid() || slices.ContainsFunc(owners, func(o Owner) bool { return o.UID == uid })
	if !ours {
		return
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if tryFlock(f) == nil {
		_ = dir.Remove(name)
	}
}

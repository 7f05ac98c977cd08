package fsx

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// self is the owner that new files get.
func self() Owner { return Owner{os.Geteuid(), os.Getegid()} }

// equal tells whether two states look the same to a reader, time apart.
func (s state) equal(t state) bool {
	return s.absent == t.absent && s.kind == t.kind && s.attrs == t.attrs &&
		s.size == t.size && (s.unread == nil) == (t.unread == nil) && bytes.Equal(s.data, t.data)
}

// stagedInfo describes a changed name.
type stagedInfo struct {
	name  string
	state state
}

func (i stagedInfo) Name() string       { return i.name }
func (i stagedInfo) Size() int64        { return i.state.size }
func (i stagedInfo) Mode() fs.FileMode  { return i.state.kind | i.state.mode }
func (i stagedInfo) ModTime() time.Time { return i.state.modTime }
func (i stagedInfo) IsDir() bool        { return i.state.kind.IsDir() }
func (i stagedInfo) Sys() any           { return i.state.owner }

// The names below are resolved: walk found that no part of them is a link.

// stage makes after what is at name.
func (o *Overlay) stage(name string, after state) {
	before := o.current(name)
	e := o.staged[name]
	if e == nil {
		e = &entry{before: before}
		o.staged[name] = e
	}
	staysDir := !before.absent && before.kind.IsDir() && !after.absent && after.kind.IsDir()
	e.opaque = e.opaque || !staysDir
	e.after = after
}

// current is what is at name now.
func (o *Overlay) current(name string) state {
	if e := o.staged[name]; e != nil {
		return e.after
	}
	info, err := o.lstat(name)
	if err != nil {
		return state{absent: true}
	}
	s := state{attrs: attrsOf(info), kind: info.Mode().Type(), modTime: info.ModTime()}
	if info.Mode().IsRegular() {
		s.size = info.Size()
		s.data, s.unread = o.base.ReadFile(name)
	}
	if s.kind == fs.ModeSymlink {
		target, _ := o.readLink(name)
		s.data, s.size = []byte(target), int64(len(target))
	}
	return s
}

// content reads the regular file at name.
func (o *Overlay) content(name string) ([]byte, error) {
	if e := o.staged[name]; e != nil {
		return bytes.Clone(e.after.data), e.after.unread
	}
	return o.base.ReadFile(name)
}

// lstat describes what is at name.
func (o *Overlay) lstat(name string) (fs.FileInfo, error) {
	if e := o.staged[name]; e != nil {
		if e.after.absent {
			return nil, syscall.ENOENT
		}
		return stagedInfo{path.Base(name), e.after}, nil
	}
	if o.opaque(path.Dir(name)) {
		return nil, syscall.ENOENT
	}
	return o.base.Stat(name)
}

// opaque tells whether nothing of the base shows in this directory, because of
// a change to it or above it.
func (o *Overlay) opaque(dir string) bool {
	for ; ; dir = path.Dir(dir) {
		if e := o.staged[dir]; e != nil && e.opaque {
			return true
		}
		if dir == "/" {
			return false
		}
	}
}

// lookAt resolves a name that is to be changed and describes what is there,
// nil if nothing, refusing what is not of the right kind.
func (o *Overlay) lookAt(name string, right func(fs.FileMode) bool) (resolved string, info fs.FileInfo, err error) {
	resolved, err = o.walkParent(name)
	if err != nil {
		return "", nil, err
	}
	info, err = o.lstat(resolved)
	if errors.Is(err, fs.ErrNotExist) {
		return resolved, nil, nil
	}
	if err != nil || right(info.Mode()) {
		return resolved, info, err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = o.readLink(resolved); err != nil {
			return "", nil, err
		}
	}
	return "", nil, inTheWay(info.Mode(), link)
}

// walkParent resolves the directory part of name.
func (o *Overlay) walkParent(name string) (resolved string, err error) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	resolved, info, err := o.walk(dir, true)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return "", dirCause(dir, err)
	}
	return path.Join(resolved, base), nil
}

// How many links one name may lead through: as many as os.Root takes, and
// without a root as many as Linux does.
const (
	maxLinksBeneath = 8
	maxLinks        = 40
)

// walk resolves the symbolic links in name, the last part only if follow, and
// describes what is there. It fails where the system, or os.Root, would.
func (o *Overlay) walk(name string, follow bool) (resolved string, info fs.FileInfo, err error) {
	confined, limit := o.root != "/", maxLinks
	if confined {
		limit = maxLinksBeneath
	}
	at, links := "/", 0
	for rest := parts(name); len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." && at == "/" && confined {
			return "", nil, errOutside()
		}
		next := path.Join(at, part)
		info, err := o.lstat(next)
		switch {
		case err != nil:
			return "", nil, err
		case info.Mode()&fs.ModeSymlink != 0 && (len(rest) > 0 || follow):
			if links++; links > limit {
				return "", nil, syscall.ELOOP
			}
			target, err := o.readLink(next)
			if err != nil {
				return "", nil, err
			}
			if path.IsAbs(target) {
				at = "/"
			}
			if path.IsAbs(target) && confined {
				return "", nil, errOutside()
			}
			rest = append(parts(target), rest...)
		case len(rest) > 0 && !info.IsDir():
			return "", nil, syscall.ENOTDIR
		default:
			at = next
		}
	}
	info, err = o.lstat(at)
	return at, info, err
}

// parts splits a name or the text of a link.
func parts(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

func (o *Overlay) readLink(name string) (string, error) {
	if e := o.staged[name]; e != nil {
		return string(e.after.data), nil
	}
	if o.links == nil {
		return "", syscall.EINVAL
	}
	return o.links.readLink(name)
}

package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exact is a file or a symbolic link with all that [Disk.Place] gives back.
type Exact struct {
	Mode    fs.FileMode // with the type: of a file or of a link
	Owner   Owner
	ModTime time.Time
	Target  string            // of a link
	Data    []byte            // of a file
	Extra   map[string][]byte // extended attributes of a file: its SELinux label, ACLs
}

// Same reports whether e and o are the same to whoever reads or runs them: the
// time of the change apart. Either may be nil: nothing is there.
func (e *Exact) Same(o *Exact) bool {
	if e == nil || o == nil {
		return e == o
	}
	return e.Mode == o.Mode && e.Owner == o.Owner && e.Target == o.Target && bytes.Equal(e.Data, o.Data) &&
		maps.EqualFunc(e.Extra, o.Extra, bytes.Equal)
}

// Equal is Same with the time of the change.
func (e *Exact) Equal(o *Exact) bool {
	return e.Same(o) && (e == nil || e.ModTime.Equal(o.ModTime))
}

// Capture returns what is at name, and nil if there is nothing. What could not be
// given back as it was is an error: a file with further hard links, anything
// that is neither a file nor a link.
func (d *Disk) Capture(name string) (*Exact, error) {
	name, err := cleanTarget(name)
	var e *Exact
	if err == nil {
		e, err = d.capture(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return e, fail(d.root, "read", name, err)
}

func (d *Disk) capture(name string) (*Exact, error) {
	dir, base, err := d.openParent(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	info, err := dir.Lstat(base)
	if err != nil {
		return nil, err
	}
	a := attrsOf(info)
	e := &Exact{Mode: info.Mode().Type() | a.mode, Owner: a.owner, ModTime: info.ModTime()}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		e.Mode = fs.ModeSymlink | fs.ModePerm
		e.Target, err = dir.Readlink(base)
		return e, err
	case 0:
	default:
		return nil, notRegular(info.Mode())
	}
	f, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 {
		return nil, &cause{text: fmt.Sprintf("it has %d names (hard links), which a new file in its place would part", s.Nlink), is: ErrNotRegular}
	}
	if e.Data, err = readRegular(f); err != nil {
		return nil, err
	}
	e.Extra, err = extra(f)
	return e, err
}

// Place makes name what e is, in one step, its times and attributes included. A
// file or a link may be in its place; its directory must exist.
func (d *Disk) Place(name string, e Exact) error {
	name, err := cleanTarget(name)
	if err == nil {
		err = d.place(name, e)
	}
	return fail(d.root, "write", name, err)
}

func (d *Disk) place(name string, e Exact) error {
	if len(e.Data) > MaxRead {
		return tooLarge(int64(len(e.Data)))
	}
	dir, base, err := d.openParent(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	replaceable := func(m fs.FileMode) bool { return m.IsRegular() || m.Type() == fs.ModeSymlink }
	if _, err := lookAt(dir, base, replaceable); err != nil {
		return err
	}
	removeLeftovers(dir, base, e.Owner)
	var made string
	if e.Mode.Type() == fs.ModeSymlink {
		made, err = makeLink(dir, base, e)
	} else {
		var f *os.File
		if f, made, err = createTemp(dir, base); err == nil {
			defer f.Close() // after the rename
			err = fillExactly(f, e)
		}
	}
	if err == nil {
		err = renameCause(dir.Rename(made, base))
	}
	if err != nil {
		if made != "" {
			_ = dir.Remove(made)
		}
		return err
	}
	return syncDir(dir)
}

func fillExactly(f *os.File, e Exact) error {
	if err := fill(f, e.Data, attrs{mode: e.Mode & modeBits, owner: e.Owner}); err != nil {
		return err
	}
	have, err := extra(f)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extra)) {
		if bytes.Equal(have[name], e.Extra[name]) {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, e.Extra[name], 0); err != nil {
			return &cause{text: fmt.Sprintf("attribute %s cannot be set: %v", name, err), is: err}
		}
	}
	at, err := unix.TimeToTimespec(e.ModTime)
	if err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), []unix.Timespec{at, at}, 0); err != nil {
		return err
	}
	return f.Sync()
}

// makeLink makes the link beside its place.
func makeLink(dir *os.Root, base string, e Exact) (made string, err error) {
	self, err := dir.Open(".")
	if err != nil {
		return "", err
	}
	defer self.Close()
	made = tempPrefix(base) + strconv.FormatUint(rand.Uint64(), 10)
	if err := dir.Symlink(e.Target, made); err != nil {
		return "", err
	}
	if err := dir.Lchown(made, e.Owner.UID, e.Owner.GID); err != nil {
		return made, ownerCause(e.Owner, err)
	}
	at, err := unix.TimeToTimespec(e.ModTime)
	if err != nil {
		return made, err
	}
	return made, unix.UtimesNanoAt(int(self.Fd()), made, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// extra reads the extended attributes of a file, where the file system has them.
func extra(f *os.File) (map[string][]byte, error) {
	const most = 64 << 10 // of Linux, for the list and for each value
	list := make([]byte, most)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, most)
		n, err := unix.Fgetxattr(int(f.Fd()), name, value)
		if err != nil {
			return nil, &cause{text: fmt.Sprintf("attribute %s cannot be read: %v", name, err), is: err}
		}
		all[name] = slices.Clone(value[:n])
	}
	return all, nil
}

package fsx

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Disk is the files of a node. It is safe for concurrent use.
type Disk struct {
	root string
	// beneath confines every path to the root. It is nil for "/", where there
	// is nothing to leave and absolute links are as good as any.
	beneath *os.Root
}

// Open returns the node whose file tree starts at root: "/" for the machine
// itself, or any existing directory.
func Open(root string) (*Disk, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, &opError{op: "open root", name: root, root: "/", err: err}
	}
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fail("/", "open root", root, err)
	}
	if resolved == "/" {
		return &Disk{root: "/"}, nil
	}
	beneath, err := os.OpenRoot(onlyDir(root))
	if err != nil {
		return nil, fail("/", "open root", root, err)
	}
	return &Disk{root: root, beneath: beneath}, nil
}

// Root returns the absolute path of the root.
func (d *Disk) Root() string { return d.root }

// ReadFile implements [FS].
func (d *Disk) ReadFile(name string) ([]byte, error) {
	name, err := clean(name)
	var data []byte
	if err == nil {
		data, err = d.readFile(name)
	}
	return data, fail(d.root, "read", name, err)
}

func (d *Disk) readFile(name string) ([]byte, error) {
	// Looked at before it is opened: opening a FIFO would wake its writer, and
	// opening a device may do anything.
	info, err := d.stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(info.Mode())
	}
	f, err := d.open(name, os.O_RDONLY|syscall.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRegular(f)
}

// readRegular reads f, opened with O_NONBLOCK, if it is a regular file of at
// most MaxRead bytes. The size reported only serves to refuse: it is 0 in
// /proc and 4096 in /sys.
func readRegular(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(info.Mode())
	}
	if info.Size() > MaxRead {
		return nil, tooLarge(info.Size())
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var data []byte
	var readErr error
	if err := conn.Control(func(fd uintptr) { data, readErr = readNow(int(fd), info.Size()) }); err != nil {
		return nil, err
	}
	return data, readErr
}

// readNow reads to the end without ever waiting: os.File.Read would park on
// the few regular files of /proc that can be polled, as /proc/kmsg.
func readNow(fd int, size int64) ([]byte, error) {
	data := make([]byte, 0, size+512)
	for {
		data = slices.Grow(data, 512)
		n, err := syscall.Read(fd, data[len(data):cap(data)])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return data, nil
		}
		if data = data[:len(data)+n]; len(data) > MaxRead {
			return nil, tooLarge(int64(len(data)))
		}
	}
}

// Stat implements [FS].
func (d *Disk) Stat(name string) (fs.FileInfo, error) {
	name, err := clean(name)
	var info fs.FileInfo
	switch {
	case err != nil:
	case d.beneath == nil:
		info, err = os.Lstat(name)
	default:
		info, err = d.beneath.Lstat(rel(name))
	}
	return info, fail(d.root, "stat", name, err)
}

// ReadDir implements [FS].
func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	name, err := clean(name)
	var entries []fs.DirEntry
	if err == nil {
		entries, err = d.readDir(name)
	}
	return entries, fail(d.root, "list", name, err)
}

func (d *Disk) readDir(name string) ([]fs.DirEntry, error) {
	f, err := d.open(name, os.O_RDONLY|syscall.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Remove implements [FS].
func (d *Disk) Remove(name string) (changed bool, err error) {
	name, err = cleanTarget(name)
	if err == nil {
		changed, err = d.remove(name)
	}
	return changed, fail(d.root, "remove", name, err)
}

func (d *Disk) remove(name string) (changed bool, err error) {
	dir, base, err := d.openParent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	var owners []Owner
	if info, err := dir.Lstat(base); err == nil {
		owners = append(owners, attrsOf(info).owner)
	}
	removeLeftovers(dir, base, owners...)
	if err := dir.Remove(base); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, syncDir(dir)
}

// RemoveIn removes files, links and empty directories of one directory as
// [Disk.Remove] does, and tells what became of each that was there. It looks through
// the directory once, and makes it durable once, however many there are.
func (d *Disk) RemoveIn(dir string, names []string, tell func(name string, err error)) error {
	at, err := cleanTarget(path.Join(dir, "x"))
	if err != nil {
		return fail(d.root, "remove from", dir, err)
	}
	within, _, err := d.openParent(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail(d.root, "remove from", dir, err)
	}
	defer within.Close()
	owners := map[string][]Owner{}
	for _, name := range names {
		if info, err := within.Lstat(name); err == nil {
			owners[name] = []Owner{attrsOf(info).owner}
		}
	}
	removeAllLeftovers(within, owners, names)
	for _, name := range names {
		err := within.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		tell(name, fail(d.root, "remove", path.Join(dir, name), err))
	}
	return fail(d.root, "remove from", dir, syncDir(within))
}

// open and stat follow symbolic links, within the root.
func (d *Disk) open(name string, flag int) (*os.File, error) {
	if d.beneath == nil {
		return os.OpenFile(name, flag, 0)
	}
	return d.beneath.OpenFile(rel(name), flag, 0)
}

func (d *Disk) stat(name string) (fs.FileInfo, error) {
	if d.beneath == nil {
		return os.Stat(name)
	}
	return d.beneath.Stat(rel(name))
}

// openParent opens the directory of name, through which everything that
// changes name then goes: whatever happens to the path meanwhile, it stays the
// directory that was checked to lie within the root.
func (d *Disk) openParent(name string) (dir *os.Root, base string, err error) {
	parent, base := path.Split(name)
	if d.beneath == nil {
		dir, err = os.OpenRoot(onlyDir(parent))
	} else {
		dir, err = d.beneath.OpenRoot(onlyDir(rel(parent)))
	}
	if err != nil {
		return nil, "", dirCause(path.Clean(parent), err)
	}
	return dir, base, nil
}

// onlyDir makes opening name fail unless it is a directory. OpenRoot alone
// opens first and looks then, which on a FIFO would wait for a writer.
func onlyDir(name string) string { return name + "/." }

// rel is the name as os.Root takes it.
func rel(name string) string {
	if name == "/" {
		return "."
	}
	return strings.TrimPrefix(name, "/")
}

// readLink returns the text of a symbolic link.
func (d *Disk) readLink(name string) (string, error) {
	dir, base, err := d.openParent(name)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return dir.Readlink(base)
}

// Package fsx is the one way the agent touches files: every path goes through
// a root, every write is atomic and says whether it changed anything.
//
// [Disk] is the real thing, [Overlay] a dry run over any [FS]: reads see what
// was written, and nothing reaches the base.
//
// Names are absolute paths as the node sees them ("/etc/ecs/ecs.config"),
// whatever the root. They are cleaned first, so that ".." cannot leave the
// root. Symbolic links in the directory part of a name are followed. In the
// last part ReadFile and ReadDir follow them too, Stat and Remove look at the
// link itself, and WriteFile and Chmod refuse it. With a root other than "/" a
// link that is absolute or climbs out of the root is refused everywhere.
package fsx

import (
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// MaxRead is the largest file, in bytes, that is read or written.
const MaxRead = 4 << 20

// FS is what duties and hosts use. Errors name the file as the node sees it
// and answer errors.Is for [fs.ErrNotExist], [fs.ErrPermission], the errors of
// this package and the system's error numbers.
type FS interface {
	// ReadFile returns the content of a regular file of at most MaxRead bytes.
	// What it returns for a file being written is the old or the new content,
	// never a mixture. Files of /proc and /sys are read whatever size they
	// report. A larger file is [ErrTooLarge]; a FIFO, device, socket or
	// directory is [ErrNotRegular] and is not opened.
	ReadFile(name string) ([]byte, error)

	// Stat describes name itself; a symbolic link is not followed.
	Stat(name string) (fs.FileInfo, error)

	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)

	// WriteFile makes name a regular file with this content, mode and owner.
	// If it is one already nothing is touched and changed is false. If only
	// mode or owner differ they alone are set. Otherwise the file is replaced
	// in one step: at any moment, a crash included, name is the whole old or
	// the whole new file. Hard links to the old file keep the old content, and
	// extended attributes are not carried over.
	//
	// The directory must exist. Anything but a regular file in the way is
	// [ErrNotRegular] and left alone. After an error changed is true only if
	// the file was changed and what failed is making the change durable, or
	// the second of owner and mode.
	WriteFile(name string, data []byte, how How) (changed bool, err error)

	// MkdirAll makes name a directory, with the directories above it that are
	// missing. Each one made gets exactly perm, whatever the umask. Existing
	// directories keep their mode, the last one included, because most
	// directories belong to somebody else (/tmp, /root); who owns one and
	// wants its mode kept calls Chmod as well. changed tells whether any was
	// made, also beside an error.
	MkdirAll(name string, perm fs.FileMode) (changed bool, err error)

	// Chmod gives an existing regular file or directory exactly this mode.
	Chmod(name string, perm fs.FileMode) (changed bool, err error)

	// Chown gives an existing regular file or directory this owner, and leaves
	// its mode as it is.
	Chown(name string, owner Owner) (changed bool, err error)

	// Symlink makes name a symbolic link to target, in one step. Another link
	// there is replaced; anything else in the way is [ErrNotRegular] and left
	// alone. Its directory must exist, and what it leads to need not.
	Symlink(name, target string) (changed bool, err error)

	// ReadLink returns where a symbolic link leads to, as it is written. Of what
	// is no link the error is [ErrNotRegular].
	ReadLink(name string) (string, error)

	// Remove removes a file, a symbolic link or an empty directory. What is
	// absent already is no error and no change.
	Remove(name string) (changed bool, err error)
}

// How says what a written file is like, its content apart.
type How struct {
	// Mode is the file's exact permission bits, whatever the umask. Zero
	// keeps the mode of an existing file and makes a new one 0600.
	Mode fs.FileMode
	// Volatile skips fsync, for files under /run: still atomic for every
	// reader, but not durable.
	Volatile bool
	// Owner, if nil, is that of the existing file, else of this process.
	Owner *Owner
}

// Owner is a numeric user and group id; -1 stands for not asking for one.
type Owner struct{ UID, GID int }

// or fills what o does not ask for from other.
func (o Owner) or(other Owner) Owner {
	if o.UID == -1 {
		o.UID = other.UID
	}
	if o.GID == -1 {
		o.GID = other.GID
	}
	return o
}

// attrs is what a file or directory is, its content and type apart.
type attrs struct {
	mode  fs.FileMode // within modeBits
	owner Owner
}

const (
	modeBits    = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	defaultMode = fs.FileMode(0o600)
)

// attrsOf returns the attributes of an existing file. Only the FileInfo of an
// FS that is neither a Disk nor an Overlay may lack an owner; it is then taken
// to be ours.
func attrsOf(info fs.FileInfo) attrs {
	a := attrs{mode: info.Mode() & modeBits, owner: self()}
	switch sys := info.Sys().(type) {
	case *syscall.Stat_t:
		a.owner = Owner{int(sys.Uid), int(sys.Gid)}
	case Owner:
		a.owner = sys
	}
	return a
}

// OwnerOf returns whose a file is, where its information tells.
func OwnerOf(info fs.FileInfo) (Owner, bool) {
	switch info.Sys().(type) {
	case *syscall.Stat_t, Owner:
		return attrsOf(info).owner, true
	}
	return Owner{}, false
}

// check refuses what WriteFile could not do exactly.
func (h How) check(data []byte) error {
	if len(data) > MaxRead {
		return tooLarge(int64(len(data)))
	}
	return checkPerm(h.Mode)
}

// checkPerm refuses what is not only permission bits. It catches 0o4755 too,
// whose first digit fs.FileMode does not read as setuid.
func checkPerm(perm fs.FileMode) error {
	if perm&^fs.ModePerm != 0 {
		return &cause{text: "mode " + perm.String() + " is more than permission bits", is: fs.ErrInvalid}
	}
	return nil
}

// want returns the attributes a file shall have; have is nil if there is none,
// and then an owner not asked for stays -1.
func (h How) want(have *attrs) attrs {
	want := attrs{mode: defaultMode, owner: Owner{-1, -1}}
	if have != nil {
		want = *have
	}
	if h.Mode != 0 {
		want.mode = h.Mode
	}
	if h.Owner != nil {
		want.owner = h.Owner.or(want.owner)
	}
	return want
}

// ReadTrimmed reads a file that holds one value and returns it without the
// white space around it, as in /proc/sys/kernel/random/boot_id or
// /sys/class/dmi/id/board_asset_tag.
func ReadTrimmed(fsys FS, name string) (string, error) {
	data, err := fsys.ReadFile(name)
	return strings.TrimSpace(string(data)), err
}

// clean returns the one spelling of name that the rest of the package uses.
func clean(name string) (string, error) {
	if !path.IsAbs(name) {
		return name, &cause{text: "not an absolute path", is: fs.ErrInvalid}
	}
	return path.Clean(name), nil
}

// cleanTarget is clean for a name that is to be changed.
func cleanTarget(name string) (string, error) {
	name, err := clean(name)
	if err == nil && name == "/" {
		err = &cause{text: "it is the root directory", is: fs.ErrInvalid}
	}
	return name, err
}

// prefixes returns the directories on the way to name, which is clean, from
// the top; the last is name itself, and the root is left out.
func prefixes(name string) []string {
	var dirs []string
	for i := 1; i < len(name); i++ {
		if name[i] == '/' {
			dirs = append(dirs, name[:i])
		}
	}
	if name != "/" {
		dirs = append(dirs, name)
	}
	return dirs
}

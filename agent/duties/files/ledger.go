package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Ledger keeps what was there before an item, and what became of its units. What
// was replaced is below it, by its hash.
const (
	Ledger   = "/var/lib/ecsnode/files.json"
	replaced = "/var/lib/ecsnode/replaced"
)

// entry is what is known of one item.
type entry struct {
	Kind string `json:"kind"`           // of item
	Hash string `json:"hash,omitempty"` // of what we put there
	// At is when it came to be so: a process that started later has it.
	At      time.Time `json:"at"`
	Block   string    `json:"block,omitempty"`
	Comment string    `json:"comment,omitempty"`
	Was     was       `json:"was"`
	Keep    bool      `json:"keep,omitempty"`
	Making  bool      `json:"making,omitempty"`  // what is there may still be as before
	Former  string    `json:"former,omitempty"`  // hash of what we had put there before, while Making
	Undoing bool      `json:"undoing,omitempty"` // it is being taken back
	Restart []string  `json:"restart,omitempty"`
	Reload  []string  `json:"reload,omitempty"`
}

// was is what was at the path before it was an item.
type was struct {
	Kind   string     `json:"kind"` // "" nothing
	Hash   string     `json:"hash,omitempty"`
	Mode   uint32     `json:"mode,omitempty"`
	Owner  *fsx.Owner `json:"owner,omitempty"`
	Target string     `json:"target,omitempty"` // of a link
}

// Kinds of what is at a path.
const (
	aFile      = "file"
	aBlock     = "block"
	aDirectory = "directory"
	aLink      = "link"
	nothing    = "absent"
	other      = "other" // a device, a socket, ...
)

// ledger is all entries, and units whose restart is owed for what is no more.
type ledger struct {
	Items    map[string]entry     `json:"items"`
	Owed     map[string]time.Time `json:"owed,omitempty"`     // by unit, when what it had was taken away
	Asked    map[string]time.Time `json:"asked,omitempty"`    // by unit, when it was told to restart, until it is up
	Reloaded map[string]string    `json:"reloaded,omitempty"` // by unit, the hash of what it was last reloaded for
	// Unread: a file of systemd's own was changed, and it has not been told to
	// read them again. It does not notice by itself where a unit gets its first
	// drop-in: of such a unit NeedDaemonReload stays no (systemd 252).
	Unread bool `json:"unread,omitempty"`
}

func load(files fsx.FS) (l ledger, err error) {
	if err = fsx.ReadJSON(files, Ledger, &l); err != nil { // another one in its place could restore nothing
		return ledger{}, fmt.Errorf("cannot read what files replaced, nothing is done before it can be: %w", err)
	}
	if l.Items == nil {
		l.Items = map[string]entry{}
	}
	if l.Owed == nil {
		l.Owed = map[string]time.Time{}
	}
	if l.Asked == nil {
		l.Asked = map[string]time.Time{}
	}
	if l.Reloaded == nil {
		l.Reloaded = map[string]string{}
	}
	return l, nil
}

// save writes l down unless it is kept, as it was written last, already.
func (l ledger) save(files fsx.FS, kept []byte) ([]byte, error) {
	kept, err := fsx.WriteJSON(files, Ledger, l, kept)
	if err != nil {
		err = fmt.Errorf("cannot keep what files replaced: %w", err)
	}
	return kept, err
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// look says what is at a path.
func look(files fsx.FS, name string) (w was, info fs.FileInfo, data []byte, err error) {
	info, err = files.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return was{}, nil, nil, nil
	}
	if err != nil {
		return was{}, nil, nil, err
	}
	w.Mode = uint32(info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky))
	if owner, known := fsx.OwnerOf(info); known {
		w.Owner = &owner
	}
	switch info.Mode().Type() {
	case 0:
		w.Kind = aFile
		data, err = files.ReadFile(name)
		w.Hash = hash(data)
	case fs.ModeDir:
		w.Kind = aDirectory
	case fs.ModeSymlink:
		w.Kind = aLink
		w.Target, err = files.ReadLink(name)
	default:
		w.Kind = other
	}
	return w, info, data, err
}

// has reports whether a file's mode and owner are these.
func (w was) has(how fsx.How) bool {
	mode := how.Mode == 0 || w.Mode == uint32(how.Mode)
	owner := how.Owner == nil || w.Owner != nil && *w.Owner == *how.Owner
	return mode && owner
}

// put keeps what was replaced, before it is.
func put(files fsx.FS, data []byte) error {
	if _, err := files.MkdirAll(replaced, 0o700); err != nil {
		return err
	}
	_, err := files.WriteFile(path.Join(replaced, hash(data)), data, fsx.How{Mode: 0o600})
	return err
}

// tidy removes, once for each process, what was kept of originals that no item
// stands in the place of any more.
func (p *pass) tidy() {
	if p.tidied || p.Dry {
		return
	}
	p.Duty.tidied = true
	entries, err := p.FS.ReadDir(replaced)
	if err != nil {
		return
	}
	needed := map[string]bool{}
	for _, e := range p.ledger.Items {
		needed[e.Was.Hash] = true
	}
	for _, e := range entries {
		if !needed[e.Name()] && len(e.Name()) == len(hash(nil)) {
			_, _ = p.FS.Remove(path.Join(replaced, e.Name())) // the next process tries again
		}
	}
}

// strange says why what is at a path could not be put back, or "".
func (w was) strange() string {
	switch {
	case w.Kind == other:
		return "there is neither a file, a directory nor a link"
	case w.Kind == aFile && (w.Mode == 0 || fs.FileMode(w.Mode)&^fs.ModePerm != 0):
		return fmt.Sprintf("its mode %v is one that is not given back", fs.FileMode(w.Mode))
	}
	return ""
}

// restore puts back what was at a path, where ours is, or nothing.
func (w was) restore(files fsx.FS, name string, now was) error {
	if now.Kind != "" && now.Kind != w.Kind { // one cannot take the other's place
		if _, err := files.Remove(name); err != nil {
			return err
		}
	}
	switch w.Kind {
	case "":
		_, err := files.Remove(name)
		return err
	case aFile:
		data, err := files.ReadFile(path.Join(replaced, w.Hash))
		if err != nil {
			return fmt.Errorf("cannot restore %s: %w", name, err)
		}
		_, err = files.WriteFile(name, data, fsx.How{Mode: fs.FileMode(w.Mode), Owner: w.Owner})
		return err
	case aLink:
		_, err := files.Symlink(name, w.Target)
		return err
	case aDirectory:
		if now.Kind != aDirectory {
			return nil
		}
		if w.Owner != nil {
			if _, err := files.Chown(name, *w.Owner); err != nil {
				return err
			}
		}
		if mode := fs.FileMode(w.Mode); mode&^fs.ModePerm == 0 {
			_, err := files.Chmod(name, mode)
			return err
		}
	}
	return nil
}

// equal reports whether both are the same, as far as it is put back.
func (w was) equal(o was) bool {
	return w.Kind == o.Kind && w.Hash == o.Hash && w.Target == o.Target && (w.Kind != aFile || w.Mode == o.Mode)
}

package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Where the way back is kept.
const (
	Dir     = "/var/lib/ecsnode/migrate"
	journal = Dir + "/journal.json"
	kept    = Dir + "/kept"
	aside   = Dir + "/aside" // what others had changed when it was undone by force
)

// States of a journal.
const (
	cuttingOver = "cutting over"
	cutOver     = "cut over"
	undoing     = "undoing"
)

// Disk is where a cut-over happens; an fsx.Disk but for tests.
type Disk interface {
	fsx.FS
	Capture(name string) (*fsx.Exact, error)
	Place(name string, e fsx.Exact) error
}

// Journal is a cut-over: what it changes, with the way back. It is on the disk
// before anything is changed.
type Journal struct {
	Began   time.Time `json:"began"`
	State   string    `json:"state"`
	Changes []change  `json:"changes"`
	Timers  []string  `json:"timers,omitempty"` // of systemd, to be stopped
}

// change is one name.
type change struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Before and After are what is there; nil: nothing.
	Before *content `json:"before,omitempty"`
	After  *content `json:"after,omitempty"`
}

// Kinds of changes.
const (
	made      = "made"      // by us, where nothing was
	disabled  = "disabled"  // or removed
	directory = "directory" // made by us
	// What ecsnode writes once it runs. Cut-over leaves it alone.
	nodeConfigFile = "node.config"
	ecsConfigFile  = "ecs.config"
)

// content is an fsx.Exact without its data, which is kept by its hash.
type content struct {
	Hash   string            `json:"hash,omitempty"`
	Mode   fs.FileMode       `json:"mode"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Time   time.Time         `json:"time"`
	Target string            `json:"target,omitempty"`
	Extra  map[string][]byte `json:"extra,omitempty"`
}

// keep writes what is or will be at a name, to be had again.
func keep(files fsx.FS, e *fsx.Exact) (*content, error) {
	if e == nil {
		return nil, nil
	}
	c := &content{Mode: e.Mode, UID: e.Owner.UID, GID: e.Owner.GID, Time: e.ModTime, Target: e.Target, Extra: e.Extra}
	if e.Mode.Type() == fs.ModeSymlink {
		return c, nil
	}
	c.Hash = hash(e.Data)
	if _, err := files.MkdirAll(kept, 0o700); err != nil {
		return nil, err
	}
	_, err := files.WriteFile(path.Join(kept, c.Hash), e.Data, fsx.How{Mode: 0o600})
	return c, err
}

// exact returns what was kept.
func (c *content) exact(files fsx.FS) (*fsx.Exact, error) {
	if c == nil {
		return nil, nil
	}
	e := &fsx.Exact{Mode: c.Mode, Owner: fsx.Owner{UID: c.UID, GID: c.GID}, ModTime: c.Time, Target: c.Target, Extra: c.Extra}
	if c.Hash == "" {
		return e, nil
	}
	var err error
	if e.Data, err = files.ReadFile(path.Join(kept, c.Hash)); err != nil {
		return nil, err
	}
	if hash(e.Data) != c.Hash {
		return nil, fmt.Errorf("%s is not what was kept there", path.Join(kept, c.Hash))
	}
	return e, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Standing returns the cut-over of a node, and nil if there is none.
func Standing(files fsx.FS) (*Journal, error) {
	data, err := files.ReadFile(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var j Journal
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell what a cut-over changed: %w", err)
	}
	return &j, nil
}

// Done reports whether it went to its end.
func (j *Journal) Done() bool { return j.State == cutOver }

func (j *Journal) save(files fsx.FS) error {
	data, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return err
	}
	if _, err := files.MkdirAll(Dir, 0o700); err != nil {
		return err
	}
	_, err = files.WriteFile(journal, append(data, '\n'), fsx.How{Mode: 0o600})
	return err
}

// ErrChanged is what every ChangedError is.
var ErrChanged = errors.New("changed by others")

// Is makes it one of ErrChanged.
func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

// ChangedError names files that are not as a cut-over left them.
type ChangedError struct{ Names []string }

func (e *ChangedError) Error() string {
	if len(e.Names) == 1 {
		return e.Names[0] + " was changed since by others"
	}
	text := ""
	for i, n := range e.Names {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text + " were changed since by others"
}

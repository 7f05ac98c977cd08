package drain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Dir is where the records of drains are, one file for each, named by when it
// began.
const Dir = "/var/lib/ecsnode/drains"

// keepRecords is how many records stay.
const keepRecords = 50

// Plan is one drain: what is done of it, and the record of what happened. It is
// worked off pass by pass, by whoever reads it.
type Plan struct {
	Began    facts.Moment `json:"began"`
	BootID   string       `json:"boot_id"` // in which it was last worked on
	Instance string       `json:"instance_id,omitempty"`
	// Keys of the notices that it is, or was, for.
	For      []string     `json:"for"`
	Deadline facts.Moment `json:"deadline,omitzero"` // as last known
	Hard     bool         `json:"hard,omitempty"`

	// The container instance that is drained, as last known.
	Container facts.ContainerInstance `json:"container_instance,omitzero"`

	Tried    bool `json:"tried,omitempty"`    // we have asked for DRAINING, whatever came of it
	Asked    bool `json:"asked,omitempty"`    // and ECS took it
	Verified bool `json:"verified,omitempty"` // ECS says DRAINING
	Adopted  bool `json:"adopted,omitempty"`  // it was DRAINING before: somebody else's
	Gone     bool `json:"gone,omitempty"`     // ECS does not know the instance

	Stops     map[string]time.Time `json:"stops,omitempty"`     // tasks and containers, when they were last told to stop
	Hooks     map[string]string    `json:"hooks,omitempty"`     // by event and name, how they stand
	Beats     map[string]Beat      `json:"beats,omitempty"`     // of lifecycle hooks
	Completed map[string]string    `json:"completed,omitempty"` // lifecycle hooks, how they were completed

	EmptyAt   facts.Moment `json:"empty_at,omitzero"`   // only what leaves last was left
	DrainedAt facts.Moment `json:"drained_at,omitzero"` // nothing was left
	LetGo     bool         `json:"let_go,omitempty"`    // nothing was left, and a host that shuts down need not wait for ECS
	Missed    bool         `json:"missed,omitempty"`    // the deadline passed before
	Undoing   bool         `json:"undoing,omitempty"`   // no notice stands any longer
	EndedAt   facts.Moment `json:"ended_at,omitzero"`
	Outcome   string       `json:"outcome,omitempty"`

	Told       map[string]bool `json:"told,omitempty"` // what is noted once
	Milestones []Milestone     `json:"milestones"`
}

// maxMilestones bounds a record: what comes between is left out.
const maxMilestones = 500

// Milestone is something that happened in a drain.
type Milestone struct {
	At   time.Time     `json:"at"`
	Left time.Duration `json:"left_ns,omitempty"` // until the deadline; zero: there was none
	What string        `json:"what"`
}

// Open reports whether the drain is not over.
func (p *Plan) Open() bool { return p != nil && p.EndedAt == (facts.Moment{}) }

// Left returns the time until the deadline, and false where there is none.
func (p *Plan) Left(now facts.Moment) (time.Duration, bool) {
	if p.Deadline == (facts.Moment{}) {
		return 0, false
	}
	return p.Deadline.Left(now), true
}

func (p *Plan) note(now facts.Moment, format string, args ...any) {
	m := Milestone{At: now.Wall.UTC().Round(0), What: fmt.Sprintf(format, args...)}
	if left, bounded := p.Left(now); bounded {
		m.Left = left.Round(time.Millisecond)
	}
	if len(p.Milestones) >= maxMilestones {
		p.Milestones = slices.Delete(p.Milestones, maxMilestones/2, maxMilestones/2+1)
	}
	p.Milestones = append(p.Milestones, m)
}

// clone returns a copy that nobody changes.
func (p *Plan) clone() *Plan {
	c := *p
	c.For, c.Milestones = slices.Clone(p.For), slices.Clone(p.Milestones)
	c.Stops, c.Beats, c.Completed = maps.Clone(p.Stops), maps.Clone(p.Beats), maps.Clone(p.Completed)
	c.Told, c.Hooks = maps.Clone(p.Told), maps.Clone(p.Hooks)
	return &c
}

// mark notes the time of something about name.
func mark[T any](m *map[string]T, name string, v T) {
	if *m == nil {
		*m = map[string]T{}
	}
	(*m)[name] = v
}

func fileOf(p *Plan) string {
	return path.Join(Dir, p.Began.Wall.UTC().Format("20060102T150405.000Z")+".json")
}

// write keeps a record. On a disk that is full it takes the reserve's place.
func write(files fsx.FS, p *Plan) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write down the drain: %w", err)
	}
	put := func() error {
		if _, err := files.MkdirAll(Dir, 0o700); err != nil {
			return err
		}
		_, err := files.WriteFile(fileOf(p), append(data, '\n'), fsx.How{Mode: 0o600})
		return err
	}
	if err = put(); err != nil {
		if removed, _ := files.Remove(reserve); removed {
			err = put()
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write down the drain: %w", err)
	}
	return nil
}

// reserve holds room for a record: a drain that is nowhere written down is never
// undone.
const (
	reserve     = Dir + "/reserve"
	reserveSize = 32 << 10
)

// keepRoom makes the reserve, as long as there is room for it.
func keepRoom(files fsx.FS) error {
	if _, err := files.Stat(reserve); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err := files.MkdirAll(Dir, 0o700)
	if err == nil {
		_, err = files.WriteFile(reserve, bytes.Repeat([]byte{'.'}, reserveSize), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot keep room for the record of a drain: %w", err)
	}
	return nil
}

// Records returns the names of the records below [Dir], the newest first.
func Records(files fsx.FS) ([]string, error) {
	entries, err := files.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(b, a) })
	return names, err
}

// Load returns a record.
func Load(files fsx.FS, name string) (*Plan, error) {
	data, err := files.ReadFile(path.Join(Dir, name))
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("cannot use the record of a drain %s: %w", name, err)
	}
	return p, nil
}

// Open reports whether a drain is on record that is not over.
func Open(files fsx.FS) (bool, error) {
	p, err := loadOpen(files)
	return p != nil, err
}

// loadOpen returns the newest record whose drain is not over, or nil. A record
// that is damaged is skipped and told.
func loadOpen(files fsx.FS) (open *Plan, err error) {
	names, err := Records(files)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		p, err := Load(files, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p.Open() && open == nil {
			open = p
		}
	}
	return open, errors.Join(errs...)
}

// prune removes the oldest records.
func prune(files fsx.FS) error {
	names, err := Records(files)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names[min(keepRecords, len(names)):] {
		_, err := files.Remove(path.Join(Dir, name))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

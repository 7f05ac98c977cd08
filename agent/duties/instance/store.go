package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Files of the node.
const (
	storeFile = "/var/lib/ecsnode/instance.json"
	// assetTag holds the instance id on Nitro; other hypervisors have something
	// else there, or nothing.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html
	assetTag = "/sys/class/dmi/id/board_asset_tag"
	bootID   = "/proc/sys/kernel/random/boot_id"
)

// resaveAfter is the age at which the file is written again though nothing in
// it has changed: its times say how old its facts are at most.
const resaveAfter = time.Hour

var instanceID = pattern.New(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)

// saved is the file.
type saved struct {
	SavedAt  time.Time      `json:"saved_at"` // Instance was read then
	TagsAt   time.Time      `json:"tags_read_at,omitzero"`
	BootID   string         `json:"boot_id,omitempty"`
	Instance facts.Instance `json:"instance"`
}

// store is the last reading on disk. The zero value has none.
type store struct {
	saved
	machine machine
	problem error // why there is none, or none that can be used
}

// machine is what tells this machine from others without instance metadata.
type machine struct {
	instanceID string // "" where the firmware does not say
	bootID     string // "" if it cannot be read
}

// contradicts returns why this machine is not the instance with the given id.
func (m machine) contradicts(id string) error {
	if m.instanceID == "" || m.instanceID == id {
		return nil
	}
	return fmt.Errorf("cannot believe instance metadata: it says that this is %s, and %s says %s", id, assetTag, m.instanceID)
}

// load reads the file and looks at the machine. It is for the first pass.
func (s *store) load(files fsx.FS) {
	if tag, err := fsx.ReadTrimmed(files, assetTag); err == nil && instanceID.MatchString(tag) {
		s.machine.instanceID = tag
	}
	if id, err := fsx.ReadTrimmed(files, bootID); err == nil {
		s.machine.bootID = id
	}
	data, err := files.ReadFile(storeFile)
	if err != nil {
		s.problem = err
		return
	}
	if s.saved, err = parse(data); err != nil {
		s.problem = fmt.Errorf("cannot use %s: %w", storeFile, err)
	}
}

func parse(data []byte) (saved, error) {
	var f saved
	switch err := json.Unmarshal(data, &f); {
	case err != nil:
		return saved{}, fmt.Errorf("it is damaged: %w", err)
	case !instanceID.MatchString(f.Instance.ID) || f.Instance.Region == "" || f.Instance.Zone == "" || f.SavedAt.IsZero():
		return saved{}, errors.New("it is damaged: identity or time is missing")
	}
	return f, nil
}

// reading is what the file holds, whosever it is.
func (s *store) reading() reading {
	return reading{Instance: s.Instance, at: s.SavedAt, tagsAt: s.TagsAt, fromDisk: true}
}

// ofThisMachine is reading if the file can be shown to be this machine's: by
// the instance id in the firmware or, where that is absent, because this is
// still the boot in which it was written.
func (s *store) ofThisMachine() (r reading, whyNot string) {
	switch {
	case errors.Is(s.problem, fs.ErrNotExist):
		return reading{}, "there is no " + storeFile
	case s.problem != nil:
		return reading{}, s.problem.Error()
	case s.machine.instanceID != "" && s.machine.instanceID != s.Instance.ID:
		return reading{}, fmt.Sprintf("%s is of %s, and this is %s", storeFile, s.Instance.ID, s.machine.instanceID)
	case s.machine.instanceID == "" && (s.BootID == "" || s.BootID != s.machine.bootID):
		return reading{}, fmt.Sprintf("%s is of another boot, and %s does not say which instance this is", storeFile, assetTag)
	}
	return s.reading(), ""
}

func (s *store) warnings() []string {
	if s.problem == nil || errors.Is(s.problem, fs.ErrNotExist) {
		return nil
	}
	return []string{s.problem.Error()}
}

// save makes the file hold r, read at now, and writes only if that is news or
// the file is old; one that is not there is as old as can be.
func (s *store) save(files fsx.FS, r reading, now time.Time) error {
	age := now.Sub(s.SavedAt)
	if s.BootID == s.machine.bootID && s.Instance.Equal(r.Instance) && age >= 0 && age < resaveAfter {
		return nil
	}
	f := saved{SavedAt: now.UTC().Round(0), TagsAt: r.tagsAt.UTC().Round(0), BootID: s.machine.bootID, Instance: r.Instance}
	data, err := json.MarshalIndent(f, "", "  ")
	if err == nil {
		_, err = files.MkdirAll(path.Dir(storeFile), 0o700)
	}
	if err == nil {
		_, err = files.WriteFile(storeFile, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot save the facts for a boot without instance metadata: %w", err)
	}
	s.saved, s.problem = f, nil
	return nil
}

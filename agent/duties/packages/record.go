package packages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

const (
	// recordFile is below /run: a new boot looks for newer versions anew.
	recordFile = "/run/ecsnode/packages.json"
	// removeFile says to dnf what it may remove.
	removeFile = "/run/ecsnode/packages-remove.json"
	// madeFile is which packages were installed or upgraded here, over reboots.
	madeFile = "/var/lib/ecsnode/packages.json"
)

// record is what this boot knows.
type record struct {
	Running *transaction `json:"running,omitempty"`
	// Looked is what was asked for when newer versions were last looked for, and
	// Before what was installed then. What was Owed was left out of it.
	Looked []string          `json:"looked,omitempty"`
	Before map[string]string `json:"before,omitempty"`
	Owed   []string          `json:"owed,omitempty"`
	// Failed are packages that dnf could do nothing about.
	Failed map[string]failure `json:"failed,omitempty"`
}

// transaction is one that was started and not judged yet.
type transaction struct {
	What     string            `json:"what"`
	Items    map[string]asked  `json:"items,omitempty"` // by package
	Asked    []string          `json:"asked,omitempty"`
	Looks    bool              `json:"looks,omitempty"` // for newer versions
	Excluded []string          `json:"excluded,omitempty"`
	Before   map[string]string `json:"before"` // versions by package
	At       time.Time         `json:"at"`
}

// asked is what a transaction is to do about a package.
type asked struct {
	Wanted Wanted `json:"wanted"`
	Spec   string `json:"spec"` // as dnf takes it
}

// What a transaction does.
const (
	installs = "install or upgrade"
	removes  = "remove"
	mends    = "mend"
)

// failure is why dnf could do nothing about a package that was in one version,
// "" for none, and wanted in another.
type failure struct {
	Wanted Wanted `json:"wanted"`
	Had    string `json:"had,omitempty"`
	Why    string `json:"why"`
	// Outside: dnf has not said that it is because of the package.
	Outside bool      `json:"outside,omitempty"`
	At      time.Time `json:"at"`
}

// failure returns why dnf could do nothing about a package, if it still stands
// as it did and is wanted so.
func (r record) failure(name string, cfg Config, now installed) (failure, bool) {
	f, is := r.Failed[name]
	return f, is && f.Wanted == cfg.Ensure[name] && f.Had == now.versions()[name]
}

// readRecord returns the zero record for one that is not there or makes no
// sense: what is to be done is then done again, which does no harm.
func readRecord(files fsx.FS) (r record, err error) {
	data, err := files.ReadFile(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}, err
	}
	return r, nil
}

func (r record) write(files fsx.FS) error { return write(files, recordFile, r, true) }

func write(files fsx.FS, name string, what any, volatile bool) error {
	data, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if _, err := files.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	_, err = files.WriteFile(name, append(data, '\n'), fsx.How{Mode: 0o600, Volatile: volatile})
	return err
}

// readMade returns the packages that were installed or upgraded here.
func readMade(files fsx.FS) (made []string, err error) {
	data, err := files.ReadFile(madeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || json.Unmarshal(data, &made) != nil {
		return nil, err // what makes no sense is only not reported
	}
	return made, nil
}

// keepMade adds names to those that were installed or upgraded here, and drops
// those that are gone.
func keepMade(files fsx.FS, made, names []string, now installed) error {
	all := slices.Concat(made, names)
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(name string) bool { return len(now[name]) == 0 })
	if slices.Equal(all, made) {
		return nil
	}
	return write(files, madeFile, all, false)
}

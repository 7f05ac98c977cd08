package units

import (
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

const ledgerFile = "/var/lib/ecsnode/units.json"

// ledger is what each unit's present run was started with.
type ledger struct {
	Units     map[string]run `json:"units"`
	DockerJob time.Time      `json:"docker_job_at,omitzero"` // the latest start or restart of Docker by us
}

// run is one invocation of a unit.
type run struct {
	Invocation string            `json:"invocation"`
	With       map[string]string `json:"with"` // value of each part; "": something older than is wanted
}

// readLedger returns an empty ledger if there is none. A damaged one is an
// error beside an empty ledger.
func readLedger(files fsx.FS) (ledger, error) {
	l := ledger{Units: map[string]run{}}
	data, err := files.ReadFile(ledgerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		if err = json.Unmarshal(data, &l); err != nil {
			err = fmt.Errorf("cannot use %s: %w", ledgerFile, err)
			l = ledger{}
		}
	}
	if l.Units == nil {
		l.Units = map[string]run{}
	}
	return l, err
}

func (l ledger) write(files fsx.FS) (changed bool, err error) {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return false, fmt.Errorf("cannot write %s: %w", ledgerFile, err)
	}
	if _, err := files.MkdirAll(path.Dir(ledgerFile), 0o700); err != nil {
		return false, err
	}
	return files.WriteFile(ledgerFile, append(data, '\n'), fsx.How{Mode: 0o600})
}

// observe learns what a run that somebody else began runs with: what was on the
// node before it started. A part that is known stays as it is.
func (l ledger) observe(u facts.Unit, wanted map[string]facts.Input) {
	if !u.Running() || u.Invocation == "" {
		return
	}
	r := l.Units[u.Name]
	if r.Invocation != u.Invocation || r.With == nil {
		r = run{u.Invocation, map[string]string{}}
	}
	for part, in := range wanted {
		if _, known := r.With[part]; known {
			continue
		}
		r.With[part] = ""
		if !in.At.After(u.Started) {
			r.With[part] = in.Value
		}
	}
	l.Units[u.Name] = r
}

// started notes what a run that we began runs with.
func (l ledger) started(u facts.Unit, wanted map[string]facts.Input) {
	r := run{u.Invocation, map[string]string{}}
	for part, in := range wanted {
		r.With[part] = in.Value
	}
	l.Units[u.Name] = r
}

// stale says which parts of what is wanted a running unit does not run with,
// or "".
func (l ledger) stale(u facts.Unit, wanted map[string]facts.Input) string {
	r, ok := l.Units[u.Name]
	if !u.Running() || !ok {
		return ""
	}
	var parts []string
	for _, part := range slices.Sorted(maps.Keys(wanted)) {
		if have, want := r.With[part], wanted[part].Value; have != want {
			parts = append(parts, difference(part, have, want))
		}
	}
	return strings.Join(parts, ", ")
}

// longestVersion tells a version, which is shown, from a hash, which is not.
const longestVersion = 31

func difference(part, have, want string) string {
	switch {
	case len(want) > longestVersion || want == "":
		return part + " has changed"
	case have == "" || len(have) > longestVersion:
		return part + " is now " + want
	}
	return fmt.Sprintf("%s %s -> %s", part, have, want)
}

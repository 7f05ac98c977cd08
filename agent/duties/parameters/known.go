package parameters

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
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// known is what was read, and when.
type known map[facts.ParameterRef]entry

type entry struct {
	facts.ParameterAnswer
	at time.Time // it was read then; zero: it never was
}

// forget drops what no template asks for any more.
func (k known) forget(asked facts.References) {
	maps.DeleteFunc(k, func(ref facts.ParameterRef, _ entry) bool { return !slices.Contains(asked, ref) })
}

// due is what of asked is to be read at now.
func (k known) due(asked facts.References, refresh when.Schedule, now time.Time) (due []facts.ParameterRef) {
	for _, ref := range asked {
		e := k[ref]
		if e.at.IsZero() || e.at.After(now) || !now.Before(refresh.Next(e.at)) {
			due = append(due, ref)
		}
	}
	return due
}

// learn takes in what came of asking for ref. What cannot be read leaves what was
// read before in place, and is an error.
func (k known) learn(ref facts.ParameterRef, r result, now time.Time) error {
	e := k[ref]
	switch {
	case r.err == nil:
		k[ref] = entry{facts.ParameterAnswer{Presence: facts.Present, Values: r.values}, now}
		return nil
	case errors.Is(r.err, facts.ErrAbsent):
		k[ref] = entry{facts.ParameterAnswer{Presence: facts.Absent, Why: r.err.Error()}, now}
		return nil // for the template to say
	case e.at.IsZero():
		k[ref] = entry{ParameterAnswer: facts.ParameterAnswer{Presence: facts.Unavailable, Why: r.err.Error()}}
		return r.err
	}
	return fmt.Errorf("%w; what was read at %s stays in use", r.err, e.at.Format(time.RFC3339))
}

func (k known) parameters() facts.Parameters {
	all := make(facts.Parameters, len(k))
	for ref, e := range k {
		all[ref] = e.ParameterAnswer
	}
	return all
}

func (k known) summary(asked facts.References) string {
	if len(asked) == 0 {
		return "no template asks for a parameter"
	}
	var oldest time.Time
	there, absent := 0, 0
	for _, ref := range asked {
		e := k[ref]
		switch e.Presence {
		case facts.Present:
			there++
		case facts.Absent:
			absent++
		}
		if !e.at.IsZero() && (oldest.IsZero() || e.at.Before(oldest)) {
			oldest = e.at
		}
	}
	line := fmt.Sprintf("%d of %d that templates ask for", there, len(asked))
	if absent > 0 {
		line += fmt.Sprintf(", %d absent", absent)
	}
	if !oldest.IsZero() {
		line += ", read since " + oldest.Format(time.RFC3339)
	}
	return line
}

// stateFile has values of secrets, as the files that they are rendered into do.
const stateFile = "/var/lib/ecsnode/parameters.json"

type saved struct {
	InstanceID string       `json:"instance_id"`
	Parameters []savedEntry `json:"parameters"`
}

type savedEntry struct {
	Ref    facts.ParameterRef               `json:"ref"`
	Absent string                           `json:"absent,omitempty"` // why
	Values map[string]facts.StoredParameter `json:"values,omitempty"`
	At     time.Time                        `json:"at"`
}

// load returns what was kept of this instance. What cannot be used is read anew,
// which the warning says.
func load(files fsx.FS, id string) (k known, data []byte, warning string) {
	k = known{}
	data, err := files.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil, ""
	}
	if err != nil {
		return k, nil, err.Error()
	}
	var s saved
	if json.Unmarshal(data, &s) != nil { // its error could show a value
		return k, nil, stateFile + " makes no sense and is not used"
	}
	if s.InstanceID != id {
		return k, nil, "" // of the image, or of the instance it was made from
	}
	for _, e := range s.Parameters {
		answer := facts.ParameterAnswer{Presence: facts.Present, Values: map[string]facts.Parameter{}}
		for name, p := range e.Values {
			answer.Values[name] = facts.Parameter(p)
		}
		if e.Absent != "" {
			answer = facts.ParameterAnswer{Presence: facts.Absent, Why: e.Absent}
		}
		if e.At.IsZero() || e.Absent == "" && e.Ref.Kind != facts.SSMTree && len(e.Values) == 0 {
			return known{}, nil, stateFile + " makes no sense and is not used"
		}
		k[e.Ref] = entry{answer, e.At}
	}
	return k, data, ""
}

// save writes what is known, unless the file has it already, and returns what the
// file has.
func (k known) save(files fsx.FS, id string, kept []byte) ([]byte, error) {
	s := saved{InstanceID: id, Parameters: []savedEntry{}}
	for ref, e := range k {
		if e.at.IsZero() {
			continue
		}
		one := savedEntry{Ref: ref, At: e.at}
		if e.Presence == facts.Absent {
			one.Absent = cmp.Or(e.Why, "absent")
		} else {
			one.Values = make(map[string]facts.StoredParameter, len(e.Values))
			for name, p := range e.Values {
				one.Values[name] = facts.StoredParameter(p)
			}
		}
		s.Parameters = append(s.Parameters, one)
	}
	slices.SortFunc(s.Parameters, func(a, b savedEntry) int { return a.Ref.Compare(b.Ref) })
	data, err := json.Marshal(s)
	if err != nil {
		return kept, fmt.Errorf("cannot write %s: %w", stateFile, err)
	}
	if data = append(data, '\n'); bytes.Equal(data, kept) || len(s.Parameters) == 0 && kept == nil {
		return kept, nil
	}
	if _, err := files.MkdirAll(path.Dir(stateFile), 0o700); err != nil {
		return kept, err
	}
	if _, err := files.WriteFile(stateFile, data, fsx.How{Mode: 0o600}); err != nil {
		return kept, err
	}
	return data, nil
}

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
	at       time.Time // it was read then; zero: it never was
	asked    time.Time // a template asked for it then
	tried    time.Time // reading it was tried then, in vain
	failures int       // since it was read
	err      error     // of the latest
}

const (
	// keepUnasked is how long what no template asks for any more is kept: one
	// that cannot be rendered for a while asks for nothing.
	keepUnasked = 3 * 24 * time.Hour
	maxKept     = 1000
	retryFirst  = 2 * time.Second
)

// forget drops what no template has asked for in a long time.
func (k known) forget(asked facts.References, now time.Time) {
	for _, ref := range asked {
		e := k[ref]
		e.asked = now
		k[ref] = e
	}
	old := slices.SortedFunc(maps.Keys(k), func(a, b facts.ParameterRef) int {
		return cmp.Or(k[b].asked.Compare(k[a].asked), a.Compare(b))
	})
	for i, ref := range old {
		if gone := now.Sub(k[ref].asked); gone > keepUnasked || gone > 0 && i >= maxKept {
			delete(k, ref)
		}
	}
}

// next is when ref is to be read again. What fails is tried again ever less often,
// at a time of its own, so that neither a fleet nor what stands in one batch
// with it asks at the same time.
func (k known) next(id string, ref facts.ParameterRef, refresh time.Duration, now time.Time) time.Time {
	e := k[ref]
	switch {
	case e.failures > 0 && !e.tried.After(now):
		pause := min(retryFirst<<min(e.failures-1, 20), refresh)
		return e.tried.Add(pause/2 + when.Offset(fmt.Sprintf("%s/%s/%d", id, ref, e.failures), pause/2+1))
	case e.at.IsZero() || e.at.After(now):
		return now
	}
	return when.Splay(when.Every(refresh), id+"/parameters", refresh).Next(e.at)
}

// due is what of asked is to be read at now, what failed least before the rest,
// and how long it is until more is; 0: nothing is asked for.
func (k known) due(id string, asked facts.References, refresh time.Duration, now time.Time) (due []facts.ParameterRef, rest time.Duration) {
	for _, ref := range asked {
		left := k.next(id, ref, refresh, now).Sub(now)
		if left <= 0 {
			due = append(due, ref)
		} else if rest == 0 || left < rest {
			rest = left
		}
	}
	slices.SortStableFunc(due, func(a, b facts.ParameterRef) int {
		return cmp.Or(cmp.Compare(k[a].failures, k[b].failures), k[a].tried.Compare(k[b].tried))
	})
	return due, rest
}

// learn takes in what came of asking for ref. What cannot be read leaves what was
// read before in place.
func (k known) learn(ref facts.ParameterRef, r result, now time.Time) {
	e := k[ref]
	switch {
	case r.err == nil:
		k[ref] = entry{ParameterAnswer: facts.ParameterAnswer{Presence: facts.Present, Values: r.values}, at: now, asked: e.asked}
	case errors.Is(r.err, facts.ErrAbsent): // for the template to say
		k[ref] = entry{ParameterAnswer: facts.ParameterAnswer{Presence: facts.Absent, Why: r.err.Error()}, at: now, asked: e.asked}
	default:
		e.tried, e.failures, e.err = now, e.failures+1, r.err
		if e.at.IsZero() {
			e.ParameterAnswer = facts.ParameterAnswer{Presence: facts.Unavailable, Why: r.err.Error()}
		}
		k[ref] = e
	}
}

// failing is why what templates ask for cannot be read, some of it if it is much.
func (k known) failing(asked facts.References) (errs []error) {
	const most = 8
	more := 0
	for _, ref := range asked {
		e := k[ref]
		switch {
		case e.failures == 0:
		case len(errs) >= most:
			more++
		case e.at.IsZero():
			errs = append(errs, e.err)
		default:
			errs = append(errs, fmt.Errorf("%w; what was read at %s stays in use", e.err, e.at.Format(time.RFC3339)))
		}
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return errs
}

func (k known) parameters() facts.Parameters {
	all := make(facts.Parameters, len(k))
	for ref, e := range k {
		if !e.at.IsZero() || e.failures > 0 {
			all[ref] = e.ParameterAnswer
		}
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
	Asked  time.Time                        `json:"asked,omitzero"` // in vain since
}

// load returns what was kept of this instance. What cannot be used is read anew,
// which the warning says.
func load(files fsx.FS, id string, now time.Time) (k known, data []byte, warning string) {
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
		asked := e.Asked
		if asked.IsZero() {
			asked = now
		}
		k[e.Ref] = entry{ParameterAnswer: answer, at: e.At, asked: asked}
	}
	return k, data, ""
}

// save writes what is known, unless the file has it already, and returns what the
// file has.
func (k known) save(files fsx.FS, id string, kept []byte, now time.Time) ([]byte, error) {
	s := saved{InstanceID: id, Parameters: []savedEntry{}}
	for ref, e := range k {
		if e.at.IsZero() {
			continue
		}
		one := savedEntry{Ref: ref, At: e.at}
		if e.asked.Before(now) {
			one.Asked = e.asked
		}
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

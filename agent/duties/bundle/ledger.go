package bundle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Ledger is what a node keeps about bundles. Which one is in effect is not in it:
// that is where the link [bundle.Active] leads. What is begun is written down
// first and the link is switched then, so that the next pass finds what a process
// that was killed has begun.
const Ledger = "/var/lib/ecsnode/bundle.json"

type ledger struct {
	Seen    map[string]uint64        `json:"seen,omitempty"`    // highest serial taken, by channel
	SeenAs  map[string]bundle.Digest `json:"seen_as,omitempty"` // the document of that serial
	Now     begun                    `json:"now,omitzero"`
	Was     begun                    `json:"was,omitzero"`   // before Now, which the link may not have come to
	Good    bundle.Digest            `json:"good,omitempty"` // that was watched to its end; "": the baked configuration
	Watch   *watch                   `json:"watch,omitempty"`
	Bad     map[bundle.Digest]mark   `json:"bad,omitempty"`
	Refused *refusal                 `json:"refused,omitempty"` // what is wanted and was not let into effect
	Had     []bundle.Digest          `json:"had,omitempty"`     // latest first
	Told    *told                    `json:"told,omitempty"`
	Well    []string                 `json:"well,omitempty"` // duties that were, when no bundle was being watched
}

// begun is what was last put into effect.
type begun struct {
	Digest bundle.Digest `json:"digest,omitempty"`
	Since  time.Time     `json:"since"`
	Why    string        `json:"why"`
}

// watch is a bundle on probation.
type watch struct {
	Digest  bundle.Digest `json:"digest"`
	Since   time.Time     `json:"since"`
	Left    time.Duration `json:"left_ns"` // that must pass with all well
	Attempt int           `json:"attempt,omitempty"`
	Pin     time.Time     `json:"pin,omitzero"` // of the pin that brought it
	// How the duties stood when it came into effect; of the others nobody knows.
	Well     []string `json:"well"`
	Presumed []string `json:"presumed_well,omitempty"` // under the image alone: see Duty.Vital
	Ill      []string `json:"ill,omitempty"`           // that is not the bundle's doing
}

// mark says that a bundle was bad for this node.
type mark struct {
	Attempt int       `json:"attempt,omitempty"`
	Pin     time.Time `json:"pin,omitzero"` // it was bad under: another one tries it again
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
}

type refusal struct {
	Digest bundle.Digest `json:"digest"`
	Why    string        `json:"why"`
	At     time.Time     `json:"at"`
}

// told is what ECS was told, of which container instance.
type told struct {
	On     string `json:"container_instance"`
	Report string `json:"report"`
}

func load(files fsx.FS) (*ledger, error) {
	data, err := files.ReadFile(Ledger)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = []byte("{}"), nil
	}
	var l *ledger
	if err == nil {
		l, err = parse(data)
	}
	if err != nil { // an empty one in its place would take old channels and bad bundles
		return nil, fmt.Errorf("cannot read what is known of bundles from %s, nothing is put into effect before it can be: %w", Ledger, err)
	}
	return l, nil
}

func parse(data []byte) (*ledger, error) {
	l := &ledger{}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, err
	}
	if l.Seen == nil {
		l.Seen = map[string]uint64{}
	}
	if l.SeenAs == nil {
		l.SeenAs = map[string]bundle.Digest{}
	}
	if l.Bad == nil {
		l.Bad = map[bundle.Digest]mark{}
	}
	return l, nil
}

func (l *ledger) save(files fsx.FS) error {
	data, err := json.MarshalIndent(l, "", " ")
	if err == nil {
		_, err = files.MkdirAll(path.Dir(Ledger), 0o700)
	}
	if err == nil {
		_, err = files.WriteFile(Ledger, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot keep what is known of bundles: %w", err)
	}
	return nil
}

// active is where the link leads, "" if there is none.
func active(files fsx.FS) (bundle.Digest, error) {
	target, err := files.ReadLink(bundle.Active)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, fsx.ErrNotRegular) {
		return "", fmt.Errorf("cannot tell which bundle is in effect: %w: remove it", err)
	}
	return bundle.Digest(target), err
}

// turn puts a bundle into effect, or with "" the baked configuration.
func turn(files fsx.FS, to bundle.Digest) error {
	if to == "" {
		_, err := files.Remove(bundle.Active)
		return err
	}
	_, err := files.Symlink(bundle.Active, string(to))
	return err
}

// condemn notes that a bundle was bad and which takes its place.
func (l *ledger) condemn(d bundle.Digest, why string, now time.Time) {
	m := mark{Why: why, At: now.Round(0)}
	if l.Watch != nil && l.Watch.Digest == d {
		m.Attempt, m.Pin = l.Watch.Attempt, l.Watch.Pin
	}
	l.Bad[d] = m
	if l.Good == d {
		l.Good = ""
	}
	l.Watch = nil
	l.begin(d, begun{l.Good, now.Round(0), fmt.Sprintf("the node went back from %s: %s", d.Short(), why)})
}

// begin notes what is about to come into effect after what is linked.
func (l *ledger) begin(linked bundle.Digest, b begun) {
	if l.Now.Digest == linked {
		l.Was = l.Now
	}
	l.Now = b
}

// bad lists what was bad and what is refused, latest first.
func (l *ledger) bad() (all []facts.BadBundle) {
	for _, d := range slices.Sorted(maps.Keys(l.Bad)) {
		all = append(all, facts.BadBundle{Digest: string(d), Why: l.Bad[d].Why, At: l.Bad[d].At})
	}
	if r := l.Refused; r != nil {
		all = append(all, facts.BadBundle{Digest: string(r.Digest), Why: r.Why, At: r.At, Refused: true})
	}
	slices.SortStableFunc(all, func(a, b facts.BadBundle) int { return cmp.Compare(b.At.UnixNano(), a.At.UnixNano()) })
	return all
}

// Describe returns what is on disk: how a node stands where nobody makes passes.
func Describe(files fsx.FS) (facts.Bundle, error) {
	l, err := load(files)
	if err != nil {
		return facts.Bundle{}, err
	}
	linked, err := active(files)
	return l.describe(linked, time.Now()), err
}

func (l *ledger) describe(linked bundle.Digest, now time.Time) facts.Bundle {
	b := facts.Bundle{Digest: string(linked), Good: string(l.Good), Bad: l.bad()}
	for _, is := range []begun{l.Was, l.Now} {
		if is.Digest == linked {
			b.Since, b.Why = is.Since, is.Why
		}
	}
	if l.Watch != nil && l.Watch.Digest == linked {
		const step = 10 * time.Second // so that it does not change with every pass
		b.Watched = now.Round(0).Add(l.Watch.Left).Truncate(step).Add(step)
	}
	return b
}

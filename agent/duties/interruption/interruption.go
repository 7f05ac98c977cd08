// Package interruption is the duty that makes one fact of all notices: whether
// the node is to be drained, and by when.
package interruption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// File keeps when standing notices were first seen, over restarts and reboots.
const File = "/var/lib/ecsnode/notices.json"

// Clock tells the time by both clocks.
type Clock interface{ Now() facts.Moment }

// Source is what one source says.
type Source struct {
	Name    string
	Notices cell.Reader[[]facts.Notice] // not set: it has not answered yet
}

// Duty merges what the sources say.
type Duty struct {
	FS           fsx.FS
	Clock        Clock
	Sources      []Source
	Interruption *cell.Cell[facts.Interruption]

	read bool
	kept []facts.Standing // as on disk
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "interruption" }

// Reconcile implements duty.Duty. The fact is published before it is written
// down: those who act on it have no time to lose.
func (d *Duty) Reconcile(context.Context) (duty.Outcome, error) {
	var errs []error
	if !d.read {
		kept, err := readKept(d.FS)
		d.kept, d.read = kept, true
		errs = append(errs, err)
	}
	now := d.Clock.Now()
	answers := make([]answer, len(d.Sources))
	for i, s := range d.Sources {
		notices, ok := s.Notices.Get()
		answers[i] = answer{s.Name, notices, ok}
	}
	i, again := merge(d.kept, answers, now)
	d.Interruption.Set(i)
	out := duty.Outcome{Summary: summary(i), Again: again}
	if !slices.Equal(i.Standing, d.kept) {
		errs = append(errs, d.keep(i.Standing))
	}
	return out, errors.Join(errs...)
}

func (d *Duty) keep(standing []facts.Standing) error {
	data, err := json.Marshal(standing)
	if err == nil {
		_, err = d.FS.MkdirAll(path.Dir(File), 0o755)
	}
	if err == nil {
		_, err = d.FS.WriteFile(File, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot keep when notices were seen: %w", err)
	}
	d.kept = standing
	return nil
}

// readKept returns none beside an error: they are then seen anew.
func readKept(files fsx.FS) (kept []facts.Standing, err error) {
	data, err := files.ReadFile(File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read when notices were first seen from %s, they count as new: %w", File, err)
	}
	return kept, nil
}

// answer is what a source says, if it has said anything yet.
type answer struct {
	source   string
	notices  []facts.Notice
	answered bool
}

// merge returns what the notices come to and how soon that may change by itself;
// zero: it will not. A source that has not answered since the agent started
// stands by what it said before.
func merge(kept []facts.Standing, answers []answer, now facts.Moment) (i facts.Interruption, again time.Duration) {
	for _, a := range answers {
		if !a.answered {
			i.Silent = append(i.Silent, a.source)
			for _, k := range kept {
				if k.Source == a.source {
					i.Standing = append(i.Standing, k)
				}
			}
			continue
		}
		for _, n := range a.notices {
			i.Standing = append(i.Standing, stands(n, kept, now))
		}
	}
	slices.SortStableFunc(i.Standing, func(a, b facts.Standing) int { return a.Seen.Wall.Compare(b.Seen.Wall) })
	soon := func(d time.Duration) {
		if d > 0 && (again == 0 || d < again) {
			again = d
		}
	}
	for _, s := range i.Standing {
		if !s.Drain {
			continue
		}
		if !s.Start.IsZero() {
			if wait := s.Seen.At(s.Start).Left(now); wait > 0 {
				soon(wait)
				continue
			}
		}
		if s.Lapses > 0 {
			left := s.Seen.Add(s.Lapses).Left(now)
			if left <= 0 {
				continue
			}
			soon(left)
		}
		i.Drain = true
		bound(&i, s)
	}
	return i, again
}

// Of returns what a notice that comes now would come to once its drain begins,
// and how long that is from now.
func Of(n facts.Notice, now facts.Moment) (i facts.Interruption, begins time.Duration) {
	answers := []answer{{n.Source, []facts.Notice{n}, true}}
	i, again := merge(nil, answers, now)
	if n.Drain && !i.Drain {
		begins = again
		i, _ = merge(i.Standing, answers, now.Add(begins))
	}
	return i, begins
}

// grace is what tasks are given where a notice is seen after its time.
const grace = 30 * time.Second

// stands returns a notice with when it was first seen.
func stands(n facts.Notice, kept []facts.Standing, now facts.Moment) facts.Standing {
	s := facts.Standing{Notice: n, Seen: now}
	s.Seen.Wall = s.Seen.Wall.UTC().Round(0)
	for _, k := range kept {
		if k.Key() == n.Key() {
			s.Seen = k.Seen
		}
	}
	switch {
	case !n.Drain:
	case !n.By.IsZero():
		s.Until = s.Seen.At(n.By)
		if s.Until.Left(s.Seen) <= 0 { // seen late: what was to happen may still come
			s.Until = s.Seen.Add(grace)
		}
	case n.Cap > 0 && !n.Start.IsZero():
		s.Until = s.Seen.At(n.Start).Add(n.Cap)
	case n.Cap > 0:
		s.Until = s.Seen.Add(n.Cap)
	}
	return s
}

// bound takes the deadline of s if it counts for more: any hard one before any
// soft one, then the earlier.
func bound(i *facts.Interruption, s facts.Standing) {
	if s.Until == (facts.Moment{}) {
		return
	}
	if forced := s.Hard || s.Force; forced && (i.StopBy == (facts.Moment{}) || s.Until.Wall.Before(i.StopBy.Wall)) {
		i.StopBy = s.Until
	}
	none := i.Deadline == (facts.Moment{})
	if none || s.Hard && !i.Hard || s.Hard == i.Hard && s.Until.Wall.Before(i.Deadline.Wall) {
		i.Deadline, i.Hard = s.Until, s.Hard
	}
}

func summary(i facts.Interruption) string {
	silent := ""
	if len(i.Silent) > 0 {
		silent = "; no answer yet from " + strings.Join(i.Silent, ", ")
	}
	return standing(i) + silent
}

func standing(i facts.Interruption) string {
	if len(i.Standing) == 0 {
		return "no notice"
	}
	var parts []string
	for _, s := range i.Standing {
		parts = append(parts, strings.TrimSpace(s.Source+" "+s.What))
	}
	line := strings.Join(parts, ", ")
	switch {
	case !i.Drain:
		return line + ": no drain yet"
	case i.Deadline == (facts.Moment{}):
		return line + ": drain, without a deadline"
	}
	kind := "soft"
	if i.Hard {
		kind = "hard"
	}
	return fmt.Sprintf("%s: drain until %s UTC, a %s deadline", line, i.Deadline.Wall.UTC().Format(time.TimeOnly), kind)
}

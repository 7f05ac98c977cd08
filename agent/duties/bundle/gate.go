package bundle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
)

const (
	// condemnAfter is how long a duty must fail.
	condemnAfter = 30 * time.Second
	// condemnNew is the same for one of which only the image tells that it is well
	// without the bundle: a node that starts takes its time.
	condemnNew = 5 * time.Minute
	gatePace   = 5 * time.Second // while a bundle is watched
	savePace   = time.Minute     // at which the time that has passed well is written down
)

// verdict is how a watched bundle does.
type verdict struct {
	bad  string // why it is, ""
	well bool   // nothing keeps this time from counting
}

// spell is for how long a duty fails. What is tried again and again is well in
// between, as Docker that dies at each start: such time takes half of itself away.
type spell struct {
	long  time.Duration
	last  time.Time // it was looked at
	fails bool      // then
}

// at is the spell as of now, of a duty that is in its state since a while.
func (s spell) at(now, since time.Time, fails bool) spell {
	if !s.last.IsZero() {
		turned := s.last
		if since.After(turned) {
			turned = since
		}
		// How long it went on failing, if nobody looked, is not known.
		unseen := turned.Sub(s.last)
		s = s.and(unseen, s.fails && unseen <= 2*gatePace).and(now.Sub(turned), fails)
	}
	s.last, s.fails = now, fails
	return s
}

func (s spell) and(d time.Duration, fails bool) spell {
	if fails {
		s.long += d
	} else {
		s.long = max(s.long-d/2, 0)
	}
	return s
}

// judge looks at the duties that were well when the bundle came into effect, or
// have been since. failing is how long each has failed for a reason of the
// node's own, which judge keeps. What is outside, or missing, or has not made a
// pass yet says nothing about the bundle: such time does not count.
//
// Nor does time in which a duty fails of which nobody knows how it was before, as
// on a node that has just been launched. It condemns nothing: the image alone may
// do no better, and may lack what makes the node one of its cluster. But a bundle
// under which it never became well is not said to be good.
func (w *watch) judge(records []duty.Record, failing map[string]spell, now time.Time) verdict {
	v := verdict{well: true}
	var bad []string
	for _, r := range records {
		since := r.LastOK.After(w.Since)
		if slices.Contains(w.Ill, r.Name) && !since {
			continue
		}
		if local := r.State == duty.Stuck || r.State == duty.Failing && !r.Outside; !local {
			failing[r.Name] = failing[r.Name].at(now, r.Since, false)
			v.well = v.well && (r.State == duty.OK || r.State == duty.Held)
			continue
		}
		v.well = false
		f := failing[r.Name].at(now, r.Since, true)
		failing[r.Name] = f
		patience := condemnAfter
		switch {
		case since || slices.Contains(w.Well, r.Name):
		case slices.Contains(w.Presumed, r.Name):
			patience = condemnNew
		default:
			continue
		}
		if f.long >= patience {
			bad = append(bad, fmt.Sprintf("%s %s: %s", r.Name, r.State, oneLine(r.Err)))
		}
	}
	v.bad = strings.Join(bad, "; ")
	return v
}

const longestReason = 300

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > longestReason {
		return string(r[:longestReason]) + "…"
	}
	return text
}

// gate judges the watched bundle, and reports whether the ledger has changed so
// that it must be written.
func (p *pass) gate() (condemned string, changed bool) {
	w := p.l.Watch
	if w == nil {
		return "", false
	}
	elapsed := time.Duration(0)
	if !p.judged.IsZero() {
		elapsed = min(p.now.Sub(p.judged), 2*gatePace)
	}
	p.Duty.judged = p.now
	drains, known := p.Drains.Get()
	if drains || !known {
		// What is being stopped says nothing about the bundle.
		p.Duty.failing = nil
		return "", false
	}
	if p.failing == nil {
		p.Duty.failing = map[string]spell{}
	}
	v := w.judge(p.Records(p.ctx), p.failing, p.now)
	if v.bad != "" {
		return v.bad, true
	}
	if !v.well {
		return "", false
	}
	p.Duty.spent += elapsed
	if p.spent < savePace && p.spent < w.Left {
		return "", false
	}
	w.Left -= p.spent
	p.Duty.spent = 0
	if w.Left <= 0 {
		p.l.Good, p.l.Watch = w.Digest, nil
		p.out.Changed = true
		p.remember()
	}
	return "", true
}

// remember keeps which duties are well while no bundle is being watched. It is
// what the next one is judged by where it comes into effect in a process that has
// made no other pass yet, as at a boot. What has made none stands as it did.
func (p *pass) remember() {
	if p.l.Watch != nil {
		return
	}
	var well []string
	for _, r := range p.Records(p.ctx) {
		if r.State == duty.OK || r.Passes == 0 && slices.Contains(p.l.Well, r.Name) {
			well = append(well, r.Name)
		}
	}
	if len(well) > 0 && !slices.Equal(well, p.l.Well) {
		p.l.Well, p.unsaved = well, true
	}
}

// begin sorts the duties by how they stand before a bundle comes into effect. One
// that takes the place of a bundle that is being watched is judged by what was
// well before that one.
func (p *pass) begin(w *watch) {
	before, watched := &watch{Well: p.l.Well}, p.l.Watch != nil
	if watched {
		before = p.l.Watch
	}
	w.Well = []string{}
	for _, r := range p.Records(p.ctx) {
		in := func(names []string) bool { return (watched || r.Passes == 0) && slices.Contains(names, r.Name) }
		switch {
		case r.State == duty.OK || in(before.Well):
			w.Well = append(w.Well, r.Name)
		case in(before.Presumed), before.Well == nil && r.Passes == 0 && slices.Contains(p.Vital, r.Name):
			w.Presumed = append(w.Presumed, r.Name)
		case r.Passes > 0 || in(before.Ill) || before.Well != nil && !watched:
			w.Ill = append(w.Ill, r.Name)
		}
	}
}

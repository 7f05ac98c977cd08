package bundle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
)

const (
	// condemnAfter is how long a duty must fail without a break.
	condemnAfter = 30 * time.Second
	gatePace     = 5 * time.Second // while a bundle is watched
	savePace     = time.Minute     // at which the time that has passed well is written down
)

// verdict is how a watched bundle does.
type verdict struct {
	bad  string // why it is, ""
	well bool   // nothing keeps this time from counting
}

// judge looks at the duties that were well when the bundle came into effect, or
// have been since. failing is since when each has failed for a reason of the
// node's own, which judge keeps. What is outside, or missing, or has not made a
// pass yet says nothing about the bundle: such time does not count.
func (w *watch) judge(records []duty.Record, failing map[string]time.Time, now time.Time) verdict {
	v := verdict{well: true}
	var bad []string
	for _, r := range records {
		if !slices.Contains(w.Well, r.Name) && !r.LastOK.After(w.Since) {
			continue
		}
		local := r.State == duty.Stuck || r.State == duty.Failing && !r.Outside
		if !local {
			delete(failing, r.Name)
			v.well = v.well && (r.State == duty.OK || r.State == duty.Held)
			continue
		}
		v.well = false
		if failing[r.Name].IsZero() {
			failing[r.Name] = now
		}
		if now.Sub(failing[r.Name]) >= condemnAfter {
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
	if p.failing == nil {
		p.Duty.failing = map[string]time.Time{}
	}
	v := w.judge(p.Records(), p.failing, p.now)
	if v.bad != "" {
		return v.bad, true
	}
	if drains, known := p.Drains.Get(); !v.well || drains || !known {
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
	}
	return "", true
}

// well names the duties that are.
func (p *pass) well() []string {
	all := []string{}
	for _, r := range p.Records() {
		if r.State == duty.OK {
			all = append(all, r.Name)
		}
	}
	return all
}

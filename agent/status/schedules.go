package status

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// shownOutput is how many lines of what a run wrote a status has.
const shownOutput = 3

// schedules writes how each stands that runs at set times.
func (d *Document) schedules(w io.Writer, now time.Time, s Style) {
	if len(d.Schedules) > 0 {
		fmt.Fprintln(w)
		WriteSchedules(w, d.Schedules, now, s, shownOutput)
	}
}

// WriteSchedules writes a line for each, and at most that many lines of what its
// latest run wrote.
func WriteSchedules(w io.Writer, all []facts.Schedule, now time.Time, s Style, output int) {
	var d Document
	width := 0
	for _, one := range all {
		width = max(width, len(one.Name))
	}
	for _, one := range all {
		color := green
		switch {
		case one.Last != nil && one.Last.Failed:
			color = red
		case one.State != facts.ScheduleIdle && one.State != facts.ScheduleRunning || one.LeftOutN > 0:
			color = yellow
		}
		d.para(w, s, color, fmt.Sprintf("  %-*s  ", width, one.Name), scheduleText(one, now))
		if one.Last == nil || output == 0 {
			continue
		}
		lines := strings.Split(strings.TrimRight(one.Last.Output, "\n"), "\n")
		for _, line := range lines[max(0, len(lines)-output):] {
			if line != "" {
				d.para(w, s, dim, fmt.Sprintf("  %-*s  | ", width, ""), line)
			}
		}
	}
}

// scheduleText is how a schedule stands, in one line.
func scheduleText(c facts.Schedule, now time.Time) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	scope := ""
	if c.Once == "cluster" {
		scope = ", once per cluster"
	}
	state := c.State
	if c.Reason != "" {
		state += " (" + c.Reason + ")"
	}
	add("%s, %s, %s%s", state, c.Does, c.When, scope)
	if r := c.Running; r != nil {
		add("running for %s", Age(now.Sub(r.Started)))
	}
	if !c.Queued.IsZero() {
		add("that of %s waits", tick(c.Queued))
	}
	if !c.Next.IsZero() {
		add("next %s, in %s", c.Next.Format("2006-01-02 15:04:05Z"), Age(c.Next.Sub(now)))
	}
	if r := c.Last; r != nil {
		took := ""
		if !r.Ended.IsZero() && r.Ended.After(r.Started) {
			took = " after " + r.Ended.Sub(r.Started).Round(10*time.Millisecond).String()
		}
		by := ""
		if r.ByHand {
			by = " by hand"
		}
		add("last %s%s: %s%s", tick(r.Tick), by, cmp.Or(r.Result, "unknown"), took)
	} else {
		add("has not run here")
	}
	if !c.Elsewhere.IsZero() {
		add("that of %s ran on %s", tick(c.Elsewhere), cmp.Or(c.ElsewhereBy, "another node"))
	}
	if c.LeftOutN > 0 {
		atLeast := ""
		if c.LeftOutMore {
			atLeast = "at least "
		}
		add("%s%d left out, the last %s: %s", atLeast, c.LeftOutN, tick(c.LeftOut), c.LeftOutWhy)
	}
	return strings.Join(parts, "; ")
}

func tick(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

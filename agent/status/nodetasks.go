package status

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// nodeTasks writes a line for each of the tasks that every node runs once.
func (d *Document) nodeTasks(w io.Writer, now time.Time, s Style) {
	if len(d.NodeTasks) == 0 {
		return
	}
	fmt.Fprintln(w)
	width := 0
	for _, t := range d.NodeTasks {
		width = max(width, len(t.Name))
	}
	for _, t := range d.NodeTasks {
		color := yellow
		switch t.State {
		case facts.NodeTaskRunning, facts.NodeTaskAdopted:
			color = green
		case facts.NodeTaskRefused, facts.NodeTaskMissing:
			color = red
		}
		d.para(w, s, color, fmt.Sprintf("  %-*s  ", width, t.Name), nodeTask(t, now))
	}
}

// nodeTask is how a task stands, in one line.
func nodeTask(t facts.NodeTask, now time.Time) string {
	parts := []string{strings.TrimSpace(t.State + " " + t.Definition)}
	if t.Task != "" {
		parts = append(parts, "task "+shortened(t.Task[strings.LastIndex(t.Task, "/")+1:]))
	}
	if t.Container != "" {
		parts = append(parts, "container "+shortened(t.Container))
	}
	if !t.Since.IsZero() {
		parts = append(parts, "for "+Age(now.Sub(t.Since)))
	}
	if t.Definition != t.Wanted && t.Wanted != "" {
		parts = append(parts, "wanted: "+t.Wanted)
	}
	if t.Restarts > 0 {
		parts = append(parts, "ended "+times(t.Restarts))
	}
	if t.LastEnd != "" {
		parts = append(parts, "the last time because "+t.LastEnd)
	}
	if t.Next.After(now) {
		parts = append(parts, "next try in "+Age(t.Next.Sub(now)))
	}
	for _, why := range []string{t.Rolled, t.Why} {
		if why != "" {
			parts = append(parts, why)
		}
	}
	return strings.Join(parts, ", ")
}

func shortened(id string) string { return id[:min(12, len(id))] }

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

package status

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ecsnode/ecsnode/agent/duty"
)

// Style says how a status is shown to a person.
type Style struct {
	Color bool
	Width int // of the terminal, in characters; zero: lines are never folded
}

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Text writes the document for a person. The first line says what the node is
// and whether all is well; then comes what is wrong, whole; then every duty on
// one line.
func (d *Document) Text(w io.Writer, now time.Time, v Verdict, gone string, s Style) {
	d.headline(w, v, s)
	if v == Gone {
		d.para(w, s, red, "", gone+". What follows is what it last knew.")
	}
	if h := d.Hold; h != nil {
		d.para(w, s, yellow, "HELD  ", h.text(now))
	}
	if d.Drain != nil {
		d.Drain.text(w, now, s, d)
	}
	d.para(w, s, dim, "", d.about(now))
	if d.Bundle != nil {
		for _, line := range BundleLines(*d.Bundle, now) {
			d.para(w, s, dim, "", line)
		}
	}
	if d.Node.IdentityAt.IsZero() {
		d.para(w, s, yellow, "", "The identity of this node is not established yet: its ECS agent must not start.")
	}
	for _, off := range d.Off {
		d.para(w, s, dim, "", off)
	}
	d.problems(w, now, s)
	d.nodeTasks(w, now, s)
	d.schedules(w, now, s)
	d.table(w, now, s)
}

// headline is the first line: which instance, whether all is well, what it is.
func (d *Document) headline(w io.Writer, v Verdict, s Style) {
	i := d.Node.Instance
	mark, color := d.mark(v)
	if i.ID == "" {
		fmt.Fprintf(w, "%s  %s\n", s.paint(bold, "this instance is not known yet"), s.paint(color, mark))
		return
	}
	what := strings.Join(strings.Fields(i.Type+" "+i.Lifecycle+" in "+i.Zone), " ")
	if d.Node.Cluster != "" {
		what += ", cluster " + d.Node.Cluster
		if !d.Node.ContainerInstance.Registered() {
			what += " (not registered)"
		}
	}
	gap := "  "
	if s.Width > 0 && len(i.ID+mark+what)+2*len(gap) > s.Width {
		gap = "\n"
	}
	fmt.Fprintf(w, "%s  %s%s%s\n", s.paint(bold, i.ID), s.paint(color, mark), gap, Printable(what))
}

// mark says whether all is well, and in which colour.
func (d *Document) mark(v Verdict) (text, color string) {
	var failing, waiting int
	for _, r := range d.Duties {
		switch {
		case bad(r.State):
			failing++
		case r.State == duty.Waiting || r.State == duty.Starting:
			waiting++
		}
	}
	switch {
	case v == Gone:
		return "NOT RUNNING", red
	case failing > 0:
		return fmt.Sprintf("%d FAILING", failing), red
	case d.Hold != nil:
		return "held", yellow
	case waiting > 0:
		return fmt.Sprintf("%d waiting", waiting), yellow
	}
	return "all well", green
}

func (d *Document) about(now time.Time) string {
	parts := []string{"ecsnode " + d.Agent, "started " + Age(now.Sub(d.StartedAt)) + " ago"}
	if at := d.Node.IdentityAt; !at.IsZero() {
		parts = append(parts, "identity established "+Age(now.Sub(at))+" ago")
	}
	if c := d.Node.ContainerInstance; c.AgentVersion != "" {
		parts = append(parts, "ECS agent "+c.AgentVersion)
	}
	return strings.Join(parts, ", ")
}

func (h *Hold) text(now time.Time) string {
	t := "by " + h.By
	if !h.Since.IsZero() {
		t += " " + Age(now.Sub(h.Since)) + " ago"
	}
	if h.Why != "" {
		t += fmt.Sprintf(" (%s)", h.Why)
	}
	t += ": " + strings.Join(h.What, ", ")
	if !h.Until.IsZero() {
		t += ", for " + Age(h.Until.Sub(now)) + " more"
	}
	if h.By == "operator" {
		t += `. To end it: "ecsnode release"`
	}
	return t
}

// shownMilestones are the latest, so that the whole status fits a screen.
const shownMilestones = 8

// text writes how a drain stands, and what has happened in it.
func (r *Drain) text(w io.Writer, now time.Time, s Style, d *Document) {
	label, color := "DRAINING  ", yellow
	switch r.State {
	case "drained":
		label, color = "DRAINED  ", green
	case "late":
		label, color = "NOT DRAINED  ", red
	case "undoing":
		label = "UNDRAINING  "
	}
	kind := "soft"
	if r.Hard {
		kind = "hard"
	}
	clock := "without a deadline"
	if left := r.Deadline.Sub(now); !r.Deadline.IsZero() && left > 0 {
		clock = fmt.Sprintf("%s left until %s UTC, a %s deadline", Age(left), r.Deadline.UTC().Format(time.TimeOnly), kind)
	} else if !r.Deadline.IsZero() {
		clock = fmt.Sprintf("%s beyond %s UTC, a %s deadline", Age(-left), r.Deadline.UTC().Format(time.TimeOnly), kind)
	}
	d.para(w, s, color, label, fmt.Sprintf("for %s since %s, %s", strings.Join(r.For, ", "), Age(now.Sub(r.Began)), clock))
	shown := r.Milestones[max(0, len(r.Milestones)-shownMilestones):]
	for _, m := range shown {
		d.para(w, s, dim, fmt.Sprintf("  +%.1fs  ", m.At.Sub(r.Began).Seconds()), m.What)
	}
}

// problems writes what fails or waits, and warnings.
func (d *Document) problems(w io.Writer, now time.Time, s Style) {
	any := false
	item := func(color, label, text string) {
		if !any {
			fmt.Fprintln(w)
		}
		any = true
		d.para(w, s, color, label, text)
	}
	for _, r := range d.Duties {
		since := " for " + Age(now.Sub(r.Since))
		switch {
		case bad(r.State):
			item(red, "✗ ", r.Name+" "+string(r.State)+since+": "+r.Err)
		case r.State == duty.Waiting:
			item(yellow, "… ", r.Name+" waiting"+since+": "+r.Err)
		}
		for _, warning := range r.Warnings {
			item(yellow, "! ", r.Name+": "+warning)
		}
		if r.StreamError != "" {
			item(yellow, "! ", r.Name+" has lost its events: "+r.StreamError)
		}
	}
}

// para writes one paragraph behind a label, folded to the width.
func (d *Document) para(w io.Writer, s Style, color, label, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(label))
	for i, line := range fold(Printable(text), s.Width-len(indent)) {
		lead := label
		if i > 0 {
			lead = indent
		}
		fmt.Fprintln(w, s.paint(color, lead+line))
	}
}

// Printable replaces what a terminal might obey, line breaks apart: errors and
// summaries may quote what came from outside the node, such as tags.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// fold breaks text at spaces so that no line is longer than width, where it
// has spaces to break at. Line breaks of the text stay.
func fold(text string, width int) []string {
	var lines []string
	for para := range strings.Lines(text) {
		para = strings.TrimRight(para, "\r\n")
		for width > 20 && utf8.RuneCountInString(para) > width {
			cut := strings.LastIndexByte(string([]rune(para)[:width+1]), ' ')
			if cut <= 0 {
				break
			}
			lines = append(lines, para[:cut])
			para = para[cut+1:]
		}
		lines = append(lines, para)
	}
	return lines
}

// table writes one line for each duty.
func (d *Document) table(w io.Writer, now time.Time, s Style) {
	rows := [][]string{{"DUTY", "STATE", "SINCE", "LAST OK", "NEXT", "TOOK", "SUMMARY"}}
	for _, r := range d.Duties {
		rows = append(rows, row(r, now))
	}
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	fmt.Fprintln(w)
	for n, r := range rows {
		var line strings.Builder
		used := 0
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == len(r)-1 {
				c, pad = clip(c, s.Width-used), ""
			}
			used += width[i] + 2
			switch {
			case n == 0:
				c = s.paint(dim, c)
			case i == 1:
				c = s.paint(stateColor(d.Duties[n-1].State), c)
			}
			line.WriteString(c + pad + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// clip shortens text to width characters where that leaves something to read.
func clip(text string, width int) string {
	if r := []rune(text); width > 10 && len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}

func row(r duty.Record, now time.Time) []string {
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return Age(now.Sub(t)) + " ago"
	}
	next := "on change"
	switch {
	case r.Running:
		next = "running"
	case r.State == duty.Held:
		next = "-"
	case !r.Next.IsZero() && !r.Next.After(now):
		next = "due"
	case !r.Next.IsZero():
		next = "in " + Age(r.Next.Sub(now))
	}
	took := "-"
	if r.Passes > 0 {
		took = r.Took.Round(100 * time.Microsecond).String()
	}
	return []string{r.Name, string(r.State), Age(now.Sub(r.Since)), ago(r.LastOK), next, took, strings.ReplaceAll(Printable(r.Summary), "\n", " ")}
}

func stateColor(st duty.State) string {
	switch st {
	case duty.OK:
		return green
	case duty.Failing, duty.Stuck:
		return red
	}
	return yellow
}

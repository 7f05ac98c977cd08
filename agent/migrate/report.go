package migrate

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

func timeNow() time.Time { return time.Now().UTC() }

// CutOver disables what runs ansible and puts the draft in its place, and returns
// the names of what it changed: none if it was done before. The caller has looked
// at the refusals.
func (r *Report) CutOver(ctx context.Context, units Units) ([]string, error) {
	return cut(ctx, r.in.Disk, units, r.plan())
}

// Resume brings a cut-over that was cut short to its end.
func Resume(ctx context.Context, disk Disk, units Units) ([]string, error) {
	return cut(ctx, disk, units, plan{})
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) {
	p := &printer{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	r.ansible(p)
	r.nodeConfig(p)
	r.ecsConfig(p)
	r.containers(p)
	r.next(p)
	_ = p.w.Flush()
}

type printer struct{ w *tabwriter.Writer }

// head begins a part.
func (p *printer) head(format string, args ...any) {
	_ = p.w.Flush()
	fmt.Fprintln(p.w, printable(fmt.Sprintf(format, args...)))
}

// row writes columns.
func (p *printer) row(columns ...string) {
	for i, c := range columns {
		columns[i] = printable(c)
	}
	fmt.Fprintln(p.w, "  "+strings.Join(columns, "\t"))
}

const width = 100

// printable keeps what a node's files hold from steering a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	return s
}

// short is a text for one column.
func short(s string) string {
	if runes := []rune(s); len(runes) > width {
		s = string(runes[:width-3]) + "..."
	}
	return s
}

func (r *Report) ansible(p *printer) {
	if len(r.Runs) == 0 {
		p.head("Nothing on this node runs ansible by itself.")
	} else {
		p.head("Ansible is run by:")
	}
	for _, e := range r.Runs {
		via := ""
		if e.Via != "" {
			via = " (by " + e.Via + ")"
		}
		along := ""
		if len(e.Along) > 0 {
			along = "; with it goes: " + strings.Join(e.Along, ", ")
		}
		p.row(e.place(), e.When, short(e.Text)+via+along)
	}
	if len(r.Mentions) > 0 {
		p.head("These speak of it and stay as they are:")
	}
	for _, e := range r.Mentions {
		p.row(e.place(), e.When, short(e.Text))
	}
	if len(r.Jobs) > 0 {
		p.head("Jobs that ansible set up, which stay in cron:")
	}
	for _, j := range r.Jobs {
		p.row(fmt.Sprintf("%s:%d", j.File, j.Line), j.Schedule, short(j.Name))
	}
}

func (r *Report) nodeConfig(p *printer) {
	n := r.Node
	switch {
	case n.Undone != "":
		p.head("%s: ecsnode would write nothing:", n.Path)
		p.row(n.Undone)
	case !n.There:
		p.head("%s: there is none yet.", n.Path)
	case n.Unread != "":
		p.head("%s: what is there is not understood:", n.Path)
		p.row(n.Unread)
	case n.Differs():
		p.head("%s: containers would notice:", n.Path)
	default:
		p.head("%s: no difference to whoever sources it.", n.Path)
	}
	var kept, more []string
	for _, v := range n.Variables {
		switch {
		case v.Differs():
			p.row(v.Name, v.State, values(v))
		case v.State == same:
			kept = append(kept, v.Name)
		default:
			more = append(more, v.Name)
		}
	}
	if len(kept) > 0 {
		p.row("same: " + strings.Join(kept, " "))
	}
	if len(more) > 0 {
		p.row("more: " + strings.Join(more, " "))
	}
	if n.Diff != "" && n.There {
		_ = p.w.Flush()
		for line := range strings.Lines(n.Diff) {
			fmt.Fprintln(p.w, "    "+printable(strings.TrimRight(line, "\r\n")))
		}
	}
	if len(n.Others) > 0 {
		p.row("beside it, left alone: " + strings.Join(n.Others, " "))
	}
}

func values(v Variable) string {
	text := func(s *string) string {
		if s == nil {
			return "nothing"
		}
		return short(fmt.Sprintf("%q", *s))
	}
	return text(v.Before) + " -> " + text(v.After)
}

func (r *Report) ecsConfig(p *printer) {
	if len(r.ECS.Keys)+len(r.ECS.Changes) == 0 {
		return
	}
	p.head("%s:", r.ECS.Path)
	for _, k := range r.ECS.Keys {
		if k.Setting != "" {
			p.row(k.Name, "becomes "+k.Setting)
		} else {
			p.row(k.Name, "stays: "+k.Why)
		}
	}
	for _, v := range r.ECS.Changes {
		p.row(v.Name, v.State, values(v))
	}
}

func (r *Report) containers(p *printer) {
	if r.NoDocker != "" {
		p.head("Containers were not looked at: %s", r.NoDocker)
		return
	}
	if len(r.Tasks) == 0 {
		return
	}
	p.head("Containers that every node seems to run (and %d others):", r.Others)
	for _, t := range r.Tasks {
		switch {
		case t.Family == "":
			p.row(t.Name, t.Image, "no task of ECS: nobody starts it again after cut-over; see the draft")
		case t.Service != "":
			p.row(t.Name, t.definition(), "of the service "+t.Service+": told in node_tasks")
		default:
			p.row(t.Name, t.definition(), "adopted as node_tasks")
		}
	}
}

func (r *Report) next(p *printer) {
	for _, problem := range r.Problems {
		p.head("Not looked at: %s", problem)
	}
	how := "not as it would be written now: what it says counts"
	switch {
	case r.Written:
		how = "written now"
	case r.Config == r.in.Config:
		how = "installed"
	case string(r.use) == r.draft.yaml:
		how = "written before"
	}
	p.head("Configuration: %s, %s.", r.Config, how)
	if r.Bundle != "" {
		p.row("The bundle " + r.Bundle + " is in effect: what it sets comes after this configuration, and is in what is compared above.")
	}
	if len(r.Literals) > 0 && r.Written {
		p.row("Literals, the same on every node: " + strings.Join(r.Literals, " "))
	}
	if r.Standing != nil && r.Standing.Done() {
		p.head("Cut over since %s; \"ecsnode migrate --undo\" takes it back.", r.Standing.Began.Format(time.RFC3339))
		if len(r.scan.edits) == 0 {
			return
		}
	}
	p.head("Cut-over would:")
	for _, e := range r.scan.edits {
		switch {
		case e.remove:
			p.row("remove the link " + e.name)
		case e.shut:
			p.row("let nobody execute " + e.name)
		default:
			p.row("comment out in " + e.name + " what runs ansible")
		}
	}
	for _, t := range r.scan.timers {
		p.row("stop " + t)
	}
	p.row("install the configuration as " + r.in.Config)
	refusals := r.Refusals
	if r.Node.Differs() {
		refusals = append(refusals[:len(refusals):len(refusals)], "the variables of node.config differ: mend the draft, or --accept-difference")
	}
	if len(refusals) > 0 {
		p.head("and refuses, because:")
		for _, why := range refusals {
			p.row(why)
		}
	}
}

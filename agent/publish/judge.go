package publish

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Progress is how the canary of a channel does on the nodes.
type Progress struct {
	Nodes   int // that follow the channel, or do not say which
	Chosen  int // of them, to try the canary
	Well    int // of those
	Trying  int
	Silent  int      // say nothing of it
	Unwell  []string // instances that went back from it
	Percent int
}

// enough is how many percent of those that try a canary must be well.
const enough = 80

// Judge reads what the nodes tell. A node that does not say which channel it
// follows may follow this one.
func Judge(c *bundle.Channel, members []facts.Member) Progress {
	var p Progress
	if c.Canary == nil {
		return p
	}
	canary := c.Canary.Digest
	p.Percent = c.Canary.Percent
	for _, m := range members {
		r, err := bundle.ParseReport(m.Attribute)
		if err == nil && r.Channel != c.Name {
			continue
		}
		p.Nodes++
		runs := err == nil && r.Running == canary.Short()
		if slices.Contains(r.Bad, canary.Short()) || runs && r.State == bundle.Bad {
			p.Unwell = append(p.Unwell, m.InstanceID)
		}
		if !bundle.InCanary(m.InstanceID, canary, p.Percent) {
			continue
		}
		switch p.Chosen++; {
		case runs && r.State == bundle.Well:
			p.Well++
		case runs && r.State == bundle.Trying:
			p.Trying++
		case !slices.Contains(p.Unwell, m.InstanceID):
			p.Silent++
		}
	}
	slices.Sort(p.Unwell)
	return p
}

// Against says why the canary should not be promoted; nothing: it may be.
func (p Progress) Against() (why []string) {
	if n := len(p.Unwell); n > 0 {
		const most = 5
		names := strings.Join(p.Unwell[:min(n, most)], ", ")
		if n > most {
			names += fmt.Sprintf(" and %d more", n-most)
		}
		why = append(why, fmt.Sprintf("%d of the nodes went back from it: %s", n, names))
	}
	switch {
	case p.Chosen == 0:
		why = append(why, fmt.Sprintf("none of %d nodes is of the %d%% that try it", p.Nodes, p.Percent))
	case p.Well*100 < p.Chosen*enough:
		why = append(why, fmt.Sprintf("%d of the %d nodes that try it are well, and %d%% should be: %d are still being watched, %d say nothing of it",
			p.Well, p.Chosen, enough, p.Trying, p.Silent))
	}
	return why
}

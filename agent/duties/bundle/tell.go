package bundle

import (
	"cmp"
	"errors"
	"slices"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// tell tells ECS which bundle the node runs and how it does, for those who
// promote a canary. A role that does not allow it is a warning.
func (p *pass) tell(linked bundle.Digest) error {
	on, _ := p.Registration.Get()
	if p.Dry || !p.settings.Publish || p.settings.Source == "" || p.seen.channel == nil && p.l.Told == nil || !on.Registered() {
		return nil
	}
	report := p.report(linked)
	if t := p.l.Told; t != nil && t.On == on.ARN && t.Report == report {
		return nil
	}
	err := p.ECS.PutAttributes(p.ctx, on, map[string]string{bundle.ReportAttribute: report})
	if errors.Is(err, facts.ErrRefused) {
		p.out.Warnings = append(p.out.Warnings, err.Error()+"; or set readiness.publish: false")
		return nil
	}
	if err != nil {
		return err
	}
	p.l.Told, p.unsaved = &told{on.ARN, report}, true
	return nil
}

// rank puts what the channel names first.
func rank(c *bundle.Channel, b facts.BadBundle) int {
	if slices.ContainsFunc(slots(c), func(s bundle.Slot) bool { return string(s.Digest) == b.Digest }) {
		return 0
	}
	return 1
}

func (p *pass) report(linked bundle.Digest) string {
	r := bundle.Report{Channel: p.settings.Channel, Running: linked.Short(), State: bundle.Well}
	if c := p.seen.channel; c != nil {
		r.Channel = c.Name
	}
	if p.l.Watch != nil {
		r.State = bundle.Trying
	}
	bad := p.l.bad()
	if c := p.seen.channel; c != nil { // there may not be room for all
		slices.SortStableFunc(bad, func(a, b facts.BadBundle) int { return cmp.Compare(rank(c, a), rank(c, b)) })
	}
	for _, b := range bad {
		r.Bad = append(r.Bad, bundle.Digest(b.Digest).Short())
	}
	return r.String()
}

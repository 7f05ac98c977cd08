package schedules

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// lease is the object that says which node runs a tick. S3 takes the first that
// is written; nobody ever changes or renews one, and no clock is compared.
type lease struct {
	Schedule string    `json:"schedule"`
	Tick     time.Time `json:"tick"`
	Instance string    `json:"instance"`
	Token    string    `json:"token"`
	At       time.Time `json:"at"`
}

const maxLease = 4 << 10

// claimAll asks for leases, and returns what this node is to run.
func (p *pass) claimAll(all []start) (ours []start) {
	if len(all) == 0 {
		return nil
	}
	cluster, _ := p.Cluster.Get()
	instance, known := p.Instance.Get()
	err := p.store
	if cluster == "" || !known {
		err = duty.WaitingFor("the node to know its cluster")
	}
	if err == nil {
		err = p.writeTokens(all, instance)
	}
	for _, s := range all {
		if err != nil {
			p.notBegun(s.name, err)
			continue
		}
		d := p.record(s.name).Due
		switch owned, err := p.claim(s.name, d, cluster, instance); {
		case err != nil:
			p.notBegun(s.name, err)
		case owned:
			d.Owned = true
			s.Token, s.Owned = d.Token, true
			ours = append(ours, s)
		}
	}
	return ours
}

// writeTokens gives each its token, which is kept before it is in a lease: after
// a lost answer, the lease must be known for this node's.
func (p *pass) writeTokens(all []start, instance facts.Instance) error {
	var fresh []*due
	for _, s := range all {
		if d := p.record(s.name).Due; d.Token == "" {
			d.Token = fmt.Sprintf("%s/%s/%d", instance.ID, p.now.BootID, p.now.Wall.UnixNano())
			fresh = append(fresh, d)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	err := p.save()
	if err != nil {
		for _, d := range fresh {
			d.Token = ""
		}
	}
	return err
}

// claim asks for the lease of what is due, and reports whether this node has it.
// If another one has, it is not due any more.
func (p *pass) claim(name string, d *due, cluster string, instance facts.Instance) (owned bool, err error) {
	if p.store != nil {
		return false, p.store
	}
	ctx, cancel := context.WithTimeout(p.ctx, callTime)
	defer cancel()
	o := facts.Object{
		Region: cmp.Or(p.c.Leases.Region, instance.Region), Bucket: p.c.Leases.Bucket,
		Key: p.c.Leases.Prefix + cluster + "/" + name + "/" + d.Tick.UTC().Format("2006-01-02T15-04Z") + ".json",
	}
	mine := lease{Schedule: name, Tick: d.Tick, Instance: instance.ID, Token: d.Token, At: p.now.Wall.Round(0).UTC()}
	body, err := json.Marshal(mine)
	if err != nil {
		return false, err
	}
	_, err = p.Store.Put(ctx, o, append(body, '\n'), facts.Condition{Absent: true})
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, facts.ErrExists) {
		p.store = err
		return false, err
	}
	// Perhaps by a request of ours whose answer was lost.
	there, err := p.Store.Get(ctx, o, maxLease)
	if err != nil {
		p.store = err
		return false, err
	}
	var theirs lease
	if err := json.Unmarshal(there.Body, &theirs); err != nil || theirs.Token == "" {
		return false, fmt.Errorf("cannot read %s: it is no lease", o)
	}
	if theirs.Token == mine.Token && theirs.Instance == mine.Instance {
		return true, nil
	}
	r := p.record(name)
	r.Elsewhere, r.ElsewhereBy = d.Tick, theirs.Instance
	r.LeftOut, r.Due = leftOut{}, nil
	p.put(name, r)
	return false, nil
}

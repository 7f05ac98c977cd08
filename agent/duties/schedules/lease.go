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

// claim asks for the lease of what is due. r.Due is nil if another node has it.
func (p *pass) claim(ctx context.Context, name string, r record) (record, error) {
	if p.store != nil {
		return r, p.store
	}
	cluster, _ := p.Cluster.Get()
	instance, known := p.Instance.Get()
	if cluster == "" || !known {
		return r, duty.WaitingFor("the node to know its cluster")
	}
	if r.Due.Token == "" {
		r.Due.Token = fmt.Sprintf("%s/%s/%d", instance.ID, p.now.BootID, p.now.Wall.UnixNano())
		p.state.Schedules[name] = r
		if err := p.save(); err != nil { // after a lost answer, the lease must be known for ours
			r.Due.Token = ""
			return r, err
		}
	}
	o := facts.Object{
		Region: cmp.Or(p.c.Leases.Region, instance.Region), Bucket: p.c.Leases.Bucket,
		Key: p.c.Leases.Prefix + cluster + "/" + name + "/" + r.Due.Tick.UTC().Format("2006-01-02T15-04Z") + ".json",
	}
	mine := lease{Schedule: name, Tick: r.Due.Tick, Instance: instance.ID, Token: r.Due.Token, At: p.now.Wall.Round(0).UTC()}
	body, err := json.Marshal(mine)
	if err != nil {
		return r, err
	}
	_, err = p.Store.Put(ctx, o, append(body, '\n'), facts.Condition{Absent: true})
	if err == nil {
		r.Due.Owned = true
		return r, nil
	}
	if !errors.Is(err, facts.ErrExists) {
		p.store = err
		return r, err
	}
	// Perhaps by a request of ours whose answer was lost.
	there, err := p.Store.Get(ctx, o, maxLease)
	if err != nil {
		p.store = err
		return r, err
	}
	var theirs lease
	if err := json.Unmarshal(there.Body, &theirs); err != nil || theirs.Token == "" {
		return r, fmt.Errorf("cannot read %s: it is no lease", o)
	}
	if theirs.Token == mine.Token && theirs.Instance == mine.Instance {
		r.Due.Owned = true
		return r, nil
	}
	r.Elsewhere, r.ElsewhereBy = r.Due.Tick, theirs.Instance
	r.LeftOut, r.Due = leftOut{}, nil
	return r, nil
}

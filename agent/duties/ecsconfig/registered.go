package ecsconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

const (
	stateDir    = "/var/lib/ecsnode"
	historyPath = stateDir + "/attributes.json"
)

// history is which attributes a container instance has had from us. An image
// may carry the one of the node that it was made from.
type history struct {
	ContainerInstance string            `json:"container_instance_arn"`
	Attributes        map[string]string `json:"attributes"`
}

// readHistory returns nothing for a file that makes no sense, with a warning:
// it is then written anew.
func (d *Duty) readHistory() (h history, warning string, err error) {
	data, err := d.FS.ReadFile(historyPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return history{}, "", nil
	case err != nil:
		return history{}, "", err
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return history{}, fmt.Sprintf("%s was damaged (%v): the attributes in ecs.config count as registered", historyPath, err), nil
	}
	return h, "", nil
}

func (d *Duty) writeHistory(h history) (changed bool, err error) {
	data, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return false, fmt.Errorf("cannot write %s: %w", historyPath, err)
	}
	made, err := d.FS.MkdirAll(stateDir, 0o700)
	if err != nil {
		return made, err
	}
	changed, err = d.FS.WriteFile(historyPath, append(data, '\n'), fsx.How{Mode: 0o600})
	return made || changed, err
}

// remember notes what the block said when this container instance was first
// seen. That is taken to be what it registered with: a block that changed
// between the start of the agent and now goes unnoticed.
func (d *Duty) remember(ci facts.ContainerInstance, h *history, file []byte) (changed bool, err error) {
	if ci.ARN == h.ContainerInstance {
		return false, nil
	}
	now, err := parse(file)
	if err != nil {
		return false, nil // decide reports it, and the next good pass gets here again
	}
	next := history{ci.ARN, registeredAttributes(now)}
	if changed, err = d.writeHistory(next); err == nil {
		*h = next
	}
	return changed, err
}

// attributes brings the attributes of a registered node to what is wanted, if
// that is asked for, and else says how they differ. It returns how many it put.
func (d *Duty) attributes(ctx context.Context, cfg Config, ci facts.ContainerInstance, h history, p *decision) (put int) {
	if p.attributes == nil { // then h may be of another container instance
		return 0
	}
	changed := map[string]string{}
	for name, value := range p.attributes {
		if old, ok := h.Attributes[name]; !ok || old != value {
			changed[name] = value
		}
	}
	var gone []string
	for name := range h.Attributes {
		if _, ok := p.attributes[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		slices.Sort(gone)
		p.warn("the node stays registered with what is no longer configured: %s", names(gone))
	}
	which := names(slices.Sorted(maps.Keys(changed)))
	switch {
	case len(changed) == 0:
		return 0
	case !cfg.PutAttributes:
		p.warn("%s: not what the node registered with; it counts at the next registration unless ecs_config.put_attributes is set", which)
		return 0
	case d.ECS == nil:
		p.warn("%s: not what the node registered with, and ecs_config.put_attributes has no ECS to talk to here", which)
		return 0
	}
	err := d.refused.still(ci, changed, time.Now())
	if err == nil {
		err = d.putAttributes(ctx, ci, h, changed)
		d.refused.note(err, ci, changed, time.Now())
	}
	if err != nil {
		p.fail(fmt.Errorf("cannot put %s: %w", which, err))
		return 0
	}
	return len(changed)
}

// refusal is what ECS would not take, so that it is not asked again soon: the
// calls of all nodes come out of one account's budget.
type refusal struct {
	err        error
	at         time.Time
	arn        string
	attributes map[string]string
}

// askAgainAfter is how long a refusal counts: somebody may have mended the role.
const askAgainAfter = 15 * time.Minute

// still returns the error of the same question if it was answered lately.
func (r *refusal) still(ci facts.ContainerInstance, attributes map[string]string, now time.Time) error {
	if r.err == nil || r.arn != ci.ARN || !maps.Equal(r.attributes, attributes) || now.Sub(r.at) >= askAgainAfter {
		return nil
	}
	return r.err
}

func (r *refusal) note(err error, ci facts.ContainerInstance, attributes map[string]string, now time.Time) {
	*r = refusal{}
	if errors.Is(err, facts.ErrRefused) || errors.Is(err, facts.ErrAbsent) {
		*r = refusal{err, now, ci.ARN, attributes}
	}
}

func (d *Duty) putAttributes(ctx context.Context, ci facts.ContainerInstance, h history, changed map[string]string) error {
	err := d.ECS.PutAttributes(ctx, ci, changed)
	if err != nil {
		return err // what a role lacks is said by whoever asked
	}
	next := h
	next.Attributes = maps.Clone(h.Attributes)
	if next.Attributes == nil {
		next.Attributes = map[string]string{}
	}
	maps.Copy(next.Attributes, changed)
	_, err = d.writeHistory(next)
	return err
}

func names(list []string) string {
	if len(list) == 1 {
		return "attribute " + list[0]
	}
	return "attributes " + strings.Join(list, ", ")
}

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
	if ci.ARN != h.ContainerInstance || p.attributes == nil {
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
	if err := d.putAttributes(ctx, ci, h, changed); err != nil {
		p.fail(fmt.Errorf("cannot put %s: %w", which, err))
		return 0
	}
	return len(changed)
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

package ecsconfig

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// node is what a pass has seen, the file apart.
type node struct {
	path       string        // of ecs.config
	in         render.Inputs // but for the cluster
	registered string        // cluster that it is registered in, as the agent spells it; "": not registered
}

func (n node) registeredName() string { return cmp.Or(clusterName(n.registered), n.registered) }

// decision is what a pass is to do.
type decision struct {
	file       []byte            // ecs.config as it shall be; unchanged if fileErr
	fileErr    error             // why the block cannot be written
	cluster    string            // effective cluster; "": not known
	foreign    bool              // it is named outside of the block
	settings   int               // in the block
	secret     bool              // the block has one
	attributes map[string]string // wanted; nil: not known
	warnings   []string
	errs       []error // of single settings
}

// decide is pure. A setting whose value cannot be had or written keeps the one
// it has in the block, and the others go on.
func decide(cfg Config, n node, file []byte) decision {
	d := decision{file: file}
	now, err := parse(file)
	if err != nil {
		d.fileErr = fmt.Errorf("cannot use %s: %w", n.path, err)
		return d
	}
	cluster := n.choose(cfg.Cluster, now)
	d.cluster, d.foreign = cluster.name, cluster.foreign
	d.fail(cluster.err)
	if cluster.warning != "" {
		d.warn("%s", cluster.warning)
	}

	b := builder{decision: &d, in: n.in, now: now}
	b.in.Cluster = cluster.name
	if cluster.write != "" {
		b.add(clusterKey, cluster.write, nil)
	}
	b.addAttributes(cfg.Attributes)
	b.addOwn(cfg)
	for _, key := range slices.Sorted(maps.Keys(cfg.Settings)) {
		b.addText(key, cfg.Settings[key])
	}
	slices.SortFunc(b.settings, func(x, y setting) int { return cmp.Compare(rank(x.key), rank(y.key)) })

	next, err := now.place(b.settings)
	if err != nil {
		d.fileErr = fmt.Errorf("cannot use %s: %w", n.path, err)
		return d
	}
	d.file, d.settings = next.bytes(), len(next.settings)
	_, d.secret = next.value(authDataKey)
	d.warnings = append(d.warnings, next.conflicts()...)
	d.aboutTheFormerBlock(now, next)
	if next.drainsForSpot() {
		d.warn("%s is true: the ECS agent sets DRAINING at a Spot notice too, and what it set first nobody takes back when the instance starts again; ecsnode drains without it", spotDrainingKey)
	}
	return d
}

// drainsForSpot reports whether the agent is told to drain by itself.
func (c contents) drainsForSpot() bool {
	value, set := c.value(spotDrainingKey)
	if all := foreignValues(c.outside(), spotDrainingKey); !set && len(all) > 0 {
		value = all[0].value
	}
	on, err := strconv.ParseBool(value) // as the agent reads it: aws/amazon-ecs-agent:agent/utils/utils.go, ParseBool
	return err == nil && on
}

// aboutTheFormerBlock says what leaves the block in this pass.
func (d *decision) aboutTheFormerBlock(now, next contents) {
	for _, key := range now.strays {
		d.warn("%s was written into the block by others: moved behind it, where it is kept", key)
	}
	for _, s := range now.settings {
		if _, stays := next.value(s.key); !stays {
			d.warn("%s is removed from the block: nothing sets it any more", s.key)
		}
	}
}

// rank puts the cluster first, because it is what people look for, and the
// others in the order of their names.
func rank(key string) string {
	if key == clusterKey {
		return ""
	}
	return key
}

func (d *decision) fail(err error) {
	if err != nil {
		d.errs = append(d.errs, err)
	}
}

func (d *decision) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// builder collects the settings of the block.
type builder struct {
	*decision
	in       render.Inputs
	now      contents
	settings []setting
}

// add takes a setting, or notes why it cannot be had.
func (b *builder) add(key, value string, err error) {
	if err == nil {
		if err = checkWritable(value); err != nil {
			err = fmt.Errorf("cannot set %s: %w", key, err)
		}
	}
	if err != nil {
		b.fail(err)
		b.keep(key)
		return
	}
	b.settings = append(b.settings, setting{key, value})
}

// keep takes what the block has had for a key so far.
func (b *builder) keep(key string) {
	if value, ok := b.now.value(key); ok && checkWritable(value) == nil {
		b.settings = append(b.settings, setting{key, value})
	}
}

func (b *builder) addText(key string, text render.Text) {
	if err := checkSetting(key, text); err != nil {
		b.fail(fmt.Errorf("cannot set %s: %w", key, err))
		return
	}
	in := b.in
	in.Secrets = key == authDataKey
	value, err := text.Render(in)
	b.add(key, value, whyMissing(key, err))
}

// addOwn takes the settings that have a type of their own.
func (b *builder) addOwn(cfg Config) {
	flags := []struct {
		key string
		set *bool
	}{
		{blockIMDSKey, cfg.AWSVPCBlockIMDS},
		{containerMetadataKey, cfg.ContainerMetadata},
		{spotDrainingKey, cfg.SpotInstanceDraining},
	}
	for _, f := range flags {
		if f.set != nil {
			b.add(f.key, strconv.FormatBool(*f.set), nil)
		}
	}
	if d := cfg.ContainerStopTimeout; d != nil {
		b.add(stopTimeoutKey, d.String(), nil)
	}
	if m := cfg.ReservedMemory; m != nil {
		b.add(reservedMemoryKey, strconv.Itoa(*m), nil)
	}
	if len(cfg.LogDrivers) > 0 {
		list, err := json.Marshal(cfg.LogDrivers)
		b.add(logDriversKey, string(list), err)
	}
}

// whyMissing says what to do about a template that could not be rendered.
func whyMissing(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, facts.ErrUnavailable):
		return duty.WaitingFor("%s: %w", what, err)
	case errors.Is(err, facts.ErrAbsent):
		return fmt.Errorf("cannot set %s: %w: set that, or give the template a default", what, err)
	}
	return fmt.Errorf("cannot set %s: %w", what, err)
}

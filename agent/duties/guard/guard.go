// Package guard is the duty that keeps containers from instance metadata, and
// with it from the role of the instance, which may drain it and start tasks.
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Config says whether containers may reach instance metadata.
type Config struct {
	Enabled       bool     `yaml:"enabled" help:"Whether containers are kept from instance metadata, and so from the role of the instance."`
	AllowFamilies []string `yaml:"allow_families" help:"Families of task definitions whose containers may reach it all the same."`
}

// Default guards nothing.
func Default() Config { return Config{} }

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for i, family := range c.AllowFamilies {
		if family == "" || strings.ContainsAny(family, ": /*") {
			report(fmt.Sprintf("allow_families[%d]", i), fmt.Sprintf("%q is no family of task definitions: expected its name, without a revision", family))
		}
	}
}

// Filter is the packet filter of the host.
type Filter interface {
	// Rules returns ours, in order, and whether they are before all those of
	// others. facts.ErrAbsent: there is no filter, or Docker has not set it up.
	Rules(v facts.IPVersion) (rules []facts.MetadataRule, inPlace bool, err error)
	// Replace makes ours exactly these, before those of others.
	Replace(v facts.IPVersion, rules []facts.MetadataRule) error
}

// Engine is the Docker Engine.
type Engine interface {
	Containers(ctx context.Context) ([]facts.Container, error)
}

// Duty keeps the rules.
type Duty struct {
	Config cell.Reader[Config]
	Filter Filter
	Engine Engine
	// AwsvpcBlocked: the ECS agent keeps tasks in awsvpc mode from instance
	// metadata. Their packets pass the host's filter by.
	AwsvpcBlocked cell.Reader[bool]
	Metadata      Metadata

	clear   bool // there are no rules of ours, as of a former pass
	probed  time.Time
	limited bool // the hop limit keeps containers on a bridge from it, as probed
}

// Metadata is instance metadata.
type Metadata interface {
	// Forwarded reports whether its answers reach a container on a bridge.
	Forwarded(ctx context.Context) (bool, error)
}

// probeEvery is how often the hop limit is probed: it is changed by hand, from
// outside.
const probeEvery = time.Hour

func (d *Duty) probe(ctx context.Context) {
	if !d.probed.IsZero() && time.Since(d.probed) < probeEvery {
		return
	}
	// Without an answer what was known stays: others tell that it is ill.
	if forwarded, err := d.Metadata.Forwarded(ctx); err == nil {
		d.probed, d.limited = time.Now(), !forwarded
	}
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "guard" }

// Reconcile implements duty.Duty. One version of IP that cannot be filtered does
// not keep the other from it.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	d.probe(ctx)
	if !cfg.Enabled {
		return d.off()
	}
	d.clear = false
	allowed, err := d.allowed(ctx, cfg)
	if err != nil {
		return duty.Outcome{}, err
	}
	out := duty.Outcome{Summary: "containers are kept from instance metadata"}
	if len(cfg.AllowFamilies) > 0 {
		out.Summary += fmt.Sprintf(", but for %d of %s", len(allowed), strings.Join(cfg.AllowFamilies, ", "))
	}
	if blocked, ok := d.AwsvpcBlocked.Get(); ok && !blocked {
		out.Warnings = []string{"tasks in awsvpc mode are not kept from it: set ecs_config.awsvpc_block_imds: true"}
	}
	if d.limited && len(cfg.AllowFamilies) > 0 {
		out.Warnings = append(out.Warnings, "no container on a bridge gets an answer, also none of "+strings.Join(cfg.AllowFamilies, ", ")+
			": the hop limit of instance metadata is 1. If they need it: aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2")
	}
	var errs []error
	for _, v := range []facts.IPVersion{facts.IPv4, facts.IPv6} {
		changed, err := d.keep(v, rules(v, allowed))
		out.Changed = out.Changed || changed
		switch {
		case errors.Is(err, facts.ErrAbsent) && v == facts.IPv4:
			err = duty.WaitingFor("%w", err)
		case errors.Is(err, facts.ErrAbsent):
			out.Warnings, err = append(out.Warnings, err.Error()), nil
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// allowed returns the containers that may reach instance metadata.
func (d *Duty) allowed(ctx context.Context, cfg Config) (found []facts.Container, err error) {
	if len(cfg.AllowFamilies) == 0 {
		return nil, nil
	}
	all, err := d.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if slices.Contains(cfg.AllowFamilies, c.Labels[facts.LabelFamily]) {
			found = append(found, c)
		}
	}
	return found, nil
}

// rules lets those containers through and refuses all others.
func rules(v facts.IPVersion, allowed []facts.Container) []facts.MetadataRule {
	var rules []facts.MetadataRule
	for _, c := range allowed {
		for _, a := range c.Addresses {
			if a.Is4() == (v == facts.IPv4) {
				rules = append(rules, facts.MetadataRule{From: a, Allow: true})
			}
		}
	}
	slices.SortFunc(rules, func(a, b facts.MetadataRule) int { return a.From.Compare(b.From) })
	return append(slices.Compact(rules), facts.MetadataRule{})
}

func (d *Duty) keep(v facts.IPVersion, want []facts.MetadataRule) (changed bool, err error) {
	have, inPlace, err := d.Filter.Rules(v)
	if err != nil || inPlace && slices.Equal(have, want) {
		return false, err
	}
	return true, d.Filter.Replace(v, want)
}

// off removes our rules, once.
func (d *Duty) off() (duty.Outcome, error) {
	out := duty.Outcome{Summary: "off: containers may reach instance metadata"}
	if d.limited {
		out.Summary = "off: only the hop limit of 1 keeps containers on a bridge from instance metadata"
	}
	if d.clear {
		return out, nil
	}
	var errs []error
	for _, v := range []facts.IPVersion{facts.IPv4, facts.IPv6} {
		changed, err := d.keep(v, nil)
		out.Changed = out.Changed || changed
		if !errors.Is(err, facts.ErrAbsent) {
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	d.clear = err == nil
	return out, err
}

// Package parameters is the duty that reads what templates ask of Parameter
// Store and Secrets Manager.
//
// Templates name what they miss, in cells; this duty reads it, keeps it over a
// reboot, and reads it again from time to time. What was read once stays in use
// while it cannot be read anew.
package parameters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says how fresh parameters are.
type Config struct {
	Refresh when.Duration `yaml:"refresh" help:"How often parameters and secrets that templates ask for are read again, each node at its own time."`
}

// Default reads them every quarter of an hour.
func Default() Config { return Config{Refresh: when.Duration(15 * time.Minute)} }

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	if d := time.Duration(c.Refresh); d < time.Minute {
		report("refresh", fmt.Sprintf("%v is too often: expected at least 1m", d))
	}
}

// Store is Parameter Store. Errors are of the kinds of package facts.
type Store interface {
	// Parameters returns a result for each of the names.
	Parameters(ctx context.Context, region string, names []string) map[string]facts.ParameterResult
	// Tree returns what is below a path, by full names.
	Tree(ctx context.Context, region, path string) (map[string]facts.Parameter, error)
}

// Secrets is Secrets Manager. Errors are of the kinds of package facts.
type Secrets interface {
	Secret(ctx context.Context, region, name string) (facts.Parameter, error)
}

// Duty reads parameters.
type Duty struct {
	FS       fsx.FS
	ID       string // of the node, for its own time in the fleet
	Config   cell.Reader[Config]
	Instance cell.Reader[facts.Instance]
	Asked    []cell.Reader[facts.References] // by each duty that renders
	Store    Store                           // nil: only what was kept is there
	Secrets  Secrets
	// Parameters gets what is known.
	Parameters *cell.Cell[facts.Parameters]

	known   known
	of      string // the instance that known is of
	warning string
	kept    []byte
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "parameters" }

// perStore is how long each of the two services may take in one pass.
const perStore = 40 * time.Second

// Reconcile implements duty.Duty. What cannot be read keeps nothing else from
// being read.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("instance metadata has not been read yet")
	}
	if d.of != instance.ID {
		d.known, d.kept, d.warning = load(d.FS, instance.ID)
		d.of = instance.ID
	}
	asked, all := d.asked()
	if all {
		d.known.forget(asked)
	}
	var errs []error
	if d.Store != nil {
		schedule := when.Splay(when.Every(time.Duration(c.Refresh)), d.ID+"/parameters", time.Duration(c.Refresh))
		due := d.known.due(asked, schedule, time.Now())
		errs = d.read(ctx, instance.Region, due)
	}
	d.Parameters.Set(d.known.parameters())
	var err error
	if d.kept, err = d.known.save(d.FS, instance.ID, d.kept); err != nil {
		errs = append(errs, err)
	}
	out := duty.Outcome{Summary: d.known.summary(asked)}
	if d.warning != "" {
		out.Warnings = []string{d.warning}
	}
	return out, errors.Join(errs...)
}

// asked is what all templates ask for; all is false while some have not been
// rendered yet.
func (d *Duty) asked() (refs facts.References, all bool) {
	all = true
	for _, reader := range d.Asked {
		more, ok := reader.Get()
		refs, all = append(refs, more...), all && ok
	}
	slices.SortFunc(refs, facts.ParameterRef.Compare)
	return slices.Compact(refs), all
}

// result is what came of asking for one reference.
type result struct {
	values map[string]facts.Parameter
	err    error
}

// read asks for refs: both services at the same time, since one that hangs must
// not keep the other's values from the node.
func (d *Duty) read(ctx context.Context, region string, refs []facts.ParameterRef) (errs []error) {
	var stored, secret []facts.ParameterRef
	for _, ref := range refs {
		if ref.Kind == facts.ASecret {
			secret = append(secret, ref)
		} else {
			stored = append(stored, ref)
		}
	}
	answers := map[facts.ParameterRef]result{}
	ask := func(refs []facts.ParameterRef, of func(context.Context, string, []facts.ParameterRef) map[facts.ParameterRef]result) func(context.Context) (func(), error) {
		return func(ctx context.Context) (func(), error) {
			if len(refs) == 0 {
				return nil, nil
			}
			found := of(ctx, region, refs)
			return func() { maps.Copy(answers, found) }, nil
		}
	}
	for i, err := range duty.Together(ctx, perStore, ask(stored, d.fromStore), ask(secret, d.fromSecrets)) {
		for _, ref := range [][]facts.ParameterRef{stored, secret}[i] {
			if _, ok := answers[ref]; !ok {
				answers[ref] = result{err: fmt.Errorf("cannot read %s: %w: %w", ref, facts.ErrUnavailable, err)}
			}
		}
	}
	now := time.Now().UTC()
	said := map[string]bool{}
	for _, ref := range refs {
		err := d.known.learn(ref, answers[ref], now)
		if err != nil && !said[err.Error()] { // a service that is down says the same of all
			said[err.Error()] = true
			errs = append(errs, err)
		}
	}
	return errs
}

func (d *Duty) fromStore(ctx context.Context, region string, refs []facts.ParameterRef) map[facts.ParameterRef]result {
	found := map[facts.ParameterRef]result{}
	var names []string
	for _, ref := range refs {
		if ref.Kind == facts.SSMParameter {
			names = append(names, ref.Name)
		}
	}
	if len(names) > 0 {
		for name, r := range d.Store.Parameters(ctx, region, names) {
			found[facts.ParameterRef{Kind: facts.SSMParameter, Name: name}] = single(r.Parameter, r.Err)
		}
	}
	for _, ref := range refs {
		if ref.Kind == facts.SSMTree {
			tree, err := d.Store.Tree(ctx, region, ref.Name)
			found[ref] = result{below(ref.Name, tree), err}
		}
	}
	return found
}

func (d *Duty) fromSecrets(ctx context.Context, region string, refs []facts.ParameterRef) map[facts.ParameterRef]result {
	found := map[facts.ParameterRef]result{}
	for _, ref := range refs {
		found[ref] = single(d.Secrets.Secret(ctx, region, ref.Name))
	}
	return found
}

func single(p facts.Parameter, err error) result {
	return result{map[string]facts.Parameter{"": p}, err}
}

// below names what is in a tree by the rest of its names.
func below(path string, tree map[string]facts.Parameter) map[string]facts.Parameter {
	path = strings.TrimSuffix(path, "/") + "/"
	found := make(map[string]facts.Parameter, len(tree))
	for name, p := range tree {
		found[strings.TrimPrefix(name, path)] = p
	}
	return found
}

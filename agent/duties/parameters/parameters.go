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
	// Asks is another whenever somebody wants all of it read again now.
	Asks cell.Reader[string]
	// Parameters gets what is known.
	Parameters *cell.Cell[facts.Parameters]

	known   known
	of      string // the instance that known is of
	warning string
	kept    []byte
	served  string // of Asks
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "parameters" }

// How long each of the two services may take in one pass, and when it has to end
// with what it has, so that this is not lost.
const (
	perStore = 40 * time.Second
	wrapUp   = 5 * time.Second
)

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
	now := time.Now().UTC()
	if d.of != instance.ID {
		d.known, d.kept, d.warning = load(d.FS, instance.ID, now)
		d.of = instance.ID
	}
	asked := d.asked()
	d.known.forget(asked, now)
	out, more := duty.Outcome{}, 0
	if refresh := time.Duration(c.Refresh); d.Store != nil {
		due, _ := d.known.due(d.ID, asked, refresh, now)
		if d.now() {
			due = asked
		}
		d.read(ctx, instance.Region, due)
		due, out.Again = d.known.due(d.ID, asked, refresh, time.Now().UTC())
		if more = len(due); more > 0 {
			out.Again = time.Second
		}
	}
	d.Parameters.Set(d.known.parameters())
	errs := d.known.failing(asked)
	if more > 0 {
		errs = append(errs, duty.WaitingFor("%d more, for which this pass had no time", more))
	}
	var err error
	if d.kept, err = d.known.save(d.FS, instance.ID, d.kept, now); err != nil {
		errs = append(errs, err)
	}
	out.Summary = d.known.summary(asked)
	if d.warning != "" {
		out.Warnings = []string{d.warning}
	}
	return out, errors.Join(errs...)
}

// now reports whether somebody wants all of it read again.
func (d *Duty) now() bool {
	if d.Asks == nil {
		return false
	}
	id, _ := d.Asks.Get()
	was := d.served
	d.served = id
	return id != was
}

// asked is what all templates ask for.
func (d *Duty) asked() (refs facts.References) {
	for _, reader := range d.Asked {
		more, _ := reader.Get()
		refs = append(refs, more...)
	}
	slices.SortFunc(refs, facts.ParameterRef.Compare)
	return slices.Compact(refs)
}

// result is what came of asking for one reference.
type result struct {
	values map[string]facts.Parameter
	err    error
}

// read asks for refs: both services at the same time, since one that hangs must
// not keep the other's values from the node. What there was no time for is left
// as it is.
func (d *Duty) read(ctx context.Context, region string, refs []facts.ParameterRef) {
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
			ctx, cancel := context.WithTimeout(ctx, perStore-wrapUp)
			defer cancel()
			found := of(ctx, region, refs)
			return func() { maps.Copy(answers, found) }, nil
		}
	}
	for i, err := range duty.Together(ctx, perStore, ask(stored, d.fromStore), ask(secret, d.fromSecrets)) {
		for _, ref := range [][]facts.ParameterRef{stored, secret}[i] {
			if _, ok := answers[ref]; !ok && err != nil {
				answers[ref] = result{err: fmt.Errorf("cannot read %s: %w: %w", ref, facts.ErrUnavailable, err)}
			}
		}
	}
	now := time.Now().UTC()
	for ref, r := range answers {
		d.known.learn(ref, r, now)
	}
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
		if ref.Kind == facts.SSMTree && ctx.Err() == nil {
			tree, err := d.Store.Tree(ctx, region, ref.Name)
			found[ref] = result{below(ref.Name, tree), err}
		}
	}
	return found
}

func (d *Duty) fromSecrets(ctx context.Context, region string, refs []facts.ParameterRef) map[facts.ParameterRef]result {
	found := map[facts.ParameterRef]result{}
	for _, ref := range refs {
		if ctx.Err() != nil {
			break
		}
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

package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Trace is what renderings asked for, found or not.
type Trace struct {
	asked  map[facts.ParameterRef]bool
	secret bool
}

// References returns what was asked of Parameter Store and Secrets Manager.
func (t *Trace) References() facts.References {
	if t == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(t.asked), facts.ParameterRef.Compare)
}

// Secret reports whether a secret was read since the last call.
func (t *Trace) Secret() bool {
	was := t.secret
	t.secret = false
	return was
}

func (t *Trace) add(ref facts.ParameterRef) {
	if t == nil {
		return
	}
	if t.asked == nil {
		t.asked = map[facts.ParameterRef]bool{}
	}
	t.asked[ref] = true
}

// ErrSecret is the error of a rendering that read a secret where none may be.
var ErrSecret = errors.New("a secret may only reach a file of mode 0640 or stricter that not every container mounts, and ECS_ENGINE_AUTH_DATA")

var (
	// As Parameter Store has names, and ARNs of them:
	// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
	parameterForm = pattern.New(`^/?[A-Za-z0-9_.:-]+(/[A-Za-z0-9_.:-]+)*$`)
	treeForm      = pattern.New(`^/([A-Za-z0-9_.-]+/)*([A-Za-z0-9_.-]+)?$`)
	// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
	secretForm = pattern.New(`^[A-Za-z0-9/_+=.@:!-]+$`)
)

const maxParameterName = 1011 // of an ARN and a name: API_PutParameter

// refOf returns the reference, or an error if nothing can have such a name.
func refOf(kind, name string) (facts.ParameterRef, error) {
	form := map[string]*pattern.Regexp{facts.SSMParameter: parameterForm, facts.SSMTree: treeForm, facts.ASecret: secretForm}[kind]
	ref := facts.ParameterRef{Kind: kind, Name: name}
	if !form.MatchString(name) || len(name) > maxParameterName {
		return ref, fmt.Errorf("%s: nothing can have this name", ref)
	}
	return ref, nil
}

// ask returns what is known of a reference; none if it is not there, which has
// been noted.
func (r *run) ask(kind, name string) (facts.ParameterRef, facts.ParameterAnswer, error) {
	if err := r.question(name); err != nil {
		return facts.ParameterRef{}, facts.ParameterAnswer{}, err
	}
	ref, err := refOf(kind, name)
	if len(r.missing) > 0 && !r.literals[name] { // a part of the name may not be there yet
		return ref, facts.ParameterAnswer{}, nil
	}
	if err != nil {
		return ref, facts.ParameterAnswer{}, err
	}
	r.in.Trace.add(ref)
	return ref, r.in.Parameters[ref], nil
}

func (r *run) lacks(ref facts.ParameterRef, a facts.ParameterAnswer) {
	why := a.Why
	if why == "" {
		why = "it has not been read yet"
	}
	r.lack(Missing{ref.String(), a.Presence, why})
}

// open returns a value of a parameter, if it may be had here.
func (r *run) open(ref facts.ParameterRef, p facts.Parameter) (string, error) {
	if !p.Secret {
		return p.Value, nil
	}
	r.conceal(p.Value)
	if r.in.Trace != nil {
		r.in.Trace.secret = true
	}
	if !r.in.Secrets {
		return "", fmt.Errorf("%s is a SecureString or a secret: %w", ref, ErrSecret)
	}
	return p.Value, nil
}

func (r *run) ssm(name string, fallback ...string) (string, error) {
	if r.trial {
		return r.madeUp(), nil
	}
	ref, a, err := r.ask(facts.SSMParameter, name)
	switch {
	case err != nil:
		return "", err
	case a.Presence == facts.Present:
		return r.open(ref, a.Values[""])
	case a.Presence == facts.Absent && len(fallback) == 1:
		return fallback[0], nil
	}
	r.lacks(ref, a)
	return "", nil
}

// ssmTree returns what is below a path, by the rest of the names; empty where
// nothing is.
func (r *run) ssmTree(path string) (map[string]any, error) {
	if r.trial {
		return map[string]any{"x": r.madeUp()}, nil
	}
	ref, a, err := r.ask(facts.SSMTree, path)
	if err != nil {
		return nil, err
	}
	if a.Presence == facts.Unavailable {
		r.lacks(ref, a)
	}
	tree := make(map[string]any, len(a.Values))
	for name, p := range a.Values {
		if tree[name], err = r.open(ref, p); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// secretOf returns a secret, or one key of a secret that is a JSON object.
func (r *run) secretOf(name string, key ...string) (string, error) {
	if r.trial {
		return r.madeUp(), nil
	}
	ref, a, err := r.ask(facts.ASecret, name)
	if err == nil && len(key) > 0 {
		err = r.question(key[0])
	}
	if err != nil {
		return "", err
	}
	if a.Presence != facts.Present {
		r.lacks(ref, a)
		return "", nil
	}
	whole, err := r.open(ref, a.Values[""])
	if err != nil || len(key) == 0 {
		return whole, err
	}
	r.left.spend(4 * len(whole))
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(whole), &object) != nil {
		return "", fmt.Errorf("%s is no JSON object: leave the key out for the whole of it", ref)
	}
	raw, ok := object[key[0]]
	if !ok || string(raw) == "null" {
		r.lack(Missing{fmt.Sprintf("%s %q", ref, key[0]), facts.Absent, "the secret has no such key"})
		return "", nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw) // a number, a boolean
	}
	r.conceal(text)
	return text, nil
}

// file returns the content of a file that came with the configuration.
func (r *run) file(name string) (string, error) {
	if r.trial {
		return r.madeUp(), checkFileName(name)
	}
	if err := errors.Join(r.question(name), checkFileName(name)); err != nil {
		return "", err
	}
	if r.in.File == nil {
		return "", fmt.Errorf("file %q: no file can be had here", name)
	}
	data, err := r.in.File(name)
	what := fmt.Sprintf("file %q", name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.lack(Missing{what, facts.Absent, "there is no such file"})
	case err != nil:
		r.lack(Missing{what, facts.Unavailable, err.Error()})
	case len(data) > MaxOutput:
		return "", errTooLong
	}
	return string(data), nil
}

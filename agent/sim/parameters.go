package sim

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parameter is a parameter of Parameter Store as scenarios write it.
type Parameter struct {
	Name  string `yaml:"name"`
	Type  string `yaml:"type"` // String, which is the default, StringList or SecureString
	Value string `yaml:"value"`
	// Key is the id of the customer managed key that a SecureString is encrypted
	// with, which takes kms:Decrypt; "" is aws/ssm, which all roles may use.
	Key    string   `yaml:"key"`
	Labels []string `yaml:"labels"` // of this version; other versions lose them
}

// parameterName: https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html,
// and one with a slash in it begins with one (localstack/localstack issue 11538).
var parameterName = regexp.MustCompile(`^([a-zA-Z0-9_.-]+|(/[a-zA-Z0-9_.-]+)+)$`)

func (p Parameter) validate() error {
	switch {
	case !parameterName.MatchString(p.Name):
		return fmt.Errorf("name: %q is not the name of a parameter", p.Name)
	case !slices.Contains([]string{"", "String", "StringList", "SecureString"}, p.Type):
		return fmt.Errorf("%s: unknown type %q, want String, StringList or SecureString", p.Name, p.Type)
	case p.Value == "":
		return fmt.Errorf("%s: no value", p.Name)
	case p.Key != "" && p.Type != "SecureString":
		return fmt.Errorf("%s: key goes with type SecureString only", p.Name)
	}
	return nil
}

// parameter is a parameter with its versions, from 1 on.
type parameter struct {
	name     string
	versions []parameterVersion
}

type parameterVersion struct {
	Parameter
	number   int
	modified time.Time
}

// SetParameter gives a parameter, which is made if there is none, a new version.
func (w *World) SetParameter(p Parameter) error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("cannot set parameter: %w", err)
	}
	p.Type, p.Labels = cmp.Or(p.Type, "String"), slices.Clone(p.Labels)
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.parameters[p.Name]
	if known == nil {
		known = &parameter{name: p.Name}
		w.parameters[p.Name] = known
	}
	for i, v := range known.versions {
		known.versions[i].Labels = slices.DeleteFunc(v.Labels, func(l string) bool { return slices.Contains(p.Labels, l) })
	}
	known.versions = append(known.versions, parameterVersion{p, len(known.versions) + 1, time.Now()})
	return nil
}

// DeleteParameter takes a parameter away, if it is there.
func (w *World) DeleteParameter(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.parameters, name)
}

// version finds a version by its number or a label of it; "" is the last one.
func (p *parameter) version(selector string) (parameterVersion, bool) {
	for i, v := range slices.Backward(p.versions) {
		if selector == "" && i == len(p.versions)-1 || selector == strconv.Itoa(v.number) || slices.Contains(v.Labels, selector) {
			return v, true
		}
	}
	return parameterVersion{}, false
}

// parameterARN: the first slash of a name is that of the ARN.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
func (w *World) parameterARN(name string) string {
	return fmt.Sprintf("arn:aws:ssm:%s:%s:parameter/%s", w.instance.Region, w.instance.Account, strings.TrimPrefix(name, "/"))
}

// findParameter finds the version that a name or an ARN, either of which may have
// ":" and a version or label after it, asks for. The caller holds the lock.
func (w *World) findParameter(asked string) (v parameterVersion, selector string, found bool) {
	name := asked
	if rest, isARN := strings.CutPrefix(asked, w.parameterARN("")); isARN {
		name = "/" + rest
	}
	name, selector, _ = strings.Cut(name, ":")
	p := w.parameters[name]
	if p == nil && name != asked {
		p = w.parameters[strings.TrimPrefix(name, "/")]
	}
	if p == nil {
		return v, "", false
	}
	v, found = p.version(selector)
	return v, selector, found
}

// keyARN is the ARN of a customer managed key.
func (w *World) keyARN(id string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", w.instance.Region, w.instance.Account, id)
}

// ParameterState is a parameter without its value.
type ParameterState struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Version int    `json:"version"`
	Key     string `json:"key,omitempty"`
}

// parameterStates are all parameters; the caller holds the lock.
func (w *World) parameterStates() []ParameterState {
	states := []ParameterState{}
	for _, name := range slices.Sorted(maps.Keys(w.parameters)) {
		v, _ := w.parameters[name].version("")
		states = append(states, ParameterState{name, v.Type, v.number, v.Key})
	}
	return states
}

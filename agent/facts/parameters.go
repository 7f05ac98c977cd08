package facts

import (
	"maps"
	"slices"
	"strings"
)

// Where parameters are kept; the names are those of the template functions.
const (
	SSMParameter = "ssm"     // one parameter of Parameter Store
	SSMTree      = "ssmTree" // all parameters of Parameter Store below a path
	ASecret      = "secret"  // a secret of Secrets Manager, the whole of it
)

// ParameterRef is one thing that templates ask of Parameter Store or Secrets
// Manager.
type ParameterRef struct {
	Kind string `json:"kind"` // SSMParameter, SSMTree or ASecret
	Name string `json:"name"`
}

// String is the reference as a template writes it.
func (r ParameterRef) String() string { return r.Kind + ` "` + r.Name + `"` }

// Compare orders references by kind and name.
func (r ParameterRef) Compare(o ParameterRef) int {
	if c := strings.Compare(r.Kind, o.Kind); c != 0 {
		return c
	}
	return strings.Compare(r.Name, o.Name)
}

// ParameterAnswer is what is known of a reference. The zero value is one that
// nobody has looked for.
type ParameterAnswer struct {
	Presence Presence `json:"presence"`
	// Values are by the rest of the name below a tree; what is one value is
	// under "".
	Values map[string]Parameter `json:"values,omitempty"`
	// Why says why it is not known, or where it was looked for in vain.
	Why string `json:"why,omitempty"`
}

// Equal reports whether a and o say the same.
func (a ParameterAnswer) Equal(o ParameterAnswer) bool {
	return a.Presence == o.Presence && a.Why == o.Why && maps.Equal(a.Values, o.Values)
}

// Parameters is all that is known.
type Parameters map[ParameterRef]ParameterAnswer

// Equal reports whether p and o say the same.
func (p Parameters) Equal(o Parameters) bool { return maps.EqualFunc(p, o, ParameterAnswer.Equal) }

// References is what templates ask for, in order and each once.
type References []ParameterRef

// Equal reports whether r and o are the same.
func (r References) Equal(o References) bool { return slices.Equal(r, o) }

package facts

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// Parameter is a value of Parameter Store or a secret of Secrets Manager.
//
// One that is secret does not show its value: not by a verb of fmt, in a log, in
// a template that prints it, nor as JSON, wherever it stands in what is shown. In
// two cases fmt calls no method: in an unexported field of what is printed, and
// for %p and %w, which are not for values (vet finds the second). Who needs the
// value takes it from the field; who keeps it, see StoredParameter.
type Parameter struct {
	Value  string
	Secret bool // a SecureString, or a secret
}

const redacted = "(secret)"

// String is the value, if that is no secret.
func (p Parameter) String() string {
	if p.Secret {
		return redacted
	}
	return p.Value
}

// Format implements fmt.Formatter as for the text that String returns. Without
// it, %d and the like would go by the fields.
func (p Parameter) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), p.String())
}

// LogValue implements slog.LogValuer.
func (p Parameter) LogValue() slog.Value { return slog.StringValue(p.String()) }

// StoredParameter is a Parameter as a file that only root reads keeps it: with
// its value, in JSON and in everything else. A Parameter is converted to it and
// back where the file is written and read, and nowhere else.
type StoredParameter struct {
	Value  string `json:"value"`
	Secret bool   `json:"secret,omitempty"`
}

// MarshalJSON leaves the value of a secret out: what is encoded may be a log or
// the status.
func (p Parameter) MarshalJSON() ([]byte, error) {
	if p.Secret {
		return []byte(`{"secret":true}`), nil
	}
	return json.Marshal(StoredParameter(p))
}

// UnmarshalJSON refuses a secret whose value was left out, so that nothing takes
// it for an empty one.
func (p *Parameter) UnmarshalJSON(data []byte) error {
	var read struct {
		Value  *string `json:"value"`
		Secret bool    `json:"secret"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	if read.Value == nil {
		return errors.New("a parameter without its value")
	}
	*p = Parameter{*read.Value, read.Secret}
	return nil
}

// ParameterResult is what came of asking for one parameter: the parameter, or an
// error that says why there is none, which is one of the three of this package.
type ParameterResult struct {
	Parameter Parameter
	Err       error
}

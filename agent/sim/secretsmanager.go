package sim

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// secretsManagerAPI is the part of AWS Secrets Manager that a node's agent uses.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
func secretsManagerAPI() *api {
	return &api{
		name:     "secretsmanager",
		protocol: jsonProtocol{target: "secretsmanager"},
		operations: map[string]operation{
			"GetSecretValue": {bucket: drawsFrom(BucketSecretsManagerRead), resource: askedSecret, handle: getSecretValue},
		},
	}
}

// Secret is a secret of Secrets Manager as scenarios write it.
type Secret struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"` // "": a secret without a value
	// Binary makes the value's bytes a SecretBinary.
	Binary bool `yaml:"binary"`
	// Key is the id of the customer managed key that it is encrypted with, which
	// takes kms:Decrypt; "" is aws/secretsmanager, which all roles may use.
	Key string `yaml:"key"`
}

// secretName: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

func (s Secret) validate() error {
	if !secretName.MatchString(s.Name) {
		return fmt.Errorf("name: %q is not the name of a secret", s.Name)
	}
	return nil
}

// secret is a secret with its versions: the last is AWSCURRENT, the one before it
// AWSPREVIOUS.
type secret struct {
	name, arn, key string
	deleted        bool
	versions       []secretVersion
}

type secretVersion struct {
	id      string
	value   string
	binary  bool
	created time.Time
}

// SetSecret gives a secret, which is made, or restored, if there is none, a new
// current version.
func (w *World) SetSecret(s Secret) error {
	if err := s.validate(); err != nil {
		return fmt.Errorf("cannot set secret: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.secrets[s.Name]
	if known == nil {
		// An ARN ends with six characters that a new secret of the name has not.
		arn := fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", w.instance.Region, w.instance.Account, s.Name, w.randomText(6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
		known = &secret{name: s.Name, arn: arn}
		w.secrets[s.Name] = known
	}
	known.key, known.deleted = s.Key, false
	if s.Value != "" {
		known.versions = append(known.versions, secretVersion{w.requestID(), s.Value, s.Binary, time.Now()})
	}
	return nil
}

// DeleteSecret marks a secret for deletion, if it is there.
func (w *World) DeleteSecret(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.secrets[name]; s != nil {
		s.deleted = true
	}
}

// SecretARN is the ARN of a secret, "" if there is none.
func (w *World) SecretARN(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.secrets[name]; s != nil {
		return s.arn
	}
	return ""
}

// findSecret finds a secret by name, by ARN, or by an ARN without its last six
// characters. The caller holds the lock.
func (w *World) findSecret(id string) *secret {
	for _, name := range slices.Sorted(maps.Keys(w.secrets)) {
		if s := w.secrets[name]; id == s.name || id == s.arn || id+s.arn[len(s.arn)-7:] == s.arn {
			return s
		}
	}
	return nil
}

// version finds a version by its id and a stage of it; "" is any, and of neither
// it is the current one.
func (s *secret) version(id, stage string) (v secretVersion, stages []string, found bool) {
	if id == "" {
		stage = cmp.Or(stage, "AWSCURRENT")
	}
	for i, v := range slices.Backward(s.versions) {
		stages := []string{}
		switch i {
		case len(s.versions) - 1:
			stages = append(stages, "AWSCURRENT")
		case len(s.versions) - 2:
			stages = append(stages, "AWSPREVIOUS")
		}
		if (id == "" || id == v.id) && (stage == "" || slices.Contains(stages, stage)) {
			return v, stages, true
		}
	}
	return secretVersion{}, nil, false
}

type getSecretValueInput struct{ SecretID, VersionID, VersionStage string } // the case of a letter does not matter to JSON

// askedSecret is the ARN of the secret asked for; of what there is not, a refusal
// has what was asked for (mongodb/awscdk-resources-mongodbatlas issue 207).
func askedSecret(r *apiRequest) string {
	var in getSecretValueInput
	_ = r.decode(&in) // refused later
	if s := r.world.findSecret(in.SecretID); s != nil {
		return s.arn
	}
	return in.SecretID
}

type secretValue struct {
	ARN, Name     string
	VersionID     string `json:"VersionId"`
	SecretString  string `json:",omitempty"`
	SecretBinary  []byte `json:",omitempty"`
	VersionStages []string
	CreatedDate   float64
}

func getSecretValue(r *apiRequest) (any, error) {
	var in getSecretValueInput
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.SecretID); n == 0 || n > 2048 {
		return nil, violation("secretId", in.SecretID, "length", n == 0, 2048)
	}
	s := r.world.findSecret(in.SecretID)
	if s == nil {
		return nil, clientError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	if s.deleted {
		return nil, clientError("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	v, stages, found := s.version(in.VersionID, in.VersionStage)
	if !found {
		// Words as in aws/aws-sdk-js-v3 issue 7701 and aws-samples/aws-aurora-cloudformation-samples issue 1.
		what := "staging label: " + cmp.Or(in.VersionStage, "AWSCURRENT")
		if in.VersionID != "" {
			what = "VersionId: " + in.VersionID
		}
		return nil, clientError("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for "+what)
	}
	if s.key != "" && !r.allows("kms:Decrypt", r.world.keyARN(s.key)) {
		// external-secrets/external-secrets issue 390
		return nil, &apiError{http.StatusBadRequest, "AccessDeniedException", "Access to KMS is not allowed"}
	}
	out := secretValue{ARN: s.arn, Name: s.name, VersionID: v.id, VersionStages: stages, CreatedDate: float64(v.created.UnixMilli()) / 1000}
	if v.binary {
		out.SecretBinary = []byte(v.value)
	} else {
		out.SecretString = strings.ToValidUTF8(v.value, "\uFFFD")
	}
	return out, nil
}

// SecretState is a secret without its value.
type SecretState struct {
	Name     string `json:"name"`
	ARN      string `json:"arn"`
	Versions int    `json:"versions"`
	Deleted  bool   `json:"deleted"`
	Key      string `json:"key,omitempty"`
}

// secretStates are all secrets; the caller holds the lock.
func (w *World) secretStates() []SecretState {
	states := []SecretState{}
	for _, name := range slices.Sorted(maps.Keys(w.secrets)) {
		s := w.secrets[name]
		states = append(states, SecretState{name, s.arn, len(s.versions), s.deleted, s.key})
	}
	return states
}

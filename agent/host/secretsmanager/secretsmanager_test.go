package secretsmanager_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/secretsmanager"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// against runs a test of a client against a world, in virtual time. The world has
// the secrets of a scenario's state.
func against(t *testing.T, state string, f func(t *testing.T, w *sim.World, c *secretsmanager.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, n := sim.New(sim.Options{}), sim.NewNetwork()
		defer n.Close()
		if err := w.Connect(n); err != nil {
			t.Fatal(err)
		}
		s, err := sim.ParseScenario([]byte(state))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Apply(s.State); err != nil {
			t.Fatal(err)
		}
		config, err := awsapi.Config(awsapi.Options{Metadata: imds.New(imds.Options{Dial: n.DialContext}), Dial: n.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		f(t, w, secretsmanager.New(config, "http://secretsmanager.eu-west-1.amazonaws.com"))
	})
}

const secrets = `
state:
  secrets:
    - {name: prod/db, value: old}
    - {name: prod/db, value: hunter2}
    - {name: prod/keyed, value: swordfish, key: k1}
    - {name: binary, value: "\x01", binary: true}
    - {name: empty}
    - {name: gone, value: hunter2}
  delete_secrets: [gone]
`

func TestSecret(t *testing.T) {
	t.Parallel()
	against(t, secrets, func(t *testing.T, w *sim.World, c *secretsmanager.Client) {
		arn := w.SecretARN("prod/db")
		for _, name := range []string{"prod/db", arn, arn[:len(arn)-7]} {
			p, err := c.Secret(t.Context(), "eu-west-1", name)
			if want := (facts.Parameter{Value: "hunter2", Secret: true}); err != nil || p != want {
				t.Errorf("%s: %q, %v", name, p.Value, err)
			}
		}
	})
}

func TestSecretsThatCannotBeHad(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		secret string
		deny   string
		fault  sim.FaultKind
		is     error
		says   string // after "cannot read secret NAME: "; ARN stands for the ARN
	}{
		"there is none":            {"none", "", "", facts.ErrAbsent, "absent: there is no such secret in eu-west-1"},
		"without a value":          {"empty", "", "", facts.ErrAbsent, "absent: it has no current value"},
		"marked for deletion":      {"gone", "", "", facts.ErrRefused, "refused: it is marked for deletion: restore it, or use another"},
		"binary":                   {"binary", "", "", facts.ErrRefused, "refused: it is binary, and only one that is text can be used"},
		"no name at all":           {"", "", "", facts.ErrRefused, "refused: ValidationException: 1 validation error detected: "},
		"denied":                   {"prod/db", "secretsmanager:GetSecretValue", "", facts.ErrRefused, "refused: the instance role must allow secretsmanager:GetSecretValue on ARN (AccessDeniedException)"},
		"denied, of what is not":   {"none", "secretsmanager:GetSecretValue", "", facts.ErrRefused, "refused: the instance role must allow secretsmanager:GetSecretValue on none (AccessDeniedException)"},
		"without its key":          {"prod/keyed", "kms:Decrypt", "", facts.ErrRefused, "refused: the instance role must allow kms:Decrypt with the key by which it is encrypted (AccessDeniedException)"},
		"throttled":                {"prod/db", "", sim.FaultThrottle, facts.ErrThrottled, "unavailable: throttled (ThrottlingException)"},
		"no answer":                {"prod/db", "", sim.FaultHang, facts.ErrUnavailable, "unavailable: no answer within 10s"},
		"garbage":                  {"prod/db", "", sim.FaultGarbage, facts.ErrUnavailable, "unavailable: the answer makes no sense (HTTP status 200)"},
		"an empty answer":          {"prod/db", "", sim.FaultEmpty, facts.ErrUnavailable, "unavailable: the answer "},
		"half of an answer":        {"prod/db", "", sim.FaultTruncate, facts.ErrUnavailable, "unavailable: "},
		"a connection that breaks": {"prod/db", "", sim.FaultReset, facts.ErrUnavailable, "unavailable: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			against(t, secrets, func(t *testing.T, w *sim.World, client *secretsmanager.Client) {
				if c.deny != "" {
					w.Deny(c.deny)
				}
				if c.fault != "" {
					if err := w.SetFault("secretsmanager", sim.Fault{Kind: c.fault}); err != nil {
						t.Fatal(err)
					}
				}
				p, err := client.Secret(t.Context(), "eu-west-1", c.secret)
				want := "cannot read secret " + c.secret + ": " + strings.ReplaceAll(c.says, "ARN", w.SecretARN(c.secret))
				if !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), want) || p != (facts.Parameter{}) {
					t.Errorf("%v, want %s", err, want)
				}
				if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "swordfish")) {
					t.Errorf("the error has the secret in it: %v", err)
				}
			})
		})
	}
}

func TestASecretThatIsRestoredAndRenewed(t *testing.T) {
	t.Parallel()
	against(t, secrets, func(t *testing.T, w *sim.World, c *secretsmanager.Client) {
		if err := w.SetSecret(sim.Secret{Name: "gone", Value: "new"}); err != nil {
			t.Fatal(err)
		}
		if p, err := c.Secret(t.Context(), "eu-west-1", "gone"); err != nil || p.Value != "new" {
			t.Errorf("%q, %v", p.Value, err)
		}
	})
}

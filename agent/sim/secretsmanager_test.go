package sim_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// secretsManager is the SDK's client with credentials from IMDS, at AWS's own endpoint.
func (b bubble) secretsManager() *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: "eu-west-1", HTTPClient: b.http, Retryer: aws.NopRetryer{},
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() })),
	})
}

const kept = `
state:
  secrets:
    - {name: prod/db, value: oldest}
    - {name: prod/db, value: older}
    - {name: prod/db, value: newest}
    - {name: binary, value: "a\x00b", binary: true}
    - {name: keyed, value: x, key: k1}
    - {name: empty}
    - {name: gone, value: x}
  delete_secrets: [gone, never-was]
`

func TestGetSecretValue(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, kept)
		get := func(id, version, stage string) *secretsmanager.GetSecretValueOutput {
			t.Helper()
			in := &secretsmanager.GetSecretValueInput{SecretId: &id}
			if version != "" {
				in.VersionId = &version
			}
			if stage != "" {
				in.VersionStage = &stage
			}
			out, err := b.secretsManager().GetSecretValue(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		current := get("prod/db", "", "")
		if *current.SecretString != "newest" || *current.Name != "prod/db" || *current.ARN != b.SecretARN("prod/db") || current.CreatedDate.IsZero() || current.SecretBinary != nil {
			t.Errorf("%+v", current)
		}
		if diff := cmp.Diff([]string{"AWSCURRENT"}, current.VersionStages); diff != "" {
			t.Error(diff)
		}
		if previous := get(*current.ARN, "", "AWSPREVIOUS"); *previous.SecretString != "older" {
			t.Errorf("before it: %s", *previous.SecretString)
		}
		if same := get("prod/db", *current.VersionId, ""); *same.SecretString != "newest" {
			t.Errorf("by its id: %s", *same.SecretString)
		}
		if out := get("binary", "", ""); string(out.SecretBinary) != "a\x00b" || out.SecretString != nil {
			t.Errorf("binary: %+v", out)
		}
	})
}

func TestWhatSecretsManagerRefuses(t *testing.T) {
	t.Parallel()
	const user = "User: arn:aws:sts::123456789012:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: "
	for name, c := range map[string]struct {
		deny, id, stage string
		code, says      string
	}{
		"none of that name":   {id: "none", code: "ResourceNotFoundException", says: "Secrets Manager can't find the specified secret."},
		"without a value":     {id: "empty", code: "ResourceNotFoundException", says: "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
		"a stage it has not":  {id: "keyed", stage: "AWSPREVIOUS", code: "ResourceNotFoundException", says: "staging label: AWSPREVIOUS"},
		"marked for deletion": {id: "gone", code: "InvalidRequestException", says: "You can't perform this operation on the secret because it was marked for deletion."},
		"its key":             {deny: "kms:Decrypt", id: "keyed", code: "AccessDeniedException", says: "Access to KMS is not allowed"},
		"the action":          {deny: "secretsmanager:GetSecretValue", id: "none", code: "AccessDeniedException", says: user + "secretsmanager:GetSecretValue on resource: none because"},
		"the secret": {
			deny: "secretsmanager:GetSecretValue on *:secret:prod/*", id: "prod/db", code: "AccessDeniedException",
			says: user + "secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				applied(t, b.World, kept)
				if c.deny != "" {
					b.Deny(c.deny)
				}
				in := &secretsmanager.GetSecretValueInput{SecretId: &c.id}
				if c.stage != "" {
					in.VersionStage = &c.stage
				}
				_, err := b.secretsManager().GetSecretValue(t.Context(), in)
				wantCode(t, err, c.code, 400)
				if !strings.Contains(message(err), c.says) {
					t.Errorf("%s, want %s", message(err), c.says)
				}
				if _, err := b.secretsManager().GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("binary")}); err != nil && c.deny != "secretsmanager:GetSecretValue" {
					t.Errorf("of another secret: %v", err)
				}
			})
		})
	}
}

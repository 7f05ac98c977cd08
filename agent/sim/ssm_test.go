package sim_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// ssm is the SDK's client with credentials from IMDS, at AWS's own endpoint.
func (b bubble) ssm() *ssm.Client {
	return ssm.New(ssm.Options{
		Region: "eu-west-1", HTTPClient: b.http, Retryer: aws.NopRetryer{},
		Credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = b.imds() })),
	})
}

const stored = `
state:
  parameters:
    - {name: /app/a, value: one, labels: [live]}
    - {name: /app/a, value: two}
    - {name: /app/b/c, type: SecureString, value: hunter2}
    - {name: /app/b/d, type: SecureString, value: swordfish, key: k1}
    - {name: /app/ports, type: StringList, value: "1,2"}
    - {name: plain, value: p}
    - {name: /old, value: x}
  delete_parameters: [/old]
`

// summary is what an answer has of a parameter.
func summary(p types.Parameter) string {
	if !strings.HasSuffix(*p.ARN, ":123456789012:parameter/"+strings.TrimPrefix(*p.Name, "/")) || p.LastModifiedDate.IsZero() || *p.DataType != "text" {
		return "odd: " + *p.ARN
	}
	return fmt.Sprintf("%s%s %s %s v%d", *p.Name, aws.ToString(p.Selector), p.Type, *p.Value, p.Version)
}

func message(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Sprint(err)
	}
	return api.ErrorMessage()
}

func TestGetParameters(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, stored)
		out, err := b.ssm().GetParameters(t.Context(), &ssm.GetParametersInput{
			Names: []string{
				"plain", "/app/a", "/app/a:1", "/app/a:live", "/app/a:9", "/app/b/c", "/app/ports", "/old",
				"arn:aws:ssm:eu-west-1:123456789012:parameter/app/a:2", "arn:aws:ssm:eu-west-1:210987654321:parameter/app/a",
			},
			WithDecryption: aws.Bool(true),
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range out.Parameters {
			got = append(got, summary(p))
		}
		want := []string{
			"/app/a String two v2", "/app/a:1 String one v1", "/app/a:live String one v1", "/app/b/c SecureString hunter2 v1",
			"/app/ports StringList 1,2 v1", "/app/a:2 String two v2", "plain String p v1",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"/app/a:9", "/old", "arn:aws:ssm:eu-west-1:210987654321:parameter/app/a"}, out.InvalidParameters); diff != "" {
			t.Error(diff)
		}
	})
}

func TestASecureStringStaysEncrypted(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, stored)
		b.Deny("kms:Decrypt")
		out, err := b.ssm().GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/app/b/c", "/app/b/d"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range out.Parameters {
			if strings.Contains(*p.Value, "hunter2") || strings.Contains(*p.Value, "swordfish") {
				t.Errorf("%s is %s", *p.Name, *p.Value)
			}
		}
	})
}

func TestWhatParameterStoreRefuses(t *testing.T) {
	t.Parallel()
	const user = "User: arn:aws:sts::123456789012:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: "
	for name, c := range map[string]struct {
		deny  []string
		names []string
		path  string
		most  int32
		token string
		code  string
		says  string
	}{
		"no name":                        {names: []string{}, code: "ValidationException", says: "at 'names' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"eleven names":                   {names: strings.Split(strings.Repeat("a ", 10)+"a", " "), code: "ValidationException", says: "at 'names' failed to satisfy constraint: Member must have length less than or equal to 10"},
		"a name that is none":            {names: []string{"plain", "a b"}, code: "ValidationException", says: "Parameter name: can't be prefixed"},
		"a path without its first slash": {names: []string{"app/a"}, code: "ValidationException", says: "Parameter name: can't be prefixed"},
		"the action": {
			deny: []string{"ssm:GetParameters"}, names: []string{"/app/a"}, code: "AccessDeniedException",
			says: user + "ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:123456789012:parameter/app/a because no identity-based policy allows the ssm:GetParameters action",
		},
		"one of the parameters": {
			deny: []string{"ssm:GetParameters on arn:aws:ssm:*:parameter/app/*"}, names: []string{"plain", "/app/none:3"}, code: "AccessDeniedException",
			says: user + "ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:123456789012:parameter/app/none because",
		},
		"a key": {
			deny: []string{"kms:Decrypt"}, names: []string{"/app/b/c", "/app/b/d"}, code: "AccessDeniedException",
			says: user + "kms:Decrypt on resource: arn:aws:kms:eu-west-1:123456789012:key/k1 because no identity-based policy allows the kms:Decrypt action (Service: AWSKMS; ",
		},
		"a relative path":      {path: "app", code: "ValidationException", says: `must begin with a forward slash "/"`},
		"a page of eleven":     {path: "/app", most: 11, code: "ValidationException", says: "Value '11' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10"},
		"a token that is none": {path: "/app", token: "!", code: "InvalidNextToken", says: "The specified token isn't valid."},
		"a key below the path": {deny: []string{"kms:Decrypt on *key/k1"}, path: "/app", code: "AccessDeniedException", says: user + "kms:Decrypt on resource: arn:aws:kms"},
		"the path": {
			deny: []string{"ssm:GetParametersByPath on *parameter/app"}, path: "/app", code: "AccessDeniedException",
			says: user + "ssm:GetParametersByPath on resource: arn:aws:ssm:eu-west-1:123456789012:parameter/app because",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				applied(t, b.World, stored)
				ask := func() error {
					if c.path == "" {
						_, err := b.ssm().GetParameters(t.Context(), &ssm.GetParametersInput{Names: c.names, WithDecryption: aws.Bool(true)})
						return err
					}
					in := &ssm.GetParametersByPathInput{Path: &c.path, Recursive: aws.Bool(true), WithDecryption: aws.Bool(true)}
					if c.most != 0 {
						in.MaxResults = &c.most
					}
					if c.token != "" {
						in.NextToken = &c.token
					}
					_, err := b.ssm().GetParametersByPath(t.Context(), in)
					return err
				}
				b.Deny(c.deny...)
				err := ask()
				wantCode(t, err, c.code, 400)
				if !strings.Contains(message(err), c.says) {
					t.Errorf("%s, want %s", message(err), c.says)
				}
				if c.deny == nil {
					return
				}
				b.Allow(c.deny...)
				if err := ask(); err != nil {
					t.Errorf("once allowed: %v", err)
				}
			})
		})
	}
}

func TestGetParametersByPath(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, stored)
		b.Deny("ssm:GetParametersByPath on *parameter/app/b") // a path, not what is below it
		for _, c := range []struct {
			path      string
			recursive bool
			want      string
		}{
			{"/app", true, "/app/a /app/b/c | /app/b/d /app/ports"},
			{"/app/", false, "/app/a /app/ports"},
			{"/", false, "plain"},
			{"/ap", true, ""},
		} {
			var pages []string
			in := &ssm.GetParametersByPathInput{Path: &c.path, Recursive: &c.recursive, MaxResults: aws.Int32(2)}
			for {
				out, err := b.ssm().GetParametersByPath(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, p := range out.Parameters {
					names = append(names, *p.Name)
				}
				pages = append(pages, strings.Join(names, " "))
				if in.NextToken = out.NextToken; in.NextToken == nil {
					break
				}
			}
			if got := strings.Join(pages, " | "); got != c.want {
				t.Errorf("below %s: %s, want %s", c.path, got, c.want)
			}
		}
	})
}

func TestParameterStoreHasFortyCallsASecond(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, stored)
		api, had := b.ssm(), 0
		call := func() error {
			_, err := api.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"plain"}})
			return err
		}
		for {
			if err := call(); err != nil {
				wantCode(t, err, "ThrottlingException", 400)
				break
			}
			had++
		}
		if had != 40 {
			t.Errorf("%d calls", had)
		}
		time.Sleep(time.Second)
		if err := call(); err != nil {
			t.Errorf("a second later: %v", err)
		}
	})
}

func TestStoresInTheStateHaveNoValues(t *testing.T) {
	t.Parallel()
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		applied(t, b.World, stored+"  secrets: [{name: s, value: swordfish}]\n")
		state := b.State()
		want := []sim.ParameterState{
			{Name: "/app/a", Type: "String", Version: 2},
			{Name: "/app/b/c", Type: "SecureString", Version: 1},
			{Name: "/app/b/d", Type: "SecureString", Version: 1, Key: "k1"},
			{Name: "/app/ports", Type: "StringList", Version: 1},
			{Name: "plain", Type: "String", Version: 1},
		}
		if diff := cmp.Diff(want, state.Parameters); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]sim.SecretState{{Name: "s", ARN: b.SecretARN("s"), Versions: 1}}, state.Secrets); diff != "" {
			t.Error(diff)
		}
	})
}

func TestParametersAndSecretsThatCannotBe(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"parameters: [{name: a/b, value: x}]":               `state: parameters[0]: name: "a/b" is not the name of a parameter`,
		"parameters: [{name: /a, value: x, type: Text}]":    `state: parameters[0]: /a: unknown type "Text"`,
		"parameters: [{name: /a}]":                          "state: parameters[0]: /a: no value",
		"parameters: [{name: /a, value: x, key: k}]":        "state: parameters[0]: /a: key goes with type SecureString only",
		"parameters: [{name: /a, value: x, colour: red}]":   `unknown field "colour"`,
		"secrets: [{name: ok, value: x}, {name: 'not ok'}]": `state: secrets[1]: name: "not ok" is not the name of a secret`,
	} {
		if _, err := sim.ParseScenario([]byte("state: {" + state + "}\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", state, err, want)
		}
	}
	w := sim.New(sim.Options{})
	if err := w.SetParameter(sim.Parameter{Name: "/a"}); err == nil || err.Error() != "cannot set parameter: /a: no value" {
		t.Error(err)
	}
	if err := w.SetSecret(sim.Secret{}); err == nil || err.Error() != `cannot set secret: name: "" is not the name of a secret` {
		t.Error(err)
	}
}

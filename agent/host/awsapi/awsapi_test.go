package awsapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

func TestRootsThatAreNoCertificatesAreAnError(t *testing.T) {
	t.Parallel()
	_, err := awsapi.Config(awsapi.Options{ExtraRoots: []byte("not PEM")})
	const want = "cannot use the extra root certificates: there is no certificate in PEM among them"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	answered := func(status int, err error) error {
		resp := &smithyhttp.Response{Response: &http.Response{StatusCode: status}}
		return &smithy.OperationError{ServiceID: "ECS", OperationName: "X", Err: &smithyhttp.ResponseError{Response: resp, Err: err}}
	}
	code := func(status int, code string) error {
		return answered(status, &smithy.GenericAPIError{Code: code, Message: "some words"})
	}
	for _, tc := range []struct {
		name string
		err  error
		is   error
		says string
	}{
		{"throttled with 400", code(400, "ThrottlingException"), facts.ErrUnavailable, "unavailable: throttled (ThrottlingException)"},
		{"throttled with 503", code(503, "RequestLimitExceeded"), facts.ErrUnavailable, "unavailable: throttled (RequestLimitExceeded)"},
		{"429 with an unknown code", code(429, "Whoa"), facts.ErrUnavailable, "unavailable: throttled (Whoa)"},
		{"not allowed", code(400, "AccessDeniedException"), facts.ErrRefused, "refused: the instance role must allow a:B (AccessDeniedException)"},
		{"expired credentials", code(403, "ExpiredTokenException"), facts.ErrUnavailable, "unavailable: credentials or clock out of date (ExpiredTokenException)"},
		{"out of order", code(500, "InternalError"), facts.ErrUnavailable, "unavailable: InternalError (HTTP status 500)"},
		{"one that another service refused", answered(400, &smithy.GenericAPIError{
			Code: "InvalidKeyId", Message: "The key is disabled. (Service: AWSKMS; Status Code: 400; Error Code: DisabledException; Request ID: 5f642215; Proxy: null)",
		}), facts.ErrRefused, "refused: InvalidKeyId: The key is disabled."},
		{"a bad request", code(400, "InvalidParameterValue"), facts.ErrRefused, "refused: InvalidParameterValue: some words"},
		{"an answer in no known form", answered(200, errors.New("x")), facts.ErrUnavailable, "unavailable: the answer makes no sense (HTTP status 200)"},
		{"no answer", fmt.Errorf("x: %w", http.ErrServerClosed), facts.ErrUnavailable, "unavailable: x: http: Server closed"},
	} {
		err := awsapi.Classify(t.Context(), tc.err, "a:B")
		if !errors.Is(err, tc.is) || err.Error() != tc.says {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.says)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	const user = "User: arn:aws:sts::123456789012:assumed-role/r/i-1 is not authorized to perform: "
	for message, want := range map[string]string{
		"":                        "a:B",
		"Access denied":           "a:B",
		user + "ssm:GetParameter": "ssm:GetParameter",
		user + "ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:123456789012:parameter/a because no identity-based policy allows the ssm:GetParameters action": "ssm:GetParameters on arn:aws:ssm:eu-west-1:123456789012:parameter/a",
		user + "kms:Decrypt on resource: arn:aws:kms:eu-west-1:123456789012:key/k1 because … (Service: AWSKMS; Status Code: 400; Request ID: 1)":                    "kms:Decrypt on arn:aws:kms:eu-west-1:123456789012:key/k1",
		"The ciphertext refers to a customer master key that does not exist. (Service: AWSKMS; Status Code: 400; Request ID: 1)":                                    "kms:Decrypt with the key by which it is encrypted",
		"Access to KMS is not allowed": "kms:Decrypt with the key by which it is encrypted",
	} {
		err := fmt.Errorf("calling: %w", &smithy.GenericAPIError{Code: "AccessDeniedException", Message: message})
		if got := awsapi.Missing(err, "a:B"); got != want {
			t.Errorf("%s: %s, want %s", message, got, want)
		}
	}
	if got := awsapi.Missing(errors.New("no answer"), "a:B"); got != "a:B" {
		t.Errorf("without an answer: %s", got)
	}
}

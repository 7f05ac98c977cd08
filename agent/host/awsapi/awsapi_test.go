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

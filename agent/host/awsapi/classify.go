package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Classify turns the error of a call made with ctx into one of the three of package facts,
// with the reason in words that stay the same while the reason does. action is
// the IAM action that the call needs, such as "ec2:DescribeTags".
func Classify(ctx context.Context, err error, action string) error {
	var role *roleError
	var api smithy.APIError
	var garbled *smithy.DeserializationError
	status := statusOf(err)
	switch {
	case errors.As(err, &role):
		return role.err
	case errors.As(err, &api):
		return classifyCode(api.ErrorCode(), api.ErrorMessage(), status, action)
	case errors.As(err, &garbled), status != 0:
		return fmt.Errorf("%w: the answer makes no sense (HTTP status %d)", facts.ErrUnavailable, status)
	}
	return fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, err))
}

// statusOf is the HTTP status of the answer, 0 if there was none.
func statusOf(err error) int {
	var resp interface{ HTTPStatusCode() int }
	if errors.As(err, &resp) {
		return resp.HTTPStatusCode()
	}
	return 0
}

// classifyCode reads the error codes that all APIs share.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
func classifyCode(code, message string, status int, action string) error {
	if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled || status == http.StatusTooManyRequests {
		return fmt.Errorf("%w (%s)", facts.ErrThrottled, code)
	}
	switch code {
	case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException":
		return fmt.Errorf("%w: the instance role must allow %s (%s)", facts.ErrRefused, action, code)
	case "RequestExpired", "ExpiredToken", "ExpiredTokenException", "RequestTimeTooSkewed":
		return fmt.Errorf("%w: credentials or clock out of date (%s)", facts.ErrUnavailable, code)
	}
	if status == 0 || status >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %s (HTTP status %d)", facts.ErrUnavailable, code, status)
	}
	// Of a service that asked another one, the answer ends with "(Service: AWSKMS;
	// Status Code: 400; Error Code: …; Request ID: …)", new each time.
	message, _, _ = strings.Cut(message, " (Service: ")
	return fmt.Errorf("%w: %s: %s", facts.ErrRefused, code, httpx.Excerpt(message))
}

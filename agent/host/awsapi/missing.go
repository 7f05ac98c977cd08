package awsapi

import (
	"errors"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/ecsnode/ecsnode/agent/host/httpx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
var notAuthorized = pattern.New(`is not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)(?: on resource: (\S+))?`)

// Missing returns what the caller was not allowed to do, as far as the error of a
// call says so: the action, which may be one of KMS that the service took on the
// caller's behalf, and the resource. Else it is action, the one of the call.
func Missing(err error, action string) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return action
	}
	message := api.ErrorMessage()
	if m := notAuthorized.FindStringSubmatch(message); m != nil {
		if m[2] == "" {
			return m[1]
		}
		return m[1] + " on " + httpx.Excerpt(strings.Trim(m[2], `"`)) // S3 quotes its own
	}
	// Parameter Store once said no more than "The ciphertext refers to a customer
	// master key that does not exist, does not exist in this region, or you are not
	// allowed to access. (Service: AWSKMS; …" (aws/aws-cdk issue 4498), and Secrets
	// Manager says "Access to KMS is not allowed" (external-secrets/external-secrets
	// issue 390).
	if strings.Contains(message, "Service: AWSKMS") || strings.Contains(message, "Access to KMS") {
		return "kms:Decrypt with the key by which it is encrypted"
	}
	return action
}

package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

const getObject = "s3:GetObject"

// answer is what of an error answer tells one from another.
type answer struct {
	status int    // 0: there was none
	code   string // "": it was not S3 that answered
	region string // of the bucket, if the answer names it
}

func answerTo(err error) answer {
	var a answer
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		a.status, a.region = response.HTTPStatusCode(), response.Response.Header.Get("X-Amz-Bucket-Region")
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		a.code = api.ErrorCode()
		if m := otherRegion.FindStringSubmatch(api.ErrorMessage()); m != nil && a.region == "" {
			a.region = m[1]
		}
	}
	return a
}

// otherRegion is in the message of AuthorizationHeaderMalformed where it is for
// want of the right Region, which servers that only speak S3 say nowhere else.
var otherRegion = pattern.New(`the region ['"][^'"]*['"] is wrong; expecting ['"]([a-z0-9-]+)['"]`)

// classify reads the errors that S3 has and other APIs do not.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func classify(ctx context.Context, err error, o facts.Object, only facts.Condition, permissions string) error {
	a := answerTo(err)
	switch a.code {
	case "NoSuchBucket":
		return fmt.Errorf("%w: there is no such bucket", facts.ErrAbsent)
	case "NoSuchKey":
		return fmt.Errorf("%w: there is no such object", facts.ErrAbsent)
	case "ConditionalRequestConflict", "OperationAborted":
		return fmt.Errorf("%w: another write was under way (%s)", facts.ErrUnavailable, a.code)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%w: the clock of the node is off by more than 15 minutes (%s): see chronyc tracking", facts.ErrUnavailable, a.code)
	case "PreconditionFailed":
		if only.Absent {
			return facts.ErrExists
		}
		return facts.ErrChanged
	}
	elsewhere := a.code == "AuthorizationHeaderMalformed" || a.status == http.StatusMovedPermanently || a.status == http.StatusTemporaryRedirect
	if elsewhere && a.region != "" && a.region != o.Region {
		return fmt.Errorf("%w: the bucket is in %s, not in %s (%s)", facts.ErrRefused, a.region, o.Region, a.code)
	}
	// A bucket that a key of KMS encrypts takes the right to that key too.
	if missing := awsapi.Missing(err, permissions); a.code == "AccessDenied" && strings.HasPrefix(missing, "kms:") {
		return fmt.Errorf("%w: the instance role must allow %s (%s)", facts.ErrRefused, missing, a.code)
	}
	err = awsapi.Classify(ctx, err, permissions)
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
	if a.code == "AccessDenied" && permissions == getObject {
		err = fmt.Errorf("%w, or it is not there: without s3:ListBucket S3 does not tell", err)
	}
	return err
}

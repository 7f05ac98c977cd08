package awsapi

import (
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// WithMaxAnswer returns a client whose answers may have n bytes, if that is more
// than c, the one of a [Config], allows. It is for calls whose answer is
// content.
func WithMaxAnswer(c aws.HTTPClient, n int64) aws.HTTPClient {
	return longer{c, max(n, maxAnswer)}
}

// longer sets the limit on the request and not on the call's context, from where
// it would reach the requests for credentials too.
type longer struct {
	aws.HTTPClient
	limit int64
}

func (l longer) Do(r *http.Request) (*http.Response, error) {
	return l.HTTPClient.Do(r.WithContext(httpx.WithMaxAnswer(r.Context(), l.limit)))
}

// KeepPart returns a client that hands on what came of an answer that was cut
// short, as httpx.KeepPart has it, so that a call can go on from there.
func KeepPart(c aws.HTTPClient) aws.HTTPClient { return resumed{c} }

type resumed struct{ aws.HTTPClient }

func (k resumed) Do(r *http.Request) (*http.Response, error) {
	return k.HTTPClient.Do(r.WithContext(httpx.KeepPart(r.Context())))
}

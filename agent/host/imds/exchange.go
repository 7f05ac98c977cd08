package imds

import (
	"context"
	"fmt"
	"net/http"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// exchange is how the last request of a reading ended: for a token, or for the
// thing itself. It is taken down where the request is made because some of the
// SDK's errors hide what caused them.
type exchange struct {
	token  bool // the request was for a token
	status int  // 0: no answer
	err    error

	leave func() // the gate
}

type exchangeKey struct{}

// recorder is the client that the SDK sends its requests with.
type recorder struct {
	client *http.Client
	gate   *tokenGate
}

// Do implements imds.HTTPClient. The context is that of a reading.
func (r recorder) Do(req *http.Request) (*http.Response, error) {
	x := req.Context().Value(exchangeKey{}).(*exchange)
	x.token, x.status, x.err = req.Method == http.MethodPut, 0, nil
	resp, err := r.client.Do(req)
	if err == nil {
		x.status = resp.StatusCode
		err = r.mind(x, resp)
	}
	if err != nil {
		x.err = err
		return nil, err
	}
	return resp, nil
}

// mind keeps the gate in step with the token that the SDK has.
func (r recorder) mind(x *exchange, resp *http.Response) error {
	switch {
	case x.token && x.status == http.StatusOK:
		ttl, err := checkToken(resp)
		if err != nil {
			return err
		}
		r.gate.openFor(ttl)
		x.leave()
	case x.status == http.StatusUnauthorized:
		r.gate.openFor(0)
	}
	return nil
}

// classify tells why a reading, made with ctx, failed; err is the SDK's word.
func (x *exchange) classify(ctx context.Context, err error) error {
	subject := "it"
	if x.token {
		subject = "a session token"
	}
	switch {
	case x.err != nil:
		return fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, x.err))
	case x.status == 0, x.status == http.StatusOK:
		return fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, err))
	case x.status == http.StatusForbidden:
		return fmt.Errorf("%w: 403: is the metadata endpoint (HttpEndpoint) disabled?", facts.ErrRefused)
	case x.status == http.StatusUnauthorized:
		return fmt.Errorf("%w: 401 also with a new token", facts.ErrRefused)
	case x.status == http.StatusNotFound && !x.token:
		return facts.ErrAbsent
	}
	return fmt.Errorf("%w: HTTP status %d for %s", facts.ErrUnavailable, x.status, subject)
}

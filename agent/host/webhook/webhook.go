// Package webhook posts messages to a URL of somebody's choice.
package webhook

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Options says how the URL is reached.
type Options struct {
	Dial httpx.Dial // nil: a net.Dialer's
	// Proxy, if nil, is http.ProxyFromEnvironment (HTTPS_PROXY, NO_PROXY).
	Proxy func(*http.Request) (*url.URL, error)
}

// Client posts. It is safe for concurrent use.
type Client struct{ http func() *http.Client }

// New returns a client. It makes no request.
func New(o Options) *Client {
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	return &Client{sync.OnceValue(func() *http.Client {
		return httpx.NewClient(httpx.Options{Dial: o.Dial, Proxy: o.Proxy, MaxAnswer: maxAnswer})
	})}
}

const maxAnswer = 64 << 10 // nobody reads it

// Post posts m. Any answer but 2xx is an error: facts.ErrRefused for 4xx but 408
// and 429, which the same message gets again, and facts.ErrUnavailable for all
// else, no answer too. Of the URL an error names the host alone: a path may hold a secret.
func (c *Client) Post(ctx context.Context, m facts.Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return fmt.Errorf("cannot post to the webhook: %w: it is no URL", facts.ErrRefused)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range m.Headers {
		req.Header.Set(name, value)
	}
	resp, err := c.http().Do(req)
	switch {
	case err != nil:
		return fmt.Errorf("cannot post to the webhook at %s: %w: %s", req.URL.Host, facts.ErrUnavailable, httpx.Cause(ctx, err))
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout:
		return fmt.Errorf("cannot post to the webhook at %s: %w: HTTP status %d", req.URL.Host, facts.ErrRefused, resp.StatusCode)
	}
	return fmt.Errorf("cannot post to the webhook at %s: %w: HTTP status %d", req.URL.Host, facts.ErrUnavailable, resp.StatusCode)
}

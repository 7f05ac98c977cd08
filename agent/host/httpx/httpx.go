// Package httpx is what the HTTP clients of the host packages share: how they
// connect, how much of an answer they read, and how their failures are told.
package httpx

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Options says how a client reaches its servers. The zero value of each field
// is the plainest choice.
type Options struct {
	// Dial, if nil, is a net.Dialer's.
	Dial Dial
	// Proxy chooses a proxy for a request; nil: never one, whatever the
	// environment says.
	Proxy func(*http.Request) (*url.URL, error)
	// TLS, if nil, trusts the system's roots.
	TLS *tls.Config
	// MaxAnswer is the longest answer in bytes; zero: 256 KiB. WithMaxAnswer sets
	// another for one request.
	MaxAnswer int64
}

const (
	defaultMaxAnswer = 256 << 10
	maxHeader        = 64 << 10
	dialTimeout      = 5 * time.Second
	idleTimeout      = 30 * time.Second
	maxIdle          = 2
)

// NewClient returns a client that reads each answer whole before it hands it
// on, so that a request ends, for good or bad, within its context and within
// MaxAnswer bytes: a longer answer is an [*AnswerTooLong], one cut short is
// io.ErrUnexpectedEOF (but see [KeepPart]). It keeps few idle connections, follows no redirect and
// asks for no compression.
func NewClient(o Options) *http.Client {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	limit := o.MaxAnswer
	if limit == 0 {
		limit = defaultMaxAnswer
	}
	return &http.Client{
		Transport: whole{limit: limit, base: &http.Transport{
			Proxy:                  o.Proxy,
			DialContext:            dial,
			TLSClientConfig:        o.TLS,
			TLSHandshakeTimeout:    dialTimeout,
			DisableCompression:     true,
			MaxIdleConns:           2 * maxIdle,
			MaxIdleConnsPerHost:    maxIdle,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeader,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// WithMaxAnswer returns a context whose requests may have answers of n bytes,
// whatever their client's Options say.
func WithMaxAnswer(ctx context.Context, n int64) context.Context {
	return context.WithValue(ctx, maxAnswerKey{}, n)
}

type maxAnswerKey struct{}

// KeepPart returns a context whose requests, if their answer is cut short, get
// what came of it, and the error behind that.
func KeepPart(ctx context.Context) context.Context {
	return context.WithValue(ctx, keepPartKey{}, true)
}

type keepPartKey struct{}

// whole is a transport whose answers are in memory and of bounded length.
type whole struct {
	base  http.RoundTripper
	limit int64
}

func (w whole) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	limit := w.limit
	if n, set := r.Context().Value(maxAnswerKey{}).(int64); set {
		limit = n
	}
	if resp.ContentLength > limit {
		return nil, &AnswerTooLong{limit}
	}
	var body bytes.Buffer
	if resp.ContentLength > 0 && resp.Body != http.NoBody {
		body.Grow(int(resp.ContentLength) + bytes.MinRead) // at once, not by doubling
	}
	if _, err := body.ReadFrom(io.LimitReader(resp.Body, limit+1)); err != nil {
		keep, _ := r.Context().Value(keepPartKey{}).(bool)
		if ok := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent; !keep || !ok {
			return nil, err
		}
		resp.Body = io.NopCloser(io.MultiReader(&body, broken{err}))
		return resp, nil
	}
	if int64(body.Len()) > limit {
		return nil, &AnswerTooLong{limit}
	}
	resp.Body = io.NopCloser(&body)
	return resp, nil
}

// broken is where an answer ends that was cut short.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// AnswerTooLong reports an answer of more than Limit bytes. What came of it is
// dropped, and the connection closed.
type AnswerTooLong struct{ Limit int64 }

func (e *AnswerTooLong) Error() string {
	return fmt.Sprintf("the answer is longer than %d KiB", e.Limit>>10)
}

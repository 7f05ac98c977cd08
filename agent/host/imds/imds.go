// Package imds reads the EC2 instance metadata service, with session tokens
// only (IMDSv2) and never through a proxy.
package imds

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Defaults of [Options].
const (
	DefaultEndpoint = "http://169.254.169.254"
	DefaultTimeout  = 2 * time.Second
)

// Options says how the service is reached.
type Options struct {
	Endpoint string        // empty: DefaultEndpoint. The environment is not looked at
	Dial     httpx.Dial    // nil: a net.Dialer's
	Timeout  time.Duration // of one reading with the token it may need; zero: DefaultTimeout
}

// Client reads the service. It is safe for concurrent use.
//
// Errors of its methods are one of three. facts.ErrAbsent: 404.
// facts.ErrRefused: 401 also with a new token, or 403. facts.ErrUnavailable:
// anything else that is no answer (5xx, time-out, refused connection, garbage,
// more than 256 KiB). Nothing but a 401 is tried again.
type Client struct {
	sdk      *imds.Client
	gate     *tokenGate
	endpoint string
	timeout  time.Duration
}

// New returns a client. It makes no request.
func New(o Options) *Client {
	gate := newTokenGate()
	return &Client{
		sdk: imds.New(imds.Options{
			Endpoint:                 cmp.Or(o.Endpoint, DefaultEndpoint),
			HTTPClient:               recorder{httpx.NewClient(httpx.Options{Dial: o.Dial}), gate},
			ClientEnableState:        imds.ClientEnabled,
			EnableFallback:           aws.FalseTernary,
			Retryer:                  aws.NopRetryer{},
			DisableDefaultMaxBackoff: true,
		}),
		gate:     gate,
		endpoint: cmp.Or(o.Endpoint, DefaultEndpoint),
		timeout:  cmp.Or(o.Timeout, DefaultTimeout),
	}
}

// Get reads a path below latest/meta-data, such as "spot/instance-action".
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	body, err := c.metadata(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("cannot read meta-data/%s: %w", strings.TrimPrefix(path, "/"), err)
	}
	return body, nil
}

func (c *Client) metadata(ctx context.Context, path string) ([]byte, error) {
	return c.read(ctx, func(ctx context.Context) (io.Reader, error) {
		out, err := c.sdk.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if err != nil {
			return nil, err
		}
		return out.Content, nil
	})
}

func (c *Client) dynamic(ctx context.Context, path string) ([]byte, error) {
	return c.read(ctx, func(ctx context.Context) (io.Reader, error) {
		out, err := c.sdk.GetDynamicData(ctx, &imds.GetDynamicDataInput{Path: path})
		if err != nil {
			return nil, err
		}
		return out.Content, nil
	})
}

// read makes one reading. After a 401 it makes one more, for which the SDK gets
// a new token because it has dropped the one that was not taken.
func (c *Client) read(ctx context.Context, get func(context.Context) (io.Reader, error)) ([]byte, error) {
	ctx, cancel := httpx.WithTimeout(ctx, c.timeout)
	defer cancel()
	x, content, err := c.try(ctx, get)
	if err != nil && x.status == http.StatusUnauthorized {
		x, content, err = c.try(ctx, get)
	}
	if err != nil {
		return nil, x.classify(ctx, err)
	}
	return io.ReadAll(content) // in memory: see httpx.NewClient
}

func (c *Client) try(ctx context.Context, get func(context.Context) (io.Reader, error)) (*exchange, io.Reader, error) {
	x := new(exchange)
	leave, err := c.gate.enter(ctx)
	if err != nil {
		return x, nil, err
	}
	defer leave()
	x.leave = leave
	content, err := get(context.WithValue(ctx, exchangeKey{}, x))
	return x, content, err
}

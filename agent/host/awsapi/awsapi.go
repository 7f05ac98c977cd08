// Package awsapi is what the clients of AWS's APIs share: the credentials of
// the instance role, how the APIs are reached, and what their errors mean.
package awsapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

const (
	callTimeout = 10 * time.Second
	maxAttempts = 2 // the engine repeats what failed, at the duty's pace
	maxBackoff  = 2 * time.Second
	maxAnswer   = 1 << 20
	appID       = "ecsnode" // in the User-Agent, and so in CloudTrail
)

// Options says how AWS's APIs are reached.
type Options struct {
	// Metadata is the instance metadata service that has the credentials of
	// the instance role. There is no other source: what a node may do is told
	// by its role, and keys in the environment are not looked at.
	Metadata Metadata
	// Dial, if nil, is a net.Dialer's.
	Dial httpx.Dial
	// Proxy, if nil, is http.ProxyFromEnvironment (HTTPS_PROXY, NO_PROXY).
	Proxy func(*http.Request) (*url.URL, error)
	// ExtraRoots are certificates in PEM (the content of AWS_CA_BUNDLE) to
	// trust besides the system's.
	ExtraRoots []byte
}

// Config returns the configuration from which API clients are made. Its region
// is unset: a call names it. No client loads anything from the environment or
// from files, which is why nothing here uses the SDK's config package.
func Config(o Options) (aws.Config, error) {
	roots, err := withRoots(o.ExtraRoots)
	if err != nil {
		return aws.Config{}, err
	}
	proxy := o.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return aws.Config{
		AppID:       appID,
		Credentials: aws.NewCredentialsCache(instanceRole(o.Metadata)),
		HTTPClient:  httpx.NewClient(httpx.Options{Dial: o.Dial, Proxy: proxy, TLS: roots, MaxAnswer: maxAnswer}),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(r *retry.StandardOptions) {
				r.MaxAttempts, r.MaxBackoff = maxAttempts, maxBackoff
			})
		},
	}, nil
}

// withRoots returns nil, the system's roots, if there is nothing to add.
func withRoots(pem []byte) (*tls.Config, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("cannot load the system's root certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("cannot use the extra root certificates: there is no certificate in PEM among them")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// WithTimeout bounds one call of an API with all it takes: credentials,
// connection, one retry.
func WithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return httpx.WithTimeout(ctx, callTimeout)
}

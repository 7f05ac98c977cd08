// Package awsapi is what the clients of AWS's APIs share: the credentials of
// the instance role, how the APIs are reached, and what their errors mean.
package awsapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
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
	// the instance role. On a node there is no other source: what it may do is
	// told by its role, and keys in the environment are not looked at.
	Metadata Metadata
	// Keys, if not nil, take the place of the instance role: those of an operator,
	// whose machine has none.
	Keys *Keys
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
	if block, _ := pem.Decode(o.ExtraRoots); len(o.ExtraRoots) > 0 && block == nil {
		return aws.Config{}, errNoCertificate
	}
	proxy := o.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	credentials := instanceRole(o.Metadata)
	if o.Keys != nil {
		credentials = o.Keys
	}
	return aws.Config{
		AppID:       appID,
		Credentials: aws.NewCredentialsCache(credentials),
		HTTPClient: onUse{sync.OnceValues(func() (*http.Client, error) {
			roots, err := withRoots(o.ExtraRoots)
			return httpx.NewClient(httpx.Options{Dial: o.Dial, Proxy: proxy, TLS: roots, MaxAnswer: maxAnswer}), err
		})},
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(r *retry.StandardOptions) {
				r.MaxAttempts, r.MaxBackoff = maxAttempts, maxBackoff
			})
		},
	}, nil
}

// onUse makes its client at the first request: most passes call no API, and
// parsing a bundle of roots costs more than the whole of such a pass.
type onUse struct{ client func() (*http.Client, error) }

func (u onUse) Do(r *http.Request) (*http.Response, error) {
	client, err := u.client()
	if err != nil {
		return nil, err
	}
	return client.Do(r)
}

var errNoCertificate = errors.New("cannot use the extra root certificates: there is no certificate in PEM among them")

// withRoots returns nil, the system's roots, if there is nothing to add.
func withRoots(bundle []byte) (*tls.Config, error) {
	if len(bundle) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("cannot load the system's root certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, errNoCertificate
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// WithTimeout bounds one call of an API with all it takes: credentials,
// connection, one retry.
func WithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return httpx.WithTimeout(ctx, callTimeout)
}

package s3_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/s3"
	"github.com/ecsnode/ecsnode/agent/host/s3/s3test"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	region = "eu-west-1"
	limit  = 1 << 20
	// endpoint is one without TLS, at which bucket and key are in the path.
	endpoint = "http://storage.internal"
)

var object = facts.Object{Region: region, Bucket: "acme-config", Key: "web/bundle.tar"}

// world is a place with S3 and a client in it: a simulated one in virtual time,
// or a real server.
type world struct {
	*sim.World // nil: a real server
	t          *testing.T
	client     *s3.Client
	sdk        *sdk.Client  // for what the client does not do
	object     facts.Object // one that is not there yet
	answers    *answers
	signer     aws.CredentialsProvider

	mu    sync.Mutex
	dials []string
}

// both runs f in a simulated world and with a real server.
func both(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("simulator", func(t *testing.T) { bubble(t, sim.Options{}, endpoint, f) })
	t.Run("real server", func(t *testing.T) { f(t, real(t)) })
}

func real(t *testing.T) *world {
	t.Helper()
	server := s3test.Get(t)
	w := &world{t: t, object: object}
	w.object.Key = server.Prefix + object.Key
	w.reach(awsapi.Options{Keys: &server.Keys}, server.Endpoint)
	return w
}

func bubble(t *testing.T, o sim.Options, endpoint string, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: sim.New(o), t: t, object: object}
		n := sim.NewNetwork()
		t.Cleanup(func() { _ = n.Close() })
		if err := w.Connect(n); err != nil {
			t.Fatal(err)
		}
		authority, err := w.Authority()
		if err != nil {
			t.Fatal(err)
		}
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			w.mu.Lock()
			w.dials = append(w.dials, addr)
			w.mu.Unlock()
			return n.DialContext(ctx, network, addr)
		}
		w.CreateBucket(object.Bucket, "")
		w.reach(awsapi.Options{Metadata: imds.New(imds.Options{Dial: dial}), Dial: dial, ExtraRoots: authority.PEM()}, endpoint)
		f(t, w)
	})
}

// reach makes the clients.
func (w *world) reach(o awsapi.Options, endpoint string) {
	w.t.Helper()
	config, err := awsapi.Config(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.answers, w.signer = &answers{HTTPClient: config.HTTPClient}, config.Credentials
	config.HTTPClient = w.answers
	w.client = s3.New(config, endpoint)
	w.sdk = sdk.New(sdk.Options{
		Region: region, BaseEndpoint: &endpoint, UsePathStyle: true, Credentials: config.Credentials, HTTPClient: config.HTTPClient,
	})
}

// answers keeps what was answered.
type answers struct {
	aws.HTTPClient
	mu  sync.Mutex
	all []int // HTTP status
}

func (a *answers) Do(r *http.Request) (*http.Response, error) {
	resp, err := a.HTTPClient.Do(r)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all = append(a.all, resp.StatusCode)
	}
	return resp, err
}

func (a *answers) last() int { return a.all[len(a.all)-1] }

// signAt has every request signed by a clock that is off by so much.
func (w *world) signAt(off time.Duration) {
	below := w.answers.HTTPClient
	w.answers.HTTPClient = do(func(r *http.Request) (*http.Response, error) {
		who, err := w.signer.Retrieve(r.Context())
		if err != nil {
			return nil, err
		}
		err = v4.NewSigner().SignHTTP(r.Context(), who, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, time.Now().Add(off),
			func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err != nil {
			return nil, err
		}
		return below.Do(r)
	})
}

// do is a client of one function.
type do func(*http.Request) (*http.Response, error)

func (d do) Do(r *http.Request) (*http.Response, error) { return d(r) }

func (w *world) remove(o facts.Object) {
	w.t.Helper()
	if _, err := w.sdk.DeleteObject(w.t.Context(), &sdk.DeleteObjectInput{Bucket: &o.Bucket, Key: &o.Key}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fault(pattern string, f sim.Fault) {
	w.t.Helper()
	if err := w.SetFault(pattern, f); err != nil {
		w.t.Fatal(err)
	}
}

// put writes what must be writable.
func (w *world) put(body string) (etag string) {
	w.t.Helper()
	etag, err := w.client.Put(w.t.Context(), w.object, []byte(body), facts.Condition{})
	if err != nil {
		w.t.Fatal(err)
	}
	return etag
}

// want checks that an error is one of the sentinels, and none of the others.
func want(t *testing.T, err, is error, says string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", says)
	}
	for _, class := range []error{facts.ErrAbsent, facts.ErrUnavailable, facts.ErrRefused, facts.ErrExists, facts.ErrChanged} {
		if errors.Is(err, class) != (class == is) {
			t.Errorf("%v: errors.Is %q is %t", err, class, errors.Is(err, class))
		}
	}
	if err.Error() != says {
		t.Errorf("got  %s\nwant %s", err, says)
	}
}

package sim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/ecsnode/ecsnode/agent/sim"
)

func (b bubble) signS3(t *testing.T, r *http.Request, payload string, s signed) {
	t.Helper()
	credentials := b.roleCredentials(t)
	if s.change != nil {
		s.change(&credentials)
	}
	if s.service == "" {
		s.service = "s3"
	}
	if s.region == "" {
		s.region = "eu-west-1"
	}
	if payload == "" { // there is no header for it
		body, err := r.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(body)
		payload = hashOf(string(content))
	}
	err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, payload, s.service, s.region, time.Now().Add(s.skew),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func TestSignaturesForS3(t *testing.T) {
	const body = "some text"
	for _, tc := range []struct {
		name    string
		signed  signed
		payload string // "-": the body's hash
		code    string // "" for an answer
		status  int
	}{
		{"right", signed{}, "-", "", 200},
		{"of the body nothing", signed{}, "UNSIGNED-PAYLOAD", "", 200},
		{"fourteen minutes off", signed{skew: -14 * time.Minute}, "-", "", 200},
		{"none", signed{unsigned: true}, "-", "AccessDenied", 403},
		{"without a header for the body", signed{}, "", "InvalidRequest", 400},
		{"of another body", signed{}, hashOf("another"), "XAmzContentSHA256Mismatch", 400},
		{"in signed pieces", signed{}, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "NotImplemented", 501},
		{"in pieces that are none", signed{}, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "IncompleteBody", 400},
		{"sixteen minutes old", signed{skew: -16 * time.Minute}, "-", "RequestTimeTooSkewed", 403},
		{"another secret", signed{change: func(c *aws.Credentials) { c.SecretAccessKey = "guess" }}, "-", "SignatureDoesNotMatch", 403},
		{"an unknown key", signed{change: func(c *aws.Credentials) { c.AccessKeyID = "ASIAGUESS" }}, "-", "InvalidAccessKeyId", 403},
		{"for another service", signed{service: "ec2"}, "-", "AuthorizationHeaderMalformed", 400},
		{"for another region", signed{region: "eu-west-2"}, "-", "AuthorizationHeaderMalformed", 400},
		{"another scheme", signed{tamper: func(r *http.Request) { r.Header.Set("Authorization", "Basic eDp5") }}, "-", "AuthorizationHeaderMalformed", 400},
		{"body changed since", signed{tamper: changeS3Body}, "-", "XAmzContentSHA256Mismatch", 400},
		{"key changed since", signed{tamper: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/other", "" }}, "-", "SignatureDoesNotMatch", 403},
		{"condition changed since", signed{tamper: func(r *http.Request) { r.Header.Del("X-Amz-Meta-Owner") }}, "-", "SignatureDoesNotMatch", 403},
		{"a wrong checksum", signed{}, "checksum", "BadDigest", 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
				b.CreateBucket("acme", "")
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://acme.s3.eu-west-1.amazonaws.com/a%20b/%2Bc", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Amz-Meta-Owner", "web")
				switch tc.payload {
				case "checksum":
					r.Header.Set("X-Amz-Checksum-Sha256", "AAAA")
					tc.payload = hashOf(body)
				case "-":
					tc.payload = hashOf(body)
				}
				resp := b.sendToS3(t, r, tc.payload, tc.signed)
				answer, _ := io.ReadAll(resp.Body)
				if code := errorCode("s3", string(answer)); resp.StatusCode != tc.status || code != tc.code {
					t.Errorf("%d %s, want %d %s", resp.StatusCode, code, tc.status, tc.code)
				}
				if written := len(b.Objects("acme")) > 0; written != (tc.status == 200) {
					t.Errorf("written: %t", written)
				}
			})
		})
	}
}

func changeS3Body(r *http.Request) {
	r.Body, r.GetBody = io.NopCloser(strings.NewReader("some t3xt")), nil
}

func TestS3BesideTheRestAtOneEndpoint(t *testing.T) {
	world := sim.New(sim.Options{Unthrottled: true})
	base := onLoopback(t, world.Handler())
	for _, bucket := range []string{"latest", "2021-01-01", "1.0"} { // paths of instance metadata too
		world.PutObject(bucket, "meta-data/mac", []byte("of "+bucket))
	}
	// Its credentials are read as an agent does: with a token.
	client := direct(t)
	token := see(t.Context(), client, http.MethodPut, base+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	got := see(t.Context(), client, http.MethodGet, base+"/latest/meta-data/mac", "X-aws-ec2-metadata-token", string(token.body))
	if got.status != 200 || string(got.body) != "0a:1b:2c:3d:4e:5f" {
		t.Errorf("metadata: %d %s %v", got.status, got.body, got.err)
	}
	for _, bucket := range []string{"latest", "2021-01-01", "1.0"} {
		at, err := url.JoinPath(base, bucket, "meta-data/mac")
		if err != nil {
			t.Fatal(err)
		}
		got := see(t.Context(), client, http.MethodGet, at,
			"Authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0",
			"X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"))
		if got.status != 403 || errorCode("s3", string(got.body)) != "InvalidAccessKeyId" {
			t.Errorf("bucket %s: %d %s", bucket, got.status, got.body)
		}
	}
	if n := world.Count("s3/GetObject"); n != 3 {
		t.Errorf("%d calls of S3", n)
	}
}

func TestBucketsOfAScenario(t *testing.T) {
	t.Parallel()
	s, err := sim.ParseScenario([]byte(`
state:
  buckets:
    - name: acme
      objects: {config/web: "a: 1", config/db: "b: 2"}
    - {name: far, region: us-east-1}
`))
	if err != nil {
		t.Fatal(err)
	}
	w := sim.New(sim.Options{})
	if err := w.Apply(s.State); err != nil {
		t.Fatal(err)
	}
	if body, found := w.Object("acme", "config/db"); !found || string(body) != "b: 2" {
		t.Errorf("%q, %t", body, found)
	}
	state := w.State().Buckets
	if len(state) != 2 || state[0].Region != "eu-west-1" || state[0].Objects["config/web"] != 4 || state[1].Region != "us-east-1" {
		t.Errorf("%+v", state)
	}
	if _, err := sim.ParseScenario([]byte("state: {buckets: [{name: Acme_}]}")); err == nil || !strings.Contains(err.Error(), "buckets[0]: name: ") {
		t.Errorf("a bad name: %v", err)
	}
}

// Package s3test reaches the real S3 server that scripts/s3server.sh runs beside
// the tests, so that what the simulator says of S3 is compared with another's
// word. It is for tests alone.
package s3test

import (
	"crypto/rand"
	"net/url"
	"os"
	"testing"

	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Region of the server, and the bucket that it has.
const (
	Region = "eu-west-1"
	Bucket = "acme-config"
)

// Server is a real S3 server.
type Server struct {
	Endpoint string
	Keys     awsapi.Keys // may do all
	Stranger awsapi.Keys // are known, and may do nothing
	// Prefix is of the keys that a test may use: no other has them.
	Prefix string
}

// Get returns the server, and skips the test where there is none.
func Get(t testing.TB) Server {
	t.Helper()
	at := os.Getenv("ECSNODE_TEST_S3")
	if at == "" {
		t.Skip("there is no S3 server: scripts/s3server.sh go test ./...")
	}
	if u, err := url.Parse(at); err != nil || u.Hostname() != "127.0.0.1" {
		t.Fatalf("the S3 server at %q is not on loopback (%v)", at, err)
	}
	secret := os.Getenv("ECSNODE_TEST_S3_SECRET")
	return Server{
		Endpoint: at,
		Keys:     awsapi.Keys{AccessKeyID: os.Getenv("ECSNODE_TEST_S3_ACCESS"), SecretAccessKey: secret},
		Stranger: awsapi.Keys{AccessKeyID: "stranger", SecretAccessKey: secret},
		Prefix:   rand.Text() + "/",
	}
}

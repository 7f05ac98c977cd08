package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/s3/s3test"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/publish"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// customer is a node, and an operator, of a real S3 server; all else is simulated.
type customer struct {
	t      *testing.T
	server s3test.Server
	root   string
	key    bundle.SecretKey
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	role   awsapi.Keys
}

func newCustomer(t *testing.T) *customer {
	t.Helper()
	c := &customer{t: t, server: s3test.Get(t), root: t.TempDir()}
	c.role = c.server.Keys
	world, network := sim.New(sim.Options{}), sim.NewNetwork()
	t.Cleanup(func() { _ = network.Close() })
	if err := world.Connect(network); err != nil {
		t.Fatal(err)
	}
	// The instance's role has keys that the server knows.
	simulated := world.IMDS()
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, role, of := strings.Cut(r.URL.Path, "/iam/security-credentials/"); !of || role == "" {
			simulated.ServeHTTP(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": c.role.AccessKeyID, "SecretAccessKey": c.role.SecretAccessKey,
			"LastUpdated": time.Now().UTC(), "Expiration": time.Now().UTC().Add(time.Hour),
		})
	}))
	t.Cleanup(metadata.Close)
	var loopback net.Dialer
	c.dial = func(ctx context.Context, how, addr string) (net.Conn, error) {
		switch {
		case strings.HasPrefix(addr, "169.254.169.254:"):
			return loopback.DialContext(ctx, "tcp", metadata.Listener.Addr().String())
		case strings.HasSuffix(c.server.Endpoint, "//"+addr):
			return loopback.DialContext(ctx, "tcp", addr)
		}
		return network.DialContext(ctx, how, addr)
	}
	var err error
	if c.key, err = bundle.NewKey(); err != nil {
		t.Fatal(err)
	}
	c.write("/etc/ecsnode/ecsnode.yaml", fmt.Sprintf("%sbundle: {source: 's3://%s/%s', keys: [%s]}\n", basic, s3test.Bucket, c.server.Prefix, c.key.Public()))
	c.write("/sys/class/dmi/id/board_asset_tag", world.Instance().ID)
	c.write("/proc/sys/kernel/random/boot_id", "11111111-1111-4111-8111-111111111111")
	return c
}

func (c *customer) write(name, content string) {
	c.t.Helper()
	name = filepath.Join(c.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o600)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *customer) options(env map[string]string) node.Options {
	return node.Options{Root: c.root, Version: "test", Dial: c.dial, Getenv: func(name string) string {
		if name == "AWS_ENDPOINT_URL_S3" {
			return c.server.Endpoint
		}
		return env[name]
	}}
}

// publisher is an operator with keys in the environment.
func (c *customer) publisher(keys awsapi.Keys) *publish.Publisher {
	c.t.Helper()
	o, err := node.NewOperator(c.t.Context(), c.options(map[string]string{
		"AWS_ACCESS_KEY_ID": keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": keys.SecretAccessKey, "AWS_REGION": s3test.Region,
	}), "")
	if err != nil {
		c.t.Fatal(err)
	}
	source, err := bundle.ParseSource("s3://" + s3test.Bucket + "/" + c.server.Prefix)
	if err != nil {
		c.t.Fatal(err)
	}
	return o.Publisher(source, "stable", []bundle.Key{c.key.Public()}, c.key)
}

// pull looks at the channel with a new process, and says what is in effect then.
func (c *customer) pull() (facts.Bundle, duty.Record) {
	c.t.Helper()
	n, err := node.New(c.options(nil))
	if err != nil {
		c.t.Fatal(err)
	}
	r, b, err := n.PullBundle(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return b, r
}

func (c *customer) wants(text string, at *bundle.Channel) {
	c.t.Helper()
	b, r := c.pull()
	if r.State != duty.OK || b.Digest != string(at.Stable.Digest) || b.Serial != at.Serial {
		c.t.Errorf("%s: %+v, %s %s", text, b, r.State, r.Err)
	}
	if data, err := os.ReadFile(filepath.Join(c.root, bundle.Digest(b.Digest).Path(), "files/text")); err != nil || string(data) != text {
		c.t.Errorf("the bundle has %q (%v), want %q", data, err, text)
	}
}

func archiveOf(t *testing.T, text string) []byte {
	t.Helper()
	var archive bytes.Buffer
	if _, err := bundle.Build(fstest.MapFS{"ecsnode.yaml": {Data: []byte("{}\n")}, "files/text": {Data: []byte(text)}}, &archive); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func TestBundlesByARealS3Server(t *testing.T) {
	t.Parallel()
	c := newCustomer(t)
	p, ctx := c.publisher(c.server.Keys), t.Context()
	channel := "s3://" + s3test.Bucket + "/" + c.server.Prefix + "channels/stable: "
	if _, r := c.pull(); !strings.Contains(r.Err, "cannot read "+channel+"absent: there is no such object") {
		t.Errorf("without a channel: %s", r.Err)
	}
	must := func(now *bundle.Channel, err error) *bundle.Channel {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	one := must(p.Push(ctx, publish.Push{Archive: archiveOf(t, "one"), Percent: 100}))
	c.wants("one", one)
	c.wants("one", one) // unchanged

	// A second push and one that began before it: one of them is told so.
	two := publish.Push{Archive: archiveOf(t, "two")}
	results := make(chan error, 2)
	for range 2 {
		go func() { _, err := c.publisher(c.server.Keys).Push(ctx, two); results <- err }()
	}
	for range 2 {
		if err := <-results; err != nil && !errors.Is(err, publish.ErrRace) {
			t.Error(err)
		}
	}
	c.wants("two", must(p.Promote(ctx, bundle.Sum(two.Archive), 100, publish.Note{})))
	c.wants("one", must(p.Rollback(ctx, "", publish.Note{Reason: "two is slow"})))
	if all, err := p.History(ctx, 10); err != nil || len(all) < 4 || all[0].Channel.Reason != "two is slow" {
		t.Errorf("%d documents, %v", len(all), err)
	}

	// Keys that may not, and keys that are none.
	c.role = c.server.Stranger
	if _, r := c.pull(); !strings.Contains(r.Err, "cannot read "+channel+"refused: the instance role must allow s3:GetObject (AccessDenied)") {
		t.Errorf("keys of a stranger: %s", r.Err)
	}
	c.role.AccessKeyID = "nobody"
	if b, r := c.pull(); !strings.Contains(r.Err, "cannot read "+channel+"refused: InvalidAccessKeyId") || b.Digest != string(one.Stable.Digest) {
		t.Errorf("keys that are none: %s %s", b.Digest, r.Err)
	}
	if _, err := c.publisher(c.server.Stranger).Push(ctx, two); !errors.Is(err, facts.ErrRefused) {
		t.Errorf("a push of a stranger: %v", err)
	}
	c.role = c.server.Keys
	c.write("/etc/ecsnode/conf.d/50.yaml", "bundle: {source: s3://nobodys}\n")
	if _, r := c.pull(); !strings.Contains(r.Err, "absent: there is no such bucket") {
		t.Errorf("no bucket: %s", r.Err)
	}
}

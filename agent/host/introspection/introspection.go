// Package introspection asks the ECS agent on this node what it is registered
// as and which tasks it has.
package introspection

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Defaults of [Options].
const (
	DefaultEndpoint = "http://localhost:51678"
	DefaultTimeout  = 2 * time.Second
)

// Options says how the agent is reached.
type Options struct {
	Endpoint string        // empty: DefaultEndpoint
	Dial     httpx.Dial    // nil: a net.Dialer's
	Timeout  time.Duration // zero: DefaultTimeout
}

// Client asks the agent, never through a proxy. It is safe for concurrent use.
type Client struct {
	metadata, tasks resource
	timeout         time.Duration
}

// resource is a path of the agent, with a client that takes an answer as long
// as those of this path get.
type resource struct {
	http *http.Client
	url  string
}

// New returns a client. It makes no request.
func New(o Options) *Client {
	endpoint := strings.TrimSuffix(cmp.Or(o.Endpoint, DefaultEndpoint), "/")
	if o.Dial == nil {
		o.Dial = dial
	}
	at := func(path string, maxAnswer int64) resource {
		return resource{httpx.NewClient(httpx.Options{Dial: o.Dial, MaxAnswer: maxAnswer}), endpoint + path}
	}
	return &Client{
		metadata: at("/v1/metadata", maxMetadata),
		tasks:    at("/v1/tasks", maxTasks),
		timeout:  cmp.Or(o.Timeout, DefaultTimeout),
	}
}

// The agent shows a stopped task for three hours, so that one that crashes over
// and over is shown many times.
const (
	maxMetadata = 64 << 10
	maxTasks    = 8 << 20
)

// ContainerInstance returns what the agent is registered as. The error is
// facts.ErrAbsent if the agent runs and is not registered, and
// facts.ErrUnavailable if no usable answer came. The agent starts to listen
// after it has registered, so that a refused connection is usual on a node that
// is starting.
func (c *Client) ContainerInstance(ctx context.Context) (facts.ContainerInstance, error) {
	body, err := c.get(ctx, c.metadata)
	var found facts.ContainerInstance
	if err == nil {
		found, err = parseMetadata(body)
	}
	if err != nil {
		return facts.ContainerInstance{}, c.metadata.cannot(err)
	}
	return found, nil
}

func (r resource) cannot(err error) error {
	return fmt.Errorf("cannot ask the ECS agent at %s: %w", r.url, err)
}

func (c *Client) get(ctx context.Context, from resource) ([]byte, error) {
	ctx, cancel := httpx.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, err))
	}
	resp, err := from.http.Do(req)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, err))
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: HTTP status %d", facts.ErrUnavailable, resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body) // in memory: see httpx.NewClient
	if err != nil {
		return nil, fmt.Errorf("%w: %s", facts.ErrUnavailable, httpx.Cause(ctx, err))
	}
	return body, nil
}

var (
	instanceARN = pattern.New(`^arn:[a-z0-9-]+:ecs:[a-z0-9-]+:[0-9]{12}:container-instance/[A-Za-z0-9/_-]+$`)
	cluster     = pattern.New(`^(arn:[a-z0-9-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/)?[A-Za-z0-9_-]+$`)
	version     = pattern.New(`v([0-9]+(\.[0-9]+){1,3})`)
)

const maxText = 400 // of each of them

// parseMetadata reads an answer of /v1/metadata. Any other path is answered 200
// too, with a list of commands, so that the status says little.
// Cluster is what the agent is configured with, which may be an ARN, and stays
// as it is spelled.
// aws/amazon-ecs-agent:ecs-agent/introspection/v1/response.go
func parseMetadata(body []byte) (facts.ContainerInstance, error) {
	var m struct {
		Cluster              string
		ContainerInstanceArn *string
		Version              string
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Cluster+m.Version == "" {
		return facts.ContainerInstance{}, fmt.Errorf("%w: not an agent's answer: %s", facts.ErrUnavailable, httpx.Excerpt(string(body)))
	}
	if m.ContainerInstanceArn == nil || *m.ContainerInstanceArn == "" {
		return facts.ContainerInstance{}, fmt.Errorf("%w: it is not registered", facts.ErrAbsent)
	}
	found := facts.ContainerInstance{ARN: *m.ContainerInstanceArn, Cluster: m.Cluster}
	if v := version.FindStringSubmatch(m.Version); v != nil {
		found.AgentVersion = v[1]
	}
	switch {
	case len(found.ARN) > maxText || !instanceARN.MatchString(found.ARN):
		return facts.ContainerInstance{}, fmt.Errorf("%w: its ContainerInstanceArn is malformed: \"%s\"", facts.ErrUnavailable, httpx.Excerpt(found.ARN))
	case len(found.Cluster) > maxText || !cluster.MatchString(found.Cluster):
		return facts.ContainerInstance{}, fmt.Errorf("%w: its Cluster is malformed: \"%s\"", facts.ErrUnavailable, httpx.Excerpt(found.Cluster))
	}
	return found, nil
}

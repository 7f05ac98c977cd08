package node

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/autoscaling"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/docker"
	"github.com/ecsnode/ecsnode/agent/host/ec2"
	"github.com/ecsnode/ecsnode/agent/host/ecs"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/host/introspection"
	"github.com/ecsnode/ecsnode/agent/host/logind"
	"github.com/ecsnode/ecsnode/agent/host/s3"
	"github.com/ecsnode/ecsnode/agent/host/secretsmanager"
	"github.com/ecsnode/ecsnode/agent/host/ssm"
	"github.com/ecsnode/ecsnode/agent/host/systemd"
	"github.com/ecsnode/ecsnode/agent/host/webhook"
)

// hosts are the outside things of one node.
type hosts struct {
	imds *imds.Client
	ec2  *ec2.Client
	ecs  *ecs.Client

	autoscaling *autoscaling.Client
	s3          *s3.Client
	ssm         *ssm.Client
	secrets     *secretsmanager.Client
	webhook     *webhook.Client

	// Of the machine. They connect when they are asked.
	manager manager
	units   unitWatcher
	docker  *docker.Client
	logind  *logind.Client
}

// unitWatcher tells when units change.
type unitWatcher interface {
	Watch(ctx context.Context, changed func(), names ...string) error
}

// newHosts builds the clients; with nil for keys they are the instance role's. Of the environment it takes what the AWS SDKs
// name so: AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_ENDPOINT_URL with _EC2, _ECS,
// _AUTO_SCALING, _S3, _SSM and _SECRETS_MANAGER, and AWS_CA_BUNDLE, which is a
// file of this host whatever the root.
// https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
func newHosts(o Options, keys *awsapi.Keys) (hosts, error) {
	metadata := imds.New(imds.Options{Dial: o.Dial, Endpoint: o.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")})
	var roots []byte
	if bundle := o.Getenv("AWS_CA_BUNDLE"); bundle != "" {
		var err error
		if roots, err = os.ReadFile(bundle); err != nil {
			return hosts{}, fmt.Errorf("cannot read AWS_CA_BUNDLE: %w", err)
		}
	}
	api, err := awsapi.Config(awsapi.Options{Metadata: metadata, Keys: keys, Dial: o.Dial, ExtraRoots: roots})
	if err != nil {
		return hosts{}, err
	}
	endpoint := func(service string) string {
		return cmp.Or(o.Getenv("AWS_ENDPOINT_URL_"+service), o.Getenv("AWS_ENDPOINT_URL"))
	}
	engine, err := docker.New(o.Docker)
	if err != nil {
		return hosts{}, err
	}
	services := systemd.New(systemd.Options{})
	return hosts{
		imds: metadata,
		ec2:  ec2.New(api, endpoint("EC2")),
		ecs:  ecs.New(api, endpoint("ECS")),

		autoscaling: autoscaling.New(api, endpoint("AUTO_SCALING")),
		s3:          s3.New(api, endpoint("S3")),
		ssm:         ssm.New(api, endpoint("SSM")),
		secrets:     secretsmanager.New(api, endpoint("SECRETS_MANAGER")),
		webhook:     webhook.New(webhook.Options{Dial: o.Dial}),

		manager: services, units: services, docker: engine, logind: logind.New(logind.Options{}),
	}, nil
}

// agent asks the ECS agent where the configuration says it answers.
type agent struct {
	n      *Node
	at     string // where client asks
	client *introspection.Client
}

func (a *agent) endpoint() string {
	if c, ok := a.n.config.Get(); ok {
		return c.ECSAgent.Introspection
	}
	return ""
}

// ContainerInstance implements registration.Agent.
func (a *agent) ContainerInstance(ctx context.Context) (facts.ContainerInstance, error) {
	return a.ask().ContainerInstance(ctx)
}

// Tasks implements drain.Agent.
func (a *agent) Tasks(ctx context.Context) ([]facts.Task, error) { return a.ask().Tasks(ctx) }

func (a *agent) ask() *introspection.Client {
	if at := a.endpoint(); a.client == nil || at != a.at {
		a.at, a.client = at, introspection.New(introspection.Options{Endpoint: at, Dial: a.n.opts.Dial})
	}
	return a.client
}

// off says why the agent is not asked, or "".
func (a *agent) off() string {
	if a.n.scratch() && a.endpoint() == "" {
		return "off: --root is not / and ecs_agent.introspection is not set"
	}
	return ""
}

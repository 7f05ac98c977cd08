package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/publish"
)

// Operator reaches AWS from where bundles are published, which need be no node.
type Operator struct {
	hosts  hosts
	region string
	// Caller says whose credentials are used.
	Caller string
}

// NewOperator takes credentials from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
// AWS_SESSION_TOKEN, and without them those of the instance role; the region, if
// it is "", from AWS_REGION or AWS_DEFAULT_REGION, or where the instance is.
func NewOperator(ctx context.Context, opts Options, region string) (*Operator, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	o := &Operator{Caller: "the instance role"}
	var keys *awsapi.Keys
	if id, secret := opts.Getenv("AWS_ACCESS_KEY_ID"), opts.Getenv("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		keys = &awsapi.Keys{AccessKeyID: id, SecretAccessKey: secret, SessionToken: opts.Getenv("AWS_SESSION_TOKEN")}
		o.Caller = "AWS_ACCESS_KEY_ID"
	} else if id+secret != "" {
		return nil, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together, and one is not set")
	}
	var err error
	if o.hosts, err = newHosts(opts, keys); err != nil {
		return nil, err
	}
	o.region = cmp.Or(region, opts.Getenv("AWS_REGION"), opts.Getenv("AWS_DEFAULT_REGION"))
	if o.region != "" {
		return o, nil
	}
	if keys != nil {
		return nil, errors.New("it is not known in which region the bucket is: set --region or AWS_REGION")
	}
	i, err := o.hosts.imds.Instance(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot tell who publishes: there is no AWS_ACCESS_KEY_ID, and no instance with a role: %w", err)
	}
	o.region = i.Region
	return o, nil
}

// Publisher returns what changes a channel.
func (o *Operator) Publisher(source bundle.Source, channel string, trusted []bundle.Key, key bundle.SecretKey) *publish.Publisher {
	return &publish.Publisher{Bucket: o.hosts.s3, Source: source, Region: o.region, Channel: channel, Trusted: trusted, Key: key}
}

// Members returns the nodes of clusters, by name or ARN, with what they tell of
// their bundles. An ARN says its own region.
func (o *Operator) Members(ctx context.Context, clusters []string) (all []facts.Member, err error) {
	for _, cluster := range clusters {
		region := o.region
		if parts := strings.Split(cluster, ":"); len(parts) == 6 && parts[0] == "arn" {
			region = parts[3]
		}
		members, err := o.hosts.ecs.Members(ctx, region, cluster, bundle.ReportAttribute)
		if err != nil {
			return nil, err
		}
		all = append(all, members...)
	}
	return all, nil
}

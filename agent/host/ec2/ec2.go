// Package ec2 asks the EC2 API about this instance.
package ec2

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Client is a client of the EC2 API. It is safe for concurrent use.
//
// It keeps the one method of the SDK's client that it calls and not the client:
// a type that a value in an interface leads to keeps all its exported methods,
// because text/template makes the linker assume that any may be called by name.
// For this SDK that is 25 MB.
type Client struct {
	describeTags func(context.Context, *ec2.DescribeTagsInput, ...func(*ec2.Options)) (*ec2.DescribeTagsOutput, error)
}

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of the region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return &Client{ec2.NewFromConfig(c).DescribeTags}
}

// Bounds of an answer. Tags that AWS sets itself come on top of the 50 that
// users may set; lengths are in characters.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const (
	maxPages    = 4
	maxTags     = 200
	maxKeyLen   = 128
	maxValueLen = 256
)

const describeTags = "ec2:DescribeTags"

// Tags returns the tags of an instance, by one call of DescribeTags filtered by
// resource-id (that it is filtered puts it into the larger request-rate
// bucket). An instance that does not exist has no tags.
//
// The error is facts.ErrRefused if the instance role does not allow
// ec2:DescribeTags, and facts.ErrUnavailable if no usable answer came, also
// when the call was throttled.
func (c *Client) Tags(ctx context.Context, region, instanceID string) (map[string]string, error) {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	tags, err := c.tags(ctx, region, instanceID)
	if err != nil {
		return nil, fmt.Errorf("cannot describe the tags of %s: %w", instanceID, err)
	}
	return tags, nil
}

func (c *Client) tags(ctx context.Context, region, instanceID string) (map[string]string, error) {
	tags := map[string]string{}
	in := &ec2.DescribeTagsInput{
		Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{instanceID}}},
	}
	for range maxPages {
		out, err := c.describeTags(ctx, in, func(o *ec2.Options) { o.Region = region })
		if err != nil {
			return nil, awsapi.Classify(ctx, err, describeTags)
		}
		if err := addTags(tags, out.Tags, instanceID); err != nil {
			return nil, err
		}
		if aws.ToString(out.NextToken) == "" {
			return tags, nil
		}
		in.NextToken = out.NextToken
	}
	return nil, fmt.Errorf("%w: the answer has more than %d pages", facts.ErrUnavailable, maxPages)
}

// addTags adds a page of an answer to tags. The SDK takes a 200 without XML for
// an empty answer; what tells it from an instance without tags is that the list
// is nil.
func addTags(tags map[string]string, page []types.TagDescription, instanceID string) error {
	if page == nil {
		return fmt.Errorf("%w: the answer has no list of tags", facts.ErrUnavailable)
	}
	for _, t := range page {
		key, value := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case aws.ToString(t.ResourceId) != instanceID:
			return fmt.Errorf("%w: the answer has a tag of another resource", facts.ErrUnavailable)
		case key == "" || utf8.RuneCountInString(key) > maxKeyLen || utf8.RuneCountInString(value) > maxValueLen:
			return fmt.Errorf("%w: the answer has a tag that AWS does not allow", facts.ErrUnavailable)
		}
		tags[key] = value
	}
	if len(tags) > maxTags {
		return fmt.Errorf("%w: the answer has more than %d tags", facts.ErrUnavailable, maxTags)
	}
	return nil
}

package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// maxPages bounds a list; a page has a thousand keys.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
const maxPages = 20

// maxList is how long the answer with one page may be: keys have a kilobyte at
// most, and in XML a sign may take six.
const maxList = 8 << 20

// List returns the keys of a bucket that begin as o's does, in order: S3 sorts
// them by their bytes.
//
// The error is facts.ErrAbsent if there is no such bucket, facts.ErrRefused if
// s3:ListBucket is not allowed, the bucket is in another region or there are
// more than 20,000, and facts.ErrUnavailable if no usable answer came.
func (c *Client) List(ctx context.Context, o facts.Object) ([]string, error) {
	keys, err := c.listKeys(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", o, err)
	}
	return keys, nil
}

func (c *Client) listKeys(ctx context.Context, o facts.Object) (keys []string, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &o.Bucket, Prefix: &o.Key}
	for range maxPages {
		out, err := c.page(ctx, in, o)
		if err != nil {
			return nil, err
		}
		for _, object := range out.Contents {
			keys = append(keys, aws.ToString(object.Key))
		}
		if aws.ToString(out.NextContinuationToken) == "" {
			return keys, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
	return nil, fmt.Errorf("%w: there are more than %d", facts.ErrRefused, maxPages*1000)
}

func (c *Client) page(ctx context.Context, in *s3.ListObjectsV2Input, o facts.Object) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := withTimeout(ctx, 0)
	defer cancel()
	out, err := c.list(ctx, in, c.of(o, maxList))
	var long *httpx.AnswerTooLong
	switch {
	case errors.As(err, &long):
		return nil, tooLong(maxList)
	case err != nil:
		return nil, classify(ctx, err, o, facts.Condition{}, "s3:ListBucket")
	case out.IsTruncated == nil: // it stands in every answer of S3
		return nil, fmt.Errorf("%w: the answer is no list", facts.ErrUnavailable)
	}
	return out, nil
}

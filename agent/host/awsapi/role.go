package awsapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Metadata reads a path below latest/meta-data of the instance metadata
// service. Its errors are one of the three of package facts.
type Metadata interface {
	Get(ctx context.Context, path string) ([]byte, error)
}

// instanceRole provides the credentials of the instance role. The embedded
// provider stretches the ones it has while IMDS is ill.
func instanceRole(m Metadata) aws.CredentialsProvider {
	return role{ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadataClient{m} })}
}

type role struct{ *ec2rolecreds.Provider }

// Retrieve implements aws.CredentialsProvider.
func (r role) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := r.Provider.Retrieve(ctx)
	if err != nil {
		return c, &roleError{classifyRole(err)}
	}
	return c, nil
}

// roleError is a failure to get credentials, which is why a call was not made.
type roleError struct{ err error }

func (e *roleError) Error() string { return e.err.Error() }
func (e *roleError) Unwrap() error { return e.err }

func classifyRole(err error) error {
	var metadata *metadataError
	switch {
	case errors.Is(err, facts.ErrAbsent):
		return fmt.Errorf("%w: the instance has no IAM role", facts.ErrRefused)
	case errors.As(err, &metadata):
		return fmt.Errorf("cannot get credentials of the instance role: %w", metadata.err)
	}
	return fmt.Errorf("%w: cannot read credentials of the instance role: %s", facts.ErrUnavailable, httpx.Excerpt(err.Error()))
}

// metadataClient gives a Metadata the shape that the SDK asks for.
type metadataClient struct{ m Metadata }

func (c metadataClient) GetMetadata(ctx context.Context, in *imds.GetMetadataInput, _ ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	body, err := c.m.Get(ctx, in.Path)
	if err != nil {
		return nil, &metadataError{err}
	}
	return &imds.GetMetadataOutput{Content: io.NopCloser(bytes.NewReader(body))}, nil
}

// metadataError keeps an error of Metadata apart from the SDK's words round it.
type metadataError struct{ err error }

func (e *metadataError) Error() string { return e.err.Error() }
func (e *metadataError) Unwrap() error { return e.err }

// Package s3 reads and writes objects in Amazon S3.
package s3

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/metrics"
	"github.com/aws/smithy-go/tracing"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Client is a client of Amazon S3. It is safe for concurrent use.
//
// It keeps the methods of the SDK's client that it calls and not the client, for
// the reason that package ec2 gives. In this SDK that is not enough: s3.New puts
// the client into an interface itself, to make sessions with directory buckets,
// and with it 4 MB more into the binary. So the methods are those of a client
// that New did not make, and options has for each call what New would have set.
type Client struct {
	get     func(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	put     func(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	list    func(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	options s3.Options
}

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of every region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	options := s3.Options{
		AppID: c.AppID, HTTPClient: c.HTTPClient, Retryer: c.Retryer(),
		EndpointResolverV2: s3.NewDefaultEndpointResolverV2(),
		AuthSchemeResolver: alwaysSigned{},
		AuthSchemes:        []smithyhttp.AuthScheme{signature{c.Credentials}},

		// What is sent carries a checksum as a header, see Put. The SDK's own way
		// is a trailer in a chunked body, which not every server that speaks S3
		// understands; of what is received, TLS and the length vouch for the body.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,

		// A signer that is not the SDK's is not told by how much a clock is off.
		DisableClockSkewCorrection: true,

		Logger: logging.Nop{}, MeterProvider: metrics.NopMeterProvider{}, TracerProvider: &tracing.NopTracerProvider{},
	}
	if endpoint != "" {
		options.BaseEndpoint = &endpoint
	}
	client := new(s3.Client)
	return &Client{get: client.GetObject, put: client.PutObject, list: client.ListObjectsV2, options: options}
}

// of returns the options of a call about o, whose answer may have limit bytes.
// A bucket is part of the host name but where there is none for it: an endpoint
// is one host, and the certificate for *.s3.REGION.amazonaws.com covers no name
// with more dots.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func (c *Client) of(o facts.Object, limit int64) func(*s3.Options) {
	return func(options *s3.Options) {
		*options = c.options.Copy()
		options.Region = o.Region
		options.UsePathStyle = options.BaseEndpoint != nil || strings.Contains(o.Bucket, ".")
		options.HTTPClient = awsapi.WithMaxAnswer(options.HTTPClient, limit)
	}
}

const (
	callTimeout = 10 * time.Second // beside the time that the content may take
	slowest     = 1 << 20          // bytes a second
)

// withTimeout bounds one call in which up to n bytes of content are sent or
// received, with all it takes: credentials, connection, one retry.
func withTimeout(ctx context.Context, n int64) (context.Context, context.CancelFunc) {
	return httpx.WithTimeout(ctx, callTimeout+time.Duration(n/slowest)*time.Second)
}

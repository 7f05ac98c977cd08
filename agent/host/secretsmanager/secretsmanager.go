// Package secretsmanager reads secrets from AWS Secrets Manager.
package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Client is a client of Secrets Manager. It is safe for concurrent use.
//
// It keeps the method of the SDK's client that it calls and not the client, for
// the reason that package ec2 gives.
type Client struct {
	get func(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of the region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return &Client{secretsmanager.NewFromConfig(c).GetSecretValue}
}

const getSecretValue = "secretsmanager:GetSecretValue"

// Secret reads the current value of a secret, AWSCURRENT, by its name or ARN.
//
// The error is facts.ErrAbsent if there is no such secret, or it has no value,
// facts.ErrRefused if the instance role does not allow secretsmanager:GetSecretValue
// of it or kms:Decrypt with its key, if it is marked for deletion, or if it is
// binary, and facts.ErrUnavailable if no usable answer came, also when the call
// was throttled.
func (c *Client) Secret(ctx context.Context, region, name string) (facts.Parameter, error) {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	value, err := c.value(ctx, region, name)
	if err != nil {
		return facts.Parameter{}, fmt.Errorf("cannot read secret %s: %w", name, err)
	}
	return facts.Parameter{Value: value, Secret: true}, nil
}

func (c *Client) value(ctx context.Context, region, name string) (string, error) {
	out, err := c.get(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name}, func(o *secretsmanager.Options) { o.Region = region })
	switch {
	case err != nil:
		return "", classify(ctx, err, region)
	case out.SecretString != nil:
		return *out.SecretString, nil
	case out.SecretBinary != nil:
		return "", fmt.Errorf("%w: it is binary, and only one that is text can be used", facts.ErrRefused)
	}
	return "", fmt.Errorf("%w: the answer has no value", facts.ErrUnavailable)
}

// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
func classify(ctx context.Context, err error, region string) error {
	var absent *types.ResourceNotFoundException
	var invalid *types.InvalidRequestException
	switch {
	case errors.As(err, &absent) && strings.Contains(absent.ErrorMessage(), "staging label"):
		return fmt.Errorf("%w: it has no current value", facts.ErrAbsent)
	case errors.As(err, &absent):
		return fmt.Errorf("%w: there is no such secret in %s", facts.ErrAbsent, region)
	// The code is that of more than a deletion (external-secrets/external-secrets
	// issue 4560 has the words).
	case errors.As(err, &invalid) && strings.Contains(invalid.ErrorMessage(), "marked for deletion"):
		return fmt.Errorf("%w: it is marked for deletion: restore it, or use another", facts.ErrRefused)
	}
	return awsapi.Classify(ctx, err, awsapi.Missing(err, getSecretValue))
}

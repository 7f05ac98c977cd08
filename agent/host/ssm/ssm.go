// Package ssm reads parameters from AWS Systems Manager Parameter Store.
package ssm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/awsapi"
)

// Client is a client of Parameter Store. It is safe for concurrent use.
//
// It keeps the methods of the SDK's client that it calls and not the client, for
// the reason that package ec2 gives.
type Client struct {
	get    call[ssm.GetParametersInput, ssm.GetParametersOutput]
	byPath call[ssm.GetParametersByPathInput, ssm.GetParametersByPathOutput]
}

// call is a method of the SDK's client.
type call[In, Out any] func(context.Context, *In, ...func(*ssm.Options)) (*Out, error)

// New returns a client that uses c, made by [awsapi.Config]. endpoint, a URL,
// takes the place of the region's own if it is not empty.
func New(c aws.Config, endpoint string) *Client {
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	api := ssm.NewFromConfig(c)
	return &Client{get: api.GetParameters, byPath: api.GetParametersByPath}
}

// in makes a call in a region, with the time that one call may take.
func in[In, Out any](ctx context.Context, region string, c call[In, Out], input *In, action string) (*Out, error) {
	ctx, cancel := awsapi.WithTimeout(ctx)
	defer cancel()
	out, err := c(ctx, input, func(o *ssm.Options) { o.Region = region })
	if err != nil {
		return nil, awsapi.Classify(ctx, err, awsapi.Missing(err, action))
	}
	return out, nil
}

const (
	// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html
	maxNames = 10
	// maxAlone is how many parameters of refused calls are asked for one by one,
	// each with a call: all nodes of an account share 40 calls a second.
	// https://docs.aws.amazon.com/general/latest/gr/ssm.html
	maxAlone = 30
)

// Parameters reads parameters by name, by name:version or name:label, or by the
// ARN of one of these; the values of SecureStrings are decrypted. The answer has
// a result for each name.
//
// The error of a result is facts.ErrAbsent if there is no such parameter,
// facts.ErrRefused if the instance role does not allow ssm:GetParameters of it, or
// kms:Decrypt with its key, or Parameter Store does not take the name, and
// facts.ErrUnavailable if no usable answer came, also when the call was throttled.
// A call may take up to 10 s; there is one for each 10 names, more if some are
// refused, and none after one without a usable answer.
func (c *Client) Parameters(ctx context.Context, region string, names []string) map[string]facts.ParameterResult {
	results := make(map[string]facts.ParameterResult, len(names))
	var asked []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if strings.Contains(name, "/") && !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "arn:") {
			results[name] = failed(name, errNoSlash)
			continue
		}
		asked = append(asked, name)
	}
	alone, ill := maxAlone, error(nil)
	for batch := range slices.Chunk(asked, maxNames) {
		if ill == nil {
			ill = c.batch(ctx, region, batch, &alone, results)
		}
		for _, name := range batch {
			if _, known := results[name]; !known {
				results[name] = failed(name, ill)
			}
		}
	}
	return results
}

// errNoSlash is said here, because Parameter Store says something else about it
// (aws/aws-sdk-js-v3 issue 5005).
var errNoSlash = fmt.Errorf("%w: a name with a / in it begins with one", facts.ErrRefused)

// batch reads a few parameters, and returns the error after which it makes no
// sense to ask for more.
//
// Who may not read one of the parameters that a call names is told so, with the
// name of one, and gets none of them; the same goes for one whose key may not be
// used or whose name is none. Asked for alone, the others can be had.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-retrieval-authorization.html
// ("each requested parameter"), refusal as in hackoregon/civic-devops issue 241
func (c *Client) batch(ctx context.Context, region string, names []string, alone *int, results map[string]facts.ParameterResult) error {
	refused := c.read(ctx, region, names, results)
	if !errors.Is(refused, facts.ErrRefused) {
		return refused
	}
	for _, name := range names {
		err := refused
		switch {
		case len(names) == 1:
		case *alone == 0:
			err = fmt.Errorf("asked for with %d others: %w", len(names)-1, refused)
		default:
			*alone--
			err = c.read(ctx, region, []string{name}, results)
		}
		switch {
		case errors.Is(err, facts.ErrRefused):
			results[name] = failed(name, err)
		case err != nil:
			return err
		}
	}
	return nil
}

func failed(name string, err error) facts.ParameterResult {
	return facts.ParameterResult{Err: fmt.Errorf("cannot read parameter %s: %w", name, err)}
}

const getParameters = "ssm:GetParameters"

// read makes one call. It adds to results what each name stands for, or nothing.
func (c *Client) read(ctx context.Context, region string, names []string, results map[string]facts.ParameterResult) error {
	out, err := in(ctx, region, c.get, &ssm.GetParametersInput{Names: names, WithDecryption: aws.Bool(true)}, getParameters)
	if err != nil {
		return err
	}
	for _, name := range names {
		i := slices.IndexFunc(out.Parameters, func(p types.Parameter) bool { return isFor(p, name) })
		switch {
		case i >= 0:
			p, err := parameter(out.Parameters[i])
			if err != nil {
				return err
			}
			results[name] = facts.ParameterResult{Parameter: p}
		case slices.Contains(out.InvalidParameters, name):
			results[name] = failed(name, fmt.Errorf("%w: there is no such parameter in %s", facts.ErrAbsent, region))
		default:
			return fmt.Errorf("%w: the answer does not say what %s is", facts.ErrUnavailable, name)
		}
	}
	return nil
}

// isFor reports whether a parameter is what name asks for. Its own name, or ARN,
// is without the version or label that was asked for, which is the selector.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Parameter.html
func isFor(p types.Parameter, name string) bool {
	selector := strings.TrimPrefix(aws.ToString(p.Selector), ":")
	for _, known := range []string{aws.ToString(p.Name), aws.ToString(p.ARN)} {
		if known != "" && (selector == "" && name == known || selector != "" && name == known+":"+selector) {
			return true
		}
	}
	return false
}

func parameter(p types.Parameter) (facts.Parameter, error) {
	if p.Value == nil {
		return facts.Parameter{}, fmt.Errorf("%w: the answer has no value of %s", facts.ErrUnavailable, aws.ToString(p.Name))
	}
	return facts.Parameter{Value: *p.Value, Secret: p.Type == types.ParameterTypeSecureString}, nil
}

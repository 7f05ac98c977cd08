package ssm

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Bounds of a tree. Parameter Store may answer with pages that are not full.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
const (
	pageSize      = 10
	maxPages      = 200
	maxParameters = 1000
	maxTreeBytes  = 1 << 20 // of names and values
)

const getParametersByPath = "ssm:GetParametersByPath"

// Tree reads all parameters below a path, however deep, by their full names; the
// values of SecureStrings are decrypted. There is no path that is absent: one may
// have nothing below it. It makes a call for each 10 parameters, which may take
// up to 10 s each.
//
// The error is facts.ErrRefused if the instance role does not allow
// ssm:GetParametersByPath of the path, or kms:Decrypt with the key of a parameter
// below it, if Parameter Store does not take the path, or if there are more than
// 1000 parameters or 1 MiB below it, and facts.ErrUnavailable if no usable answer
// came, also when a call was throttled.
func (c *Client) Tree(ctx context.Context, region, path string) (map[string]facts.Parameter, error) {
	tree, err := c.tree(ctx, region, path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the parameters below %s: %w", path, err)
	}
	return tree, nil
}

func (c *Client) tree(ctx context.Context, region, path string) (map[string]facts.Parameter, error) {
	tree, size := map[string]facts.Parameter{}, 0
	input := &ssm.GetParametersByPathInput{
		Path: &path, Recursive: aws.Bool(true), WithDecryption: aws.Bool(true), MaxResults: aws.Int32(pageSize),
	}
	below := strings.TrimSuffix(path, "/") + "/"
	for range maxPages {
		out, err := in(ctx, region, c.byPath, input, getParametersByPath)
		if err != nil {
			return nil, err
		}
		if out.Parameters == nil { // an answer without content is no empty tree
			return nil, fmt.Errorf("%w: the answer has no list of parameters", facts.ErrUnavailable)
		}
		for _, p := range out.Parameters {
			name := aws.ToString(p.Name)
			if !strings.HasPrefix("/"+strings.TrimPrefix(name, "/"), below) { // a name may be without the first
				return nil, fmt.Errorf("%w: the answer has a parameter of another path", facts.ErrUnavailable)
			}
			if tree[name], err = parameter(p); err != nil {
				return nil, err
			}
			size += len(name) + len(tree[name].Value)
		}
		switch {
		case len(tree) > maxParameters:
			return nil, fmt.Errorf("%w: there are more than %d: name a path further down", facts.ErrRefused, maxParameters)
		case size > maxTreeBytes:
			return nil, fmt.Errorf("%w: they are longer than %d KiB: name a path further down", facts.ErrRefused, maxTreeBytes>>10)
		case aws.ToString(out.NextToken) == "":
			return tree, nil
		}
		input.NextToken = out.NextToken
	}
	return nil, fmt.Errorf("%w: the answer has more than %d pages", facts.ErrUnavailable, maxPages)
}

package imds

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// HasUserData reports whether the instance was launched with user data. Empty
// user data is none.
func (c *Client) HasUserData(ctx context.Context) (bool, error) {
	data, err := c.read(ctx, func(ctx context.Context) (io.Reader, error) {
		out, err := c.sdk.GetUserData(ctx, &imds.GetUserDataInput{})
		if err != nil {
			return nil, err
		}
		return out.Content, nil
	})
	if errors.Is(err, facts.ErrAbsent) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read user-data: %w", err)
	}
	return len(data) > 0, nil
}

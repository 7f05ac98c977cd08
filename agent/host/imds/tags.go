package imds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

const tagsPath = "tags/instance"

// Bounds of an answer. Tags that AWS sets itself come on top of the 50 that
// users may set. Values are counted in characters.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const (
	maxTags     = 200
	maxValueLen = 256
)

// Tags reads the instance's tags, by a request for their keys and one for each
// of them. The error is facts.ErrAbsent if InstanceMetadataTags is not enabled
// or no tag is listed. Values are as they were set, byte for byte. A tag removed
// while they are read is left out, once it is no longer listed.
func (c *Client) Tags(ctx context.Context) (map[string]string, error) {
	keys, err := c.tagKeys(ctx)
	if err != nil {
		return nil, err
	}
	var gone []string
	tags := make(map[string]string, len(keys))
	for _, key := range keys {
		value, err := c.Get(ctx, tagsPath+"/"+key)
		switch {
		case errors.Is(err, facts.ErrAbsent):
			gone = append(gone, key)
			continue
		case err != nil:
			return nil, err
		case !utf8.Valid(value) || utf8.RuneCount(value) > maxValueLen:
			return nil, fmt.Errorf("cannot read meta-data/%s/%s: %w: not the value of a tag: %s",
				tagsPath, key, facts.ErrUnavailable, httpx.Excerpt(string(value)))
		}
		tags[key] = string(value)
	}
	if len(gone) > 0 {
		if err := c.checkGone(ctx, gone); err != nil {
			return nil, err
		}
	}
	if len(tags) == 0 {
		return nil, fmt.Errorf("cannot read meta-data/%s: %w: all tags went away while they were read", tagsPath, facts.ErrUnavailable)
	}
	return tags, nil
}

// checkGone reads the list once more: keys that were 404 must not be in it.
func (c *Client) checkGone(ctx context.Context, gone []string) error {
	now, err := c.tagKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range gone {
		if slices.Contains(now, key) {
			return fmt.Errorf("cannot read meta-data/%s/%s: %w: HTTP status 404, and it is listed", tagsPath, key, facts.ErrUnavailable)
		}
	}
	return nil
}

func (c *Client) tagKeys(ctx context.Context) ([]string, error) {
	listing, err := c.Get(ctx, tagsPath)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(string(listing))
	if err != nil {
		return nil, fmt.Errorf("cannot read meta-data/%s: %w", tagsPath, err)
	}
	return keys, nil
}

func parseKeys(listing string) ([]string, error) {
	if strings.TrimSpace(listing) == "" {
		return nil, fmt.Errorf("%w: no tag is listed", facts.ErrAbsent)
	}
	var keys []string
	for key := range strings.Lines(listing) {
		key = strings.TrimRight(key, "\r\n")
		if !facts.TagKeyInMetadata(key) {
			return nil, fmt.Errorf("%w: not a list of tag keys: %s", facts.ErrUnavailable, httpx.Excerpt(listing))
		}
		keys = append(keys, key)
	}
	if len(keys) > maxTags {
		return nil, fmt.Errorf("%w: %d tags are more than an instance can have", facts.ErrUnavailable, len(keys))
	}
	return keys, nil
}

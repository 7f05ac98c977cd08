package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// Instance reads what the instance is; Tags is left alone. It makes 5 requests,
// and one more for each of placement group, partition and host that the
// instance has. What an instance need not have is empty if absent.
func (c *Client) Instance(ctx context.Context) (facts.Instance, error) {
	i, err := c.document(ctx)
	if err != nil {
		return facts.Instance{}, fmt.Errorf("cannot read dynamic/instance-identity/document: %w", err)
	}
	placement, err := c.optional(ctx, "placement/")
	if err != nil {
		return facts.Instance{}, err
	}
	has := strings.Fields(placement)
	for _, item := range []struct {
		path   string
		into   *string
		listed bool
	}{
		{"instance-life-cycle", &i.Lifecycle, true},
		{"local-hostname", &i.Hostname, true},
		{"placement/availability-zone-id", &i.ZoneID, slices.Contains(has, "availability-zone-id")},
		{"placement/group-name", &i.PlacementGroup, slices.Contains(has, "group-name")},
		{"placement/partition-number", &i.PlacementPart, slices.Contains(has, "partition-number")},
		{"placement/host-id", &i.PlacementHostID, slices.Contains(has, "host-id")},
	} {
		if !item.listed {
			continue
		}
		if *item.into, err = c.optional(ctx, item.path); err != nil {
			return facts.Instance{}, err
		}
		if err := checkText(item.path, *item.into); err != nil {
			return facts.Instance{}, err
		}
	}
	return i, nil
}

// optional reads a text that may be absent.
func (c *Client) optional(ctx context.Context, path string) (string, error) {
	body, err := c.Get(ctx, path)
	if errors.Is(err, facts.ErrAbsent) {
		return "", nil
	}
	return strings.TrimSpace(string(body)), err
}

func (c *Client) document(ctx context.Context) (facts.Instance, error) {
	body, err := c.dynamic(ctx, "instance-identity/document")
	if errors.Is(err, facts.ErrAbsent) {
		// Every instance has one: this is not the service, or not well.
		return facts.Instance{}, fmt.Errorf("%w: HTTP status 404", facts.ErrUnavailable)
	}
	if err != nil {
		return facts.Instance{}, err
	}
	return parseDocument(body)
}

// parseDocument reads an instance identity document. Its fields:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func parseDocument(body []byte) (facts.Instance, error) {
	var doc struct {
		InstanceID       string `json:"instanceId"`
		InstanceType     string `json:"instanceType"`
		Region           string `json:"region"`
		AvailabilityZone string `json:"availabilityZone"`
		AccountID        string `json:"accountId"`
		ImageID          string `json:"imageId"`
		Architecture     string `json:"architecture"`
		PrivateIP        string `json:"privateIp"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return facts.Instance{}, fmt.Errorf("%w: not the JSON expected: %s", facts.ErrUnavailable, httpx.Excerpt(string(body)))
	}
	for _, f := range []struct {
		name, value string
		form        *regexp.Regexp
	}{
		{"instanceId", doc.InstanceID, instanceID},
		{"region", doc.Region, region},
		{"availabilityZone", doc.AvailabilityZone, zone},
		{"instanceType", doc.InstanceType, plain},
		{"accountId", doc.AccountID, plain},
		{"imageId", doc.ImageID, plain},
		{"architecture", doc.Architecture, plain},
		{"privateIp", doc.PrivateIP, plain},
	} {
		if len(f.value) > maxText || !f.form.MatchString(f.value) {
			return facts.Instance{}, fmt.Errorf("%w: its %s is malformed: \"%s\"", facts.ErrUnavailable, f.name, httpx.Excerpt(f.value))
		}
	}
	return facts.Instance{
		ID: doc.InstanceID, Type: doc.InstanceType, Region: doc.Region, Zone: doc.AvailabilityZone,
		AccountID: doc.AccountID, ImageID: doc.ImageID, Architecture: doc.Architecture, PrivateIP: doc.PrivateIP,
	}, nil
}

// Forms of what is read. Zones include those like us-west-2-lax-1a and
// us-east-1-wl1-bos-wlz-1.
var (
	instanceID = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)
	region     = regexp.MustCompile(`^[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}$`)
	zone       = regexp.MustCompile(`^[a-z]{2,8}(-[a-z0-9]{1,12}){2,8}$`)
	plain      = regexp.MustCompile(`^[ -~]*$`)
)

const maxText = 255

// checkText refuses a page of HTML, or bytes, where a word should be.
func checkText(path, text string) error {
	if len(text) <= maxText && plain.MatchString(text) && !strings.HasPrefix(text, "<") {
		return nil
	}
	return fmt.Errorf("cannot read meta-data/%s: %w: not the text expected: %s", path, facts.ErrUnavailable, httpx.Excerpt(text))
}

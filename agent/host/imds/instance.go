package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Instance reads what the instance is; Tags is left alone. It makes 5 requests,
// and one more for each of placement group, partition and host that the
// instance has. Of the rest only Hostname may be absent, and is then empty: a
// 404 for what every instance has, or for what is listed, is
// facts.ErrUnavailable.
func (c *Client) Instance(ctx context.Context) (facts.Instance, error) {
	i, err := c.document(ctx)
	if err != nil {
		return facts.Instance{}, fmt.Errorf("cannot read dynamic/instance-identity/document: %w", err)
	}
	if i.Lifecycle, err = c.required(ctx, "instance-life-cycle"); err != nil {
		return facts.Instance{}, err
	}
	if i.Hostname, err = c.optional(ctx, "local-hostname"); err != nil {
		return facts.Instance{}, err
	}
	if err := c.placement(ctx, &i); err != nil {
		return facts.Instance{}, err
	}
	return i, nil
}

func (c *Client) placement(ctx context.Context, i *facts.Instance) error {
	const dir = "placement/"
	listing, err := c.Get(ctx, dir)
	if err != nil {
		return present(err, dir)
	}
	has, err := parsePlacement(string(listing))
	if err != nil {
		return fmt.Errorf("cannot read meta-data/%s: %w", dir, err)
	}
	for _, item := range []struct {
		name string
		into *string
	}{
		{"availability-zone-id", &i.ZoneID},
		{"group-name", &i.PlacementGroup},
		{"partition-number", &i.PlacementPart},
		{"host-id", &i.PlacementHostID},
	} {
		if !slices.Contains(has, item.name) {
			continue
		}
		if *item.into, err = c.required(ctx, dir+item.name); err != nil {
			return err
		}
	}
	return nil
}

// parsePlacement reads the listing of placement/. What is not in it the
// instance does not have, so that nothing else may pass for one.
func parsePlacement(listing string) (names []string, err error) {
	for name := range strings.Lines(listing) {
		names = append(names, strings.TrimRight(name, "\r\n"))
	}
	odd := func(name string) bool { return !listed.MatchString(name) }
	if slices.ContainsFunc(names, odd) || !slices.Contains(names, "availability-zone") {
		return nil, fmt.Errorf("%w: not the listing expected: %s", facts.ErrUnavailable, httpx.Excerpt(listing))
	}
	return names, nil
}

// optional reads a text that may be absent.
func (c *Client) optional(ctx context.Context, path string) (string, error) {
	body, err := c.Get(ctx, path)
	switch {
	case errors.Is(err, facts.ErrAbsent):
		return "", nil
	case err != nil:
		return "", err
	}
	text := strings.TrimSpace(string(body))
	return text, checkText(path, text)
}

// required reads a text that is there.
func (c *Client) required(ctx context.Context, path string) (string, error) {
	body, err := c.Get(ctx, path)
	if err != nil {
		return "", present(err, path)
	}
	text := strings.TrimSpace(string(body))
	if text == "" {
		return "", fmt.Errorf("cannot read meta-data/%s: %w: the answer is empty", path, facts.ErrUnavailable)
	}
	return text, checkText(path, text)
}

// present is err, of reading a path that is there: a 404 then comes from what is
// not the service, or not well.
func present(err error, path string) error {
	if errors.Is(err, facts.ErrAbsent) {
		return fmt.Errorf("cannot read meta-data/%s: %w: HTTP status 404", path, facts.ErrUnavailable)
	}
	return err
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
		form        *pattern.Regexp
	}{
		{"instanceId", doc.InstanceID, instanceID},
		{"region", doc.Region, region},
		{"availabilityZone", doc.AvailabilityZone, zone},
		{"instanceType", doc.InstanceType, word},
		{"accountId", doc.AccountID, account},
		{"imageId", doc.ImageID, word},
		{"architecture", doc.Architecture, word},
		{"privateIp", doc.PrivateIP, plain},
	} {
		if len(f.value) > maxText || !f.form.MatchString(f.value) {
			return facts.Instance{}, fmt.Errorf("%w: its %s is malformed: \"%s\"", facts.ErrUnavailable, f.name, httpx.Excerpt(f.value))
		}
	}
	if !strings.HasPrefix(doc.AvailabilityZone, doc.Region) {
		return facts.Instance{}, fmt.Errorf("%w: its availabilityZone %s is not in its region %s", facts.ErrUnavailable, doc.AvailabilityZone, doc.Region)
	}
	return facts.Instance{
		ID: doc.InstanceID, Type: doc.InstanceType, Region: doc.Region, Zone: doc.AvailabilityZone,
		AccountID: doc.AccountID, ImageID: doc.ImageID, Architecture: doc.Architecture, PrivateIP: doc.PrivateIP,
	}, nil
}

// Forms of what is read. Zones include those like us-west-2-lax-1a and
// us-east-1-wl1-bos-wlz-1.
var (
	instanceID = pattern.New(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)
	region     = pattern.New(`^[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}$`)
	zone       = pattern.New(`^[a-z]{2,8}(-[a-z0-9]{1,12}){2,8}$`)
	account    = pattern.New(`^[0-9]{12}$`)
	word       = pattern.New(`^[!-~]+$`)
	listed     = pattern.New(`^[a-z0-9-]+/?$`) // below placement/
	plain      = pattern.New(`^[ -~]*$`)
)

const maxText = 255

// checkText refuses a page of HTML, or bytes, where a word should be.
func checkText(path, text string) error {
	if len(text) <= maxText && plain.MatchString(text) && !strings.HasPrefix(text, "<") {
		return nil
	}
	return fmt.Errorf("cannot read meta-data/%s: %w: not the text expected: %s", path, facts.ErrUnavailable, httpx.Excerpt(text))
}

package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/httpx"
)

// SpotAction reads spot/instance-action. No announcement is facts.ErrAbsent;
// one that makes no sense is facts.ErrUnavailable and never absence.
func (c *Client) SpotAction(ctx context.Context) (facts.SpotAction, error) {
	const path = "spot/instance-action"
	var doc struct {
		Action string    `json:"action"`
		Time   time.Time `json:"time"`
	}
	if err := c.announced(ctx, path, &doc, func() bool {
		return slices.Contains([]string{facts.SpotTerminate, facts.SpotStop, facts.SpotHibernate}, doc.Action) && !doc.Time.IsZero()
	}); err != nil {
		return facts.SpotAction{}, err
	}
	return facts.SpotAction{Action: doc.Action, Time: doc.Time}, nil
}

// Rebalance reads events/recommendations/rebalance: when EC2 recommended it. No
// recommendation is facts.ErrAbsent.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
func (c *Client) Rebalance(ctx context.Context) (time.Time, error) {
	var doc struct {
		NoticeTime time.Time `json:"noticeTime"`
	}
	err := c.announced(ctx, "events/recommendations/rebalance", &doc, func() bool { return !doc.NoticeTime.IsZero() })
	return doc.NoticeTime, err
}

// TargetLifecycleState reads autoscaling/target-lifecycle-state, such as
// InService or Warmed:Stopped. Outside of an Auto Scaling group, and where the
// state has never changed, it is facts.ErrAbsent.
func (c *Client) TargetLifecycleState(ctx context.Context) (string, error) {
	const path = "autoscaling/target-lifecycle-state"
	body, err := c.Get(ctx, path)
	if err != nil {
		return "", err
	}
	state := strings.TrimSpace(string(body))
	if state == "" || strings.ContainsFunc(state, func(r rune) bool {
		return r != ':' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "", noSense(path, body)
	}
	return state, nil
}

// eventTime is how events/maintenance/scheduled writes times:
// aws/aws-node-termination-handler:pkg/monitor/scheduledevent/scheduled-event-monitor.go
const eventTime = "2 Jan 2006 15:04:05 GMT"

// Maintenance reads events/maintenance/scheduled, in the order of ids. None at
// all is no error.
func (c *Client) Maintenance(ctx context.Context) ([]facts.Maintenance, error) {
	const path = "events/maintenance/scheduled"
	body, err := c.Get(ctx, path)
	if errors.Is(err, facts.ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var docs []struct{ NotBefore, NotAfter, Code, Description, EventId, State string }
	if err := json.Unmarshal(body, &docs); err != nil {
		return nil, noSense(path, body)
	}
	var all []facts.Maintenance
	for _, doc := range docs {
		e := facts.Maintenance{ID: doc.EventId, Code: doc.Code, State: doc.State, Description: doc.Description}
		var before, after error
		e.NotBefore, before = time.Parse(eventTime, doc.NotBefore)
		if doc.NotAfter != "" {
			e.NotAfter, after = time.Parse(eventTime, doc.NotAfter)
		}
		if errors.Join(before, after) != nil || e.Code == "" {
			return nil, noSense(path, body)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b facts.Maintenance) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// announced reads JSON into doc, which must then be good.
func (c *Client) announced(ctx context.Context, path string, doc any, good func() bool) error {
	body, err := c.Get(ctx, path)
	if err != nil {
		return err
	}
	if json.Unmarshal(body, doc) != nil || !good() {
		return noSense(path, body)
	}
	return nil
}

func noSense(path string, body []byte) error {
	return fmt.Errorf("cannot read meta-data/%s: %w: it makes no sense: %s", path, facts.ErrUnavailable, httpx.Excerpt(string(body)))
}

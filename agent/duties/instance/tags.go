package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Tags may be put on an instance after its launch, so that for a while they are
// looked at more often.
const (
	lateWindow  = 5 * time.Minute // in instance metadata, which costs nobody anything
	latePace    = 5 * time.Second
	youngWindow = 10 * time.Minute // in the EC2 API, whose request rate the account shares
	youngPace   = time.Minute
)

const (
	pauseMin    = 2 * time.Second
	pauseSteps  = 6 // each twice as long as the one before: up to 128 s
	freshEnough = 2 // intervals of the API: older tags are a failure
)

// That an instance has no tags is not believed at once while it is new: they
// may be put on after its launch, and what the EC2 API tells is eventually
// consistent.
// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
const (
	noTagsWindow = 2 * time.Minute
	noTagsSettle = 30 * time.Second // between two answers that say so
	noTagsPace   = 15 * time.Second
)

var errNoTagsYet = fmt.Errorf("%w: ec2:DescribeTags lists no tags yet", facts.ErrUnavailable)

// errNotEnabled is the one reason known for a 404.
var errNotEnabled = errors.New("instance metadata has none (is InstanceMetadataTags enabled?)")

// pace is when the EC2 API is asked next, and how it answered last.
type pace struct {
	next     time.Time
	failures int // in a row, that may pass by themselves
	err      error
	noTags   time.Time // when it first said that there are no tags
}

// readTags brings the tags of the last reading up to date. What it cannot do is
// an error, or a warning where the tags at hand are good enough or where only
// somebody's action helps: whoever needs a tag that is not known fails then.
func (d *Duty) readTags(ctx context.Context, cfg Config, now time.Time) (warning string, err error) {
	if cfg.TagSource != FromEC2 {
		values, err := d.Metadata.Tags(ctx)
		switch {
		case err == nil:
			d.pace = pace{}
			d.tagsRead(facts.TagsFromIMDS, values, now)
			return "", nil
		case !errors.Is(err, facts.ErrAbsent):
			return "", d.keepTags(err, now)
		case cfg.TagSource == FromIMDS:
			d.pace = pace{}
			return d.keepTags(errNotEnabled, now).Error(), nil
		}
	}
	if !now.Before(d.pace.next) {
		values, err := d.TagAPI.Tags(ctx, d.last.Region, d.last.ID)
		if err == nil && len(values) == 0 {
			err = d.doubtNoTags(now)
		}
		d.pace = d.pace.after(err, now, d.started, time.Duration(cfg.TagsAPIInterval), d.last.ID)
		if err == nil {
			d.tagsRead(facts.TagsFromEC2, values, now)
		}
	}
	return d.judgeAPI(cfg, now)
}

// judgeAPI says what the API's last answer means for the tags at hand.
func (d *Duty) judgeAPI(cfg Config, now time.Time) (warning string, err error) {
	if d.pace.err == nil {
		return "", nil
	}
	problem := d.pace.err
	if cfg.TagSource != FromEC2 {
		problem = fmt.Errorf("%w, and the EC2 API: %w", errNotEnabled, d.pace.err)
	}
	problem = d.keepTags(problem, now)
	fresh := d.last.Tags.Source != "" && now.Sub(d.last.tagsAt) < freshEnough*time.Duration(cfg.TagsAPIInterval)
	if fresh || errors.Is(d.pace.err, facts.ErrRefused) {
		return problem.Error(), nil
	}
	return "", problem
}

// doubtNoTags returns errNoTagsYet unless it is final that the API lists none.
func (d *Duty) doubtNoTags(now time.Time) error {
	if d.pace.noTags.IsZero() {
		d.pace.noTags = now
	}
	had := d.last.Tags
	known := had.Source != "" && len(had.Values) == 0
	if known || now.Sub(d.started) >= noTagsWindow || now.Sub(d.pace.noTags) >= noTagsSettle {
		return nil
	}
	return errNoTagsYet
}

func (d *Duty) tagsRead(source string, values map[string]string, now time.Time) {
	d.last.Tags = facts.Tags{Source: source, Values: values}
	d.last.tagsAt = now
}

// keepTags leaves the tags as they are, and says so beside err.
func (d *Duty) keepTags(err error, now time.Time) error {
	if d.last.Tags.Source == "" {
		d.last.Tags.Why = err.Error()
		return fmt.Errorf("cannot read the tags: %w", err)
	}
	return fmt.Errorf("cannot read the tags: %w; the %d tags from %s, read %s, stay",
		err, len(d.last.Tags.Values), d.last.Tags.Source, stamp(d.last.tagsAt))
}

// after returns the pace once the API was asked at now: soon again after what
// may pass by itself, each time twice as late; else each minute while the agent
// is young, then at every interval. All of it is spread over the fleet by id.
func (p pace) after(err error, now, started time.Time, interval time.Duration, id string) pace {
	p.err = err
	switch {
	case errors.Is(err, errNoTagsYet):
		p.failures = 0
		p.next = now.Add(noTagsPace + when.Offset(id, noTagsPace/5))
		return p
	case errors.Is(err, facts.ErrUnavailable):
		pause := pauseMin << min(p.failures, pauseSteps)
		p.failures++
		p.next = now.Add(pause + when.Offset(fmt.Sprintf("%s/%d", id, p.failures), pause))
		return p
	case err == nil:
		p.noTags = time.Time{}
	}
	p.failures = 0
	if now.Sub(started) < youngWindow {
		interval = youngPace
	}
	tick := when.Splay(when.Every(interval), id, interval).Next(now)
	p.next = now.Add(tick.Sub(now)) // on the monotonic clock
	return p
}

// again is how soon the next pass is wanted.
func (d *Duty) again(cfg Config, now time.Time) time.Duration {
	again := time.Duration(cfg.Interval)
	if d.last.Tags.Source == facts.TagsFromIMDS && now.Sub(d.started) < lateWindow {
		again = min(again, latePace)
	}
	if due := d.pace.next.Sub(now); due > 0 {
		again = min(again, due)
	}
	return again
}

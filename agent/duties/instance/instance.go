// Package instance is the duty that finds out what this node is: its identity
// and its tags, published for all other duties.
//
// What was read last stays until something newer is read. A copy on disk lets a
// node that starts while instance metadata is ill know itself; it is never
// taken for another instance's.
package instance

import (
	"context"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Metadata is the instance metadata service.
type Metadata interface {
	// Instance returns the identity, without tags.
	Instance(ctx context.Context) (facts.Instance, error)
	// Tags is facts.ErrAbsent if tags are not enabled there.
	Tags(ctx context.Context) (map[string]string, error)
}

// TagAPI is the EC2 API.
type TagAPI interface {
	Tags(ctx context.Context, region, instanceID string) (map[string]string, error)
}

// Duty reads identity and tags and publishes them.
type Duty struct {
	FS       fsx.FS
	Config   cell.Reader[Config] // empty: the defaults
	Metadata Metadata
	TagAPI   TagAPI
	Instance *cell.Cell[facts.Instance]

	started time.Time // of the first pass
	last    reading
	stored  store
	pace    pace
}

// reading is what was read last, and when. An empty ID: nothing was.
type reading struct {
	facts.Instance
	at       time.Time // when identity was read
	tagsAt   time.Time // when Tags were read
	fromDisk bool
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "instance" }

// Reconcile implements duty.Duty. What cannot be read stays published as it was.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg := Default()
	if c, ok := d.Config.Get(); ok {
		cfg = c
	}
	now := time.Now()
	if d.started.IsZero() {
		d.started = now
		d.stored.load(d.FS)
	}
	out := duty.Outcome{Again: time.Duration(cfg.Interval), Warnings: d.stored.warnings()}
	identity, err := d.Metadata.Instance(ctx)
	if err != nil {
		return out, d.keep(fmt.Errorf("cannot read the identity of the instance: %w", err), now)
	}
	if err := d.stored.machine.contradicts(identity.ID); err != nil {
		return out, d.keep(err, now)
	}
	d.adopt(identity, now)
	warning, err := d.readTags(ctx, cfg, now)
	if warning != "" {
		out.Warnings = append(out.Warnings, warning)
	}
	d.Instance.Set(d.last.Instance)
	if problem := d.stored.save(d.FS, d.last, now); problem != nil {
		out.Warnings = append(out.Warnings, problem.Error())
	}
	out.Again = d.again(cfg, now)
	out.Summary = summary(d.last.Instance)
	return out, err
}

// keep leaves what was read last in force, and says so beside err. If nothing
// has been read since the agent started it publishes what is on disk.
func (d *Duty) keep(err error, now time.Time) error {
	if d.last.ID == "" {
		saved, whyNot := d.stored.ofThisMachine()
		if whyNot != "" {
			return fmt.Errorf("%w; nothing is known of this instance: %s", err, whyNot)
		}
		d.last = saved
		d.Instance.Set(d.last.Instance)
	}
	if d.last.fromDisk {
		return fmt.Errorf("%w; %s from the disk cache, saved %s, is in force", err, d.last.ID, stamp(d.last.at))
	}
	return fmt.Errorf("%w; that of %s, read %s, is in force", err, d.last.ID, stamp(d.last.at))
}

// adopt makes identity, read at now, the last reading, with the tags last read
// of the same instance.
func (d *Duty) adopt(identity facts.Instance, now time.Time) {
	known := d.last
	if known.ID == "" {
		known = d.stored.reading()
	}
	if known.ID != identity.ID {
		d.pace = pace{}
		known = reading{}
	}
	identity.Tags = known.Tags
	d.last = reading{Instance: identity, at: now, tagsAt: known.tagsAt}
}

func summary(i facts.Instance) string {
	tags := "tags unknown"
	if i.Tags.Source != "" {
		tags = fmt.Sprintf("%d tags from %s", len(i.Tags.Values), i.Tags.Source)
	}
	s := fmt.Sprintf("%s, %s in %s", i.ID, i.Type, i.Zone)
	if i.Lifecycle != "" {
		s += ", " + i.Lifecycle
	}
	return s + ", " + tags
}

// stamp is a time for people. Not an age: that would be another warning, and a
// line in the log, at every pass.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

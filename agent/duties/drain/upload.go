package drain

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Store puts objects into S3, in place of those that are there.
type Store interface {
	Put(ctx context.Context, o facts.Object, body []byte, c facts.Condition) (etag string, err error)
}

// UploadDuty puts the record of a drain into S3 as it grows. It is a duty of its
// own so that S3 takes no time from tasks.
type UploadDuty struct {
	Config   cell.Reader[Config]
	Instance cell.Reader[facts.Instance]
	Plan     cell.Reader[*Plan]
	Store    Store

	put *Plan // as it was put last
}

// Name implements duty.Duty.
func (*UploadDuty) Name() string { return "upload" }

// Reconcile implements duty.Duty.
func (d *UploadDuty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	if c.Upload.Bucket == "" {
		return duty.Outcome{Summary: "off: drain.upload.bucket"}, nil
	}
	p, _ := d.Plan.Get()
	if p == nil {
		return duty.Outcome{Summary: "no drain in this run"}, nil
	}
	instance, ok := d.Instance.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the identity of the instance")
	}
	o := facts.Object{
		Region: cmp.Or(c.Upload.Region, instance.Region), Bucket: c.Upload.Bucket,
		Key: c.Upload.Prefix + cmp.Or(p.Instance, instance.ID) + "/" + path.Base(fileOf(p)),
	}
	if p != d.put {
		data, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			return duty.Outcome{}, fmt.Errorf("cannot put the record of the drain: %w", err)
		}
		if _, err := d.Store.Put(ctx, o, append(data, '\n'), facts.Condition{}); err != nil {
			return duty.Outcome{}, err
		}
		d.put = p
	}
	return duty.Outcome{Summary: "the record is in " + o.String()}, nil
}

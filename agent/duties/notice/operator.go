package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Request is what an operator asks for by `ecsnode drain`. The file is there as
// long as it is wanted, over reboots too.
type Request struct {
	At       time.Time     `json:"at"`
	Deadline time.Duration `json:"deadline_ns,omitempty"` // from At; zero: the configured cap
	Force    bool          `json:"force,omitempty"`       // stop what is left at the deadline
	Why      string        `json:"why,omitempty"`
}

// Operator is the duty that reads an operator's request.
type Operator struct {
	FS      fsx.FS
	File    string
	Config  cell.Reader[Config]
	Notices *cell.Cell[[]facts.Notice]
}

// Name implements duty.Duty.
func (*Operator) Name() string { return facts.NoticeOperator }

// Reconcile implements duty.Duty.
func (d *Operator) Reconcile(context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	data, err := d.FS.ReadFile(d.File)
	if errors.Is(err, fs.ErrNotExist) {
		d.Notices.Set(nil)
		return duty.Outcome{Summary: summary(nil)}, nil
	}
	var r Request
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		// Whoever asked wanted a drain; a node that has begun one goes on.
		return duty.Outcome{}, fmt.Errorf(`cannot read the request to drain in %s: %w. "ecsnode undrain" removes it`, d.File, err)
	}
	n := facts.Notice{
		Source: facts.NoticeOperator, What: "drain", ID: stamp(r.At), Drain: true, Why: r.Why, Force: r.Force,
		Cap: time.Duration(c.SoftCap),
	}
	if r.Deadline > 0 {
		n.Cap = r.Deadline
	}
	d.Notices.Set([]facts.Notice{n})
	return duty.Outcome{Summary: summary([]facts.Notice{n})}, nil
}

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
	// Simulated: the drain is as if for this notice.
	Simulated *facts.Notice `json:"simulated,omitempty"`
}

// notice is what is asked for as a notice.
func (r Request) notice(c Config) facts.Notice {
	n := facts.Notice{What: "drain", Drain: true, Cap: time.Duration(c.SoftCap)}
	if r.Simulated != nil {
		n = *r.Simulated
		n.What = "simulated " + n.Source
		if r.Simulated.What != "" {
			n.What += " " + r.Simulated.What
		}
	}
	n.Source, n.ID, n.Force = facts.NoticeOperator, stamp(r.At), r.Force
	if r.Why != "" {
		n.Why = r.Why
	}
	if r.Deadline > 0 {
		n.Cap = r.Deadline
	}
	return n
}

// ShutdownRequest is what `ecsnode shutdown` asks for: that the node is empty
// before the host goes down. It counts in the boot that it was made in.
type ShutdownRequest struct {
	Kind   string    `json:"kind"` // reboot, poweroff, halt, kexec
	By     time.Time `json:"by"`
	BootID string    `json:"boot_id"`
}

// Operator is the duty that reads what is asked for on the host: an operator's
// drain, and that of a shutdown which the login manager does not tell of.
type Operator struct {
	FS       fsx.FS
	File     string // of a Request
	Shutdown string // of a ShutdownRequest
	BootID   string
	Config   cell.Reader[Config]
	Notices  *cell.Cell[[]facts.Notice]
}

// Name implements duty.Duty.
func (*Operator) Name() string { return facts.NoticeOperator }

// Reconcile implements duty.Duty.
func (d *Operator) Reconcile(context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	var all []facts.Notice
	var r Request
	var goes ShutdownRequest
	asked, err := read(d.FS, d.File, &r)
	if err != nil {
		// Whoever asked wanted a drain; a node that has begun one goes on.
		return duty.Outcome{}, fmt.Errorf(`cannot read the request to drain in %s: %w. "ecsnode undrain" removes it`, d.File, err)
	}
	if asked {
		all = append(all, r.notice(c))
	}
	down, err := read(d.FS, d.Shutdown, &goes)
	if down && err == nil && goes.BootID == d.BootID {
		all = append(all, facts.Notice{
			Source: facts.NoticeShutdown, What: goes.Kind, ID: "asked " + stamp(goes.By), Drain: true, By: goes.By.UTC().Round(0), Hard: true,
		})
	}
	d.Notices.Set(all)
	return duty.Outcome{Summary: summary(all)}, err
}

// read reports whether a request is there.
func read(files fsx.FS, name string, request any) (there bool, err error) {
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, request)
	}
	return err == nil, err
}

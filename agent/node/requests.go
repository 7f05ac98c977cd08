package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// What the command line asks of the node is a file: present means wanted, and
// its opposite removes it. It survives reboots, and no daemon is needed to ask.
const (
	requestsDir = StateDir + "/requests"
	holdFile    = requestsDir + "/hold.json"
	applyFile   = requestsDir + "/apply.json"
)

// requestsDuty reads what is asked and publishes it.
type requestsDuty struct {
	n      *Node
	files  fsx.FS
	attend func(on bool) // somebody waits for a pass, or no longer
}

func (requestsDuty) Name() string { return "requests" }

func (d requestsDuty) Reconcile(context.Context) (duty.Outcome, error) {
	now := time.Now()
	holds, err := readHolds(d.files, now)
	d.n.holds.Set(holds)
	asked, applyErr := readApply(d.files)
	if asked.ID != "" && now.Sub(asked.At).Abs() > applyPatience {
		// Whoever asked has given up, or was killed while it waited.
		_, applyErr = d.files.Remove(applyFile)
		asked = applyRequest{}
	}
	d.attend(asked.ID != "")
	if asked.ID != "" {
		d.n.passAsked.Set(asked.ID)
	}
	pin, pinErr := readPin(d.files)
	if pinErr == nil {
		d.n.pin.Set(pin)
	}
	pull, pullErr := readRequest[applyRequest](d.files, pullFile)
	if pull.ID != "" && now.Sub(pull.At).Abs() > pullPatience {
		_, pullErr = d.files.Remove(pullFile)
		pull = applyRequest{}
	}
	d.n.pullAsked.Set(pull.ID)
	out := duty.Outcome{Summary: "nothing is held"}
	if h := d.n.hold(); h != nil {
		out.Summary = "held by " + h.By
	}
	for _, h := range holds {
		if left := h.Until.Sub(now); !h.Until.IsZero() && (out.Again == 0 || left < out.Again) {
			out.Again = left
		}
	}
	return out, errors.Join(err, applyErr, pinErr, pullErr)
}

// applyRequest asks the daemon for a pass of every duty.
type applyRequest struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

func readApply(files fsx.FS) (a applyRequest, err error) {
	data, err := files.ReadFile(applyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return applyRequest{}, fmt.Errorf("cannot read %s: %w", applyFile, err)
	}
	return a, nil
}

// ask writes a request.
func (n *Node) ask(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if err := n.makeStateDir(); err != nil {
		return err
	}
	_, err = n.disk.WriteFile(name, append(data, '\n'), fsx.How{Mode: 0o600})
	return err
}

// makeStateDir makes what is kept over reboots. Only root may look into it.
func (n *Node) makeStateDir() error {
	if _, err := n.disk.MkdirAll(path.Dir(StateDir), 0o755); err != nil {
		return err
	}
	_, err := n.disk.MkdirAll(requestsDir, 0o700)
	return err
}

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// What the command line asks of the node is a file: present means wanted, and
// its opposite removes it. It survives reboots, and no daemon is needed to ask.
const (
	requestsDir = StateDir + "/requests"
	holdFile    = requestsDir + "/hold.json"
	applyFile   = requestsDir + "/apply.json"
)

// HoldAll stands for every duty in a hold.
const HoldAll = "all"

// heldDuty is one entry of hold.json.
type heldDuty struct {
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
}

func (h heldDuty) over(now time.Time) bool { return !h.Until.IsZero() && !now.Before(h.Until) }

// readHolds returns the operator's holds that are not over.
func readHolds(files fsx.FS, now time.Time) (map[string]heldDuty, error) {
	data, err := files.ReadFile(holdFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var holds map[string]heldDuty
	if err := json.Unmarshal(data, &holds); err != nil {
		// Whatever it said, somebody wanted the node held.
		return map[string]heldDuty{HoldAll: {Why: "hold.json cannot be read"}},
			fmt.Errorf(`cannot read %s: %w. The node is held; "ecsnode release" removes it`, holdFile, err)
	}
	maps.DeleteFunc(holds, func(_ string, h heldDuty) bool { return h.over(now) })
	return holds, nil
}

// requests is what is asked of the node now.
type requests struct {
	holds   map[string]heldDuty // by the operator: name of a duty, or HoldAll
	tagHold *string             // why, if the configuration or a tag holds the node
}

func (r requests) equal(o requests) bool {
	sameTag := (r.tagHold == nil) == (o.tagHold == nil) && (r.tagHold == nil || *r.tagHold == *o.tagHold)
	return sameTag && maps.EqualFunc(r.holds, o.holds, func(a, b heldDuty) bool {
		return a.Why == b.Why && a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
	})
}

// held returns why the named duty makes no pass, or "".
func (r requests) held(name string) string {
	for _, key := range []string{name, HoldAll} {
		h, ok := r.holds[key]
		switch {
		case ok && h.Why != "":
			return "held by the operator: " + h.Why
		case ok:
			return "held by the operator"
		}
	}
	switch {
	case r.tagHold == nil:
		return ""
	case *r.tagHold == "":
		return "held by " + holdSetting
	}
	return "held by " + holdSetting + ": " + *r.tagHold
}

const holdSetting = "the tag " + config.HoldTag + " or the setting hold"

// status returns the hold as the status shows it, nil if nothing is held.
func (r requests) status() *status.Hold {
	if len(r.holds) > 0 {
		h := &status.Hold{By: "operator", What: slices.Sorted(maps.Keys(r.holds))}
		first := r.holds[h.What[0]]
		h.Why, h.Since, h.Until = first.Why, first.Since, first.Until
		return h
	}
	if r.tagHold != nil {
		return &status.Hold{By: holdSetting, What: []string{HoldAll}, Why: *r.tagHold}
	}
	return nil
}

// requestsDuty reads what is asked and publishes it.
type requestsDuty struct {
	n      *Node
	files  fsx.FS
	attend func(on bool) // somebody waits for a pass, or no longer
}

func (requestsDuty) Name() string { return "requests" }

func (d requestsDuty) Reconcile(context.Context) (duty.Outcome, error) {
	var r requests
	now := time.Now()
	holds, err := readHolds(d.files, now)
	r.holds = holds
	if e, ok := d.n.config.Get(); ok {
		if why, held := e.Held(); held {
			r.tagHold = &why
		}
	}
	d.n.requests.Set(r)

	asked, applyErr := readApply(d.files)
	d.attend(asked.ID != "")
	if asked.ID != "" {
		d.n.passAsked.Set(asked.ID)
	}

	out := duty.Outcome{Summary: "nothing is held"}
	if h := r.status(); h != nil {
		out.Summary = "held: " + strings.Join(h.What, ", ")
	}
	for _, h := range holds {
		if left := h.Until.Sub(now); !h.Until.IsZero() && (out.Again == 0 || left < out.Again) {
			out.Again = left
		}
	}
	return out, errors.Join(err, applyErr)
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
	if _, err := n.disk.MkdirAll(requestsDir, 0o700); err != nil {
		return err
	}
	_, err = n.disk.WriteFile(name, append(data, '\n'), fsx.How{Mode: 0o600})
	return err
}

// Hold stops a duty, or all that change the node, for the given time (zero:
// until released). It counts at once, and over reboots. Identity is still
// established first, so that a hold cannot keep a node out.
func (n *Node) Hold(what, why string, for_ time.Duration) error {
	if err := n.checkHoldable(what); err != nil {
		return err
	}
	now := time.Now()
	holds, err := readHolds(n.disk, now)
	if err != nil {
		return err
	}
	if holds == nil {
		holds = map[string]heldDuty{}
	}
	h := heldDuty{Why: why, Since: now.Truncate(time.Second)}
	if for_ > 0 {
		h.Until = now.Add(for_)
	}
	holds[what] = h
	return n.ask(holdFile, holds)
}

// Release ends a hold; "all" ends every hold of the operator's. It reports
// whether there was one.
func (n *Node) Release(what string) (released bool, err error) {
	if what == HoldAll {
		return n.disk.Remove(holdFile)
	}
	if err := n.checkHoldable(what); err != nil {
		return false, err
	}
	holds, err := readHolds(n.disk, time.Now())
	if err != nil {
		return false, err
	}
	if _, ok := holds[what]; !ok {
		if _, all := holds[HoldAll]; all {
			return false, fmt.Errorf(`cannot release %s alone: all are held. "ecsnode release" ends that`, what)
		}
		return false, nil
	}
	delete(holds, what)
	if len(holds) == 0 {
		return n.disk.Remove(holdFile)
	}
	return true, n.ask(holdFile, holds)
}

// checkHoldable refuses what a hold would not stop.
func (n *Node) checkHoldable(what string) error {
	names := []string{HoldAll}
	for _, en := range n.table(n.disk, nil, nil) {
		if en.Changes {
			names = append(names, en.Duty.Name())
		}
	}
	if !slices.Contains(names, what) {
		return fmt.Errorf("cannot hold %q: it is none of %v", what, names)
	}
	return nil
}

// holding is the engine's [duty.Hold].
type holding struct{ n *Node }

// Held implements duty.Hold. A duty that establishes identity is held only
// once the identity of this boot is established.
func (h holding) Held(en duty.Entry) string {
	r, ok := h.n.requests.Get()
	if !ok || !en.Changes {
		return ""
	}
	if at, _ := h.n.established.Get(); en.Identity && at.IsZero() {
		return ""
	}
	return r.held(en.Duty.Name())
}

// Wake implements cell.Waker.
func (h holding) Wake(ch chan<- struct{}) (stop func()) {
	a, b := h.n.requests.Wake(ch), h.n.established.Wake(ch)
	return func() { a(); b() }
}

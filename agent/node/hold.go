package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
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

// holds are the operator's, by the name of the duty or HoldAll.
type holds map[string]heldDuty

func (h holds) equal(o holds) bool {
	return maps.EqualFunc(h, o, func(a, b heldDuty) bool {
		return a.Why == b.Why && a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
	})
}

// readHolds returns the operator's holds that are not over. Where they cannot
// be read all is held, beside the error: somebody wanted something held.
func readHolds(files fsx.FS, now time.Time) (holds, error) {
	data, err := files.ReadFile(holdFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var h holds
	if err == nil {
		err = json.Unmarshal(data, &h)
	}
	if err != nil {
		return holds{HoldAll: {Why: "what is held cannot be read"}},
			fmt.Errorf(`cannot read what is held from %s: %w. All is held; "ecsnode release" ends that`, holdFile, err)
	}
	maps.DeleteFunc(h, func(_ string, h heldDuty) bool { return h.over(now) })
	return h, nil
}

// Hold stops a duty, or all that change the node, for the given time (zero:
// until released). It counts at once, and over reboots. Identity is still
// established first, so that a hold cannot keep a node out.
func (n *Node) Hold(ctx context.Context, what, why string, for_ time.Duration) error {
	names := n.holdable()
	if !slices.Contains(names, what) {
		return fmt.Errorf("cannot hold %q: it is none of %v", what, names)
	}
	return n.editHolds(ctx, func(h holds) (holds, error) {
		now := time.Now()
		held := heldDuty{Why: why, Since: now.Truncate(time.Second)}
		if for_ > 0 {
			held.Until = now.Add(for_)
		}
		if h == nil {
			h = holds{}
		}
		h[what] = held
		return h, nil
	})
}

// Release ends a hold; "all" ends every hold of the operator's, also one that
// cannot be read. It reports whether there was one.
func (n *Node) Release(ctx context.Context, what string) (released bool, err error) {
	if what == HoldAll {
		return n.disk.Remove(holdFile)
	}
	err = n.editHolds(ctx, func(h holds) (holds, error) {
		_, released = h[what]
		_, all := h[HoldAll]
		names := n.holdable()
		switch {
		case released:
			delete(h, what)
		case all:
			return nil, fmt.Errorf(`cannot release %s alone: all are held. "ecsnode release" ends that`, what)
		case !slices.Contains(names, what):
			return nil, fmt.Errorf("cannot release %q: it is none of %v", what, names)
		}
		return h, nil
	})
	return released, err
}

// editHolds changes hold.json under a lock, so that two commands at once do not
// lose one.
func (n *Node) editHolds(ctx context.Context, edit func(holds) (holds, error)) error {
	if err := n.makeStateDir(); err != nil {
		return err
	}
	unlock, err := n.disk.Lock(ctx, requestsDir+"/lock", "ecsnode hold")
	if err != nil {
		return err
	}
	defer unlock()
	h, err := readHolds(n.disk, time.Now())
	if err != nil {
		return err
	}
	if h, err = edit(h); err != nil {
		return err
	}
	if len(h) == 0 {
		_, err := n.disk.Remove(holdFile)
		return err
	}
	return n.ask(holdFile, h)
}

// holdable names what a hold can stop.
func (n *Node) holdable() []string {
	names := []string{HoldAll}
	for _, en := range n.table(serving, n.disk, outside{}, nil) {
		if en.Changes {
			names = append(names, en.Duty.Name())
		}
	}
	return names
}

// holdSetting is who holds when no operator does.
const holdSetting = "the tag " + config.HoldTag + " or the setting hold"

// heldBySetting reports whether the configuration, or a tag as it was last
// read, holds the node.
func (n *Node) heldBySetting() (why string, held bool) {
	e, ok := n.config.Get()
	if !ok {
		return "", false
	}
	c, _ := e.loaded.Config.WithTags(n.known().Tags)
	return c.Held()
}

// hold returns what is held as the status shows it, nil if nothing is.
func (n *Node) hold() *status.Hold {
	if h, _ := n.holds.Get(); len(h) > 0 {
		shown := &status.Hold{By: "operator", What: slices.Sorted(maps.Keys(h))}
		first := h[shown.What[0]]
		shown.Why, shown.Since, shown.Until = first.Why, first.Since, first.Until
		return shown
	}
	if why, held := n.heldBySetting(); held {
		return &status.Hold{By: holdSetting, What: []string{HoldAll}, Why: why}
	}
	return nil
}

// holding is the engine's [duty.Hold]. It looks at what is known at the moment
// of asking and at nothing relayed: a tag that holds the node must count in the
// very pass that another tag would change the node in.
type holding struct{ n *Node }

// Held implements duty.Hold. A duty that establishes identity is held only
// once the identity of this boot is established.
func (h holding) Held(en duty.Entry) string {
	if at, _ := h.n.established.Get(); en.Identity && at.IsZero() {
		return ""
	}
	operator, asked := h.n.holds.Get()
	if _, configured := h.n.config.Get(); !asked || !configured {
		return "until it is known whether anything is held"
	}
	for _, key := range []string{en.Duty.Name(), HoldAll} {
		if held, ok := operator[key]; ok {
			return because("held by the operator", held.Why)
		}
	}
	if why, held := h.n.heldBySetting(); held {
		return because("held by "+holdSetting, why)
	}
	return ""
}

func because(text, why string) string {
	if why == "" {
		return text
	}
	return text + ": " + why
}

// Wake implements cell.Waker.
func (h holding) Wake(ch chan<- struct{}) (stop func()) {
	var stops []func()
	for _, w := range []cell.Waker{h.n.holds, h.n.established, h.n.config, h.n.instance} {
		stops = append(stops, w.Wake(ch))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

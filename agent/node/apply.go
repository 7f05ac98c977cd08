package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// applyPatience bounds how long Apply waits for the lock or the daemon.
const applyPatience = time.Minute

// Apply makes one pass of every duty and returns how each stands. A daemon
// that runs is asked for the pass; without one it is made here. The error says
// that the pass was not made, or not to its end; a duty that fails is not one.
func (n *Node) Apply(ctx context.Context) ([]duty.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	if err := n.prepare(); err != nil {
		return nil, err
	}
	asked := time.Now()
	request := applyRequest{ID: strconv.FormatInt(asked.UnixNano(), 36), At: asked}
	defer func() {
		if a, err := readApply(n.disk); err == nil && a.ID == request.ID {
			_, _ = n.disk.Remove(applyFile) // left behind it asks nobody again
		}
	}()
	for {
		running, err := n.daemonRuns()
		if err != nil {
			return nil, err
		}
		var waits string
		if running {
			var done []duty.Record
			if done, waits, err = n.askForPass(request); err != nil || done != nil {
				return done, err
			}
		} else {
			unlock, err := n.disk.TryLock(passLock, "ecsnode apply")
			if err == nil {
				defer unlock()
				return n.pass(ctx, asked)
			}
			if !errors.Is(err, fsx.ErrLocked) {
				return nil, err
			}
			waits = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot get a pass: %s: %w", waits, context.Cause(ctx))
		case <-time.After(applyPoll):
		}
	}
}

const applyPoll = 50 * time.Millisecond

// daemonRuns reports whether a daemon holds its lock. It looks by trying.
func (n *Node) daemonRuns() (bool, error) {
	unlock, err := n.disk.TryLock(daemonLock, "ecsnode apply")
	if errors.Is(err, fsx.ErrLocked) {
		return true, nil
	}
	if err == nil {
		unlock()
	}
	return false, err
}

// pass makes the pass here.
func (n *Node) pass(ctx context.Context, asked time.Time) ([]duty.Record, error) {
	s := n.newShift(applying, n.disk, n.outside(), "", "apply")
	_ = s.engine.Pass(ctx, s.table) // the records say it
	records := since(s.board.Records(), asked)
	if ctx.Err() != nil {
		return records, fmt.Errorf("cannot finish the pass: %w", context.Cause(ctx))
	}
	return records, nil
}

// askForPass asks the daemon, if it has not been asked, and returns the records
// once every duty has made a pass since; until then, what is waited for.
func (n *Node) askForPass(request applyRequest) (done []duty.Record, waits string, err error) {
	if a, err := readApply(n.disk); err != nil || a.ID < request.ID {
		if err := n.ask(applyFile, request); err != nil {
			return nil, "", err
		}
	}
	d, err := status.Load(n.disk, status.Path)
	if err != nil {
		return nil, err.Error(), nil
	}
	open := unfinished(d.Duties, request.At)
	if len(open) == 0 {
		return since(d.Duties, request.At), "", nil
	}
	return nil, strings.Join(open, "; "), nil
}

// unfinished names the duties that have not made a pass begun after t, and why.
func unfinished(records []duty.Record, t time.Time) (open []string) {
	for _, r := range records {
		if r.State == duty.Held || !r.Running && r.Started.After(t) {
			continue
		}
		open = append(open, strings.TrimSuffix(r.Name+" "+string(r.State)+": "+r.Err, ": "))
	}
	return open
}

// since makes Changed tell of every pass since t: a duty may have made more
// than one.
func since(records []duty.Record, t time.Time) []duty.Record {
	for i := range records {
		records[i].Changed = records[i].LastChange.After(t)
	}
	return records
}

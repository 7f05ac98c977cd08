package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
	"github.com/ecsnode/ecsnode/agent/when"
)

// prepare makes the agent's own directories.
func (n *Node) prepare() error {
	for _, dir := range []struct {
		name string
		mode fs.FileMode
	}{
		{status.Dir, 0o755},
		{path.Dir(n.opts.Config), 0o755}, // watched
	} {
		if _, err := n.disk.MkdirAll(dir.name, dir.mode); err != nil {
			return err
		}
	}
	return n.makeStateDir()
}

// shift is the engine, the board and the table of one command.
type shift struct {
	engine *duty.Engine
	board  *status.Board
	table  []duty.Entry
}

// newShift builds them on the given files and outside, real or a dry run.
func (n *Node) newShift(p phase, files fsx.FS, out outside, path, writer string) *shift {
	s := &shift{}
	head := func() status.Document { return n.head(writer) }
	s.board = status.NewBoard(files, path, head, n.table(p, files, out, nil))
	s.table = n.table(p, files, out, s.board)
	s.engine = &duty.Engine{ID: n.id, Log: n.opts.Log, Report: s.board.Report, Hold: holding{n}, Outside: isOutside}
	if id, err := n.readIdentity(files); err == nil && !id.At.IsZero() {
		n.established.Set(id.At)
	}
	return s
}

// isOutside reports whether an error says that no answer came.
func isOutside(err error) bool { return err == facts.ErrUnavailable }

// boardEntry writes the status at edges and as a heartbeat.
func (n *Node) boardEntry(d duty.Duty, s *shift) duty.Entry {
	return duty.Entry{
		Duty: d, When: when.Every(status.Heartbeat),
		On:  []cell.Waker{s.board, n.instance, n.cluster, n.registration, n.holds, n.established, n.plan, n.schedules, n.bundle},
		Gap: 100 * time.Millisecond, Timeout: 5 * time.Second, Retry: duty.Retry{Max: status.Heartbeat},
	}
}

// probeTime is longer than another command holds the daemon's lock to see
// whether there is a daemon.
const probeTime = 2 * time.Second

// Run is the daemon: it runs every duty until ctx is done. Until it holds the
// lock of passes, because boot or an apply is under way, it only looks. It
// returns early if it cannot do its work at all.
func (n *Node) Run(ctx context.Context) error {
	if err := n.prepare(); err != nil {
		return err
	}
	probing, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	unlock, err := n.disk.Lock(probing, daemonLock, "ecsnode run")
	if err != nil {
		return err
	}
	defer unlock()
	return n.counted(ctx, "run", n.serve)
}

func (n *Node) serve(ctx context.Context) error {
	s := n.newShift(serving, n.disk, n.outside(), status.Path, "run")
	var looks, changes []duty.Entry
	for _, en := range s.table {
		en.On = append(en.On, n.passAsked)
		if en.Changes {
			changes = append(changes, en)
		} else {
			looks = append(looks, en)
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	fail := make(chan error, 1)
	looks = append(looks, n.boardEntry(&boardDuty{n: n, s: s, fail: fail}, s))
	defer context.AfterFunc(ctx, func() { _ = n.notify.Stopping() })()

	work.Go(func() error { s.engine.Run(ctx, looks); return nil })
	work.Go(func() error {
		unlock, waited, err := n.awaitTurn(ctx, s, changes)
		if err != nil {
			return err
		}
		defer unlock()
		if waited {
			n.lookAgain(ctx, s, looks)
		}
		s.engine.Run(ctx, changes)
		return nil
	})
	work.Go(func() error {
		select {
		case err := <-fail:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	for _, off := range n.Off() {
		n.opts.Log.Info("running with less", "off", off)
	}
	if err := n.notify.Ready(statusLine(s.board.Document())); err != nil {
		n.opts.Log.Warn("service manager not told", "err", err)
	}
	err := work.Wait()
	doc := s.board.Document()
	doc.StoppedAt = time.Now()
	return errors.Join(err, status.Write(n.disk, status.Path, doc))
}

// awaitTurn waits until the boot phase has ended and takes the lock of passes.
// Until then the entries are shown as waiting, and beyond their limit as
// failing.
func (n *Node) awaitTurn(ctx context.Context, s *shift, entries []duty.Entry) (unlock func(), waited bool, err error) {
	began := time.Now()
	for ; ; waited = true {
		var err error
		if !n.scratch() {
			err = n.bootUnderWay(ctx, time.Since(began))
		}
		if err == nil {
			unlock, err = n.disk.TryLock(passLock, "ecsnode run")
			if err == nil {
				// Identity that boot established counts from the first pass on.
				if id, err := n.readIdentity(n.disk); err == nil && !id.At.IsZero() {
					n.established.Set(id.At)
				}
			}
			if !errors.Is(err, fsx.ErrLocked) {
				return unlock, waited, err
			}
		}
		state := duty.Waiting
		if time.Since(began) > duty.DefaultWaitLimit {
			state = duty.Failing
		}
		for _, en := range entries {
			s.board.Report(duty.Record{Name: en.Duty.Name(), Identity: en.Identity, State: state, Since: began, Err: err.Error()})
		}
		select {
		case <-ctx.Done():
			return func() {}, waited, nil
		case <-time.After(lockPoll):
		}
	}
}

const lockPoll = 100 * time.Millisecond

// lookAgain makes a pass of the entries that look and waits for it: what they
// saw while others changed the node may be out of date.
func (n *Node) lookAgain(ctx context.Context, s *shift, looks []duty.Entry) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	now := time.Now()
	n.passAsked.Set("turn " + now.String())
	looked := func(r duty.Record) bool {
		changes := !slices.ContainsFunc(looks, func(en duty.Entry) bool { return en.Duty.Name() == r.Name })
		return changes || !r.Running && !r.Started.Before(now)
	}
	for !every(s.board.Records(), looked) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lockPoll):
		}
	}
}

func every[T any](all []T, is func(T) bool) bool {
	return !slices.ContainsFunc(all, func(v T) bool { return !is(v) })
}

// lookTime is longer than a pass of what looks may take.
const lookTime = 30 * time.Second

// bootUnit is the unit of `ecsnode boot`.
const bootUnit = "ecsnode-boot.service"

// bootUnderWay returns an error while the boot phase of this boot has not
// ended: user data may still write settings, and boot uses them first. A
// service manager that does not tell is not waited for beyond the time that a
// boot can take.
func (n *Node) bootUnderWay(ctx context.Context, waited time.Duration) error {
	if d, err := status.Load(n.disk, status.BootPath); err == nil && d.BootID == n.bootID && !d.StoppedAt.IsZero() {
		return nil
	}
	u, err := n.hosts.manager.Unit(ctx, bootUnit)
	switch {
	case err != nil:
		if waited > time.Duration(n.load(n.disk).Boot.Budget)+bootSlack {
			return nil
		}
		return fmt.Errorf("cannot tell whether %s has ended: %w", bootUnit, err)
	case u.Exists() && (u.Queued || u.Active == "activating"):
		return fmt.Errorf("%s has not ended: this begins afterwards", bootUnit)
	}
	return nil
}

// bootSlack is what user data and winding up may take beside the budget.
const bootSlack = time.Minute

// boardDuty writes the status, tells the service manager, and feeds the
// watchdog while no core duty is stuck.
type boardDuty struct {
	n    *Node
	s    *shift
	fail chan<- error // ends the daemon
	told string       // the service manager, last
}

func (b *boardDuty) Name() string { return b.s.board.Name() }

func (b *boardDuty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	if unlock, err := b.n.disk.TryLock(daemonLock, "ecsnode run"); err == nil {
		unlock()
		// Our lock is on a file that was removed: another daemon may start.
		select {
		case b.fail <- fmt.Errorf("cannot go on: %s was removed under the running ecsnode", daemonLock):
		default:
		}
	}
	out, err := b.s.board.Reconcile(ctx)
	if line := statusLine(b.s.board.Document()); line != b.told {
		if notifyErr := b.n.notify.Status(line); notifyErr == nil {
			b.told = line
		}
	}
	if stuck := b.s.engine.Alive(); stuck != nil {
		return out, errors.Join(err, stuck)
	}
	return out, errors.Join(err, b.n.notify.Alive())
}

// Boot makes passes of every duty until all are ok or the budget of the boot
// phase is spent. What is then left undone is the error. If the daemon is at
// work already, Boot waits for it to be done.
func (n *Node) Boot(ctx context.Context) error {
	if err := n.prepare(); err != nil {
		return err
	}
	return n.counted(ctx, "boot", n.bootInTurn)
}

func (n *Node) bootInTurn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n.load(n.disk).Boot.Budget))
	defer cancel()
	for {
		unlock, err := n.disk.TryLock(passLock, "ecsnode boot")
		if err == nil {
			defer unlock()
			return n.boot(ctx)
		}
		if !errors.Is(err, fsx.ErrLocked) {
			return err
		}
		undone := n.daemonUndone()
		if undone == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; %w", err, undone)
		case <-time.After(lockPoll):
		}
	}
}

func (n *Node) boot(ctx context.Context) error {
	s := n.newShift(booting, n.disk, n.outside(), status.BootPath, "boot")
	err := s.engine.Settle(ctx, append(s.table, n.boardEntry(s.board, s)))
	doc := s.board.Document()
	doc.StoppedAt = time.Now()
	return errors.Join(err, status.Write(n.disk, status.BootPath, doc))
}

// daemonUndone returns what a daemon that is at work has not made well yet.
func (n *Node) daemonUndone() error {
	d, err := status.Load(n.disk, status.Path)
	if err != nil {
		return err
	}
	if d.BootID != n.bootID || !d.StoppedAt.IsZero() {
		return status.ErrNone
	}
	var errs []error
	for _, r := range d.Duties {
		if r.State != duty.OK && r.State != duty.Held {
			errs = append(errs, fmt.Errorf("%s %s: %s", r.Name, r.State, r.Err))
		}
	}
	return errors.Join(errs...)
}

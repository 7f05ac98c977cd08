package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duty"
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
		{StateDir, 0o700},
		{requestsDir, 0o700},
	} {
		if _, err := n.disk.MkdirAll(dir.name, dir.mode); err != nil {
			return err
		}
	}
	return nil
}

// shift is the engine, the board and the table of one command.
type shift struct {
	engine *duty.Engine
	board  *status.Board
	table  []duty.Entry
}

// newShift builds them on the given files and ECS, real or a dry run.
func (n *Node) newShift(files fsx.FS, ecs ecsconfig.AttributePutter, path, writer string) *shift {
	s := &shift{}
	head := func() status.Document { return n.head(writer) }
	s.board = status.NewBoard(files, path, head, n.table(files, ecs, nil))
	s.table = n.table(files, ecs, s.board)
	s.engine = &duty.Engine{ID: n.id, Log: n.opts.Log, Report: s.board.Report, Hold: holding{n}}
	if id, err := readIdentity(files, n.bootID); err == nil && !id.At.IsZero() {
		n.established.Set(id.At)
	}
	return s
}

// Run is the daemon: it runs every duty until ctx is done. Until it holds the
// lock of passes, because boot or an apply is under way, it only looks.
func (n *Node) Run(ctx context.Context) error {
	if err := n.prepare(); err != nil {
		return err
	}
	unlock, err := n.disk.TryLock(daemonLock, "ecsnode run")
	if err != nil {
		return err
	}
	defer unlock()
	s := n.newShift(n.disk, n.hosts.ecs, status.Path, "run")
	var looks, changes []duty.Entry
	for _, en := range s.table {
		en.On = append(en.On, n.passAsked)
		if en.Changes {
			changes = append(changes, en)
		} else {
			looks = append(looks, en)
		}
	}
	looks = append(looks, n.boardEntry(s))

	var wg sync.WaitGroup
	wg.Go(func() { s.engine.Run(ctx, looks) })
	wg.Go(func() {
		unlock, err := n.disk.Lock(ctx, passLock, "ecsnode run")
		if err != nil {
			return // ctx is done
		}
		defer unlock()
		s.engine.Run(ctx, changes)
	})
	for _, off := range n.Off() {
		n.opts.Log.Info("running with less", "off", off)
	}
	if err := n.notify.Ready(statusLine(s.board.Document())); err != nil {
		n.opts.Log.Warn("service manager not told", "err", err)
	}
	wg.Wait()
	_ = n.notify.Stopping() // nobody is left to act on an error
	doc := s.board.Document()
	doc.StoppedAt = time.Now()
	return status.Write(n.disk, status.Path, doc)
}

// boardEntry writes the status, tells the service manager, and feeds the
// watchdog while no core duty is stuck.
func (n *Node) boardEntry(s *shift) duty.Entry {
	return duty.Entry{
		Duty: &boardDuty{n: n, s: s}, When: when.Every(status.Heartbeat),
		On:  []cell.Waker{s.board, n.instance, n.cluster, n.registration, n.requests, n.established},
		Gap: 100 * time.Millisecond, Timeout: 5 * time.Second, Retry: duty.Retry{Max: status.Heartbeat},
	}
}

type boardDuty struct {
	n    *Node
	s    *shift
	told string // the service manager, last
}

func (b *boardDuty) Name() string { return b.s.board.Name() }

func (b *boardDuty) Reconcile(ctx context.Context) (duty.Outcome, error) {
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
// phase is spent. What is then left undone is the error.
func (n *Node) Boot(ctx context.Context) error {
	return n.exclusively(ctx, "ecsnode boot", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(n.load(n.disk).Boot.Budget))
		defer cancel()
		s := n.newShift(n.disk, n.hosts.ecs, status.BootPath, "boot")
		err := s.engine.Settle(ctx, s.table)
		doc := s.board.Document()
		doc.StoppedAt = time.Now()
		return errors.Join(err, status.Write(n.disk, status.BootPath, doc))
	})
}

// exclusively runs f under the lock of passes.
func (n *Node) exclusively(ctx context.Context, purpose string, f func() error) error {
	if err := n.prepare(); err != nil {
		return err
	}
	unlock, err := n.disk.Lock(ctx, passLock, purpose)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// applyPatience bounds how long Apply waits for the lock or the daemon.
const applyPatience = time.Minute

// Apply makes one pass of every duty and returns how each stands. A daemon
// that runs is asked for the pass; without one it is made here. The error says
// that no pass was made; a duty that fails is not one.
func (n *Node) Apply(ctx context.Context) ([]duty.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	if err := n.prepare(); err != nil {
		return nil, err
	}
	unlock, err := n.disk.TryLock(daemonLock, "ecsnode apply")
	if errors.Is(err, fsx.ErrLocked) {
		return n.askForPass(ctx)
	}
	if err != nil {
		return nil, err
	}
	unlock() // only looked: a daemon may start meanwhile and wait for the pass
	asked := time.Now()
	var s *shift
	err = n.exclusively(ctx, "ecsnode apply", func() error {
		s = n.newShift(n.disk, n.hosts.ecs, "", "apply")
		_ = s.engine.Pass(ctx, s.table) // the records say it
		return nil
	})
	if err != nil {
		return nil, err
	}
	return since(s.board.Records(), asked), nil
}

// since makes Changed tell of every pass since t: a duty may have made more
// than one.
func since(records []duty.Record, t time.Time) []duty.Record {
	for i := range records {
		records[i].Changed = records[i].LastChange.After(t)
	}
	return records
}

// askForPass asks the daemon and waits until every duty has made a pass since.
func (n *Node) askForPass(ctx context.Context) ([]duty.Record, error) {
	asked := time.Now()
	id := strconv.FormatInt(asked.UnixNano(), 36)
	if err := n.ask(applyFile, applyRequest{ID: id, At: asked}); err != nil {
		return nil, err
	}
	defer func() {
		if a, err := readApply(n.disk); err == nil && a.ID == id {
			_, _ = n.disk.Remove(applyFile) // left behind it asks nobody again
		}
	}()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		d, err := status.Load(n.disk, status.Path)
		if err == nil {
			if waits := unfinished(d.Duties, asked); len(waits) == 0 {
				return since(d.Duties, asked), nil
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("no pass yet of %v", unfinished(d.Duties, asked))
			}
			return nil, fmt.Errorf("cannot get a pass from the running ecsnode: %w", err)
		}
	}
}

// unfinished names the duties that have not made a pass begun after t.
func unfinished(records []duty.Record, t time.Time) (names []string) {
	for _, r := range records {
		if r.State != duty.Held && (r.Running || !r.Started.After(t)) {
			names = append(names, r.Name)
		}
	}
	return names
}

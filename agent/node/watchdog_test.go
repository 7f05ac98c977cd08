package node

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/status"
)

// toldManager is a service manager that counts what it is told.
type toldManager struct{ fed atomic.Int64 }

func (*toldManager) Ready(string) error  { return nil }
func (*toldManager) Status(string) error { return nil }
func (*toldManager) Stopping() error     { return nil }
func (m *toldManager) Alive() error      { m.fed.Add(1); return nil }

// stubborn is a pass that ignores its context until released.
type stubborn struct{ release chan struct{} }

func (stubborn) Name() string { return "stubborn" }

func (s stubborn) Reconcile(context.Context) (duty.Outcome, error) {
	<-s.release
	return duty.Outcome{}, nil
}

func TestTheWatchdogIsFedOnlyWhileNoCoreDutyIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New(Options{Root: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.prepare(); err != nil {
			t.Fatal(err)
		}
		unlock, err := n.disk.TryLock(daemonLock, "ecsnode run")
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		m := &toldManager{}
		n.notify = m
		s := n.newShift(serving, n.disk, outside{}, status.Path, "run")
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.engine.Run(ctx, []duty.Entry{
				{Duty: stubborn{release}, Timeout: 10 * time.Second, Core: true},
				n.boardEntry(&boardDuty{n: n, s: s, fail: make(chan error, 1)}, s),
			})
		}()
		fedIn := func(d time.Duration) int64 {
			before := m.fed.Load()
			time.Sleep(d)
			synctest.Wait()
			return m.fed.Load() - before
		}
		if fed := fedIn(18 * time.Second); fed < 3 {
			t.Errorf("fed %d times in 18 s, with a heartbeat of %v", fed, status.Heartbeat)
		}
		time.Sleep(4 * time.Second) // beyond time-out and tolerance
		if fed := fedIn(time.Minute); fed != 0 {
			t.Errorf("fed %d times though a core duty is stuck", fed)
		}
		close(release)
		if fed := fedIn(time.Minute); fed < 10 {
			t.Errorf("fed %d times in the minute after it ended", fed)
		}
		cancel()
		<-done
	})
}

// Every duty without which a node does not know what it is counts for the
// watchdog.
func TestCoreDuties(t *testing.T) {
	n, err := New(Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, en := range n.table(serving, n.disk, outside{}, nil) {
		if en.Identity && !en.Core && en.Duty.Name() != "identity" {
			t.Errorf("%s is no core duty", en.Duty.Name())
		}
	}
}

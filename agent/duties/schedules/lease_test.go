package schedules_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// bucket keeps objects as S3 does: of several that are put at once under a
// condition, one is.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	puts    int
}

func (b *bucket) Put(_ context.Context, o facts.Object, body []byte, c facts.Condition) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	if _, there := b.objects[o.Key]; there && c.Absent {
		return "", facts.ErrExists
	}
	b.objects[o.Key] = body
	return `"etag"`, nil
}

func (b *bucket) Get(_ context.Context, o facts.Object, _ int64) (facts.Content, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, there := b.objects[o.Key]
	if !there {
		return facts.Content{}, facts.ErrAbsent
	}
	return facts.Content{Body: body, ETag: `"etag"`}, nil
}

// line is the way of one node to the store. Each of its functions may be nil.
type line struct {
	schedules.Store
	before func(call string) error // the call gets lost
	after  func(call string) error // its answer does
}

func (l *line) Put(ctx context.Context, o facts.Object, body []byte, c facts.Condition) (string, error) {
	if err := l.ask(l.before, "Put"); err != nil {
		return "", err
	}
	etag, err := l.Store.Put(ctx, o, body, c)
	if lost := l.ask(l.after, "Put"); lost != nil {
		return "", lost
	}
	return etag, err
}

func (l *line) Get(ctx context.Context, o facts.Object, limit int64) (facts.Content, error) {
	if err := l.ask(l.before, "Get"); err != nil {
		return facts.Content{}, err
	}
	content, err := l.Store.Get(ctx, o, limit)
	if lost := l.ask(l.after, "Get"); lost != nil {
		return facts.Content{}, lost
	}
	return content, err
}

func (l *line) ask(f func(string) error, call string) error {
	if f == nil {
		return nil
	}
	return f(call)
}

// only returns err for the first n calls of one kind.
func only(call string, n int, err error) func(string) error {
	return func(c string) error {
		if c != call || n == 0 {
			return nil
		}
		n--
		return err
	}
}

var (
	shared     = items{"tidy": {Cron: "0 * * * *", OncePer: schedules.PerCluster}}
	errBeside  = fmt.Errorf("%w: another write was under way (ConditionalRequestConflict)", facts.ErrUnavailable)
	errRefused = fmt.Errorf("%w: the instance role must allow s3:PutObject", facts.ErrRefused)
)

const lease = "leases/web/tidy/2026-03-02T01-00Z.json"

func TestALease(t *testing.T) {
	theirs := []byte(`{"schedule":"tidy","instance":"i-other","token":"theirs"}`)
	always := 1 << 30
	for name, c := range map[string]struct {
		there         []byte
		before, after func(string) error
		ran           bool
		says          string // a warning
		elsewhere     string
	}{
		"is to be had":                              {ran: true},
		"is another's":                              {there: theirs, elsewhere: "i-other"},
		"is asked for beside another write":         {before: only("Put", 2, errBeside), ran: true},
		"is another's, who cannot be told at first": {there: theirs, before: only("Get", 3, errDown), elsewhere: "i-other"},
		"is ours, by an answer that was lost":       {after: only("Put", 1, errDown), ran: true},
		"is ours, and the object cannot be read at first": {after: func() func(string) error {
			put, get := only("Put", 1, errDown), only("Get", 4, errDown)
			return func(c string) error {
				if err := put(c); err != nil {
					return err
				}
				return get(c)
			}
		}(), ran: true},
		"cannot be asked for":           {before: only("Put", always, errDown), says: "2026-03-02 01:00 UTC did not run: no lease could be had in time: it does not answer"},
		"is not to be asked for":        {before: only("Put", always, errRefused), says: "no lease could be had in time: refused: the instance role must allow s3:PutObject"},
		"cannot be told from another's": {after: only("Put", always, errDown), says: "no lease could be had in time: it does not answer"},
		"is no lease":                   {there: []byte("{"), says: "it is no lease"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, shared, func(t *testing.T, h *host) {
				b := &bucket{objects: map[string][]byte{}}
				if c.there != nil {
					b.objects[lease] = c.there
				}
				l := &line{Store: b, before: c.before, after: c.after}
				h.store = l
				h.start()
				h.pass(30 * time.Minute)
				if c.ran {
					h.wantRan("tidy 02T01:00")
				} else {
					h.wantRan()
				}
				if c.says != "" {
					h.wantWarning(c.says)
				} else {
					h.wantWell()
				}
				if s := h.one(); s.ElsewhereBy != c.elsewhere || s.Elsewhere.IsZero() != (c.elsewhere == "") {
					t.Errorf("%+v", s)
				}
				if b.puts > 120 {
					t.Errorf("%d puts in half an hour", b.puts)
				}
				if c.ran && !strings.Contains(string(b.objects[lease]), h.id) {
					t.Errorf("%q", b.objects)
				}
			})
		})
	}
}

// Wherever the process is killed, its lease is known for its own afterwards.
func TestADaemonKilledWithALease(t *testing.T) {
	for _, at := range []string{"before Put", "after Put", "before RunJob", "after RunJob"} {
		t.Run(at, func(t *testing.T) {
			on(t, monday, shared, func(t *testing.T, h *host) {
				h.store = &line{
					Store:  &bucket{objects: map[string][]byte{}},
					before: func(call string) error { h.die("before " + call); return nil },
					after:  func(call string) error { h.die("after " + call); return nil },
				}
				h.start()
				h.dieAt = at
				h.pass(30 * time.Minute)
				h.wantRan("tidy 02T01:00")
				if h.died != 1 {
					t.Errorf("killed %d times", h.died)
				}
			})
		})
	}
}

// A lease is not asked for by a node that could not run what it is for.
func TestANodeThatCannotRunLeavesTheLeaseToOthers(t *testing.T) {
	c := items{"tidy": {Cron: "0 * * * *", OncePer: schedules.PerCluster, Exec: schedules.Exec{Family: "web", Command: []string{"tidy"}}}}
	on(t, monday, c, func(t *testing.T, h *host) {
		b := &bucket{objects: map[string][]byte{}}
		h.store = b
		h.start()
		h.pass(5 * time.Minute)
		h.cells.drains.Set(true)
		h.pass(time.Hour)
		if b.puts != 0 {
			t.Errorf("%d puts", b.puts)
		}
	})
}

// A tick that is so old that leases of it may be gone is nobody's any more.
func TestATickThatIsTooOldForALease(t *testing.T) {
	c := items{"tidy": {Cron: "0 1 * * *", OncePer: schedules.PerCluster, Missed: schedules.RunOnce}}
	on(t, monday, c, func(t *testing.T, h *host) {
		h.store = &bucket{objects: map[string][]byte{}}
		h.start()
		h.pass(5 * time.Minute)
		h.slept += 47*time.Hour + 50*time.Minute // 00:54, two days later: that of a day before is 23:54 old
		h.pass(2 * time.Minute)
		h.wantRan("tidy 02T01:00", "tidy 03T01:00")
		h.configure(items{"tidy": {Cron: "0 1 1 * *", OncePer: schedules.PerCluster, Missed: schedules.RunOnce}})
		h.pass(time.Minute)
		h.slept += 30 * 24 * time.Hour // 3 April, 00:57
		h.pass(2 * time.Minute)
		h.wantRan("tidy 02T01:00", "tidy 03T01:00")
		h.wantWarning("2026-04-01 01:00 UTC did not run")
	})
}

// What an operator asks for runs on this node, whoever has leases.
func TestARunByHandTakesNoLease(t *testing.T) {
	on(t, monday, shared, func(t *testing.T, h *host) {
		h.store = &line{before: func(string) error { t.Error("S3 is asked"); return errDown }}
		h.start()
		h.ask(schedules.RunFile("tidy"), h.Now().Wall)
		h.pass(30 * time.Second)
		h.wantRan("tidy 02T00:59")
	})
}

// An S3 that hangs is asked once in a pass, and keeps nothing else from running.
func TestAnS3ThatHangsDelaysOthersLittle(t *testing.T) {
	c := items{"zz-local": {Cron: "0 * * * *"}}
	for i := range 10 {
		c[fmt.Sprintf("shared-%d", i)] = schedules.Schedule{Cron: "0 * * * *", OncePer: schedules.PerCluster}
	}
	on(t, monday, c, func(t *testing.T, h *host) {
		h.store = &line{before: func(string) error { time.Sleep(10 * time.Second); return errDown }}
		h.start()
		h.pass(80 * time.Second) // 01:00:20
		h.wantRan("zz-local 02T01:00")
		if s := h.shown()[10]; s.Last == nil || s.Last.Started.Sub(s.Last.Tick) > 11*time.Second {
			t.Errorf("%+v", s.Last)
		}
	})
}

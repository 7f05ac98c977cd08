package duty_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/when"
)

// fn is a duty made of a function.
type fn struct {
	name string
	pass func(ctx context.Context) (duty.Outcome, error)
}

func (f fn) Name() string                                        { return f.name }
func (f fn) Reconcile(ctx context.Context) (duty.Outcome, error) { return f.pass(ctx) }
func always(err error) func(context.Context) (duty.Outcome, error) {
	return func(context.Context) (duty.Outcome, error) { return duty.Outcome{Summary: "fine"}, err }
}

// world collects what an engine reports and logs.
type world struct {
	engine *duty.Engine
	log    bytes.Buffer

	mu   sync.Mutex
	recs []duty.Record
}

func newWorld() *world {
	w := &world{}
	w.engine = &duty.Engine{
		ID:  "i-0123456789abcdef0",
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Report: func(r duty.Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.recs = append(w.recs, r)
		},
	}
	return w
}

// run lets the entries run for a while, then stops the engine. during happens
// at the end of that while.
func (w *world) run(t *testing.T, d time.Duration, during func(), entries ...duty.Entry) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.engine.Run(ctx, entries); close(done) }()
	time.Sleep(d)
	synctest.Wait()
	if during != nil {
		during()
		time.Sleep(duty.MinGap)
		synctest.Wait()
	}
	cancel()
	<-done
}

// ends returns the records of the passes that have ended.
func (w *world) ends() (ends []duty.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.recs {
		if !r.Running && r.State != duty.Held && (len(ends) == 0 || ends[len(ends)-1].Passes != r.Passes) {
			ends = append(ends, r)
		}
	}
	return ends
}

func (w *world) last() duty.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.recs[len(w.recs)-1]
}

// times returns when passes began, since the first.
func (w *world) times() (at []time.Duration) {
	ends := w.ends()
	for _, r := range ends {
		at = append(at, r.Started.Sub(ends[0].Started))
	}
	return at
}

func TestSchedule(t *testing.T) {
	cron, err := when.Cron("*/15 * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		when   when.Schedule
		passes int
	}{
		"each five minutes": {when.Every(5 * time.Minute), 1 + 24*12},
		"cron":              {cron, 1 + 24*4},
		"only when woken":   {nil, 1},
		"each 7 s":          {when.Every(7 * time.Second), 1 + 24*3600/7},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.run(t, 24*time.Hour-time.Millisecond, nil, duty.Entry{Duty: fn{"fn", always(nil)}, When: c.when, Timeout: time.Second})
				if got := len(w.ends()); got < c.passes-1 || got > c.passes+1 {
					t.Errorf("passes = %d, want %d", got, c.passes)
				}
			})
		})
	}
}

func TestSplayShiftsTheFirstPassToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := newWorld()
		w.run(t, 3*time.Hour, nil, duty.Entry{
			Duty: fn{"fn", always(nil)}, When: when.Every(time.Hour), Splay: time.Hour, Timeout: time.Second,
		})
		by := when.Offset("i-0123456789abcdef0/fn", time.Hour)
		var at []time.Duration
		for _, r := range w.ends() {
			at = append(at, r.Started.Sub(began))
		}
		if want := []time.Duration{by, by + time.Hour, by + 2*time.Hour}; !slices.Equal(at, want) {
			t.Errorf("passes at %v, want %v", at, want)
		}
	})
}

func TestFailuresBackOffWithinTheirBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, time.Hour, nil, duty.Entry{
			Duty: fn{"fn", always(errors.New("throttled"))}, Timeout: time.Second,
			Retry: duty.Retry{Min: 2 * time.Second, Max: 30 * time.Second},
		})
		at := w.times()
		for i, nominal := range []time.Duration{2, 4, 8, 16, 30, 30, 30} {
			nominal *= time.Second
			pause := at[i+1] - at[i]
			if pause > nominal || pause < nominal*3/4 {
				t.Errorf("pause %d is %v, want %v less at most a quarter", i, pause, nominal)
			}
		}
		if len(at) < 120 {
			t.Errorf("passes = %d in an hour: the watcher went to sleep", len(at))
		}
	})
}

func TestAfterAnErrorTheEarliestOfScheduleAgainAndBackoff(t *testing.T) {
	fail := func(again time.Duration) fn {
		return fn{"fn", func(context.Context) (duty.Outcome, error) {
			return duty.Outcome{Again: again}, errors.New("refused")
		}}
	}
	for name, c := range map[string]struct {
		entry duty.Entry
		want  time.Duration
	}{
		"schedule": {duty.Entry{Duty: fail(0), When: when.Every(time.Second)}, time.Second},
		"again":    {duty.Entry{Duty: fail(100 * time.Millisecond), When: when.Every(time.Second)}, 100 * time.Millisecond},
		"gap":      {duty.Entry{Duty: fail(100 * time.Millisecond), Gap: 3 * time.Second}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c.entry.Timeout = time.Second
				c.entry.Retry = duty.Retry{Min: 10 * time.Second}
				w.run(t, 5*time.Second, nil, c.entry)
				if at := w.times(); at[1] != c.want {
					t.Errorf("second pass after %v, want %v", at[1], c.want)
				}
			})
		})
	}
}

func TestAFailingDutyWokenAllTheTimeKeepsItsGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cell.Comparable[int]()
		w := newWorld()
		go func() {
			for i := range 10_000 {
				c.Set(i)
				time.Sleep(time.Millisecond)
			}
		}()
		w.run(t, 10*time.Second, nil, duty.Entry{
			Duty: fn{"fn", always(errors.New("no"))}, On: []cell.Waker{c}, Gap: time.Second, Timeout: time.Second,
		})
		if n := len(w.ends()); n < 10 || n > 12 {
			t.Errorf("passes = %d in ten seconds with a gap of one", n)
		}
	})
}

func TestPanicIsAFailureWithOneLineInTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, time.Second, nil, duty.Entry{
			Duty:    fn{"fn", func(context.Context) (duty.Outcome, error) { panic("index out of range") }},
			Timeout: time.Second,
		})
		rec := w.last()
		if rec.State != duty.Failing || strings.Contains(rec.Err, "\n") || !strings.Contains(rec.Err, "index out of range") {
			t.Errorf("record: %+v", rec)
		}
		if !strings.Contains(w.log.String(), "engine_test.go") {
			t.Errorf("the log has no stack:\n%s", &w.log)
		}
	})
}

func TestWaiting(t *testing.T) {
	missing := duty.WaitingFor("the instance's tags")
	for name, c := range map[string]struct {
		err  error
		want duty.State
	}{
		"an input is missing":         {missing, duty.Waiting},
		"wrapped":                     {fmt.Errorf("node.config: %w", missing), duty.Waiting},
		"two are missing":             {errors.Join(missing, duty.ErrNotReady), duty.Waiting},
		"missing, and a real failure": {errors.Join(missing, errors.New("disk full")), duty.Failing},
		"two kinds in one sentence":   {fmt.Errorf("%w: %w", duty.ErrNotReady, errors.New("disk full")), duty.Failing},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.run(t, time.Second, nil, duty.Entry{Duty: fn{"fn", always(c.err)}, Timeout: time.Second})
				if got := w.last(); got.State != c.want || got.Err != c.err.Error() {
					t.Errorf("state = %s (%s), want %s", got.State, got.Err, c.want)
				}
			})
		})
	}
}

func TestWaitingWithoutScheduleLooksAgainAndBecomesFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, 3*time.Minute, nil, duty.Entry{
			Duty: fn{"fn", always(duty.WaitingFor("tags"))}, Timeout: time.Second, WaitLimit: 2 * time.Minute,
		})
		at := w.times()
		if want := []time.Duration{0, 30 * time.Second, time.Minute, 90 * time.Second, 2 * time.Minute}; !slices.Equal(at[:5], want) {
			t.Errorf("passes at %v, want %v", at, want)
		}
		ends := w.ends()
		if ends[3].State != duty.Waiting || ends[4].State != duty.Failing || ends[4].Err != "has waited 2m0s: tags" {
			t.Errorf("at the limit: %+v", ends[4])
		}
		if len(at) < 6 || at[5]-at[4] > 30*time.Second {
			t.Errorf("after the limit it looks again at %v", at)
		}
	})
}

func TestFailingThenWaitingIsNoRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld()
		w.run(t, time.Minute, nil, duty.Entry{
			Duty: fn{"fn", func(context.Context) (duty.Outcome, error) {
				switch n++; n {
				case 1:
					return duty.Outcome{}, errors.New("disk full")
				case 2:
					return duty.Outcome{}, duty.WaitingFor("tags")
				}
				return duty.Outcome{}, nil
			}},
			When: when.Every(time.Second), Timeout: time.Second,
		})
		log := w.log.String()
		if strings.Contains(log, "recovered") {
			t.Errorf("log:\n%s", log)
		}
		if strings.Count(log, "duty failing") != 1 || strings.Count(log, "duty waiting") != 1 {
			t.Errorf("edges are not logged once:\n%s", log)
		}
	})
}

// A job that fails is such a duty: it is started, awaited, and has failed.
func TestWhatFailsAndWaitsInTurnIsRetriedEverMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts, passes := 0, 0
		w := newWorld()
		w.run(t, time.Hour, nil, duty.Entry{
			Duty: fn{"fn", func(context.Context) (duty.Outcome, error) {
				if passes++; passes%2 == 0 {
					return duty.Outcome{}, errors.New("the job failed")
				}
				starts++
				return duty.Outcome{Again: time.Second}, duty.WaitingFor("the job")
			}},
			Timeout: time.Second, Retry: duty.Retry{Max: 10 * time.Minute},
		})
		if starts < 8 || starts > 16 {
			t.Errorf("the job was started %d times in an hour", starts)
		}
	})
}

func TestAPassIsReportedAtItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, time.Second, func() {
			if rec := w.last(); !rec.Running || rec.State != duty.Starting || rec.Started.IsZero() {
				t.Errorf("while the pass runs: %+v", rec)
			}
		}, duty.Entry{
			Duty:    fn{"fn", func(ctx context.Context) (duty.Outcome, error) { <-ctx.Done(); return duty.Outcome{}, ctx.Err() }},
			Timeout: time.Minute,
		})
	})
}

func TestStopping(t *testing.T) {
	slow := func(result error) fn {
		n := 0
		return fn{"fn", func(ctx context.Context) (duty.Outcome, error) {
			if n++; n == 1 {
				return duty.Outcome{Summary: "first"}, nil
			}
			<-ctx.Done()
			if result == nil {
				return duty.Outcome{Summary: "second", Changed: true}, nil
			}
			return duty.Outcome{}, result
		}}
	}
	for name, c := range map[string]struct {
		result  error
		summary string
	}{
		"a pass cut short says nothing": {context.Canceled, "first"},
		"a pass that ended well counts": {nil, "second"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.run(t, 30*time.Second, nil, duty.Entry{Duty: slow(c.result), When: when.Every(10 * time.Second), Timeout: time.Minute})
				rec := w.last()
				if rec.Running || rec.Passes != 2 || rec.State != duty.OK || rec.Summary != c.summary {
					t.Errorf("record: %+v", rec)
				}
			})
		})
	}
}

func TestRunReturnsAfterItsGraceThoughAPassHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld()
		w.engine.Grace = 3 * time.Second
		began := time.Now()
		w.run(t, time.Second, nil, duty.Entry{
			Duty:    fn{"fn", func(context.Context) (duty.Outcome, error) { <-release; return duty.Outcome{}, nil }},
			Timeout: time.Minute,
		})
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("Run returned after %v, want 1s and the grace of 3s", took)
		}
		close(release)
	})
}

func TestAStuckPassIsShownAndFailsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := 0
		w := newWorld()
		entry := duty.Entry{
			Duty: fn{"fn", func(context.Context) (duty.Outcome, error) {
				if n++; n == 1 {
					<-release // ignores its context
				}
				return duty.Outcome{Summary: "fine"}, nil
			}},
			When: when.Every(time.Minute), Timeout: 5 * time.Second, Core: true,
		}
		w.run(t, 14*time.Second, func() {
			if err := w.engine.Alive(); err != nil {
				t.Errorf("within time-out and tolerance: %v", err)
			}
			time.Sleep(2 * time.Second)
			if err := w.engine.Alive(); err == nil || err.Error() != "stuck: fn" {
				t.Errorf("Alive = %v", err)
			}
			if rec := w.last(); rec.State != duty.Stuck || !rec.Running {
				t.Errorf("record: %+v", rec)
			}
			close(release)
			synctest.Wait()
			if err := w.engine.Alive(); err != nil || w.last().State != duty.OK {
				t.Errorf("after it ended: %v, %+v", err, w.last())
			}
		}, entry)
	})
}

func TestTimeoutIsAFailureThatSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, time.Second, nil, duty.Entry{
			Duty:    fn{"fn", func(ctx context.Context) (duty.Outcome, error) { <-ctx.Done(); return duty.Outcome{}, ctx.Err() }},
			Timeout: 500 * time.Millisecond,
		})
		rec := w.ends()[0]
		if rec.State != duty.Failing || rec.Took != 500*time.Millisecond || rec.Err != "cannot finish within 500ms: context deadline exceeded" {
			t.Errorf("record: %+v", rec)
		}
	})
}

func TestACallCancelledByTheDutyItselfIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, time.Second, nil, duty.Entry{Duty: fn{"fn", always(context.Canceled)}, Timeout: time.Minute})
		if rec := w.ends()[0]; rec.State != duty.Failing {
			t.Errorf("record: %+v", rec)
		}
	})
}

func TestWokenByACell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cell.Comparable[string]()
		w := newWorld()
		w.run(t, 10*time.Second, func() { c.Set("v1") }, duty.Entry{
			Duty: fn{"fn", func(context.Context) (duty.Outcome, error) {
				v, ok := c.Get()
				if !ok {
					return duty.Outcome{}, duty.ErrNotReady
				}
				return duty.Outcome{Changed: true, Summary: v}, nil
			}},
			On: []cell.Waker{c}, Timeout: time.Second,
		})
		ends := w.ends()
		if len(ends) != 2 || ends[0].State != duty.Waiting || ends[1].Summary != "v1" || !ends[1].Changed || ends[1].LastChange.IsZero() {
			t.Errorf("records: %+v", ends)
		}
	})
}

// A change that arrives while the pass is reading the old value must cause
// another pass, or the node keeps a file rendered from stale facts.
func TestAChangeDuringAPassIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cell.Comparable[int]()
		w := newWorld()
		w.run(t, 10*time.Second, nil, duty.Entry{
			Duty: fn{"fn", func(context.Context) (duty.Outcome, error) {
				if _, ok := c.Get(); !ok {
					c.Set(1)
				}
				return duty.Outcome{}, nil
			}},
			On: []cell.Waker{c}, Timeout: time.Second,
		})
		if n := len(w.ends()); n != 2 {
			t.Errorf("passes = %d, want 2", n)
		}
	})
}

func TestStreamWakesIsRestartedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld()
		w.run(t, 2*time.Minute, nil, duty.Entry{
			Duty: fn{"fn", always(nil)}, Timeout: time.Second,
			Stream: func(ctx context.Context, wake func()) error {
				switch n++; n {
				case 1:
					time.Sleep(10 * time.Second)
					wake()
					time.Sleep(10 * time.Second)
					return errors.New("connection reset")
				case 2:
					panic("bug in the stream")
				}
				<-ctx.Done()
				return ctx.Err()
			},
		})
		at := w.times()
		// 0: first pass; 10 s: woken; about 21 s and 23 s: started again, what happened meanwhile went unseen
		if len(at) != 4 || at[1] != 10*time.Second || at[2] < 20*time.Second || at[3] > 24*time.Second {
			t.Errorf("passes at %v", at)
		}
		var lost []string
		for _, r := range w.recs {
			if e := r.StreamError; e != "" && (len(lost) == 0 || lost[len(lost)-1] != e) {
				lost = append(lost, e)
			}
		}
		if len(lost) != 2 || lost[0] != "connection reset" || !strings.Contains(lost[1], "bug in the stream") {
			t.Errorf("stream errors: %q", lost)
		}
		if w.last().StreamError != "" {
			t.Errorf("still reported: %+v", w.last())
		}
		if got := strings.Count(w.log.String(), "event stream lost"); got != 1 {
			t.Errorf("logged %d times:\n%s", got, &w.log)
		}
	})
}

// hold is a [duty.Hold] that stops what changes the node.
type hold struct{ *cell.Cell[string] }

func (h hold) Held(en duty.Entry) string {
	reason, _ := h.Get()
	return reason
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hold{cell.Comparable[string]()}
		h.Set("frozen by alice")
		changes, looks := 0, 0
		w := newWorld()
		w.engine.Hold = h
		w.run(t, time.Minute, func() {
			if changes != 0 || looks == 0 {
				t.Errorf("held: %d passes that change, %d that look", changes, looks)
			}
			h.Set("")
			synctest.Wait()
			if changes != 1 {
				t.Errorf("released: %d passes", changes)
			}
		},
			duty.Entry{Duty: fn{"changes", func(context.Context) (duty.Outcome, error) { changes++; return duty.Outcome{}, nil }}, When: when.Every(time.Second), Timeout: time.Second, Changes: true},
			duty.Entry{Duty: fn{"looks", func(context.Context) (duty.Outcome, error) { looks++; return duty.Outcome{}, nil }}, When: when.Every(time.Second), Timeout: time.Second},
		)
		var held []duty.Record
		for _, r := range w.recs {
			if r.State == duty.Held && !r.Running {
				held = append(held, r)
			}
		}
		if len(held) != 1 || held[0].Summary != "frozen by alice" || held[0].Name != "changes" {
			t.Errorf("held records: %+v", held)
		}
	})
}

func TestPassRunsInOrderAndAgainWhatWasWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cell.Comparable[int]()
		var order []string
		step := func(name string, do func() error) duty.Entry {
			return duty.Entry{Timeout: time.Second, Duty: fn{name, func(context.Context) (duty.Outcome, error) {
				order = append(order, name)
				return duty.Outcome{}, do()
			}}}
		}
		reader := step("reader", func() error {
			if _, ok := c.Get(); !ok {
				return duty.WaitingFor("the writer")
			}
			return nil
		})
		reader.On = []cell.Waker{c}
		w := newWorld()
		err := w.engine.Pass(t.Context(), []duty.Entry{
			reader,
			step("broken", func() error { return errors.New("no such bucket") }),
			step("writer", func() error { c.Set(1); return nil }),
		})
		if want := []string{"reader", "broken", "writer", "reader"}; !slices.Equal(order, want) {
			t.Errorf("order = %v, want %v", order, want)
		}
		if err == nil || err.Error() != "broken failing: no such bucket" {
			t.Errorf("err = %v", err)
		}
	})
}

// News may have to go from duty to duty, each before the one it comes from.
func TestPassGoesOnUntilNewsHasReachedEveryDuty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const steps = 5
		var cells [steps + 1]*cell.Cell[int]
		for i := range cells {
			cells[i] = cell.Comparable[int]()
		}
		var table []duty.Entry
		for i := steps - 1; i >= 0; i-- { // the last step first
			table = append(table, duty.Entry{Timeout: time.Second, On: []cell.Waker{cells[i]}, Duty: fn{fmt.Sprint("step", i), func(context.Context) (duty.Outcome, error) {
				if v, ok := cells[i].Get(); ok {
					cells[i+1].Set(v)
				}
				return duty.Outcome{}, nil
			}}})
		}
		table = append(table, duty.Entry{Timeout: time.Second, Duty: fn{"source", func(context.Context) (duty.Outcome, error) {
			cells[0].Set(7)
			return duty.Outcome{}, nil
		}}})
		if err := newWorld().engine.Pass(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		if v, _ := cells[steps].Get(); v != 7 {
			t.Errorf("the last duty has %d", v)
		}
	})
}

func TestPassEndsThoughTwoDutiesFeedEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := cell.Comparable[int](), cell.Comparable[int]()
		n := 0
		feed := func(name string, from, to *cell.Cell[int]) duty.Entry {
			return duty.Entry{Timeout: time.Second, On: []cell.Waker{from}, Duty: fn{name, func(context.Context) (duty.Outcome, error) {
				n++
				to.Set(n)
				return duty.Outcome{}, nil
			}}}
		}
		if err := newWorld().engine.Pass(t.Context(), []duty.Entry{feed("a", a, b), feed("b", b, a)}); err != nil || n > 20 {
			t.Errorf("err = %v after %d passes", err, n)
		}
	})
}

func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration // when the input arrives
		budget time.Duration
		took   time.Duration
		err    string
	}{
		"the input is there":    {0, time.Minute, 0, ""},
		"late":                  {3 * time.Second, time.Minute, 3 * time.Second, ""},
		"later than the budget": {time.Hour, time.Minute, time.Minute, "needs waiting: input"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := cell.Comparable[string]()
				arrive := time.AfterFunc(c.after, func() { in.Set("here") })
				defer arrive.Stop()
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), c.budget)
				defer cancel()
				tries := 0
				began := time.Now()
				err := newWorld().engine.Settle(ctx, []duty.Entry{
					{Timeout: time.Second, On: []cell.Waker{in}, Duty: fn{"needs", func(context.Context) (duty.Outcome, error) {
						if _, ok := in.Get(); !ok {
							return duty.Outcome{}, duty.WaitingFor("input")
						}
						return duty.Outcome{}, nil
					}}},
					{Timeout: time.Second, Retry: duty.Retry{Min: 100 * time.Millisecond}, Duty: fn{"blip", func(context.Context) (duty.Outcome, error) {
						if tries++; tries == 1 {
							return duty.Outcome{}, errors.New("blip")
						}
						return duty.Outcome{}, nil
					}}},
				})
				if got := fmt.Sprint(err); got != c.err && !(err == nil && c.err == "") {
					t.Errorf("err = %v, want %q", err, c.err)
				}
				if took := time.Since(began); took < c.took || took > c.took+150*time.Millisecond {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if tries != 2 {
					t.Errorf("the blip was tried %d times", tries)
				}
			})
		})
	}
}

// What is missing may be the news of a source that is itself ok: the source
// keeps its schedule while others wait.
func TestSettleKeepsSourcesRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tag := cell.Comparable[string]()
		began := time.Now()
		err := newWorld().engine.Settle(t.Context(), []duty.Entry{
			{Timeout: time.Second, When: when.Every(5 * time.Second), Duty: fn{"source", func(context.Context) (duty.Outcome, error) {
				if time.Since(began) > 20*time.Second {
					tag.Set("prod")
				}
				return duty.Outcome{}, nil
			}}},
			{Timeout: time.Second, On: []cell.Waker{tag}, Duty: fn{"reader", func(context.Context) (duty.Outcome, error) {
				if _, ok := tag.Get(); !ok {
					return duty.Outcome{}, duty.WaitingFor("tag env")
				}
				return duty.Outcome{}, nil
			}}},
		})
		if took := time.Since(began); err != nil || took > 26*time.Second {
			t.Errorf("settled after %v: %v", took, err)
		}
	})
}

func TestSettleDoesNotSpendItsBudgetOnWhatTryingAgainDoesNotMend(t *testing.T) {
	typo := duty.Lasting(errors.New("typo"))
	for name, c := range map[string]struct {
		err  error
		tail string
		full bool // the budget is spent
	}{
		"lasting":                        {typo, "typo", false},
		"lasting, wrapped and joined":    {errors.Join(fmt.Errorf("a: %w", typo), typo), "a: typo\ntypo", false},
		"lasting beside what may mend":   {errors.Join(typo, errors.New("down")), "typo\ndown", true},
		"lasting beside what is awaited": {errors.Join(typo, duty.WaitingFor("input")), "typo\ninput", true},
		"nothing":                        {duty.Lasting(nil), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began, blips := time.Now(), 0
				err := newWorld().engine.Settle(ctx, []duty.Entry{
					{Timeout: time.Second, Duty: fn{"fn", always(c.err)}},
					{Timeout: time.Second, Duty: fn{"blip", func(context.Context) (duty.Outcome, error) {
						if blips++; blips == 1 {
							return duty.Outcome{}, errors.New("blip")
						}
						return duty.Outcome{}, nil
					}}},
				})
				want := "<nil>"
				if c.tail != "" {
					want = "fn failing: " + c.tail
				}
				if fmt.Sprint(err) != want {
					t.Errorf("err = %v, want %s", err, want)
				}
				if took := time.Since(began); (took >= time.Minute) != c.full {
					t.Errorf("took %v", took)
				}
				if blips < 2 {
					t.Error("did not wait for what can be mended")
				}
			})
		})
	}
}

func TestBadTablesPanic(t *testing.T) {
	ok := duty.Entry{Duty: fn{"fn", always(nil)}, Timeout: time.Second}
	for name, entries := range map[string][]duty.Entry{
		"no time-out":    {{Duty: fn{"fn", always(nil)}}},
		"the same twice": {ok, ok},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = newWorld().engine.Pass(t.Context(), entries)
		})
	}
}

func TestARecordSaysWhetherAnErrorIsOfTheOutside(t *testing.T) {
	down := errors.New("down")
	for name, c := range map[string]struct {
		err     error
		outside bool
	}{
		"of the outside":               {fmt.Errorf("cannot ask: %w", down), true},
		"of the node":                  {errors.New("no such file"), false},
		"both":                         {errors.Join(down, errors.New("no such file")), false},
		"beside what is awaited":       {errors.Join(down, duty.WaitingFor("input")), true},
		"marked as one that will last": {duty.Lasting(fmt.Errorf("cannot: %w", down)), true},
		"none":                         {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.engine.Outside = func(err error) bool { return err == down }
				_ = w.engine.Pass(t.Context(), []duty.Entry{{Timeout: time.Second, Duty: fn{"fn", always(c.err)}}})
				if got := w.last().Outside; got != c.outside {
					t.Errorf("outside = %v", got)
				}
			})
		})
	}
}

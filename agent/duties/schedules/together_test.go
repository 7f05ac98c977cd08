package schedules_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// atOnce are schedules that come at the same times.
func atOnce(n int, s schedules.Schedule) items {
	all := items{}
	for i := range n {
		all[fmt.Sprintf("s-%03d", i)] = s
	}
	return all
}

// What comes at one time is written down once, not once for each.
func TestManyThatAreDueAtOnce(t *testing.T) {
	on(t, monday, atOnce(200, schedules.Schedule{Cron: "0 * * * *"}), func(t *testing.T, h *host) {
		for i := range 200 {
			h.does[fmt.Sprintf("s-%03d", i)] = does{takes: time.Minute}
		}
		h.pass(59 * time.Second)
		h.writes = 0
		h.pass(20 * time.Second)
		if len(h.ran) != 200 || h.writes > 2 {
			t.Errorf("%d began, in %d writes", len(h.ran), h.writes)
		}
		h.writes = 0
		h.pass(10 * time.Minute)
		h.wantWell()
		if h.forgot != 200 || h.writes > 4 {
			t.Errorf("%d are cleared up after, in %d writes", h.forgot, h.writes)
		}
	})
}

// At whatever step the process is killed while several begin, each runs once.
func TestADaemonKilledAtAnyStepWithSeveralDueAtOnce(t *testing.T) {
	for _, c := range []items{
		atOnce(3, schedules.Schedule{Cron: "0 * * * *"}),
		atOnce(3, schedules.Schedule{Cron: "0 * * * *", OncePer: schedules.PerCluster}),
	} {
		steps := 0
		for killed := true; killed; steps++ {
			on(t, monday, c, func(t *testing.T, h *host) {
				h.store = &line{
					Store:  &bucket{objects: map[string][]byte{}},
					before: func(call string) error { h.die("before " + call); return nil },
					after:  func(call string) error { h.die("after " + call); return nil },
				}
				h.start()
				h.pass(59 * time.Second)
				h.dieIn = steps + 1
				h.pass(10 * time.Minute)
				slices.Sort(h.ran)
				if want := []string{"s-000 02T01:00", "s-001 02T01:00", "s-002 02T01:00"}; !slices.Equal(h.ran, want) {
					t.Errorf("killed at step %d ran %q", steps, h.ran)
				}
				h.wantWell()
				killed = h.died > 0
			})
		}
		if steps < 12 {
			t.Errorf("there were %d steps only", steps)
		}
	}
}

// Of tasks, whose beginning may remain unknown, one at most does.
func TestADaemonKilledAtAnyStepWithSeveralTasksDueAtOnce(t *testing.T) {
	c := atOnce(3, schedules.Schedule{Cron: "0 * * * *", Task: schedules.Task{Definition: "report:3"}})
	steps := 0
	for killed := true; killed; steps++ {
		on(t, monday, c, func(t *testing.T, h *host) {
			for name := range c {
				h.does[name] = does{takes: 5 * time.Minute}
			}
			h.pass(59 * time.Second)
			h.dieIn = steps + 1
			h.pass(10 * time.Minute)
			slices.Sort(h.ran)
			if n := len(h.ran); n < 2 || n > 3 || len(slices.Compact(h.ran)) != n {
				t.Errorf("killed at step %d ran %q", steps, h.ran)
			}
			for _, s := range h.shown() {
				if s.Last == nil || slices.Contains(h.ran, s.Name) != (s.Last.Result == "success") {
					t.Errorf("killed at step %d: %+v", steps, s.Last)
				}
			}
			killed = h.died > 0
		})
	}
	if steps < 12 {
		t.Errorf("there were %d steps only", steps)
	}
}

// The node drains while several begin: those that have not begun do not.
func TestADrainWhileSeveralBegin(t *testing.T) {
	on(t, monday, atOnce(3, schedules.Schedule{Cron: "0 * * * *", Missed: schedules.RunOnce}), func(t *testing.T, h *host) {
		h.pass(59 * time.Second)
		h.began = func() { h.cells.drains.Set(true) }
		h.pass(10 * time.Minute)
		h.wantRan("s-000 02T01:00")
		h.began = nil
		h.cells.drains.Set(false)
		h.pass(time.Minute)
		h.wantRan("s-000 02T01:00", "s-001 02T01:00", "s-002 02T01:00")
	})
}

// Two runs by hand within a second are two runs.
func TestTwoRunsByHandWithinASecond(t *testing.T) {
	for name, s := range map[string]schedules.Schedule{
		"a command": {Cron: "@yearly", Overlap: schedules.Queue},
		"a task":    {Cron: "@yearly", Overlap: schedules.Queue, Task: schedules.Task{Definition: "report:3"}},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, items{"tidy": s}, func(t *testing.T, h *host) {
				h.pass(2 * time.Second)
				for range 2 {
					h.does["tidy"] = does{takes: 200 * time.Millisecond}
					h.ask(schedules.RunFile("tidy"), h.Now().Wall)
					h.once(t)
					time.Sleep(300 * time.Millisecond)
					h.once(t)
				}
				h.pass(2 * time.Minute)
				h.wantWell()
				if len(h.ran) != 2 || h.one().Last.Result != "success" {
					t.Errorf("ran %q, %+v", h.ran, h.one().Last)
				}
			})
		})
	}
}

// A clock that is set makes no task run out of its time.
func TestAClockThatIsSetInTheRunOfATask(t *testing.T) {
	on(t, monday, items{"report": {Cron: "0 1 * * *", Task: schedules.Task{Definition: "report:3"}, Timeout: minutes(60)}}, func(t *testing.T, h *host) {
		h.does["report"] = does{takes: 20 * time.Minute}
		h.pass(5 * time.Minute)
		h.skew += time.Hour
		h.pass(10 * time.Minute)
		h.skew -= 2 * time.Hour
		h.pass(20 * time.Minute)
		if last := h.one().Last; last == nil || last.Result != "success" {
			t.Errorf("%+v", last)
		}
	})
}

// hangs is a Docker that never answers.
type hangs struct{ *host }

func (hangs) Containers(ctx context.Context) ([]facts.Container, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("cannot list containers: %w: %w", facts.ErrUnavailable, context.Cause(ctx))
}

func TestADockerThatHangsKeepsNothingElseFromRunning(t *testing.T) {
	c := atOnce(15, schedules.Schedule{Cron: "*/10 * * * *", Exec: schedules.Exec{Family: "web", Command: []string{"true"}}})
	c["zz"] = schedules.Schedule{Cron: "*/10 * * * *"}
	on(t, monday, c, func(t *testing.T, h *host) {
		h.duty.Docker = hangs{h}
		h.pass(61*time.Minute + 30*time.Second)
		h.wantRan("zz 02T01:00", "zz 02T01:10", "zz 02T01:20", "zz 02T01:30", "zz 02T01:40", "zz 02T01:50", "zz 02T02:00")
		if s := h.shown()[15]; s.Last == nil || s.Last.Started.Sub(s.Last.Tick) > 15*time.Second {
			t.Errorf("%+v", s.Last)
		}
	})
}

// An instance made from an image of another one makes up for nothing of that.
func TestAnImageOfANodeBringsNoTicks(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "0 1 * * *", Missed: schedules.RunOnce}}, func(t *testing.T, h *host) {
		h.pass(5 * time.Minute)
		h.id = "i-0fedcba9876543210"
		h.reboot(9 * 24 * time.Hour)
		h.pass(time.Minute)
		h.wantRan("tidy 02T01:00")
		h.wantWell()
	})
}

// unread is a disk whose state, or a directory, cannot be read so many times.
type unread struct {
	fsx.FS
	times *int
}

func (u unread) ReadDir(name string) ([]fs.DirEntry, error) {
	if *u.times > 0 && name == requests {
		*u.times--
		return nil, fmt.Errorf("open %s: too many open files", name)
	}
	return u.FS.ReadDir(name)
}

func (u unread) ReadFile(name string) ([]byte, error) {
	if *u.times > 0 && name == schedules.File {
		*u.times--
		return nil, fmt.Errorf("open %s: too many open files", name)
	}
	return u.FS.ReadFile(name)
}

// While nobody can tell what is paused, nothing runs.
func TestRequestsThatCannotBeRead(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "* * * * *"}}, func(t *testing.T, h *host) {
		h.ask(schedules.PauseFile("tidy"), h.Now().Wall)
		times := 70
		h.duty.FS = unread{h.files, &times}
		h.pass(5 * time.Minute)
		h.wantRan()
		if times > 0 || h.err != nil || h.one().State != facts.SchedulePaused {
			t.Errorf("%d times left, %v, %+v", times, h.err, h.one())
		}
		times = 70 // what it knew counts
		h.pass(5 * time.Minute)
		h.wantRan()
	})
}

// A state that cannot be read is not written over: what runs is known afterwards.
func TestAStateThatCannotBeReadAtFirst(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "* * * * *"}}, func(t *testing.T, h *host) {
		h.does["tidy"] = does{takes: 20 * time.Minute}
		h.pass(5 * time.Minute)
		h.start()
		times := 2
		h.duty.FS = unread{h.files, &times}
		h.once(t)
		if h.err == nil || !strings.Contains(h.err.Error(), "cannot read which ticks have run") {
			t.Errorf("%v", h.err)
		}
		h.pass(5 * time.Minute)
		h.wantRan("tidy 02T01:00")
		if s := h.one(); s.State != facts.ScheduleRunning {
			t.Errorf("%+v", s)
		}
	})
}

// A run that ends with the node is told so, whether the node is seen to go or to
// have gone.
func TestARunThatGoesDownWithTheNode(t *testing.T) {
	for drains, want := range map[bool]string{
		true:  "cut short: the node went down (exit status 143)",
		false: "exit status 143",
	} {
		t.Run(want, func(t *testing.T) {
			on(t, monday, hourly, func(t *testing.T, h *host) {
				h.does["tidy"] = does{takes: 10 * time.Minute, status: 143}
				h.pass(5 * time.Minute)
				h.cells.drains.Set(drains)
				h.pass(10 * time.Minute)
				h.wantWarning("tidy: the run of 2026-03-02 01:00 UTC: " + want)
			})
		})
	}
}

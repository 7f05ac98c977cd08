package schedules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/schedules"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

const (
	monday = "2026-03-02T00:59:00Z"
	night  = "2026-03-02T23:59:00Z"
)

var hourly = items{"tidy": {Cron: "0 * * * *"}}

func TestEachTickRunsOnceAtItsTime(t *testing.T) {
	on(t, monday, hourly, func(t *testing.T, h *host) {
		h.does["tidy"] = does{takes: 90 * time.Second, output: "tidied\n"}
		h.pass(4 * time.Hour)
		h.wantRan("tidy 02T01:00", "tidy 02T02:00", "tidy 02T03:00", "tidy 02T04:00")
		h.wantWell()
		s := h.one()
		if s.State != facts.ScheduleIdle || s.Last == nil || s.Last.Result != "success" || s.Last.Ended.Sub(s.Last.Started) != 90*time.Second || s.Last.Output != "" {
			t.Errorf("%+v %+v", s, s.Last)
		}
		if want := "2026-03-02T05:00:00Z"; s.Next.Format(time.RFC3339) != want {
			t.Errorf("next %v, want %s", s.Next, want)
		}
		outputs, err := schedules.Outputs(h.files)
		if err != nil || outputs["tidy"].Output != "tidied\n" {
			t.Errorf("%+v, %v", outputs, err)
		}
		if len(h.jobs) > 0 || h.forgot != 4 {
			t.Errorf("%d jobs are left, %d forgotten", len(h.jobs), h.forgot)
		}
		if info, err := h.files.Stat(schedules.File); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v: output may be secret", info, err)
		}
	})
}

// Where nothing is to be done, there is a pass each minute and no more, and
// nothing is written.
func TestIdleHoursCostLittle(t *testing.T) {
	for name, prepare := range map[string]func(h *host){
		"between ticks": func(*host) {},
		"paused":        func(h *host) { h.ask(schedules.PauseFile("tidy"), h.Now().Wall) },
		"draining, with a tick that waits": func(h *host) {
			h.pass(time.Minute)
			h.cells.drains.Set(true)
			h.skew += 24 * time.Hour
		},
		"after a clock was set back": func(h *host) { h.skew -= 3 * time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			on(t, "2026-03-02T01:05:00Z", items{"tidy": {Cron: "0 1 * * *", Missed: schedules.RunOnce}}, func(t *testing.T, h *host) {
				h.pass(time.Minute)
				prepare(h)
				h.pass(2 * time.Minute)
				before, err := h.files.Stat(schedules.File)
				if err != nil {
					t.Fatal(err)
				}
				h.passes = 0
				h.pass(12 * time.Hour)
				if h.passes > 12*61 {
					t.Errorf("%d passes in 12 hours", h.passes)
				}
				if after, err := h.files.Stat(schedules.File); err != nil || !after.ModTime().Equal(before.ModTime()) {
					t.Errorf("written at %v and %v", before.ModTime(), after.ModTime())
				}
			})
		})
	}
}

func TestANodeBeginsAtItsOwnTimeWithinTheSplay(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "0 * * * *", Splay: minutes(30)}}, func(t *testing.T, h *host) {
		h.pass(time.Minute)
		next := h.one().Next
		if off := next.Sub(next.Truncate(time.Hour)); off <= 0 || off >= 30*time.Minute {
			t.Errorf("next %v", next)
		}
		h.pass(3 * time.Hour)
		h.wantRan("tidy 02T01:00", "tidy 02T02:00", "tidy 02T03:00")
		if last := h.one().Last; !last.Started.Equal(next.Add(2 * time.Hour)) {
			t.Errorf("began %v, want %v", last.Started, next.Add(2*time.Hour))
		}
	})
}

// A clock that is set back and forth runs nothing twice; what it jumps over is
// missed and follows the policy.
func TestAClockThatIsSet(t *testing.T) {
	for name, c := range map[string]struct {
		missed schedules.Missed
		steps  []time.Duration // each at half past an hour by timers, two hours later than the one before
		ran    []string
		warns  string
	}{
		"back by an hour": {
			schedules.MissedSkip,
			[]time.Duration{-time.Hour},
			[]string{"02T01:00", "02T02:00"},
			"the clock was set back: what ran up to 2026-03-02 02:00 UTC does not run again",
		},
		"forth by an hour": {
			schedules.MissedSkip,
			[]time.Duration{time.Hour},
			[]string{"02T01:00", "02T02:00", "02T04:00", "02T05:00"},
			"02:03:00 did not run",
		},
		"forth by an hour, run once": {
			schedules.RunOnce,
			[]time.Duration{time.Hour},
			[]string{"02T01:00", "02T02:00", "02T03:00", "02T04:00", "02T05:00"},
			"",
		},
		"forth and back": {
			schedules.RunOnce,
			[]time.Duration{time.Hour, -time.Hour},
			[]string{"02T01:00", "02T02:00", "02T03:00", "02T04:00", "02T05:00", "02T06:00"},
			"",
		},
		"back and forth": {
			schedules.RunOnce,
			[]time.Duration{-time.Hour, time.Hour},
			[]string{"02T01:00", "02T02:00", "02T03:00", "02T04:00", "02T05:00", "02T06:00"},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, items{"tidy": {Cron: "0 * * * *", Missed: c.missed}}, func(t *testing.T, h *host) {
				h.pass(91*time.Minute + time.Nanosecond)
				for i, step := range c.steps {
					if i > 0 {
						h.pass(2 * time.Hour)
					}
					h.skew += step
					h.pass(time.Minute)
				}
				if strings.HasPrefix(c.warns, "the clock") {
					h.wantWarning(c.warns)
				}
				h.pass(2 * time.Hour)
				all := map[string]bool{}
				for _, run := range h.ran {
					if all[run] {
						t.Errorf("%s ran twice: %q", run, h.ran)
					}
					all[run] = true
				}
				for _, tick := range c.ran {
					if !all["tidy "+tick] {
						t.Errorf("%s did not run: %q", tick, h.ran)
					}
				}
			})
		})
	}
}

// A clock that was wrong by years does not keep anything from running later.
func TestAClockThatWasFarOff(t *testing.T) {
	on(t, "2031-03-02T00:59:00Z", hourly, func(t *testing.T, h *host) {
		h.pass(2 * time.Minute)
		h.skew -= 5 * 365 * 24 * time.Hour
		h.pass(2 * time.Hour)
		if len(h.ran) != 3 {
			t.Errorf("%q", h.ran)
		}
		h.wantWell()
	})
}

func TestWhereClocksChangeATimeOfDayRunsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		cron, at string
		ran      []string
	}{
		"forward":                   {"30 2 * * *", "2026-03-28T20:00:00Z", []string{"29T01:00", "30T00:30"}},
		"back":                      {"30 2 * * *", "2026-10-24T20:00:00Z", []string{"25T00:30", "26T01:30"}},
		"forward, several times":    {"0,30 2 * * *", "2026-03-28T20:00:00Z", []string{"29T01:00", "30T00:00", "30T00:30"}},
		"back, each hour, forwards": {"30 1-3 * * *", "2026-10-24T20:00:00Z", []string{"24T23:30", "25T00:30", "25T02:30", "26T00:30", "26T01:30", "26T02:30"}},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, c.at, items{"tidy": {Cron: c.cron, Zone: "Europe/Berlin"}}, func(t *testing.T, h *host) {
				h.pass(31 * time.Hour)
				for i := range c.ran {
					c.ran[i] = "tidy " + c.ran[i]
				}
				h.wantRan(c.ran...)
				h.wantWell()
			})
		})
	}
}

func TestTicksThatNobodyWasThereFor(t *testing.T) {
	away := map[string]func(h *host, d time.Duration){
		"asleep":             func(h *host, d time.Duration) { h.slept += d },
		"off":                func(h *host, d time.Duration) { h.reboot(d) },
		"without the daemon": func(h *host, d time.Duration) { time.Sleep(d); h.start() },
	}
	for how, leave := range away {
		for missed, ran := range map[schedules.Missed][]string{
			schedules.MissedSkip: {"tidy 02T01:00", "tidy 02T05:00"},
			schedules.RunOnce:    {"tidy 02T01:00", "tidy 02T04:00", "tidy 02T05:00"},
		} {
			t.Run(how+", "+string(missed), func(t *testing.T) {
				on(t, monday, items{"tidy": {Cron: "0 * * * *", Missed: missed}}, func(t *testing.T, h *host) {
					h.pass(10 * time.Minute) // 01:09
					leave(h, 3*time.Hour+20*time.Minute)
					h.pass(2 * time.Minute) // 04:31
					switch missed {
					case schedules.MissedSkip:
						h.wantWarning("2026-03-02 04:00 UTC and 2 before it did not run: the node was off, asleep or held")
					default:
						h.wantRan("tidy 02T01:00", "tidy 02T04:00")
					}
					h.pass(time.Hour)
					h.wantRan(ran...)
					h.wantWell()
				})
			})
		}
	}
}

func TestASleepThatEndsSoonAfterATickIsNoMiss(t *testing.T) {
	on(t, monday, hourly, func(t *testing.T, h *host) {
		h.pass(10 * time.Minute)
		h.slept += 55 * time.Minute // 02:04
		h.pass(2 * time.Minute)
		h.wantRan("tidy 02T01:00", "tidy 02T02:00")
		h.wantWell()
	})
}

func TestYearsAwayTakeNoTime(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "* * * * *", Missed: schedules.RunOnce}}, func(t *testing.T, h *host) {
		h.pass(2 * time.Minute)
		h.ran = nil
		h.slept += 3 * 365 * 24 * time.Hour
		h.once(t)
		h.wantRan("tidy 01T01:01")
		h.once(t)
		h.wantRan("tidy 01T01:01")
	})
}

func TestARebootInARun(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "0 * * * *", Missed: schedules.RunOnce}}, func(t *testing.T, h *host) {
		h.does["tidy"] = does{takes: 30 * time.Minute}
		h.pass(10 * time.Minute)
		h.reboot(2 * time.Minute)
		h.pass(2 * time.Minute)
		h.wantWarning("the run of 2026-03-02 01:00 UTC: cut short: the node was rebooted")
		h.pass(20 * time.Minute)
		h.wantRan("tidy 02T01:00")
		h.pass(time.Hour)
		h.wantRan("tidy 02T01:00", "tidy 02T02:00")
	})
}

// Wherever the process is killed, each tick runs once.
func TestADaemonThatIsKilled(t *testing.T) {
	for _, at := range []string{"before RunJob", "after RunJob", "before ForgetJob", "after ForgetJob", "in the run"} {
		t.Run(at, func(t *testing.T) {
			on(t, monday, hourly, func(t *testing.T, h *host) {
				h.does["tidy"] = does{takes: 30 * time.Minute, output: "done"}
				h.dieAt = at
				h.pass(10 * time.Minute)
				if at == "in the run" {
					h.start()
				}
				h.pass(40 * time.Minute)
				h.wantRan("tidy 02T01:00")
				h.wantWell()
				if last := h.one().Last; last == nil || last.Failed || len(h.jobs) > 0 {
					t.Errorf("%+v, %d jobs", last, len(h.jobs))
				}
				if at != "in the run" && h.died != 1 {
					t.Errorf("killed %d times", h.died)
				}
			})
		})
	}
}

func TestANodeThatDrainsStartsNothingAndLetsRun(t *testing.T) {
	for missed, ran := range map[schedules.Missed][]string{
		schedules.MissedSkip: {"tidy 02T01:00"},
		schedules.RunOnce:    {"tidy 02T01:00", "tidy 02T03:00"},
	} {
		t.Run(string(missed), func(t *testing.T) {
			on(t, monday, items{"tidy": {Cron: "0 * * * *", Missed: missed}}, func(t *testing.T, h *host) {
				h.does["tidy"] = does{takes: 30 * time.Minute}
				h.pass(10 * time.Minute)
				h.cells.drains.Set(true)
				h.pass(2*time.Hour - time.Minute) // 03:08
				h.ask(schedules.RunFile("tidy"), h.Now().Wall)
				h.pass(time.Minute)
				h.wantRan("tidy 02T01:00")
				if s := h.one(); s.State != facts.ScheduleLeaving || s.Last == nil || s.Last.Result != "success" || len(h.ended) > 0 {
					t.Errorf("%+v", s)
				}
				h.wantWell()
				h.cells.drains.Set(false)
				h.pass(20 * time.Minute)
				h.wantRan(ran...)
			})
		})
	}
}

func TestRunsThatOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		overlap schedules.Overlap
		does    does
		ran     []string
		after   string // a warning two minutes after the second tick
		result  string // of the first, then
	}{
		"skip":    {schedules.Skip, does{takes: 90 * time.Minute}, []string{"02T01:00", "02T03:00", "02T05:00"}, "02:00 UTC did not run: the run of 2026-03-02 01:00 UTC is under way", ""},
		"queue":   {schedules.Queue, does{takes: 90 * time.Minute}, []string{"02T01:00", "02T02:00", "02T03:00"}, "", ""},
		"replace": {schedules.Replace, does{takes: 90 * time.Minute}, []string{"02T01:00", "02T02:00", "02T03:00", "02T04:00", "02T05:00"}, "", "replaced by the run of 2026-03-02 02:00 UTC"},
		"replace one that does not heed it": {
			schedules.Replace,
			does{takes: 90 * time.Minute, ignores: true},
			[]string{"02T01:00", "02T02:00", "02T03:00", "02T04:00", "02T05:00"},
			"", "replaced by the run of 2026-03-02 02:00 UTC",
		},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, items{"tidy": {Cron: "0 * * * *", Overlap: c.overlap, Timeout: minutes(120)}}, func(t *testing.T, h *host) {
				h.does["tidy"] = c.does
				h.pass(63 * time.Minute)
				if c.after != "" {
					h.wantWarning(c.after)
				} else {
					h.wantWell()
				}
				if last := h.one().Last; c.result != "" && (last == nil || last.Result != c.result || last.Failed) {
					t.Errorf("%+v", last)
				}
				h.pass(3 * time.Hour) // 05:02
				if c.overlap == schedules.Queue {
					h.wantWarning("05:00 UTC did not run: that of 2026-03-02 04:00 UTC waits already")
				}
				for i := range c.ran {
					c.ran[i] = "tidy " + c.ran[i]
				}
				h.wantRan(c.ran...)
				if len(h.jobs) != 1 {
					t.Errorf("%d jobs", len(h.jobs))
				}
			})
		})
	}
}

func TestHowRunsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		does   does
		result string
	}{
		"well":                {does{takes: time.Second}, "success"},
		"with a status":       {does{takes: time.Second, status: 3}, "exit status 3"},
		"at once":             {does{}, "success"},
		"a hang":              {does{takes: 1000 * time.Hour}, "timed out"},
		"a hang without heed": {does{takes: 1000 * time.Hour, ignores: true}, "timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, items{"tidy": {Cron: "0 * * * *", Timeout: minutes(5)}}, func(t *testing.T, h *host) {
				h.does["tidy"] = c.does
				h.pass(10 * time.Minute)
				h.wantRan("tidy 02T01:00")
				last := h.one().Last
				if last == nil || last.Result != c.result || last.Failed != (c.result != "success") {
					t.Fatalf("%+v", last)
				}
				if last.Failed {
					h.wantWarning("tidy: the run of 2026-03-02 01:00 UTC: " + c.result)
				} else {
					h.wantWell()
				}
			})
		})
	}
}

func TestAServiceManagerThatDoesNotAnswer(t *testing.T) {
	for down, ran := range map[time.Duration][]string{
		5 * time.Minute:  {"tidy 02T01:00"},
		15 * time.Minute: nil,
	} {
		t.Run(fmt.Sprint(down), func(t *testing.T) {
			on(t, monday, hourly, func(t *testing.T, h *host) {
				h.down = errDown
				h.pass(time.Minute + down)
				h.down = nil
				h.pass(3 * time.Minute)
				h.wantRan(ran...)
				if ran == nil {
					h.wantWarning("it could not begin in time: it does not answer")
				}
			})
		})
	}
}

func TestWhatAnOperatorAsksFor(t *testing.T) {
	on(t, monday, hourly, func(t *testing.T, h *host) {
		h.does["tidy"] = does{takes: time.Minute}
		h.ask(schedules.PauseFile("tidy"), h.Now().Wall)
		h.pass(2 * time.Hour)
		h.wantRan()
		h.wantWell()
		if s := h.one(); s.State != facts.SchedulePaused || !s.Next.IsZero() {
			t.Errorf("%+v", s)
		}
		h.ask(schedules.RunFile("tidy"), h.Now().Wall) // 02:59
		h.start()
		h.pass(10 * time.Minute)
		h.start()
		h.pass(10 * time.Minute)
		h.wantRan("tidy 02T02:59")
		if last := h.one().Last; last == nil || !last.ByHand || last.Result != "success" {
			t.Errorf("%+v", last)
		}
		if _, err := h.files.Stat(requests + "/" + schedules.RunFile("tidy")); err == nil {
			t.Error("the request is still there")
		}
		if _, err := h.files.Remove(requests + "/" + schedules.PauseFile("tidy")); err != nil {
			t.Fatal(err)
		}
		h.pass(time.Hour)
		h.wantRan("tidy 02T02:59", "tidy 02T04:00")
	})
}

func TestSettingsThatChange(t *testing.T) {
	on(t, monday, hourly, func(t *testing.T, h *host) {
		h.does["tidy"] = does{takes: 20 * time.Minute}
		h.pass(10 * time.Minute) // 01:09
		h.configure(items{"other": {Cron: "30 * * * *"}})
		h.pass(5 * time.Minute)
		if len(h.jobs) != 1 {
			t.Error("what runs goes on")
		}
		h.pass(26 * time.Minute)
		h.wantRan("tidy 02T01:00", "other 02T01:30")
		if len(h.jobs) != 0 || len(h.shown()) != 1 {
			t.Errorf("%d jobs, %+v", len(h.jobs), h.shown())
		}
		// Of the new times those that have been are not made up for.
		h.configure(items{"other": {Cron: "10 * * * *", Missed: schedules.RunOnce}})
		h.pass(25 * time.Minute)
		h.wantRan("tidy 02T01:00", "other 02T01:30")
		h.pass(10 * time.Minute)
		h.wantRan("tidy 02T01:00", "other 02T01:30", "other 02T02:10")
	})
}

func TestAStateThatIsDamagedRunsNothingOfThePast(t *testing.T) {
	on(t, monday, items{"tidy": {Cron: "0 * * * *", Missed: schedules.RunOnce}}, func(t *testing.T, h *host) {
		h.pass(5 * time.Minute)
		if _, err := h.files.WriteFile(schedules.File, []byte("{"), fsx.How{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		h.start()
		h.once(t)
		if h.err == nil || !strings.Contains(h.err.Error(), "cannot read which ticks have run") {
			t.Errorf("%v", h.err)
		}
		h.pass(time.Hour)
		h.wantRan("tidy 02T01:00", "tidy 02T02:00")
		h.wantWell()
	})
}

func TestACommandInAContainer(t *testing.T) {
	newer := func(family, name, id string, created int64) facts.Container {
		return facts.Container{ID: id, Created: time.Unix(created, 0), Labels: map[string]string{facts.LabelFamily: family, facts.LabelContainerName: name}}
	}
	on(t, monday, items{"tidy": {Cron: "0 * * * *", Exec: schedules.Exec{Family: "web", Command: []string{"rake", "tidy"}}}}, func(t *testing.T, h *host) {
		h.pass(3 * time.Minute) // 01:02
		h.wantRan()
		if s := h.one(); s.State != facts.ScheduleStarting || s.Reason != "a container of web to run" {
			t.Errorf("%+v", s)
		}
		h.does["tidy"] = does{takes: time.Hour / 2}
		h.running = []facts.Container{newer("api", "web", "a", 9), newer("web", "web", "b", 3), newer("web", "web", "c", 5), newer("web", "envoy", "d", 7)}
		h.pass(time.Minute)
		h.wantRan("tidy 02T01:00")
		for _, j := range h.jobs {
			if j.Container != "c" || !slices.Equal(j.Argv, []string{"rake", "tidy"}) || !j.Kept {
				t.Errorf("%+v", j.Command)
			}
		}
		h.running = nil
		h.pass(2 * time.Hour) // 03:03
		h.wantWarning("2026-03-02 02:00 UTC did not run: it could not begin in time: a container of web to run")
		h.wantRan("tidy 02T01:00")
	})
}

var report = items{"report": {Cron: "0 * * * *", Task: schedules.Task{Definition: "report:3"}, Timeout: minutes(20)}}

func TestATask(t *testing.T) {
	for name, c := range map[string]struct {
		does   does
		result string
	}{
		"ends well":                {does{takes: time.Minute, output: "rows: 7\n"}, "success"},
		"ends with a status":       {does{takes: time.Minute, status: 2, output: "no"}, "exit status 2"},
		"takes longer than it may": {does{takes: time.Hour}, "timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, report, func(t *testing.T, h *host) {
				h.does["report"] = c.does
				h.pass(30 * time.Minute)
				h.wantRan("report")
				last := h.one().Last
				if last == nil || last.Result != c.result {
					t.Fatalf("%+v %v %v", last, h.err, h.out)
				}
				outputs, err := schedules.Outputs(h.files)
				if err != nil || outputs["report"].Output != c.does.output {
					t.Errorf("%+v, %v", outputs, err)
				}
				for _, task := range h.ecs.tasks {
					if !task.removed {
						t.Error("its containers are still there")
					}
				}
			})
		})
	}
}

// Whether or not ECS has started a task whose answer was lost, it is not started twice.
func TestATaskWhoseAnswerWasLost(t *testing.T) {
	for name, c := range map[string]struct {
		done   bool
		lag    time.Duration
		result string
	}{
		"it was started":                 {true, 0, "success"},
		"it was started and listed late": {true, 20 * time.Second, "success"},
		"it was not":                     {false, 0, "whether ECS started it is not known: it is not started again"},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, monday, report, func(t *testing.T, h *host) {
				h.does["report"] = does{takes: 5 * time.Minute}
				h.ecs.fails, h.ecs.done, h.ecs.lag = errDown, c.done, c.lag
				h.pass(10 * time.Minute)
				if last := h.one().Last; last == nil || last.Result != c.result || h.ecs.calls != 1 {
					t.Errorf("%+v, %d calls", last, h.ecs.calls)
				}
			})
		})
	}
}

func TestADaemonKilledBesideStartTask(t *testing.T) {
	for at, result := range map[string]string{
		"before StartTask": "whether ECS started it is not known: it is not started again",
		"after StartTask":  "success",
	} {
		t.Run(at, func(t *testing.T) {
			on(t, monday, report, func(t *testing.T, h *host) {
				h.does["report"] = does{takes: 5 * time.Minute}
				h.dieAt = at
				h.pass(10 * time.Minute)
				if last := h.one().Last; last == nil || last.Result != result || len(h.ecs.tasks) > 1 || h.died != 1 {
					t.Errorf("%+v, %d tasks", last, len(h.ecs.tasks))
				}
			})
		})
	}
}

func TestATaskThatECSRefusesIsTriedAgainForAWhile(t *testing.T) {
	on(t, monday, report, func(t *testing.T, h *host) {
		h.ecs.fails = &facts.TaskRefused{Reason: "RESOURCE:MEMORY"}
		h.pass(5 * time.Minute)
		if h.ecs.calls < 10 || h.ecs.calls > 40 {
			t.Errorf("%d calls in 4 minutes", h.ecs.calls)
		}
		h.pass(10 * time.Minute)
		h.wantWarning("it could not begin in time: ECS says RESOURCE:MEMORY")
		before := h.ecs.calls
		h.pass(10 * time.Minute)
		if h.ecs.calls != before {
			t.Error("and is asked for still")
		}
	})
}

func TestSettingsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		name string
		s    schedules.Schedule
		says string
	}{
		"no action":              {"a", schedules.Schedule{Cron: "@daily", Command: []string{}}, "it has 0 of command, exec and task"},
		"two":                    {"a", schedules.Schedule{Cron: "@daily", Command: []string{"/bin/true"}, Task: schedules.Task{Definition: "a"}}, "it has 2 of"},
		"a relative command":     {"a", schedules.Schedule{Cron: "@daily", Command: []string{"true"}}, "no absolute path"},
		"a name that is long":    {"a-name-of-many-letters", schedules.Schedule{Cron: "@daily", Command: []string{"/bin/true"}}, "no name of a schedule"},
		"no cron expression":     {"a", schedules.Schedule{Cron: "at noon", Command: []string{"/bin/true"}}, "cannot parse cron expression"},
		"a splay over a tick":    {"a", schedules.Schedule{Cron: "*/10 * * * *", Splay: minutes(10), Command: []string{"/bin/true"}}, "expected less"},
		"a lease without bucket": {"a", schedules.Schedule{Cron: "@daily", OncePer: schedules.PerCluster, Command: []string{"/bin/true"}}, "set schedules.leases.bucket"},
		"half of exec":           {"a", schedules.Schedule{Cron: "@daily", Exec: schedules.Exec{Family: "web"}}, "it needs family and command"},
		"no definition":          {"a", schedules.Schedule{Cron: "@daily", Task: schedules.Task{Definition: "a:b"}}, "names no task definition"},
		"no time at all":         {"a", schedules.Schedule{Cron: "@daily", Command: []string{"/bin/true"}, Timeout: when.Duration(time.Millisecond)}, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.s
			s.StartWithin, s.Memory = minutes(10), 64
			if s.Timeout == 0 {
				s.Timeout = minutes(10)
			}
			var said []string
			schedules.Config{Items: items{c.name: s}}.Validate(func(path, message string) { said = append(said, path+": "+message) })
			if len(said) != 1 || !strings.Contains(said[0], c.says) {
				t.Errorf("%q, want %q", said, c.says)
			}
		})
	}
}

package interruption_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/interruption"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// rig is a node with two sources.
type rig struct {
	t     *testing.T
	disk  *fsx.Disk
	boot  string
	since time.Time // of the boot
	spot  *cell.Cell[[]facts.Notice]
	other *cell.Cell[[]facts.Notice]
	out   *cell.Cell[facts.Interruption]
	duty  *interruption.Duty
}

func (r *rig) Now() facts.Moment {
	return facts.Moment{Wall: time.Now(), Boot: time.Since(r.since), BootID: r.boot}
}

func notices() *cell.Cell[[]facts.Notice] {
	return cell.New(func(a, b []facts.Notice) bool { return false })
}

// restart is a new process, in the same boot.
func (r *rig) restart() {
	r.spot, r.other = notices(), notices()
	r.out = cell.New(facts.Interruption.Equal)
	r.duty = &interruption.Duty{FS: r.disk, Clock: r, Interruption: r.out, Sources: []interruption.Source{{facts.NoticeSpot, r.spot}, {facts.NoticeOperator, r.other}}}
}

func (r *rig) pass() facts.Interruption {
	r.t.Helper()
	if _, err := r.duty.Reconcile(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	i, _ := r.out.Get()
	return i
}

func inNode(t *testing.T, f func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		disk, err := fsx.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, disk: disk, boot: "first", since: time.Now()}
		r.restart()
		f(t, r)
	})
}

func spot(in time.Duration) facts.Notice {
	by := time.Now().UTC().Add(in)
	return facts.Notice{Source: facts.NoticeSpot, What: "terminate", ID: by.Format(time.RFC3339), Drain: true, By: by, Hard: true}
}

func operator(cap time.Duration) facts.Notice {
	return facts.Notice{Source: facts.NoticeOperator, What: "drain", Drain: true, Cap: cap}
}

func TestTheEarliestHardDeadlineRules(t *testing.T) {
	for name, c := range map[string]struct {
		spot, other []facts.Notice // made at the beginning of the bubble
		left        time.Duration
		hard, drain bool
	}{
		"no notice":                    {},
		"a soft one":                   {nil, []facts.Notice{operator(15 * time.Minute)}, 15 * time.Minute, false, true},
		"a hard one":                   {[]facts.Notice{{Source: facts.NoticeSpot, Drain: true, Hard: true}}, nil, 2 * time.Minute, true, true},
		"hard and an earlier soft one": {[]facts.Notice{{Source: facts.NoticeSpot, Drain: true, Hard: true}}, []facts.Notice{operator(time.Minute)}, 2 * time.Minute, true, true},
		"two soft ones":                {nil, []facts.Notice{operator(15 * time.Minute), {Source: facts.NoticeOperator, What: "b", Drain: true, Cap: 5 * time.Minute}}, 5 * time.Minute, false, true},
		"one without a deadline":       {nil, []facts.Notice{{Source: facts.NoticeOperator, Drain: true}}, 0, false, true},
		"only told":                    {[]facts.Notice{{Source: facts.NoticeSpot, What: "x"}}, nil, 0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, func(t *testing.T, r *rig) {
				for i := range c.spot {
					if c.spot[i].Hard {
						c.spot[i].By = time.Now().UTC().Add(2 * time.Minute)
					}
				}
				r.spot.Set(c.spot)
				r.other.Set(c.other)
				i := r.pass()
				var left time.Duration
				if i.Deadline != (facts.Moment{}) {
					left = i.Deadline.Left(r.Now())
				}
				if left != c.left || i.Hard != c.hard || i.Drain != c.drain || len(i.Silent) > 0 {
					t.Errorf("left %v: %+v", left, i)
				}
			})
		})
	}
}

func TestNothingRestartsFromZero(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.spot.Set(nil)
		r.other.Set([]facts.Notice{operator(15 * time.Minute)})
		r.pass()
		time.Sleep(5 * time.Minute)
		left := func(want time.Duration) {
			t.Helper()
			i := r.pass()
			if got := i.Deadline.Left(r.Now()); !i.Drain || got != want {
				t.Errorf("left %v, want %v: %+v", got, want, i)
			}
		}
		left(10 * time.Minute)
		r.restart()
		r.other.Set([]facts.Notice{operator(15 * time.Minute)})
		left(10 * time.Minute)
		r.boot, r.since = "second", time.Now()
		r.restart()
		r.other.Set([]facts.Notice{operator(15 * time.Minute)})
		left(10 * time.Minute)
		// A notice that went away and comes again is a new one.
		r.other.Set(nil)
		r.pass()
		r.other.Set([]facts.Notice{operator(15 * time.Minute)})
		left(15 * time.Minute)
	})
}

func TestASourceThatDoesNotAnswerStandsByWhatItSaid(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.spot.Set([]facts.Notice{spot(2 * time.Minute)})
		r.other.Set(nil)
		r.pass()
		time.Sleep(time.Minute)
		r.restart()
		r.other.Set(nil) // instance metadata is ill
		i := r.pass()
		if !i.Drain || len(i.Silent) != 1 || i.Deadline.Left(r.Now()) != time.Minute {
			t.Errorf("%+v", i)
		}
		r.spot.Set(nil)
		if i := r.pass(); i.Drain || len(i.Silent) > 0 || len(i.Standing) != 0 {
			t.Errorf("%+v", i)
		}
	})
}

func TestADrainBeginsAndLapsesInItsTime(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.spot.Set([]facts.Notice{{
			Source: facts.NoticeRebalance, What: "recommendation", Drain: true,
			Start: time.Now().UTC().Add(3 * time.Minute), Cap: 15 * time.Minute, Lapses: 2 * time.Hour,
		}})
		r.other.Set(nil)
		for _, step := range []struct {
			after time.Duration
			drain bool
		}{{0, false}, {2 * time.Minute, false}, {time.Minute, true}, {116 * time.Minute, true}, {time.Minute, false}} {
			time.Sleep(step.after)
			if i := r.pass(); i.Drain != step.drain || step.drain && i.Deadline.Left(r.Now()) > 15*time.Minute {
				t.Errorf("after %v more: %+v", step.after, i)
			}
		}
	})
}

func TestARecordThatIsDamagedKeepsNothingFromDraining(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		if _, err := r.disk.MkdirAll("/var/lib/ecsnode", 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := r.disk.WriteFile(interruption.File, []byte("{"), fsx.How{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		r.spot.Set([]facts.Notice{spot(2 * time.Minute)})
		r.other.Set(nil)
		if _, err := r.duty.Reconcile(t.Context()); err == nil {
			t.Error("it is not told")
		}
		if i, _ := r.out.Get(); !i.Drain {
			t.Errorf("%+v", i)
		}
		r.pass() // told once: the file is whole again
	})
}

func TestWhatIsForcedKeepsItsOwnDeadline(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		forced, soft := operator(2*time.Hour), operator(15*time.Minute)
		forced.Force, soft.What = true, "another"
		r.spot.Set(nil)
		r.other.Set([]facts.Notice{forced, soft})
		i := r.pass()
		if i.Deadline.Left(r.Now()) != 15*time.Minute || i.StopBy.Left(r.Now()) != 2*time.Hour {
			t.Errorf("%+v", i)
		}
		r.spot.Set([]facts.Notice{spot(time.Minute)})
		if i = r.pass(); i.StopBy.Left(r.Now()) != time.Minute || !i.Hard {
			t.Errorf("%+v", i)
		}
	})
}

func TestANoticeThatIsSeenLateLeavesTasksTheirTime(t *testing.T) {
	inNode(t, func(t *testing.T, r *rig) {
		r.spot.Set([]facts.Notice{spot(-time.Hour)})
		r.other.Set(nil)
		if left := r.pass().Deadline.Left(r.Now()); left != 30*time.Second {
			t.Errorf("left %v", left)
		}
		time.Sleep(40 * time.Second)
		if left := r.pass().Deadline.Left(r.Now()); left != -10*time.Second {
			t.Errorf("left %v", left)
		}
	})
}

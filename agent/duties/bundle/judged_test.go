package bundle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// stands sets how one duty stands, as the engine would.
func (b *bench) stands(name string, state duty.State) {
	r := duty.Record{Name: name, State: state, Passes: 1, Since: time.Now(), Err: "cannot"}
	if state == duty.OK {
		r.LastOK, r.Err = r.Since, ""
	}
	for i, was := range b.records {
		if was.Name == name {
			if r.LastOK.IsZero() {
				r.LastOK = was.LastOK
			}
			b.records[i] = r
			return
		}
	}
	b.records = append(b.records, r)
}

// unseen is how duties stand in a process that has just started.
func (b *bench) unseen(names ...string) {
	b.records = nil
	for _, name := range names {
		b.records = append(b.records, duty.Record{Name: name, State: duty.Starting, Since: time.Now()})
	}
}

func (b *bench) wants(d *Duty, digest bundle.Digest, state bundle.State) {
	b.t.Helper()
	if got := b.inEffect(); got != digest {
		b.t.Errorf("in effect is %q, want %q", got.Short(), digest.Short())
	}
	l, err := load(b.disk)
	if err != nil {
		b.t.Fatal(err)
	}
	p := &pass{Duty: d, l: l, settings: Settings{Channel: "stable"}}
	if r, err := bundle.ParseReport(p.report(digest)); err != nil || r.State != state {
		b.t.Errorf("ECS is told %+v (%v), want %s", r, err, state)
	}
}

func TestABundleOfABootIsJudgedByHowTheNodeWasBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good := b.publish(tree("one", 1))
		first, _ := b.start(-1)
		_ = b.passes(first, 11*time.Minute)
		b.publish(tree("two", 1))

		// The node boots: the bundle comes first, and the others fail under it.
		b.unseen("files", "guard")
		boot, _ := b.start(-1)
		_ = b.passes(boot, time.Second)
		b.stands("files", duty.Failing)
		b.stands("guard", duty.Failing) // which it did before, as far as anybody knows
		_ = b.passes(boot, time.Minute)
		b.wants(boot, good, bundle.Well)
	})
}

func TestABundleThatTakesThePlaceOfAWatchedOneIsJudgedByWhatWasWellBeforeBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good := b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, 11*time.Minute)
		b.publish(tree("two", 1))
		_ = b.passes(d, 10*time.Minute)
		b.stands("files", duty.Failing) // not long enough to condemn it
		b.publish(tree("three", 1))
		d.next = time.Time{}
		_ = b.passes(d, time.Second)
		if got := b.inEffect(); got != b.doc.Stable.Digest {
			t.Fatalf("in effect is %s", got)
		}
		_ = b.passes(d, time.Minute)
		b.wants(d, good, bundle.Well)
	})
}

func TestANewNodeThatIsNeverWellUnderItsFirstBundle(t *testing.T) {
	for name, tc := range map[string]struct {
		duty  string
		image bool // it ends with the image alone
	}{
		"for files":   {"files", false},
		"for volumes": {"volumes", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.unseen("files", "volumes")
				want := b.publish(tree("one", 1))
				d, _ := b.start(-1)
				d.Vital = []string{"volumes"}
				_ = b.passes(d, time.Second)
				for _, other := range []string{"files", "volumes"} {
					if other == tc.duty {
						b.stands(other, duty.Failing)
					} else {
						b.stands(other, duty.OK)
					}
				}
				_ = b.passes(d, 4*time.Minute)
				b.wants(d, want, bundle.Trying)
				_ = b.passes(d, 40*time.Minute)
				if !tc.image {
					b.wants(d, want, bundle.Trying) // nobody promotes for it
					return
				}
				b.wants(d, "", bundle.Well)
			})
		})
	}
}

func TestWhatFailsWhileTheNodeDrainsCondemnsNoBundle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good := b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, 11*time.Minute)
		next := b.publish(tree("two", 1))
		_ = b.passes(d, 6*time.Minute)
		d.Drains = known(true)
		b.stands("files", duty.Failing)
		_ = b.passes(d, 5*time.Minute)
		b.wants(d, next, bundle.Trying)
		d.Drains = known(false)
		_ = b.passes(d, time.Second)
		b.wants(d, next, bundle.Trying)
		_ = b.passes(d, time.Minute)
		b.wants(d, good, bundle.Well)
	})
}

// TestAFailureIsCountedWithoutABreak: also when nobody looked in the break, since
// the duty was held.
func TestAFailureIsCountedWithoutABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, time.Minute)
		b.stands("files", duty.Failing)
		_ = b.passes(d, time.Second)
		time.Sleep(time.Hour)
		b.stands("files", duty.OK)
		time.Sleep(time.Hour)
		b.stands("files", duty.Failing)
		_ = b.passes(d, time.Second)
		b.wants(d, b.doc.Stable.Digest, bundle.Trying)
	})
}

// TestWhatIsTriedAgainAndAgainIsNotWellInBetween: Docker that dies at each start is
// about to start for moments.
func TestWhatIsTriedAgainAndAgainIsNotWellInBetween(t *testing.T) {
	for name, tc := range map[string]struct {
		fails, well time.Duration
		left        bool
	}{
		"for moments":   {8 * time.Second, 3 * time.Second, true},
		"for long":      {8 * time.Second, 20 * time.Second, false},
		"once a minute": {50 * time.Second, 500 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				want := b.publish(tree("one", 1))
				d, _ := b.start(-1)
				_ = b.passes(d, time.Second)
				state := func(at time.Duration) duty.State {
					if at%(tc.fails+tc.well) < tc.fails {
						return duty.Failing
					}
					return duty.OK
				}
				began, was := time.Now(), duty.OK
				d.Records = func(context.Context) []duty.Record {
					if now := state(time.Since(began)); now != was {
						was = now
						b.stands("files", now)
					}
					return b.records
				}
				_ = b.passes(d, 2*time.Minute)
				if tc.left {
					want = ""
				}
				if got := b.inEffect(); got != want {
					t.Errorf("in effect is %q, want %q", got.Short(), want.Short())
				}
			})
		})
	}
}

// TestADiskThatABundleFills: what was bad stays bad, though it cannot be written
// down before the disk has room again.
func TestADiskThatABundleFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good := b.publish(tree("one", 1))
		d, power := b.start(-1)
		_ = b.passes(d, 11*time.Minute)
		bad := b.publish(tree("two", 1))
		_ = b.passes(d, 6*time.Minute)
		b.wants(d, bad, bundle.Trying)
		power.full = true
		b.stands("files", duty.Failing)
		_ = b.passes(d, time.Minute)
		if got := b.inEffect(); got != good {
			t.Fatalf("in effect is %s", got.Short())
		}
		power.full = false // what the bundle has made is gone
		b.stands("files", duty.OK)
		_ = b.passes(d, time.Hour)
		b.wants(d, good, bundle.Well)
		next, _ := b.start(-1)
		_ = b.passes(next, time.Hour)
		b.wants(next, good, bundle.Well)
	})
}

// TestWhatIsInEffectIsToldAfterAPowerCut that came after the ledger was written
// and before the link was switched, while S3 does not answer.
func TestWhatIsInEffectIsToldAfterAPowerCut(t *testing.T) {
	for cut := range 12 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			one := b.publish(tree("one", 1))
			d, _ := b.start(-1)
			_ = b.passes(d, 11*time.Minute)
			b.publish(tree("two", 1))
			second, _ := b.start(cut)
			_ = b.passes(second, time.Second)
			clear(b.s3)
			for name, d := range map[string]*Duty{"the next process": nil, "after its pass": d} {
				if d != nil {
					d, _ = b.start(-1)
					_ = b.passes(d, time.Second)
				}
				if told, err := Describe(b.disk); err != nil || told.Since.IsZero() || told.Why == "" {
					t.Errorf("cut after %d steps, %s: %+v, %v (one is %s)", cut, name, told, err, one.Short())
				}
			}
		})
	}
}

func TestAClockThatIsSetBackKeepsTheNextLook(t *testing.T) {
	b := newBench(t)
	b.publish(tree("one", 1))
	d, _ := b.start(-1)
	if _, err := d.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Only a time with a reading of the monotonic clock does not move when the
	// other clock is set.
	if d.next == d.next.Round(0) {
		t.Errorf("the next look is at %v by the clock on the wall alone", d.next)
	}
	if left := time.Until(d.next); left <= 0 || left > 30*time.Minute {
		t.Errorf("the next look is in %v", left)
	}
}

// TestAPinCountsWhateverTheClock: the bundle was bad while the clock was ahead.
func TestAPinCountsWhateverTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, 11*time.Minute)
		bad := b.publish(tree("two", 1))
		_ = b.passes(d, 6*time.Minute)
		b.stands("files", duty.Failing)
		_ = b.passes(d, time.Minute)
		b.stands("files", duty.OK)
		d.Pin = known(facts.BundlePin{Digest: string(bad), At: time.Now().Add(-24 * time.Hour)})
		_ = b.passes(d, time.Minute)
		b.wants(d, bad, bundle.Trying)
		b.stands("files", duty.Failing)
		_ = b.passes(d, time.Minute)
		b.stands("files", duty.OK)
		_ = b.passes(d, time.Hour)
		if b.inEffect() == bad {
			t.Error("a pin that is there already brought a bad bundle back")
		}
	})
}

// TestABundleThatWaitsIsNotFetchedAgain: what it asks for cannot be had.
func TestABundleThatWaitsIsNotFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.publish(tree("one", 1))
		d, _ := b.start(-1)
		d.Check = func(context.Context, bundle.Digest) error { return facts.ErrUnavailable }
		_ = b.passes(d, time.Minute)
		if have, err := d.Store.List(); err != nil || len(have) != 1 {
			t.Errorf("on disk: %v, %v", have, err)
		}
	})
}

// TestASerialIsOfOneDocument: of two that were signed with the same serial, the
// first one counts, whichever somebody puts there.
func TestASerialIsOfOneDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		one := b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, 11*time.Minute)
		b.doc.Serial--
		b.publish(tree("two", 1))
		if err := b.passes(d, time.Hour); err == nil || !strings.Contains(err.Error(), "serial 1 is of another document") {
			t.Error(err)
		}
		b.wants(d, one, bundle.Well)
		next, _ := b.start(-1)
		if err := b.passes(next, time.Minute); err == nil {
			t.Error("the next process takes it")
		}
		b.wants(next, one, bundle.Well)
		b.publish(tree("three", 1))
		if err := b.passes(d, 16*time.Minute); err != nil {
			t.Error(err)
		}
		if got := b.inEffect(); got != b.doc.Stable.Digest {
			t.Errorf("in effect is %q after the next push", got.Short())
		}
	})
}

// TestWhatTheChannelNamesIsToldFirst: an attribute has no room for all that ever
// was bad, and who promotes asks for the canary.
func TestWhatTheChannelNamesIsToldFirst(t *testing.T) {
	canary := bundle.Digest(strings.Repeat("c", 64))
	l := &ledger{Bad: map[bundle.Digest]mark{canary: {At: time.Unix(1, 0)}}}
	for i := range 9 {
		l.Bad[bundle.Digest(strings.Repeat(fmt.Sprint(i), 64))] = mark{At: time.Unix(int64(2+i), 0)}
	}
	d := &Duty{seen: seen{channel: &bundle.Channel{Name: "stable", Canary: &bundle.Canary{Slot: bundle.Slot{Digest: canary}}}}}
	p := &pass{Duty: d, l: l}
	r, err := bundle.ParseReport(p.report(""))
	if err != nil || !slices.Contains(r.Bad, canary.Short()) {
		t.Errorf("%+v, %v", r, err)
	}
}

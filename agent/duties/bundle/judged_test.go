package bundle

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
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

package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// power is what a node works with until it is cut: after a number of steps
// nothing happens any more.
type power struct {
	fsx.FS
	store *bundle.Store
	left  int // steps; negative: it is never cut
	steps int
	full  bool // the disk: nothing is written, and links and removals work
}

var errCut = errors.New("the power is cut")

func (p *power) step() error {
	if p.left == 0 {
		return errCut
	}
	p.left--
	p.steps++
	return nil
}

func (p *power) WriteFile(name string, data []byte, how fsx.How) (bool, error) {
	if err := p.step(); err != nil {
		return false, err
	}
	if p.full {
		return false, syscall.ENOSPC
	}
	return p.FS.WriteFile(name, data, how)
}

func (p *power) Symlink(name, target string) (bool, error) {
	if err := p.step(); err != nil {
		return false, err
	}
	return p.FS.Symlink(name, target)
}

func (p *power) Remove(name string) (bool, error) {
	if err := p.step(); err != nil {
		return false, err
	}
	return p.FS.Remove(name)
}

// The steps within the store have a test of their own.

func (p *power) Has(d bundle.Digest) bool       { return p.store.Has(d) }
func (p *power) List() ([]bundle.Digest, error) { return p.store.List() }

func (p *power) Sweep() error {
	if err := p.step(); err != nil {
		return err
	}
	return p.store.Sweep()
}

func (p *power) Add(d bundle.Digest, size int64, r io.Reader) (bool, error) {
	if err := p.step(); err != nil {
		return false, err
	}
	return p.store.Add(d, size, r)
}

// ofStore is the store's half of power: both have a Remove.
type ofStore struct{ *power }

func (s ofStore) Remove(d bundle.Digest) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.store.Remove(d)
}

// bucket has objects by key; it is S3 that always answers.
type bucket map[string][]byte

func (b bucket) Get(_ context.Context, o facts.Object, limit int64) (facts.Content, error) {
	c, _, err := b.GetIfChanged(context.Background(), o, "", limit)
	return c, err
}

func (b bucket) GetIfChanged(_ context.Context, o facts.Object, etag string, _ int64) (facts.Content, bool, error) {
	body, is := b[o.Key]
	if !is {
		return facts.Content{}, false, facts.ErrAbsent
	}
	now := string(bundle.Sum(body))
	return facts.Content{Body: body, ETag: now}, now != etag, nil
}

type noECS struct{}

func (noECS) PutAttributes(context.Context, facts.ContainerInstance, map[string]string) error {
	return nil
}

// bench is a node whose power can be cut, and its channel.
type bench struct {
	t       testing.TB
	disk    *fsx.Disk
	root    string
	s3      bucket
	key     bundle.SecretKey
	doc     bundle.Channel
	records []duty.Record
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, root: t.TempDir(), s3: bucket{}, doc: bundle.Channel{Version: bundle.Version, Name: "stable"}}
	var err error
	if b.disk, err = fsx.Open(b.root); err != nil {
		t.Fatal(err)
	}
	if b.key, err = bundle.NewKey(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(b.root, bundle.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	b.well()
	return b
}

func (b *bench) well() {
	b.records = []duty.Record{{Name: "files", State: duty.OK, LastOK: time.Now()}}
}

func (b *bench) fails() {
	b.records = []duty.Record{{Name: "files", State: duty.Failing, Err: "cannot", LastOK: b.records[0].LastOK}}
}

func tree(text string, files int) fstest.MapFS {
	tree := fstest.MapFS{"ecsnode.yaml": {Data: []byte("# " + text + "\n")}}
	for i := range files {
		tree[fmt.Sprintf("files/%d", i)] = &fstest.MapFile{Data: bytes.Repeat([]byte(fmt.Sprintf("%s %d\n", text, i)), 200)}
	}
	return tree
}

func (b *bench) publish(files fstest.MapFS) bundle.Digest {
	b.t.Helper()
	var archive bytes.Buffer
	if _, err := bundle.Build(files, &archive); err != nil {
		b.t.Fatal(err)
	}
	d := bundle.Sum(archive.Bytes())
	b.s3[bundle.ObjectKey(d)] = archive.Bytes()
	b.doc.Stable = bundle.Slot{Digest: d, Size: int64(archive.Len()), Key: bundle.ObjectKey(d)}
	b.doc.Serial++
	b.doc.Signed = time.Now().UTC().Truncate(time.Second)
	sealed, err := bundle.Seal(&b.doc, b.key)
	if err != nil {
		b.t.Fatal(err)
	}
	b.s3[bundle.ChannelKey("stable")] = sealed
	return d
}

func known[T any](v T) cell.Reader[T] {
	c := cell.New(func(T, T) bool { return false })
	c.Set(v)
	return c
}

// start is a process of the agent that has so many steps to live.
func (b *bench) start(steps int) (*Duty, *power) {
	root, err := os.OpenRoot(filepath.Join(b.root, bundle.Dir))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { root.Close() })
	p := &power{FS: b.disk, store: bundle.NewStore(root), left: steps}
	c := Default()
	c.Source, c.Keys, c.Splay = "s3://bucket", []bundle.Key{b.key.Public()}, 0
	return &Duty{
		FS: p, ID: "i-1", Version: "v1.0.0", Settings: known(Settings{Config: c, Channel: "stable", Configured: "stable"}),
		Instance: known(facts.Instance{ID: "i-1", Region: "eu-west-1", Tags: facts.Tags{Source: facts.TagsFromIMDS}}),
		Pin:      known(facts.BundlePin{}), Asked: known(""), Drains: known(false), Objects: b.s3, Store: ofStore{p},
		Check: func(context.Context, bundle.Digest) error { return nil }, Turned: func() {},
		Records:      func(context.Context) []duty.Record { return slices.Clone(b.records) },
		Registration: known(facts.ContainerInstance{}), ECS: noECS{}, Status: cell.New(facts.Bundle.Equal),
	}, p
}

// passes makes passes for a while.
func (b *bench) passes(d *Duty, for_ time.Duration) (err error) {
	for end := time.Now().Add(for_); ; time.Sleep(5 * time.Second) {
		_, err = d.Reconcile(b.t.Context())
		if !time.Now().Before(end) {
			return err
		}
	}
}

// inEffect is a whole bundle, or nothing.
func (b *bench) inEffect() bundle.Digest {
	b.t.Helper()
	d, err := active(b.disk)
	if err != nil {
		b.t.Fatal(err)
	}
	if d == "" {
		return d
	}
	var archive bytes.Buffer
	if _, err := bundle.Build(os.DirFS(filepath.Join(b.root, d.Path())), &archive); err != nil || bundle.Sum(archive.Bytes()) != d {
		b.t.Fatalf("%s is in effect and not whole: it is %s, %v", d, bundle.Sum(archive.Bytes()), err)
	}
	return d
}

// TestAPowerCutAtEveryStep cuts it while a bundle comes into effect after another
// one, while one that is bad is left, and while one proves good. At every step
// what is in effect is whole, and the next process comes to the same end.
func TestAPowerCutAtEveryStep(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(b *bench, d *Duty) (want bundle.Digest) // all but the last
		act     func(b *bench, d *Duty)
	}{
		"the first bundle": {
			func(b *bench, _ *Duty) bundle.Digest { return b.publish(tree("one", 3)) },
			func(b *bench, d *Duty) { _ = b.passes(d, time.Second) },
		},
		"another bundle": {
			func(b *bench, d *Duty) bundle.Digest {
				b.publish(tree("one", 3))
				_ = b.passes(d, 11*time.Minute)
				return b.publish(tree("two", 3))
			},
			func(b *bench, d *Duty) { _ = b.passes(d, time.Second) },
		},
		"a bad bundle": {
			func(b *bench, d *Duty) bundle.Digest {
				good := b.publish(tree("one", 3))
				_ = b.passes(d, 11*time.Minute)
				b.publish(tree("two", 3))
				_ = b.passes(d, 6*time.Minute)
				return good
			},
			func(b *bench, d *Duty) {
				b.fails()
				_ = b.passes(d, time.Minute)
				if b.inEffect() != b.doc.Stable.Digest {
					b.well() // what the bundle has broken is whole again
				}
			},
		},
		"a bad first bundle": {
			func(b *bench, d *Duty) bundle.Digest {
				b.publish(tree("one", 3))
				_ = b.passes(d, time.Minute)
				return ""
			},
			func(b *bench, d *Duty) {
				b.fails()
				_ = b.passes(d, time.Minute)
				if b.inEffect() != "" {
					return
				}
				b.well()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for cut, done := 0, false; !done; cut++ {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					// The channel is looked at anew by every process.
					first, _ := b.start(-1)
					want := tc.arrange(b, first)
					before := b.inEffect()
					second, power := b.start(cut)
					tc.act(b, second)
					done = power.left > 0
					if now := b.inEffect(); now != before && now != want && !strings.HasPrefix(name, "a bad") {
						t.Errorf("cut after %d steps, %q is in effect", cut, now)
					}
					third, _ := b.start(-1)
					tc.act(b, third)
					if got := b.inEffect(); got != want {
						t.Errorf("cut after %d steps, the next process ends with %q, want %q", cut, got.Short(), want.Short())
					}
					b.well()
					fourth, _ := b.start(-1)
					_ = b.passes(fourth, 11*time.Minute)
					if got := b.inEffect(); got != want {
						t.Errorf("cut after %d steps, in the end it is %q, want %q", cut, got.Short(), want.Short())
					}
					if l, err := load(b.disk); err != nil || l.Good != want || l.Watch != nil {
						t.Errorf("cut after %d steps, what is in effect was not watched to its end: %+v, %v", cut, l, err)
					}
					names, err := os.ReadDir(filepath.Join(b.root, bundle.Dir))
					if err != nil {
						t.Fatal(err)
					}
					for _, n := range names {
						if strings.HasPrefix(n.Name(), ".") {
							t.Errorf("%s is left behind", n.Name())
						}
					}
				})
				if cut > 40 {
					t.Fatal("it takes more steps than it should")
				}
			}
		})
	}
}

func TestADiskThatIsFullKeepsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		one := b.publish(tree("one", 3))
		d, power := b.start(-1)
		if err := b.passes(d, 11*time.Minute); err != nil {
			t.Fatal(err)
		}
		b.publish(tree("two", 3))
		power.left = 0
		if err := b.passes(d, 16*time.Minute); !errors.Is(err, errCut) {
			t.Errorf("err = %v", err)
		}
		if got := b.inEffect(); got != one {
			t.Errorf("in effect is %s", got)
		}
		power.left = -1
		if err := b.passes(d, 16*time.Minute); err != nil {
			t.Error(err)
		}
		if got := b.inEffect(); got != b.doc.Stable.Digest {
			t.Errorf("in effect is %s", got)
		}
	})
}

func TestWhatIsJudgedAndWhatIsNot(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w := &watch{Since: now.Add(-time.Minute), Well: []string{"files"}, Ill: []string{"guard"}}
	before := now.Add(-time.Hour)
	for name, tc := range map[string]struct {
		record duty.Record
		bad    bool
		counts bool // the time does
	}{
		"well":                                 {duty.Record{Name: "files", State: duty.OK}, false, true},
		"held":                                 {duty.Record{Name: "files", State: duty.Held}, false, true},
		"failing by itself":                    {duty.Record{Name: "files", State: duty.Failing}, true, false},
		"stuck":                                {duty.Record{Name: "files", State: duty.Stuck}, true, false},
		"failing for the outside":              {duty.Record{Name: "files", State: duty.Failing, Outside: true}, false, false},
		"waiting":                              {duty.Record{Name: "files", State: duty.Waiting}, false, false},
		"not run yet":                          {duty.Record{Name: "files", State: duty.Starting}, false, false},
		"failing before, not since":            {duty.Record{Name: "guard", State: duty.Failing, LastOK: before}, false, true},
		"failing, and nobody knows since when": {duty.Record{Name: "units", State: duty.Failing}, false, false},
		"failing before, well since and failing now": {duty.Record{Name: "guard", State: duty.Failing, LastOK: now.Add(-time.Second)}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			failing := map[string]spell{}
			if v := w.judge([]duty.Record{tc.record}, failing, now); v.bad != "" || v.well != tc.counts {
				t.Errorf("at once: %+v", v)
			}
			if v := w.judge([]duty.Record{tc.record}, failing, now.Add(29*time.Second)); v.bad != "" {
				t.Errorf("too early: %+v", v)
			}
			if v := w.judge([]duty.Record{tc.record}, failing, now.Add(condemnAfter)); (v.bad != "") != tc.bad {
				t.Errorf("after a while: %+v", v)
			}
			// A break takes time away.
			w.judge([]duty.Record{{Name: tc.record.Name, State: duty.OK, LastOK: now}}, failing, now.Add(31*time.Second))
			tc.record.Since = now.Add(58 * time.Second)
			if v := w.judge([]duty.Record{tc.record}, failing, now.Add(time.Minute)); v.bad != "" {
				t.Errorf("after a break: %+v", v)
			}
		})
	}
}

func TestABundleUnderWhichNothingRunsIsLeftAtTheFourthStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		good := b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, 11*time.Minute)
		start := func(alone bool) (string, func() error) {
			t.Helper()
			went, end, err := Start(b.disk, "run", alone)
			if err != nil {
				t.Fatal(err)
			}
			return went, end
		}
		for range 10 { // a bundle that is good is not judged by this
			start(true)
		}
		if b.inEffect() != good {
			t.Fatal("a good bundle was left")
		}
		bad := b.publish(tree("two", 1))
		_ = b.passes(d, 6*time.Minute)
		if b.inEffect() != bad {
			t.Fatal("the next one is not in effect")
		}
		for range 10 { // ends in order
			_, end := start(true)
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range maxStarts {
			if went, _ := start(true); went != "" || b.inEffect() != bad {
				t.Fatalf("left at start %d: %s", i+1, went)
			}
		}
		if went, _ := start(false); went != "" || b.inEffect() != bad {
			t.Fatalf("left beside another process: %s", went)
		}
		went, _ := start(true)
		if !strings.Contains(went, "went back from bundle "+bad.Short()+" to "+good.Short()) || b.inEffect() != good {
			t.Errorf("%q, in effect is %s", went, b.inEffect())
		}
		next, _ := b.start(-1)
		_ = b.passes(next, time.Hour)
		if b.inEffect() != good {
			t.Error("the bad bundle came back")
		}
	})
}

// TestAPowerCutIsNoCrashLoop: it ends the boot and the daemon at once, and takes
// three to look like one.
func TestAPowerCutIsNoCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		d := b.publish(tree("one", 1))
		first, _ := b.start(-1)
		_ = b.passes(first, time.Second)
		for boot := range maxStarts + 1 {
			_, end, err := Start(b.disk, "early", true)
			if err == nil {
				err = end()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, as := range []string{"run", "boot"} {
				went, _, err := Start(b.disk, as, true) // and is cut off
				if err != nil {
					t.Fatal(err)
				}
				if left := went != ""; left != (boot == maxStarts && as == "run") || left != (b.inEffect() != d) && as == "run" {
					t.Fatalf("boot %d, %s: %q", boot+1, as, went)
				}
			}
		}
	})
}

func TestALedgerThatCannotBeReadKeepsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		one := b.publish(tree("one", 1))
		d, _ := b.start(-1)
		_ = b.passes(d, time.Second)
		if err := os.WriteFile(filepath.Join(b.root, Ledger), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.publish(tree("two", 1))
		if err := b.passes(d, 16*time.Minute); err == nil || !strings.Contains(err.Error(), Ledger) {
			t.Errorf("err = %v", err)
		}
		if b.inEffect() != one {
			t.Error("another bundle is in effect")
		}
	})
}

// BenchmarkAnUnchangedLook is what a look costs beside the request.
func BenchmarkAnUnchangedLook(b *testing.B) {
	n := newBench(b)
	n.publish(tree("one", 200))
	d, _ := n.start(-1)
	if _, err := d.Reconcile(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.next = time.Time{}
		if _, err := d.Reconcile(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkANewBundle is from the answer of S3 to a bundle of 200 files in
// effect, all of it on disk.
func BenchmarkANewBundle(b *testing.B) {
	n := newBench(b)
	d, _ := n.start(-1)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		want := n.publish(tree(fmt.Sprint("bundle ", i), 200))
		d.next = time.Time{}
		b.StartTimer()
		if _, err := d.Reconcile(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got, _ := active(n.disk); got != want {
			b.Fatalf("in effect is %s", got)
		}
		b.StartTimer()
	}
}

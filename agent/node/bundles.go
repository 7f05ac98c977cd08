package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/cell"
	bundles "github.com/ecsnode/ecsnode/agent/duties/bundle"
	"github.com/ecsnode/ecsnode/agent/duties/units"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// What the command line asks about bundles.
const (
	pinFile  = requestsDir + "/bundle-pin.json"
	pullFile = requestsDir + "/bundle-pull.json"
)

// bundleDuty is the entry of bundles. Its own settings are those of the image and
// of user data: what a bundle sets of them has its layer left out.
func (n *Node) bundleDuty(p phase, files fsx.FS, out outside, board *status.Board) duty.Entry {
	var drains cell.Reader[bool] = n.drains(p, files)
	if !n.hasDocker() { // nothing drains it
		never := cell.Comparable[bool]()
		never.Set(false)
		drains = never
	}
	asked := &ecsAsked{}
	d := &bundles.Duty{
		FS: files, ID: n.id, Version: n.opts.Version, Settings: n.bundleSettings(), Instance: n.instance,
		Pin: n.pin, Asked: n.pullAsked, Drains: drains, Objects: n.hosts.s3, Store: bundleStore{n.disk}, Baked: baked{n.disk},
		Check:  n.checkBundle,
		Turned: func() { n.reload(files); n.turned.Set(n.turnedBefore() + 1) },
		Records: func(ctx context.Context) []duty.Record {
			return blamable(board.Records(), func() bool { return asked.answers(ctx, out.ecs, n.known().Region) })
		},
		Vital:        vital,
		Registration: n.registration, ECS: out.ecs, Status: n.bundle, Boot: p == booting, Dry: out.dry,
	}
	retry := duty.Retry{Min: 2 * time.Second, Max: time.Minute}
	if p == booting {
		retry.Max = 5 * time.Second // its time is short
	}
	return duty.Entry{
		Duty: d, On: []cell.Waker{n.config, n.instance, n.pin, n.pullAsked, n.registration, drains},
		Timeout: 3 * time.Minute, Gap: 200 * time.Millisecond, Retry: retry, Changes: true,
	}
}

func (n *Node) turnedBefore() int {
	count, _ := n.turned.Get()
	return count
}

func (n *Node) bundleSettings() cell.Reader[bundles.Settings] {
	return cell.View(n.config, func(e *effective) bundles.Settings {
		// Tags as they are now: in the first pass of a boot they are newer than
		// the configuration that was made without them.
		c, _ := e.loaded.Config.WithTags(n.known().Tags)
		return bundles.Settings{
			Config: e.Bundle, Channel: string(c.Channel), Configured: string(e.loaded.Config.Channel), Publish: e.Readiness.Publish,
		}
	})
}

// blamed are the duties for whose failure a bundle can be to blame, and whether
// all that they ask is on the node itself: then nothing is an outage of others.
// What renders may ask for parameters, what runs may wait for what somebody's
// repository has. A scheduled command that fails is none: what it is about may be
// anywhere, and its own duty is well.
var blamed = map[string]bool{
	configName: true, "volumes": true, "dockerhold": true, "daemonjson": false, "ecsconfig": false, "nodeconfig": false,
	"files": false, "services": false, units.Name: true, "guard": true, "nodetasks": false, "packages": false, "schedules": false,
}

// vital are those without which a node runs no task: an image is none if they do
// not work under it. Who the node is, is not among them: the image alone may not
// name the cluster, and that of a container instance cannot be changed.
var vital = []string{configName, "volumes", "dockerhold", "daemonjson", units.Name}

// blamable are the records of duties for whose failure a bundle can be to blame. An
// ECS agent that does not answer has not registered, which may be for what the
// bundle sets or because ECS does not answer it either.
func blamable(records []duty.Record, ecsAnswers func() bool) []duty.Record {
	records = slices.DeleteFunc(records, func(r duty.Record) bool { _, is := blamed[r.Name]; return !is })
	for i, r := range records {
		if r.Outside && blamed[r.Name] {
			records[i].Outside = r.Name == units.Name && !ecsAnswers()
		}
	}
	return records
}

// ecsAsked is whether ECS answers, asked once a minute at most.
type ecsAsked struct {
	at  time.Time
	yes bool
}

func (a *ecsAsked) answers(ctx context.Context, ecs ecsAPI, region string) bool {
	if !a.at.IsZero() && time.Since(a.at) < time.Minute {
		return a.yes
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := ecs.Newest(ctx, region, "ecsnode") // which need not be there, nor allowed
	a.at, a.yes = time.Now(), !errors.Is(err, facts.ErrUnavailable)
	return a.yes
}

// reload reads the configuration and publishes it. Whoever comes last has read
// last.
func (n *Node) reload(files fsx.FS) *effective {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	e := n.load(files)
	n.config.Set(e)
	return e
}

// bundleStore is the store of the node. Its directory is made when something is
// put into it.
type bundleStore struct{ disk *fsx.Disk }

func (s bundleStore) open(do func(*bundle.Store) error) error {
	root, err := os.OpenRoot(filepath.Join(s.disk.Root(), bundle.Dir))
	if err != nil {
		return err
	}
	defer root.Close()
	return do(bundle.NewStore(root))
}

// baked reads what came with the image, laid out as in S3.
type baked struct{ disk *fsx.Disk }

// bakedDir is where it is. A seal leaves it.
const bakedDir = "/usr/share/ecsnode/first"

// Baked implements bundles.Baked.
func (b baked) Baked(key string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(filepath.Join(b.disk.Root(), bakedDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, facts.ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, facts.ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s/%s is no file of at most %d bytes (%w)", bakedDir, key, limit, cmp.Or(err, fs.ErrInvalid))
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func (s bundleStore) Has(d bundle.Digest) (has bool) {
	_ = s.open(func(b *bundle.Store) error { has = b.Has(d); return nil })
	return has
}

func (s bundleStore) List() (all []bundle.Digest, err error) {
	err = s.open(func(b *bundle.Store) (err error) { all, err = b.List(); return err })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return all, err
}

func (s bundleStore) Add(d bundle.Digest, size int64, archive io.Reader) (changed bool, err error) {
	if _, err := s.disk.MkdirAll(bundle.Dir, 0o700); err != nil {
		return false, err
	}
	err = s.open(func(b *bundle.Store) (err error) { changed, err = b.Add(d, size, archive); return err })
	return changed, err
}

func (s bundleStore) Remove(d bundle.Digest) error {
	return s.open(func(b *bundle.Store) error { return b.Remove(d) })
}

func (s bundleStore) Sweep() error { return s.open((*bundle.Store).Sweep) }

const parametersName = "parameters"

// tried by a check are the duties that render, and what they need.
var rendered = []string{configName, parametersName, "ecsconfig", "nodeconfig", "files", "daemonjson"}

// checkBundle makes a dry pass of the duties that render with another bundle in
// place of the one in effect. An error is of what is well without it.
func (n *Node) checkBundle(ctx context.Context, d bundle.Digest) error {
	with, records, err := n.rehearseBundle(ctx, d)
	if err != nil {
		return err
	}
	if with.loaded.Bundle == d && allOK(records) && len(with.loaded.LeftOut) == 0 {
		return nil
	}
	if with.loaded.Bundle != d {
		return fmt.Errorf("its settings are not in effect: %w", with.loaded.Problems)
	}
	linked, err := n.disk.ReadLink(bundle.Active)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	now, before, err := n.rehearseBundle(ctx, bundle.Digest(linked))
	if err != nil {
		return err
	}
	for _, name := range with.loaded.LeftOut {
		if !slices.Contains(now.loaded.LeftOut, name) {
			return fmt.Errorf("%s would not be in effect beside it: %w", name, with.loaded.Problems)
		}
	}
	return works(records, before)
}

// works compares how the duties that render stand with a bundle and without it.
// What waits is no fault of the bundle, which may bring what it waits for: a
// package, that a file comes after. But while parameters cannot be had, nobody can
// tell, and it is tried again soon.
func works(with, without []duty.Record) error {
	var bad, unknown []string
	outage := slices.ContainsFunc(with, func(r duty.Record) bool { return r.Name == parametersName && r.State == duty.Failing && r.Outside })
	for i, r := range with {
		if r.Name == parametersName || r.State == duty.OK || without[i].State != duty.OK {
			continue
		}
		text := fmt.Sprintf("%s %s: %s", r.Name, r.State, r.Err)
		switch {
		case r.State == duty.Waiting && outage, r.State == duty.Failing && r.Outside:
			unknown = append(unknown, text)
		case r.State != duty.Waiting:
			bad = append(bad, text)
		}
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("it does not work on this node: %s", strings.Join(append(bad, unknown...), "; "))
	case len(unknown) > 0:
		return fmt.Errorf("cannot tell whether it works on this node: %s: %w", strings.Join(unknown, "; "), facts.ErrUnavailable)
	}
	return nil
}

func allOK(records []duty.Record) bool {
	return every(records, func(r duty.Record) bool { return r.State == duty.OK })
}

// rehearseBundle returns how the duties that render would stand. It is done by
// another node that knows the same facts, so that nothing here learns of it.
func (n *Node) rehearseBundle(ctx context.Context, d bundle.Digest) (*effective, []duty.Record, error) {
	opts := n.opts
	opts.Log = nil
	other, err := New(opts)
	if err != nil {
		return nil, nil, err
	}
	files := fsx.NewOverlay(n.disk)
	if d == "" {
		_, err = files.Remove(bundle.Active)
	} else {
		_, err = files.Symlink(bundle.Active, string(d))
	}
	if err != nil {
		return nil, nil, err
	}
	other.instance.Set(n.known())
	if r, ok := n.registration.Get(); ok {
		other.registration.Set(r)
	}
	if c, ok := n.cluster.Get(); ok {
		other.cluster.Set(c)
	}
	if known, ok := n.parameters.Get(); ok {
		other.parameters.Set(known)
	}
	if states, ok := n.packages.Get(); ok {
		other.packages.Set(states)
	}
	out, _ := other.dry()
	out.manager = n.hosts.manager
	s := other.newShift(applying, files, out, "", "check")
	s.engine.Hold = nil
	is := func(e duty.Entry) bool { return slices.Contains(rendered, e.Duty.Name()) }
	table := slices.DeleteFunc(s.table, func(e duty.Entry) bool { return !is(e) })
	_ = s.engine.Pass(ctx, table) // the records say it
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	e, ok := other.config.Get()
	if !ok {
		return nil, nil, errors.New("the configuration cannot be read")
	}
	var records []duty.Record
	for _, r := range s.board.Records() {
		if slices.Contains(rendered, r.Name) && r.Name != configName {
			records = append(records, r)
		}
	}
	return e, records, nil
}

// startsLock keeps those that count starts from one another.
const startsLock = status.Dir + "/starts.lock"

// counted runs a command of ecsnode's that makes passes. Its start counts against a
// bundle that is being watched unless it ends in order: not by a panic, and for the
// daemon not before it is told to.
func (n *Node) counted(ctx context.Context, as string, do func(context.Context) error) error {
	ended := n.countStart(ctx, as)
	err := do(ctx)
	if as != "run" || err == nil || ctx.Err() != nil {
		ended()
	}
	return err
}

// countStart counts a start, and goes back from a bundle under which ecsnode does
// not run. ended takes it back.
func (n *Node) countStart(ctx context.Context, as string) (ended func()) {
	counting := func(do func() error) {
		unlock, err := n.disk.Lock(ctx, startsLock, "ecsnode")
		if err == nil {
			err = do()
			unlock()
		}
		if err != nil {
			n.opts.Log.Warn("start not counted", "err", err)
		}
	}
	end := func() error { return nil }
	counting(func() error {
		alone := false
		if unlock, err := n.disk.TryLock(passLock, "ecsnode"); err == nil {
			defer unlock()
			alone = true
		}
		went, back, err := bundles.Start(n.disk, as, alone)
		if end = back; went != "" {
			n.opts.Log.Error("bundle left", "what", went)
		}
		return err
	})
	return func() {
		ctx = context.WithoutCancel(ctx)
		counting(end)
	}
}

// bundleStatus is how the node stands with bundles, nil if it has to do with none.
func (n *Node) bundleStatus() *facts.Bundle {
	b, ok := n.bundle.Get()
	if !ok {
		b, _ = bundles.Describe(n.disk) // no pass was made: the duty is held, or waits
	}
	if b.Digest == "" && b.Channel == "" && len(b.Bad) == 0 && b.Pinned == "" {
		return nil
	}
	return &b
}

// Bundle returns how the node stands with bundles: as a running ecsnode says, or
// without one what is on disk.
func (n *Node) Bundle() (facts.Bundle, error) {
	if d, err := status.Latest(n.disk); err == nil && d.StoppedAt.IsZero() {
		if running, err := n.daemonRuns(); err == nil && running {
			if d.Bundle == nil {
				return facts.Bundle{}, nil
			}
			return *d.Bundle, nil
		}
	}
	b, err := bundles.Describe(n.disk)
	pin, pinErr := readPin(n.disk)
	b.Pinned = pin.Digest
	return b, errors.Join(err, pinErr)
}

func readRequest[T any](files fsx.FS, name string) (v T, err error) {
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return v, nil
}

func readPin(files fsx.FS) (facts.BundlePin, error) {
	return readRequest[facts.BundlePin](files, pinFile)
}

// PinBundle has the node run a bundle that it has, by the beginning of its digest,
// or with facts.NoBundle the baked configuration, until UnpinBundle.
func (n *Node) PinBundle(digest string) (bundle.Digest, error) {
	pin := facts.BundlePin{Digest: facts.NoBundle, At: time.Now()}
	if digest != facts.NoBundle {
		have, err := bundleStore{n.disk}.List()
		if err != nil {
			return "", fmt.Errorf("cannot tell which bundles the node has: %w", err)
		}
		found := slices.DeleteFunc(slices.Clone(have), func(d bundle.Digest) bool { return !strings.HasPrefix(string(d), digest) })
		if len(found) != 1 || len(digest) < 4 {
			var short []string
			for _, d := range have {
				short = append(short, d.Short())
			}
			return "", fmt.Errorf("cannot pin %q: the node has %s", digest, strings.Join(append(short, facts.NoBundle+" (the baked configuration)"), ", "))
		}
		pin.Digest = string(found[0])
	}
	return bundle.Digest(pin.Digest), n.ask(pinFile, pin)
}

// UnpinBundle has the node follow its channel again, and reports whether it did
// not.
func (n *Node) UnpinBundle() (was bool, err error) { return n.disk.Remove(pinFile) }

// PullBundle has the channel looked at now: by the daemon, or without one here. It
// returns how the duty stands then.
func (n *Node) PullBundle(ctx context.Context) (r duty.Record, b facts.Bundle, err error) {
	ctx, cancel := context.WithTimeout(ctx, pullPatience)
	defer cancel()
	if err := n.prepare(); err != nil {
		return r, b, err
	}
	asked := time.Now()
	request := applyRequest{ID: "pull " + strconv.FormatInt(asked.UnixNano(), 36), At: asked}
	defer func() {
		if now, err := readRequest[applyRequest](n.disk, pullFile); err == nil && now.ID == request.ID {
			_, _ = n.disk.Remove(pullFile) // left behind it asks nobody again
		}
	}()
	for {
		running, err := n.daemonRuns()
		if err != nil {
			return r, b, err
		}
		waits := "another makes a pass"
		if running {
			now, err := readRequest[applyRequest](n.disk, pullFile)
			if err != nil || now.ID < request.ID {
				if err := n.ask(pullFile, request); err != nil {
					return r, b, err
				}
			}
			waits = "the running ecsnode has not looked yet"
			if d, err := status.Load(n.disk, status.Path); err == nil {
				for _, r := range since(d.Duties, asked) {
					looked := d.Bundle != nil && !d.Bundle.Looked.Before(asked)
					off := d.Bundle == nil || d.Bundle.Channel == ""
					if r.Name == bundles.Name && !r.Running && r.State != duty.Waiting && (r.State == duty.Held || r.Started.After(asked) && (looked || off)) {
						if d.Bundle != nil {
							b = *d.Bundle
						}
						return r, b, nil
					}
				}
			}
		} else {
			unlock, err := n.disk.TryLock(passLock, "ecsnode bundle pull")
			if err == nil {
				defer unlock()
				return n.pullHere(ctx, asked)
			}
			if !errors.Is(err, fsx.ErrLocked) {
				return r, b, err
			}
			waits = err.Error()
		}
		select {
		case <-ctx.Done():
			return r, b, fmt.Errorf("cannot get a pull: %s: %w", waits, context.Cause(ctx))
		case <-time.After(applyPoll):
		}
	}
}

// pullPatience is longer than a download may take.
const pullPatience = 4 * time.Minute

func (n *Node) pullHere(ctx context.Context, asked time.Time) (r duty.Record, b facts.Bundle, err error) {
	s := n.newShift(applying, n.disk, n.outside(), "", "bundle pull")
	need := []string{configName, "requests", "instance", bundles.Name}
	_ = s.engine.Pass(ctx, slices.DeleteFunc(s.table, func(e duty.Entry) bool { return !slices.Contains(need, e.Duty.Name()) })) // the records say it
	for _, r = range since(s.board.Records(), asked) {
		if r.Name == bundles.Name {
			break
		}
	}
	b, _ = n.bundle.Get()
	return r, b, nil
}

package bundle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Settings are those of the image and user data, with the channel.
type Settings struct {
	Config
	Channel    string // with what a tag sets
	Configured string // without
	Publish    bool   // whether ECS is told
}

// Store keeps unpacked bundles, each whole or not there.
type Store interface {
	Has(d bundle.Digest) bool
	List() ([]bundle.Digest, error)
	Add(d bundle.Digest, size int64, archive io.Reader) (changed bool, err error)
	Remove(d bundle.Digest) error
	Sweep() error
}

// ECS takes attributes.
type ECS interface {
	PutAttributes(ctx context.Context, on facts.ContainerInstance, attributes map[string]string) error
}

// Duty follows a channel: it puts into effect the bundle that the channel has for
// this node, watches how the node does with it, and goes back if that is bad.
type Duty struct {
	FS       fsx.FS
	ID       string // of the node, for its own time
	Version  string // of the agent
	Settings cell.Reader[Settings]
	Instance cell.Reader[facts.Instance]
	Pin      cell.Reader[facts.BundlePin]
	Asked    cell.Reader[string] // another value: look now
	Drains   cell.Reader[bool]
	Objects  Objects
	Baked    Baked // nil: nothing came with the image
	Store    Store

	// Check tries the node's configuration with the bundle in its place, and
	// returns what would go wrong on this node that is well now.
	Check func(ctx context.Context, d bundle.Digest) error
	// Turned is called when another bundle has come into effect.
	Turned func()
	// Records are of the duties for whose failure a bundle can be to blame.
	Records func(ctx context.Context) []duty.Record
	// Vital are those of them without which a node is of no use. A node whose first
	// bundle comes with its first boot knows of none how it does without: these
	// are taken to be well then, as an image is not one without them.
	Vital []string

	Registration cell.Reader[facts.ContainerInstance]
	ECS          ECS
	Status       *cell.Cell[facts.Bundle]

	// Boot is a phase that ends when all is well: it does not wait for S3 where
	// there is a bundle already.
	Boot bool
	// Dry: what would be put into effect is said, and nothing is done.
	Dry bool

	seen     seen
	looked   time.Time
	next     time.Time     // when the channel is looked at
	failed   error         // to look
	answered string        // of Asked
	pause    time.Duration // before S3 is asked again after no answer
	blocked  blocked
	began    time.Time
	judged   time.Time
	spent    time.Duration // of the watch, and not written down yet
	failing  map[string]spell
	swept    bool
	unkept   []byte // a ledger that could not be written
}

// blocked is what could not be put into effect, and until when it is not tried.
type blocked struct {
	digest bundle.Digest
	until  time.Time
	err    error
}

// pass is one pass.
type pass struct {
	*Duty
	ctx      context.Context
	now      time.Time
	settings Settings
	instance facts.Instance
	l        *ledger
	out      duty.Outcome
	wanted   wanted
	waits    string
	due      bool // the channel was looked at in this pass
	unsaved  bool
}

// Name implements duty.Duty.
func (*Duty) Name() string { return Name }

// Name of the duty.
const Name = "bundle"

// patience is how long a boot without any bundle tries to get one.
const patience = 30 * time.Second

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	p := &pass{Duty: d, ctx: ctx, now: time.Now()}
	d.began = firstOf(d.began, p.now)
	var ok bool
	if p.settings, ok = d.Settings.Get(); !ok {
		return p.out, duty.WaitingFor("the configuration has not been read yet")
	}
	var err error
	if p.l, err = p.known(); err != nil {
		return p.out, err
	}
	linked, err := active(d.FS)
	if err != nil {
		return p.out, err
	}
	linked, err = p.settle(linked)
	if err == nil {
		linked, err = p.follow(linked)
	}
	if p.due && !d.Dry {
		p.remember()
	}
	err = errors.Join(err, p.retain(linked), p.tell(linked))
	if p.unsaved && !d.Dry {
		err = errors.Join(err, p.save())
	}
	p.summarise(linked)
	if d.Boot && err != nil && (linked != "" || p.now.Sub(d.began) >= patience) {
		err = duty.Lasting(err)
	}
	return p.out, err
}

// known is what is known of bundles.
func (p *pass) known() (*ledger, error) {
	if p.unkept != nil {
		p.unsaved = true
		return parse(p.unkept)
	}
	return load(p.FS)
}

func (p *pass) save() error {
	err := p.l.save(p.FS)
	if err == nil {
		p.Duty.unkept, p.unsaved = nil, false
	}
	return err
}

func firstOf(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// settle finishes what was begun, and judges what is watched.
func (p *pass) settle(linked bundle.Digest) (bundle.Digest, error) {
	if p.Dry {
		return linked, nil
	}
	if !p.swept {
		if err := p.Store.Sweep(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return linked, err
		}
		p.Duty.swept = true
	}
	if w := p.l.Watch; w != nil && w.Digest != linked {
		p.l.Watch, p.unsaved = nil, true // it was to come into effect, and is chosen again
	}
	if _, bad := p.l.Bad[linked]; bad {
		return p.back(linked)
	}
	if linked != "" && !p.Store.Has(linked) {
		if p.l.Good == linked {
			p.l.Good = ""
		}
		p.l.Watch = nil
		p.l.begin(linked, begun{p.l.Good, p.now.Round(0), "the files of " + linked.Short() + " were gone"})
		if err := p.save(); err != nil {
			return linked, err
		}
		return p.back(linked)
	}
	why, changed := p.gate()
	if why != "" {
		p.l.condemn(linked, why, p.now)
		// Also on a disk that is full: the mark is kept in memory until there is room.
		err := p.save()
		if err != nil {
			p.Duty.unkept, _ = json.Marshal(p.l)
		}
		now, turnErr := p.back(linked)
		return now, errors.Join(err, turnErr)
	}
	p.unsaved = p.unsaved || changed
	return linked, nil
}

// back turns to the last good bundle, as the ledger says already.
func (p *pass) back(from bundle.Digest) (bundle.Digest, error) {
	to := p.l.Good
	if to != "" && (to == from || !p.Store.Has(to)) {
		to = ""
	}
	if p.l.Now.Digest != to {
		p.l.Now.Digest, p.unsaved = to, true
	}
	return p.turn(from, to)
}

func (p *pass) turn(from, to bundle.Digest) (bundle.Digest, error) {
	if err := turn(p.FS, to); err != nil {
		return from, fmt.Errorf("cannot switch from bundle %s to %s: %w", name(from), name(to), err)
	}
	p.out.Changed = true
	p.Duty.judged, p.Duty.failing, p.Duty.spent = time.Time{}, nil, 0
	p.Turned()
	return to, nil
}

func name(d bundle.Digest) string {
	if d == "" {
		return facts.NoBundle
	}
	return d.Short()
}

// follow looks at the channel and puts into effect what it has for the node.
func (p *pass) follow(linked bundle.Digest) (bundle.Digest, error) {
	pin, _ := p.Pin.Get()
	if p.settings.Source == "" && pin.Digest == "" {
		p.wanted = wanted{keep: true}
		return linked, nil
	}
	var ok bool
	if p.instance, ok = p.Instance.Get(); !ok || p.instance.ID == "" {
		return linked, duty.WaitingFor("the identity of the instance")
	}
	var a place
	var lookErr error
	if p.settings.Source != "" {
		var warning string
		a, warning, lookErr = p.settings.place(p.instance)
		if warning != "" {
			p.out.Warnings = append(p.out.Warnings, warning)
		}
		if lookErr == nil {
			lookErr = p.look(a)
		}
	}
	var err error
	p.wanted, err = p.choose(a, linked)
	if errors.Is(err, duty.ErrNotReady) || lookErr != nil && pin.Digest == "" && !p.seen.baked {
		p.wanted = wanted{keep: true}
	}
	if !p.wanted.keep && p.wanted.digest != linked {
		now, putErr := p.put(a, linked)
		return now, errors.Join(lookErr, err, putErr)
	}
	if p.l.Refused != nil && !p.wanted.keep {
		p.l.Refused, p.unsaved = nil, true
	}
	return linked, errors.Join(lookErr, err)
}

// put puts what is wanted into effect, if it can be.
func (p *pass) put(a place, linked bundle.Digest) (bundle.Digest, error) {
	w := p.wanted
	if p.Dry {
		p.out.Changed, p.waits = true, "this is a dry run"
		return linked, nil
	}
	switch drains, known := p.Drains.Get(); {
	case !known:
		p.waits = "whether the node drains is not known yet"
		return linked, duty.WaitingFor("whether the node drains")
	case drains:
		p.waits = "the node drains"
		return linked, nil
	}
	if b := p.blocked; b.err != nil && b.digest == w.digest && !p.due && p.now.Before(b.until) {
		p.waits = oneLine(b.err.Error())
		return linked, b.err
	}
	if w.digest != "" {
		if err := p.get(a); err != nil {
			return linked, p.refuse(err)
		}
		if err := p.Check(p.ctx, w.digest); err != nil {
			return linked, p.refuse(err)
		}
	}
	p.activate(linked)
	if err := p.save(); err != nil {
		return linked, err
	}
	return p.turn(linked, w.digest)
}

// activate writes into the ledger what is about to come into effect.
func (p *pass) activate(linked bundle.Digest) {
	w, at := p.wanted, p.now.Round(0)
	p.l.begin(linked, begun{w.digest, at, w.why})
	p.l.Refused = nil
	p.Duty.blocked = blocked{}
	if w.digest == "" {
		p.l.Watch = nil
		return
	}
	delete(p.l.Bad, w.digest)
	p.l.Had = append([]bundle.Digest{w.digest}, slices.DeleteFunc(p.l.Had, func(d bundle.Digest) bool { return d == w.digest })...)
	switch limit := time.Duration(p.settings.Watch); {
	case w.digest == p.l.Good: // it was watched already
		p.l.Watch = nil
	case limit == 0:
		p.l.Good, p.l.Watch = w.digest, nil
	default:
		next := &watch{Digest: w.digest, Since: at, Left: limit, Attempt: w.attempt, Pin: w.pin}
		p.begin(next)
		p.l.Watch = next
	}
}

// get makes the bundle be on disk.
func (p *pass) get(a place) error {
	w := p.wanted
	if p.Store.Has(w.digest) {
		return nil
	}
	if w.slot == nil {
		return fmt.Errorf("the node does not have it, and the channel does not name it")
	}
	bakedErr := p.getBaked(w)
	if bakedErr == nil {
		return nil
	}
	content, err := p.Objects.Get(p.ctx, a.source.Object(a.region, w.slot.Key), w.slot.Size)
	if err != nil {
		if !errors.Is(bakedErr, facts.ErrAbsent) {
			err = errors.Join(err, bakedErr)
		}
		return err
	}
	_, err = p.Store.Add(w.digest, w.slot.Size, bytes.NewReader(content.Body))
	return err
}

// getBaked takes it from the image, which saves asking S3 too.
func (p *pass) getBaked(w wanted) error {
	if p.Baked == nil {
		return facts.ErrAbsent
	}
	archive, err := p.Baked.Baked(w.slot.Key, w.slot.Size)
	if err == nil {
		_, err = p.Store.Add(w.digest, w.slot.Size, bytes.NewReader(archive))
	}
	if err != nil {
		return fmt.Errorf("cannot take the one that came with the image: %w", err)
	}
	return nil
}

// refuse notes why a bundle was not put into effect. What is for want of an
// outside thing is tried again soon and is no fault of the bundle.
func (p *pass) refuse(err error) error {
	w := p.wanted
	why := oneLine(err.Error())
	p.waits = why
	err = fmt.Errorf("bundle %s is not put into effect: %w", w.digest.Short(), err)
	if errors.Is(err, facts.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		p.soon()
	} else {
		if r := p.l.Refused; r == nil || r.Digest != w.digest || r.Why != why {
			p.l.Refused, p.unsaved = &refusal{w.digest, why, p.now.Round(0)}, true
		}
		err = duty.Lasting(err)
	}
	p.Duty.blocked = blocked{w.digest, p.next, err}
	return err
}

// retain removes what is neither in effect nor wanted nor good nor pinned nor
// among the newest.
func (p *pass) retain(linked bundle.Digest) error {
	if p.Dry || !p.due && !p.out.Changed {
		return nil
	}
	have, err := p.Store.List()
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	pin, _ := p.Pin.Get()
	keep := []bundle.Digest{linked, p.l.Good, bundle.Digest(pin.Digest)}
	if !p.wanted.keep {
		keep = append(keep, p.wanted.digest)
	}
	had := slices.DeleteFunc(slices.Clone(p.l.Had), func(d bundle.Digest) bool { return !slices.Contains(have, d) })
	kept := func(d bundle.Digest) bool { return slices.Contains(keep, d) }
	for _, d := range had {
		n := 0
		for _, h := range have {
			if kept(h) {
				n++
			}
		}
		if n < p.settings.Keep && !kept(d) {
			keep = append(keep, d)
		}
	}
	var errs []error
	for _, d := range have {
		if !kept(d) {
			errs = append(errs, p.Store.Remove(d))
		}
	}
	if len(had) > p.settings.Keep {
		had = had[:p.settings.Keep]
	}
	if !slices.Equal(had, p.l.Had) {
		p.l.Had, p.unsaved = had, true
	}
	return errors.Join(errs...)
}

// summarise says how the node stands.
func (p *pass) summarise(linked bundle.Digest) {
	b := p.l.describe(linked, p.now.Add(-p.spent))
	pin, _ := p.Pin.Get()
	b.Channel, b.Looked, b.Pinned = "", p.looked, pin.Digest
	if p.settings.Source != "" {
		b.Channel, b.Next = p.settings.Channel, p.next
		if c := p.seen.channel; c != nil {
			b.Channel = c.Name
		}
		b.Serial = p.l.Seen[b.Channel]
	}
	if !p.wanted.keep && p.wanted.digest != linked {
		b.Wanted, b.Waits = cmp.Or(string(p.wanted.digest), facts.NoBundle), p.waits
	} else if p.wanted.keep {
		b.Waits = p.wanted.why
	}
	p.Status.Set(b)

	switch {
	case linked != "":
		p.out.Summary = "bundle " + linked.Short()
	case p.settings.Source == "":
		p.out.Summary = "off: bundle.source is not set"
	default:
		p.out.Summary = "the baked configuration"
	}
	if linked != "" && p.settings.Source == "" {
		p.out.Summary += ", which no channel changes: bundle.source is not set"
	}
	if b.Why != "" && (linked != "" || p.settings.Source != "") {
		p.out.Summary += ", " + b.Why
	}
	if p.l.Watch != nil {
		p.out.Summary += ", watched"
	}
	if b.Wanted != "" && p.waits != "" && p.l.Refused == nil {
		p.out.Summary += fmt.Sprintf("; %s is put into effect later: %s", name(p.wanted.digest), p.waits)
	}
	for _, bad := range b.Bad {
		if !bad.Refused {
			p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("bundle %s was bad for this node at %s: %s. To try it again: ecsnode bundle retry, or here ecsnode bundle pin",
				bundle.Digest(bad.Digest).Short(), bad.At.UTC().Format(time.RFC3339), bad.Why))
		}
	}
	p.again(p.l.Watch != nil, gatePace)
	p.again(!p.next.IsZero() && p.settings.Source != "", p.next.Sub(p.now))
}

func (p *pass) again(if_ bool, in time.Duration) {
	if in > 0 && if_ && (p.out.Again == 0 || in < p.out.Again) {
		p.out.Again = in
	}
}

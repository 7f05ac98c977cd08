package bundle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Objects reads objects of S3.
type Objects interface {
	Get(ctx context.Context, o facts.Object, limit int64) (facts.Content, error)
	GetIfChanged(ctx context.Context, o facts.Object, etag string, limit int64) (facts.Content, bool, error)
}

// Baked is what came with the image: a channel and its stable bundle, by the keys
// that they have in S3. The error is facts.ErrAbsent if there is no such.
type Baked interface {
	Baked(key string, limit int64) ([]byte, error)
}

// seen is the channel as it was last read. It is kept in memory alone: a process
// that starts reads it whole.
type seen struct {
	of      string // where from, and trusted for which keys
	etag    string
	channel *bundle.Channel
	err     error // what is wrong with the document of that ETag
	baked   bool  // it is the image's, for want of an answer of S3
}

// place is where the node's channel is.
type place struct {
	source bundle.Source
	region string
	name   string
	keys   []bundle.Key
}

func (a place) String() string {
	text := fmt.Sprint(a.source, " ", a.region, " ", a.name)
	for _, k := range a.keys {
		text += " " + k.String()
	}
	return text
}

// place says which channel the node follows: the tag's if the image allows it.
// Tags that nobody could read may name another one than the setting does.
func (s Settings) place(i facts.Instance) (a place, warning string, err error) {
	if a.source, err = bundle.ParseSource(s.Source); err != nil {
		return a, "", duty.Lasting(err)
	}
	a.region, a.name, a.keys = s.Region, s.Channel, s.Keys
	if a.region == "" {
		a.region = i.Region
	}
	if i.Tags.Source == "" && len(s.Channels) > 0 && !slices.Equal(s.Channels, []string{s.Channel}) {
		return a, "", duty.WaitingFor("the tags of the instance, one of which may name the channel: bundle.channels: [%s] has none count", s.Channel)
	}
	if s.allows(a.name) {
		return a, "", nil
	}
	if s.Configured != s.Channel && s.allows(s.Configured) {
		a.name = s.Configured
		return a, fmt.Sprintf("the tag does not make the node follow %s: the image allows %s", s.Channel, strings.Join(s.allowed(), ", ")), nil
	}
	return a, "", duty.Lasting(fmt.Errorf("no channel is followed: %s is not among those of bundle.channels: %s", s.Channel, strings.Join(s.Channels, ", ")))
}

func (s Settings) allows(name string) bool { return slices.Contains(s.allowed(), name) }

// allowed are the channels that the node may follow. Whoever may tag an instance
// must not choose among all that somebody has ever signed.
func (s Settings) allowed() []string {
	if len(s.Channels) == 0 {
		return []string{s.Configured}
	}
	return s.Channels
}

// look reads the channel if it is time to, or somebody asked.
func (p *pass) look(a place) error {
	asked, _ := p.Asked.Get()
	moved := p.seen.of != a.String()
	if moved {
		p.Duty.seen = seen{of: a.String()}
	}
	if wants := asked != "" && asked != p.answered; !moved && !wants && p.now.Before(p.next) {
		return p.failed
	}
	o := a.source.Object(a.region, bundle.ChannelKey(a.name))
	content, changed, err := p.Objects.GetIfChanged(p.ctx, o, p.seen.etag, bundle.MaxChannel)
	p.Duty.answered, p.Duty.looked, p.Duty.failed = asked, p.now, err
	// With the reading of the clock that nobody sets: a clock that was years ahead
	// at the boot must not keep the node from looking for as long.
	p.Duty.next = p.now.Add(p.schedule(p.now).Sub(p.now))
	p.due = true
	if errors.Is(err, facts.ErrUnavailable) {
		p.soon()
		err = errors.Join(err, p.first(a))
	}
	if err != nil {
		return err
	}
	if p.blocked.err == nil {
		p.Duty.pause = 0
	}
	if changed {
		p.seen.etag = content.ETag
		c, err := bundle.Open(content.Body, a.name, a.keys)
		if err != nil {
			c, err = nil, duty.Lasting(fmt.Errorf("cannot trust %s: %w", o, err))
		}
		p.seen.channel, p.seen.err, p.seen.baked = c, err, false
	}
	return nil
}

// first has a node that has no bundle yet take the one of its image, while S3 does
// not answer: the stable one, of a channel that is signed as any other, and no
// older than what the node has seen.
func (p *pass) first(a place) error {
	linked, err := active(p.FS)
	if p.Baked == nil || err != nil || linked != "" || p.seen.channel != nil {
		return err
	}
	sealed, err := p.Baked.Baked(bundle.ChannelKey(a.name), bundle.MaxChannel)
	if errors.Is(err, facts.ErrAbsent) {
		return nil
	}
	var c *bundle.Channel
	if err == nil {
		c, err = bundle.Open(sealed, a.name, a.keys)
	}
	if err != nil {
		return fmt.Errorf("cannot trust the channel %s that came with the image: %w", a.name, err)
	}
	if c.Serial >= p.l.Seen[a.name] {
		stable := *c
		stable.Canary = nil
		p.seen.channel, p.seen.err, p.seen.baked = &stable, nil, true
	}
	return nil
}

// Pauses after S3 gave no answer.
const (
	pauseMin = 2 * time.Second
	pauseMax = 5 * time.Minute
)

// soon has S3 asked again before the schedule does, later each time.
func (p *pass) soon() {
	p.Duty.pause = min(max(2*p.pause, pauseMin), pauseMax)
	if p.Boot {
		p.Duty.pause = pauseMin
	}
	p.Duty.next = p.now.Add(p.pause - when.Offset(p.ID+"/"+p.pause.String(), p.pause/4))
}

// schedule is when the channel is looked at next.
func (p *pass) schedule(now time.Time) time.Time {
	cron, err := when.Cron(p.settings.Schedule, time.UTC)
	if err != nil {
		return now.Add(time.Hour) // a setting that is not good is not in effect
	}
	return when.Splay(cron, p.ID+"/bundle", time.Duration(p.settings.Splay)).Next(now.UTC())
}

// wanted is what should be in effect.
type wanted struct {
	keep    bool          // what is, whatever that is
	digest  bundle.Digest // "": the baked configuration
	slot    *bundle.Slot  // where to get it; nil: it is there
	why     string
	attempt int
	pin     time.Time // of the operator's, that brings it
}

// choose decides, from the channel as it was last read and the operator's pin.
func (p *pass) choose(a place, linked bundle.Digest) (wanted, error) {
	pin, ok := p.Pin.Get()
	if !ok {
		return wanted{keep: true}, duty.WaitingFor("what the operator has pinned")
	}
	c, err := p.seen.channel, p.seen.err
	var d bundle.Decision
	if err == nil && c != nil {
		d = p.decide(c, linked)
		p.out.Warnings = append(p.out.Warnings, d.Warnings...)
		if !d.Refused && (c.Serial > p.l.Seen[a.name] || p.l.SeenAs[a.name] == "") {
			p.l.Seen[a.name], p.l.SeenAs[a.name], p.unsaved = c.Serial, document(c), true
		}
	}
	switch {
	case pin.Digest == facts.NoBundle:
		return wanted{why: "pinned by the operator"}, err
	case pin.Digest != "":
		return p.pinned(bundle.Digest(pin.Digest), pin.At), err
	case err != nil || c == nil:
		return wanted{keep: true}, err
	case d.Choice == bundle.Keep:
		return wanted{keep: true, why: d.Why}, p.lament(c, d)
	}
	why := fmt.Sprintf("%s of %s, serial %d", d.Choice, a.name, c.Serial)
	if p.seen.baked {
		why += ", from the image"
	}
	return wanted{digest: d.Slot.Digest, slot: &d.Slot, attempt: d.Slot.Attempt, why: why}, nil
}

// lament says what a channel that brings nothing means: one that is older than
// the node has seen is not what it should be, and what is bad for the node is
// told already.
func (p *pass) lament(c *bundle.Channel, d bundle.Decision) error {
	text := fmt.Sprintf("channel %s brings no change: %s", c.Name, d.Why)
	if d.Refused && (c.Serial < p.l.Seen[c.Name] || p.another(c)) {
		return duty.Lasting(errors.New(text))
	}
	p.out.Warnings = append(p.out.Warnings, text)
	return nil
}

// document is the digest of what was signed.
func document(c *bundle.Channel) bundle.Digest {
	text, _ := c.Marshal() // which it was read from
	return bundle.Sum(text)
}

// another reports whether the node has seen another document with its serial.
// Taking both in turn would be going back.
func (p *pass) another(c *bundle.Channel) bool {
	as := p.l.SeenAs[c.Name]
	return c.Serial == p.l.Seen[c.Name] && as != "" && as != document(c)
}

func (p *pass) decide(c *bundle.Channel, linked bundle.Digest) bundle.Decision {
	if p.another(c) {
		return bundle.Decision{Why: fmt.Sprintf("serial %d is of another document than the node has seen: push once more", c.Serial), Refused: true}
	}
	n := bundle.Node{ID: p.instance.ID, Agent: p.Version, Seen: p.l.Seen[c.Name], Bad: map[bundle.Digest]int{}}
	for d, m := range p.l.Bad {
		n.Bad[d] = m.Attempt
	}
	d := c.Choose(n, p.now)
	expired := !c.Expires.IsZero() && !p.now.Before(c.Expires) && c.Serial >= n.Seen
	p.again(expired, clockPace)
	if !expired || linked != "" || n.Seen != 0 || p.settings.Expired != RunStable {
		return d
	}
	// A new node runs what all others do.
	stable := *c
	stable.Canary, stable.Expires = nil, time.Time{}
	was := d.Why
	if d = stable.Choose(n, p.now); d.Choice == bundle.Stable {
		d.Warnings = append(d.Warnings, "the channel "+c.Name+" brings no change: "+was)
	}
	d.Refused = true // its serial is not taken
	return d
}

// clockPace is how often it is looked at the clock under a document that has
// expired by it: that of a node that has just been launched may be wrong.
const clockPace = time.Minute

// pinned is the operator's choice. One that was bad before is tried again.
func (p *pass) pinned(d bundle.Digest, at time.Time) wanted {
	if m, bad := p.l.Bad[d]; bad && m.Pin.Equal(at) {
		return wanted{keep: true, why: "the pinned bundle " + d.Short() + " was bad for this node"}
	}
	w := wanted{digest: d, why: "pinned by the operator", pin: at}
	if c := p.seen.channel; c != nil {
		for _, s := range slots(c) {
			if s.Digest == d {
				w.slot = &s
			}
		}
	}
	return w
}

func slots(c *bundle.Channel) []bundle.Slot {
	if c.Canary == nil {
		return []bundle.Slot{c.Stable}
	}
	return []bundle.Slot{c.Stable, c.Canary.Slot}
}

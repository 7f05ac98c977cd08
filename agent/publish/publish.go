// Package publish puts bundles into channels, for an operator or a pipeline: it
// uploads, signs, promotes and takes back. Nodes have no part in it.
package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Bucket reads and writes objects.
type Bucket interface {
	Get(ctx context.Context, o facts.Object, limit int64) (facts.Content, error)
	Put(ctx context.Context, o facts.Object, body []byte, only facts.Condition) (etag string, err error)
	// List returns the keys that begin as the object's does, in order.
	List(ctx context.Context, o facts.Object) ([]string, error)
}

// Publisher changes one channel.
type Publisher struct {
	Bucket  Bucket
	Source  bundle.Source
	Region  string
	Channel string
	// Trusted are the keys whose documents are believed. A publisher that
	// believed any would carry on what somebody else has put there.
	Trusted []bundle.Key
	Key     bundle.SecretKey // signs; reading takes none
}

// Note is what a change says beside what it does.
type Note struct {
	Reason string
	// Expires is how long the document counts; nil: as long as the one before did.
	Expires *time.Duration
}

// current is the document that nodes read now.
type current struct {
	*bundle.Channel
	content facts.Content
}

// Current returns the channel as nodes read it. It is facts.ErrAbsent if there is
// none yet.
func (p *Publisher) Current(ctx context.Context) (*bundle.Channel, error) {
	now, err := p.current(ctx)
	return now.Channel, err
}

func (p *Publisher) current(ctx context.Context) (current, error) {
	content, err := p.Bucket.Get(ctx, p.object(bundle.ChannelKey(p.Channel)), bundle.MaxChannel)
	if err != nil {
		return current{}, err
	}
	c, err := bundle.Open(content.Body, p.Channel, p.Trusted)
	if err != nil {
		return current{}, fmt.Errorf("cannot trust %s: %w", p.object(bundle.ChannelKey(p.Channel)), err)
	}
	return current{c, content}, nil
}

func (p *Publisher) object(key string) facts.Object { return p.Source.Object(p.Region, key) }

// ErrRace is a change that another one came before.
var ErrRace = errors.New("another change of the channel came before this one: look at its history, and repeat what is still wanted")

// change writes the document that comes after the current one. edit gets a copy
// of it, or nil if the channel is new. What was current is kept as history first,
// so that no document is ever lost.
func (p *Publisher) change(ctx context.Context, note Note, edit func(now *bundle.Channel) (*bundle.Channel, error)) (*bundle.Channel, error) {
	now, err := p.current(ctx)
	only, last := facts.Condition{ETag: now.content.ETag}, uint64(0)
	switch {
	case errors.Is(err, facts.ErrAbsent):
		// A channel that was removed goes on where it was: nodes never go back.
		only = facts.Condition{Absent: true}
		if last, err = p.lastSerial(ctx); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		last = now.Serial
		if err := p.playedBack(ctx, last); err != nil {
			return nil, err
		}
		if note.Expires == nil && !now.Expires.IsZero() && !time.Now().Before(now.Expires) {
			return nil, fmt.Errorf("%w, at %s: look whether it is the latest, and say how long the next one counts: --expires", ErrExpired, now.Expires.Format(time.RFC3339))
		}
	}
	var copied *bundle.Channel
	if now.Channel != nil {
		c := *now.Channel
		copied = &c
	}
	next, err := edit(copied)
	if err != nil {
		return nil, err
	}
	next.Version, next.Name, next.Serial, next.Reason = bundle.Version, p.Channel, last+1, note.Reason
	next.Signed, next.Expires = time.Now().UTC().Truncate(time.Second), time.Time{}
	switch {
	case note.Expires != nil && *note.Expires > 0:
		next.Expires = next.Signed.Add(note.Expires.Truncate(time.Second))
	case note.Expires == nil && now.Channel != nil && !now.Expires.IsZero():
		next.Expires = next.Signed.Add(now.Expires.Sub(now.Signed))
	}
	sealed, err := bundle.Seal(next, p.Key)
	if err != nil {
		return nil, err
	}
	if now.Channel != nil {
		_, err := p.Bucket.Put(ctx, p.object(bundle.HistoryKey(p.Channel, now.Serial)), now.content.Body, facts.Condition{Absent: true})
		if err != nil && !errors.Is(err, facts.ErrExists) {
			return nil, err
		}
	}
	return next, p.replace(ctx, sealed, only)
}

// replace writes the current document. Its answer may get lost, and then the
// document that stands in the way is this one.
func (p *Publisher) replace(ctx context.Context, sealed []byte, only facts.Condition) error {
	o := p.object(bundle.ChannelKey(p.Channel))
	_, err := p.Bucket.Put(ctx, o, sealed, only)
	if !errors.Is(err, facts.ErrChanged) && !errors.Is(err, facts.ErrExists) {
		return err
	}
	if there, readErr := p.Bucket.Get(ctx, o, bundle.MaxChannel); readErr == nil && bytes.Equal(there.Body, sealed) {
		return nil
	}
	return fmt.Errorf("cannot write %s: %w", o, ErrRace)
}

// ErrPlayedBack is a document of the past in the place of the current one. What it
// says would be signed anew, and nodes that know better would not take it.
var ErrPlayedBack = errors.New("somebody has put an old document in its place")

// ErrExpired is a current document that counts no more: it may have been put back by
// somebody who waited for the nodes to be given it anew.
var ErrExpired = errors.New("the current document has expired")

// playedBack is an error if the history has a later document than the current one.
func (p *Publisher) playedBack(ctx context.Context, serial uint64) error {
	latest, err := p.latest(ctx)
	if err != nil || latest <= serial {
		return err
	}
	return fmt.Errorf("cannot trust %s: %w: it has serial %d, and there is %s. Put the latest one back, from the history or the versions of the bucket",
		p.object(bundle.ChannelKey(p.Channel)), ErrPlayedBack, serial, p.object(bundle.HistoryKey(p.Channel, latest)))
}

// lastSerial is the highest serial that a channel may have had that is gone, 0
// without a history: the one that was current is not in it.
func (p *Publisher) lastSerial(ctx context.Context) (uint64, error) {
	latest, err := p.latest(ctx)
	if err != nil || latest == 0 {
		return 0, err
	}
	return latest + 1, nil
}

// latest is the serial of the latest document of the history, 0 if there is none.
// One that no trusted key has signed is none.
func (p *Publisher) latest(ctx context.Context) (uint64, error) {
	serials, err := p.serials(ctx)
	if err != nil {
		return 0, err
	}
	for i, serial := range slices.Backward(serials) {
		_, err := p.past(ctx, serial)
		switch {
		case err == nil:
			return serial, nil
		case errors.Is(err, facts.ErrUnavailable):
			return 0, err
		case len(serials)-i > maxHistory:
			return 0, nil // nothing but noise
		}
	}
	return 0, nil
}

func (p *Publisher) serials(ctx context.Context) (all []uint64, err error) {
	prefix := p.object(bundle.HistoryPrefix(p.Channel))
	keys, err := p.Bucket.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		serial, err := strconv.ParseUint(strings.TrimPrefix(key, prefix.Key), 10, 64)
		if err == nil && p.object(bundle.HistoryKey(p.Channel, serial)).Key == key {
			all = append(all, serial)
		}
	}
	return all, nil
}

// Past is a document of the channel, or what is wrong with it.
type Past struct {
	Serial  uint64
	Channel *bundle.Channel // nil: see Err
	Err     error
}

// History returns the current document and up to most before it, latest first. One
// that no trusted key has signed is listed with its error.
func (p *Publisher) History(ctx context.Context, most int) ([]Past, error) {
	now, err := p.current(ctx)
	if err != nil {
		return nil, err
	}
	all := []Past{{Serial: now.Serial, Channel: now.Channel}}
	serials, err := p.serials(ctx)
	if err != nil {
		return nil, err
	}
	for i := len(serials) - 1; i >= 0 && len(all) <= most; i-- {
		serial := serials[i]
		if serial == now.Serial {
			continue // a change that did not come to its end
		}
		past := Past{Serial: serial}
		past.Channel, past.Err = p.past(ctx, serial)
		if errors.Is(past.Err, facts.ErrUnavailable) {
			return nil, past.Err
		}
		all = append(all, past)
	}
	return all, nil
}

func (p *Publisher) past(ctx context.Context, serial uint64) (*bundle.Channel, error) {
	o := p.object(bundle.HistoryKey(p.Channel, serial))
	content, err := p.Bucket.Get(ctx, o, bundle.MaxChannel)
	if err != nil {
		return nil, err
	}
	c, err := bundle.Open(content.Body, p.Channel, p.Trusted)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot trust %s: %w", o, err)
	case c.Serial != serial:
		return nil, fmt.Errorf("cannot trust %s: it has serial %d", o, c.Serial)
	}
	return c, nil
}

// Fetch returns the archive of a slot.
func (p *Publisher) Fetch(ctx context.Context, s bundle.Slot) ([]byte, error) {
	o := p.object(s.Key)
	content, err := p.Bucket.Get(ctx, o, bundle.MaxSize)
	if err != nil {
		return nil, err
	}
	if bundle.Sum(content.Body) != s.Digest {
		return nil, fmt.Errorf("cannot trust %s: %w", o, bundle.ErrDigest)
	}
	return content.Body, nil
}

// upload puts an archive where its digest says, unless it is there.
func (p *Publisher) upload(ctx context.Context, archive []byte) (bundle.Slot, error) {
	d := bundle.Sum(archive)
	s := bundle.Slot{Digest: d, Size: int64(len(archive)), Key: bundle.ObjectKey(d)}
	_, err := p.Bucket.Put(ctx, p.object(s.Key), archive, facts.Condition{Absent: true})
	if errors.Is(err, facts.ErrExists) {
		_, err = p.Fetch(ctx, s)
	}
	return s, err
}

// Find returns the bundle whose digest begins so. It takes no key: the digest
// vouches for it.
func (p *Publisher) Find(ctx context.Context, digest string) ([]byte, error) {
	keys, err := p.Bucket.List(ctx, p.object(strings.TrimSuffix(bundle.ObjectKey(bundle.Digest(digest)), bundle.Suffix)))
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("cannot find bundle %s in %s: %d of them begin so", digest, p.Source, len(keys))
	}
	_, name, _ := strings.Cut(strings.TrimPrefix(keys[0], p.Source.Prefix), "/")
	d, err := bundle.ParseDigest(strings.TrimSuffix(name, bundle.Suffix))
	if err != nil {
		return nil, err
	}
	return p.Fetch(ctx, bundle.Slot{Digest: d, Key: bundle.ObjectKey(d)})
}

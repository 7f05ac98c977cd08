package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
)

// Push is a bundle that is to run.
type Push struct {
	Note
	Archive      []byte
	Percent      int    // of the nodes; 0: DefaultPercent
	MinimumAgent string // "": any
	Force        bool
	Info         map[string]string
}

// DefaultPercent is how many of the nodes try a bundle at first.
const DefaultPercent = 10

// What needs --force.
var (
	ErrFirst = errors.New("the channel has no stable bundle that the other nodes could run: begin with --percent 100")
	ErrAll   = errors.New("all nodes at once, without a canary: that takes --force")
)

// Push uploads the bundle and makes it the canary of the channel, or with 100
// percent stable. The upload comes first: no document ever names what is not
// there.
func (p *Publisher) Push(ctx context.Context, push Push) (*bundle.Channel, error) {
	percent := push.Percent
	if percent == 0 {
		percent = DefaultPercent
	}
	if percent < 1 || percent > 100 {
		return nil, fmt.Errorf("expected a percentage from 1 to 100, not %d", percent)
	}
	var slot bundle.Slot
	next, err := p.change(ctx, push.Note, func(now *bundle.Channel) (_ *bundle.Channel, err error) {
		switch {
		case now == nil && percent < 100:
			return nil, ErrFirst
		case now == nil:
			now = &bundle.Channel{}
		case percent == 100 && !push.Force:
			return nil, ErrAll
		case now.Stable.Digest == bundle.Sum(push.Archive):
			return nil, fmt.Errorf("bundle %s is stable already", now.Stable.Digest.Short())
		case now.Canary != nil && now.Canary.Digest == bundle.Sum(push.Archive) && now.Canary.Percent != percent && !push.Force:
			return nil, fmt.Errorf("%d%% of the nodes try bundle %s already: promote it, or roll back", now.Canary.Percent, now.Canary.Digest.Short())
		}
		if slot, err = p.upload(ctx, push.Archive); err != nil {
			return nil, err
		}
		slot.MinimumAgent = push.MinimumAgent
		if slot.Attempt, err = p.attempt(ctx, now, slot.Digest); err != nil {
			return nil, err
		}
		now.Info = push.Info
		if percent == 100 {
			now.Stable, now.Canary = slot, nil
		} else {
			now.Canary = &bundle.Canary{Slot: slot, Percent: percent}
		}
		return now, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot push to the channel %s: %w", p.Channel, err)
	}
	return next, nil
}

// maxHistory is how far back is looked.
const maxHistory = 50

// attempt is the latest attempt at a bundle: nodes that found it bad must not
// forget that because it was taken back meanwhile.
func (p *Publisher) attempt(ctx context.Context, now *bundle.Channel, d bundle.Digest) (int, error) {
	if now.Serial == 0 {
		return 0, nil
	}
	s, err := p.known(ctx, string(d))
	if errors.Is(err, errUnknown) {
		return 0, nil
	}
	return s.Attempt, err
}

var errUnknown = errors.New("the channel has not had it lately: ecsnode bundle history")

// known finds a bundle that the channel has or had, by the beginning of its
// digest, with its latest attempt.
func (p *Publisher) known(ctx context.Context, digest string) (found bundle.Slot, err error) {
	const least = 4
	if len(digest) < least {
		return bundle.Slot{}, fmt.Errorf("%q is too short for a digest: expected its first %d digits or more", digest, least)
	}
	history, err := p.History(ctx, maxHistory)
	if err != nil {
		return bundle.Slot{}, err
	}
	for _, past := range history {
		if past.Channel == nil {
			continue
		}
		for _, s := range slots(past.Channel) {
			switch {
			case !strings.HasPrefix(string(s.Digest), digest):
			case found.Digest == "":
				found = s
			case found.Digest != s.Digest:
				return bundle.Slot{}, fmt.Errorf("%q is the beginning of more than one digest", digest)
			default:
				found.Attempt = max(found.Attempt, s.Attempt)
			}
		}
	}
	if found.Digest == "" {
		return found, fmt.Errorf("%s: %w", digest, errUnknown)
	}
	return found, nil
}

func slots(c *bundle.Channel) []bundle.Slot {
	if c.Canary == nil {
		return []bundle.Slot{c.Stable}
	}
	return []bundle.Slot{c.Stable, c.Canary.Slot}
}

// Promote raises the percentage of nodes that try the canary; at 100 it is
// stable. Whether that is wise is for [Judge].
func (p *Publisher) Promote(ctx context.Context, canary bundle.Digest, percent int, note Note) (*bundle.Channel, error) {
	next, err := p.change(ctx, note, func(now *bundle.Channel) (*bundle.Channel, error) {
		switch {
		case now == nil || now.Canary == nil:
			return nil, errors.New("it has no canary")
		case now.Canary.Digest != canary:
			return nil, ErrRace // it is not the one that was judged
		case percent <= now.Canary.Percent || percent > 100:
			return nil, fmt.Errorf("expected more than %d%%, which the canary has, and at most 100%%: to take it back there is rollback", now.Canary.Percent)
		case percent == 100:
			now.Stable, now.Canary = now.Canary.Slot, nil
		default:
			now.Canary = &bundle.Canary{Slot: now.Canary.Slot, Percent: percent}
		}
		return now, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot promote in the channel %s: %w", p.Channel, err)
	}
	return next, nil
}

// Rollback takes a canary back, or without one makes the bundle stable that was
// before. With a digest that bundle, which the channel has had, is stable.
func (p *Publisher) Rollback(ctx context.Context, digest string, note Note) (*bundle.Channel, error) {
	next, err := p.change(ctx, note, func(now *bundle.Channel) (*bundle.Channel, error) {
		if now == nil {
			return nil, errors.New("there is no such channel")
		}
		if digest == "" && now.Canary != nil {
			now.Canary = nil
			return now, nil
		}
		slot, err := p.former(ctx, now, digest)
		if err != nil {
			return nil, err
		}
		now.Stable, now.Canary, now.Info = slot, nil, nil
		return now, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot roll the channel %s back: %w", p.Channel, err)
	}
	return next, nil
}

// former is the bundle of that digest, or that was stable before the current.
func (p *Publisher) former(ctx context.Context, now *bundle.Channel, digest string) (bundle.Slot, error) {
	if digest == "" {
		history, err := p.History(ctx, maxHistory)
		if err != nil {
			return bundle.Slot{}, err
		}
		history = slices.DeleteFunc(history, func(past Past) bool { return past.Serial > now.Serial }) // what somebody made up
		for i, past := range history {
			if want := now.Serial - uint64(i); past.Serial != want || past.Channel == nil {
				return bundle.Slot{}, fmt.Errorf("what was stable before cannot be told: the document with serial %d is not in the history, or not trusted: name the bundle by its digest", want)
			}
			if past.Channel.Stable.Digest != now.Stable.Digest {
				digest = string(past.Channel.Stable.Digest)
				break
			}
		}
		if digest == "" {
			return bundle.Slot{}, errors.New("no other bundle was stable before: name one by its digest")
		}
	}
	slot, err := p.known(ctx, digest)
	if err != nil {
		return slot, err
	}
	if slot.Digest == now.Stable.Digest && now.Canary == nil {
		return slot, fmt.Errorf("bundle %s is stable already", slot.Digest.Short())
	}
	_, err = p.Fetch(ctx, slot) // no document ever names what is not there
	return slot, err
}

// Retry has the nodes forget that a bundle of the channel was bad for them.
func (p *Publisher) Retry(ctx context.Context, digest string, note Note) (*bundle.Channel, error) {
	next, err := p.change(ctx, note, func(now *bundle.Channel) (*bundle.Channel, error) {
		if now == nil {
			return nil, errors.New("there is no such channel")
		}
		slot, err := p.known(ctx, digest)
		if err != nil {
			return nil, err
		}
		slot.Attempt++
		switch {
		case now.Stable.Digest == slot.Digest:
			now.Stable.Attempt = slot.Attempt
		case now.Canary != nil && now.Canary.Digest == slot.Digest:
			canary := *now.Canary
			canary.Attempt = slot.Attempt
			now.Canary = &canary
		default:
			return nil, fmt.Errorf("bundle %s is neither stable nor canary: push it, or roll back to it", slot.Digest.Short())
		}
		return now, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot retry in the channel %s: %w", p.Channel, err)
	}
	return next, nil
}

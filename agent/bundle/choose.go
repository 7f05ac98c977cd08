package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// Node is what a node knows when it reads its channel.
type Node struct {
	ID    string // of the instance
	Agent string // its version
	// Seen is the highest serial that the node has taken of this channel.
	Seen uint64
	// Bad are the bundles that were bad for this node, with the attempt that was.
	// They count until the channel names a later attempt.
	Bad map[Digest]int
}

// Choice is which bundle of a channel a node runs.
type Choice int

// What a node does about its channel.
const (
	Keep   Choice = iota // what it runs, whatever that is
	Stable               // the bundle for all
	Trial                // the canary
)

func (c Choice) String() string { return [...]string{"keep", "stable", "canary"}[c] }

// Decision is what a node runs, and why.
type Decision struct {
	Choice Choice
	Slot   Slot   // the bundle; empty for Keep
	Why    string // in words that stay the same while the reason does
	// Refused is set beside Keep if the document must bring no change: it is
	// old or expired. Its serial is not to be taken either.
	Refused bool
	// Warnings are what an operator should see to.
	Warnings []string
}

// ExpiryWarning is how long before it expires a document is warned of.
const ExpiryWarning = 7 * 24 * time.Hour

// Choose decides which bundle of the channel a node runs. The document must have
// been verified.
func (c *Channel) Choose(n Node, now time.Time) Decision {
	if c.Serial < n.Seen {
		return Decision{Why: fmt.Sprintf("serial %d is older than %d, which the node has seen", c.Serial, n.Seen), Refused: true}
	}
	var d Decision
	if !c.Expires.IsZero() {
		at := c.Expires.UTC().Format(time.RFC3339)
		if !now.Before(c.Expires) {
			return Decision{Why: "it expired at " + at + ": push or sign it anew", Refused: true}
		}
		if c.Expires.Sub(now) <= ExpiryWarning {
			d.Warnings = append(d.Warnings, fmt.Sprintf("the channel %s expires at %s: push or sign it anew", c.Name, at))
		}
	}
	if canary := c.Canary; canary != nil && InCanary(n.ID, canary.Digest, canary.Percent) {
		why := n.unfit(canary.Slot)
		if why == "" {
			d.Choice, d.Slot, d.Why = Trial, canary.Slot, fmt.Sprintf("it is of the %d%% that try it", canary.Percent)
			return d
		}
		d.Warnings = append(d.Warnings, "the canary "+why)
	}
	if why := n.unfit(c.Stable); why != "" {
		d.Why = "stable " + why
		return d
	}
	d.Choice, d.Slot, d.Why = Stable, c.Stable, "it is stable"
	return d
}

// unfit says why a bundle is not for this node, or "".
func (n Node) unfit(s Slot) string {
	if attempt, bad := n.Bad[s.Digest]; bad && s.Attempt <= attempt {
		return s.Digest.Short() + " was bad for this node: push another, or ecsnode bundle retry"
	}
	if !newEnough(n.Agent, s.MinimumAgent) {
		return fmt.Sprintf("%s takes agent %s, and this is %s", s.Digest.Short(), s.MinimumAgent, n.Agent)
	}
	return ""
}

// InCanary reports whether an instance is of the percentage that tries a bundle.
// Another bundle is tried by others; a higher percentage adds nodes to those
// that try this one, and takes none away.
func InCanary(instanceID string, d Digest, percent int) bool {
	sum := sha256.Sum256([]byte("ecsnode canary\x00" + string(d) + "\x00" + instanceID))
	const parts = 10_000
	return binary.BigEndian.Uint64(sum[:8])%parts < uint64(max(percent, 0))*parts/100
}

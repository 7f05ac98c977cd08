package facts

import (
	"reflect"
	"time"
)

// Bundle is how a node stands with configuration bundles.
type Bundle struct {
	Digest string    `json:"digest,omitempty"` // of the one in effect; "": the baked configuration
	Since  time.Time `json:"since,omitzero"`
	Why    string    `json:"why,omitempty"`
	Good   string    `json:"last_good,omitempty"` // where the node goes back to; "": the baked configuration
	// Watched says until when the one in effect is, if all goes well; zero: it is
	// not, or not any longer.
	Watched time.Time `json:"watched_until,omitzero"`

	Channel string `json:"channel,omitempty"` // that is followed
	Serial  uint64 `json:"serial,omitempty"`  // the highest that was taken
	// Wanted is what should be in effect and is not, and Waits why not.
	Wanted string      `json:"wanted,omitempty"`
	Waits  string      `json:"waits,omitempty"`
	Pinned string      `json:"pinned,omitempty"` // by the operator: a digest, or NoBundle
	Bad    []BadBundle `json:"bad,omitempty"`    // latest first
	Looked time.Time   `json:"looked_at,omitzero"`
	Next   time.Time   `json:"next_look,omitzero"`
}

// NoBundle stands for the baked configuration where a digest is expected.
const NoBundle = "none"

// BadBundle is one that the node went back from, or has refused.
type BadBundle struct {
	Digest  string    `json:"digest"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
	Refused bool      `json:"refused,omitempty"` // it never was in effect
}

// Equal reports whether both say the same.
func (b Bundle) Equal(o Bundle) bool { return reflect.DeepEqual(b, o) }

// BundlePin is the bundle that the operator has chosen.
type BundlePin struct {
	Digest string    `json:"digest,omitempty"` // "": none is; NoBundle: the baked configuration
	At     time.Time `json:"at,omitzero"`
}

// Equal reports whether both say the same.
func (p BundlePin) Equal(o BundlePin) bool { return p.Digest == o.Digest && p.At.Equal(o.At) }

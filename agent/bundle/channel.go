package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Channel is a document that says what the nodes that follow it run.
//
// An agent of today may read a document of tomorrow. It is safe then because it
// takes no document with a field that it does not know: such a field may be a
// condition. It keeps what it runs and says so. What is not for nodes goes into
// Info, which no agent ever acts on. A change of what known fields mean takes
// another Version.
type Channel struct {
	Version int    `json:"version"`
	Name    string `json:"channel"`
	// Serial grows with each document of the channel. A node never goes back.
	Serial uint64    `json:"serial"`
	Signed time.Time `json:"signed"` // when, for people
	Reason string    `json:"reason,omitempty"`
	// Expires is when the document stops to bring changes; zero: never.
	Expires time.Time         `json:"expires,omitzero"`
	Stable  Slot              `json:"stable"`
	Canary  *Canary           `json:"canary,omitempty"`
	Info    map[string]string `json:"info,omitempty"`
}

// Slot is a bundle in a channel.
type Slot struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	// Key is where the bundle is, below the source of the channel.
	Key string `json:"key"`
	// MinimumAgent is the oldest agent that understands the bundle, such as
	// v1.4.0; "": any.
	MinimumAgent string `json:"minimum_agent,omitempty"`
	// Attempt grows when nodes are to forget that the bundle was bad for them.
	Attempt int `json:"attempt,omitempty"`
}

// Canary is a bundle that some nodes try.
type Canary struct {
	Slot
	Percent int `json:"percent"` // of the nodes, from 1 to 99
}

// Bounds of a channel's document.
const (
	Version = 1
	// MaxChannel is how long a document with its signature may be.
	MaxChannel = 64 << 10
	maxText    = 1024
)

var (
	// ErrNewer is a document that was written for a newer agent.
	ErrNewer = errors.New("it is written for a newer agent")

	channelName = pattern.New(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	objectKey   = pattern.New(`^[A-Za-z0-9._/-]{1,512}$`)
)

// ValidName reports whether it can be the name of a channel.
func ValidName(name string) bool { return channelName.MatchString(name) }

// ParseChannel reads a document as [Channel.Marshal] writes it: any other
// spelling of the same is refused, and so is what has two readings. An error is
// ErrNewer if the document has what this agent does not know.
func ParseChannel(document []byte) (*Channel, error) {
	c, err := decode(document)
	if err != nil {
		return nil, err
	}
	same, err := c.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(same, document) {
		return nil, errors.New("it is not written as a channel's document is: a key twice, or in another form")
	}
	return c, nil
}

// DraftChannel reads a document that a person wrote, in any spelling, for
// [Seal] to check.
func DraftChannel(document []byte) (*Channel, error) { return decode(document) }

func decode(document []byte) (*Channel, error) {
	if len(document) > MaxChannel {
		return nil, fmt.Errorf("it is longer than %d KiB", MaxChannel>>10)
	}
	var of struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(document, &of); err != nil {
		return nil, fmt.Errorf("it is no channel's document: %w", err)
	}
	if of.Version > Version {
		return nil, fmt.Errorf("%w: version %d, and this one knows %d", ErrNewer, of.Version, Version)
	}
	c := &Channel{}
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		// The document is well-formed JSON: what is left is a type or a field.
		if text, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			return nil, fmt.Errorf("%w: field %s", ErrNewer, text)
		}
		return nil, fmt.Errorf("it is no channel's document: %w", err)
	}
	return c, nil
}

// Marshal writes the document in its one form. It fails for what ParseChannel
// would refuse.
func (c *Channel) Marshal() ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	if b.Len() > MaxChannel/2 { // a signature comes with it
		return nil, fmt.Errorf("it is longer than %d KiB", MaxChannel>>11)
	}
	return b.Bytes(), nil
}

func (c *Channel) validate() error {
	switch {
	case c.Version != Version:
		return fmt.Errorf("version: expected %d", Version)
	case !ValidName(c.Name):
		return fmt.Errorf("channel: %q is no name of a channel", c.Name)
	case c.Serial == 0:
		return errors.New("serial: expected 1 or more")
	case c.Signed.IsZero():
		return errors.New("signed: expected when the document was signed")
	case len(c.Reason) > maxText:
		return fmt.Errorf("reason: expected %d bytes at most", maxText)
	}
	if err := c.Stable.validate(); err != nil {
		return fmt.Errorf("stable.%w", err)
	}
	if c.Canary == nil {
		return nil
	}
	if err := c.Canary.validate(); err != nil {
		return fmt.Errorf("canary.%w", err)
	}
	if c.Canary.Percent < 1 || c.Canary.Percent > 99 {
		return fmt.Errorf("canary.percent: expected 1 to 99, not %d: what all nodes run is stable", c.Canary.Percent)
	}
	if c.Canary.Digest == c.Stable.Digest {
		return errors.New("canary.digest: it is that of stable")
	}
	return nil
}

func (s Slot) validate() error {
	if _, err := ParseDigest(string(s.Digest)); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	switch {
	case s.Size < 1 || s.Size > MaxSize:
		return fmt.Errorf("size: expected 1 to %d", MaxSize)
	case !objectKey.MatchString(s.Key) || path.Clean("/" + s.Key)[1:] != s.Key:
		return fmt.Errorf("key: %q is no key below the source", s.Key)
	case s.Attempt < 0:
		return errors.New("attempt: expected 0 or more")
	}
	if _, ok := parseVersion(s.MinimumAgent); s.MinimumAgent != "" && !ok {
		return fmt.Errorf("minimum_agent: %q is no version such as v1.4.0", s.MinimumAgent)
	}
	return nil
}

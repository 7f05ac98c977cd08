package sim

import (
	"fmt"
	"maps"
	"regexp"
	"time"
	"unicode/utf8"
)

// Node is one instance of a World, with its IMDS, its ECS agent and its Docker
// Engine. Its state is guarded by the world's lock.
type Node struct {
	world *World

	instance     Instance
	tags         map[string]string
	metadataTags bool                 // InstanceMetadataTags=enabled
	imdsDisabled bool                 // HttpEndpoint=disabled
	tokens       map[string]time.Time // session token → when it expires
	issued       *credentials         // what IMDS hands out at the moment
	tokenless    bool                 // that is without a session token
	notices      notices
	agent        agentState
	docker       dockerState
	provider     string // capacity provider; "": none
	group        string // Auto Scaling group; "": in none
	health       string // of the instance in its group
	hooks        []LifecycleHook
	terminating  time.Time // since when; zero: it is not
	actions      []*lifecycleAction
}

// Instance is what the node's instance is now.
func (n *Node) Instance() Instance {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.instance
}

// SetInstance replaces the instance, zero fields filled with their defaults:
// another id is a new instance made from an image of this one.
func (n *Node) SetInstance(i Instance) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.instance = i.withDefaults()
	n.issued = nil
	clear(n.tokens)
}

// SetLifecycle sets what instance-life-cycle says: on-demand, spot, ...
func (n *Node) SetLifecycle(lifecycle string) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.instance.Lifecycle = lifecycle
}

// Limits of tags, and of the keys IMDS can serve.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const (
	maxTags       = 50
	maxTagKeyLen  = 128
	maxTagValLen  = 256
	metadataTagRE = `^[A-Za-z0-9+\-=._,:@]+$`
)

var metadataTagKey = regexp.MustCompile(metadataTagRE)

func validMetadataTagKey(key string) bool {
	return metadataTagKey.MatchString(key) && key != "." && key != ".." && key != "_index"
}

// SetTag sets one tag of the instance. As AWS does, it refuses more than 50
// tags, keys over 128 and values over 256 characters and, while tags are
// readable through IMDS, keys that IMDS cannot serve.
func (n *Node) SetTag(key, value string) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	tags := maps.Clone(n.tags)
	tags[key] = value
	return n.replaceTags(tags, n.metadataTags)
}

// SetTags replaces all tags, under SetTag's rules.
func (n *Node) SetTags(tags map[string]string) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.replaceTags(maps.Clone(tags), n.metadataTags)
}

// DeleteTag removes a tag; removing one that is not there is fine.
func (n *Node) DeleteTag(key string) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	delete(n.tags, key)
}

// Tags is a copy of the instance's tags.
func (n *Node) Tags() map[string]string {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return maps.Clone(n.tags)
}

// EnableMetadataTags sets the instance metadata option InstanceMetadataTags.
// It is refused while a tag has a key that IMDS cannot serve.
func (n *Node) EnableMetadataTags(enabled bool) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.replaceTags(n.tags, enabled)
}

func (n *Node) replaceTags(tags map[string]string, inMetadata bool) error {
	if len(tags) > maxTags {
		return fmt.Errorf("cannot tag %s: %d tags, AWS allows %d", n.instance.ID, len(tags), maxTags)
	}
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > maxTagKeyLen:
			return fmt.Errorf("cannot tag %s: key %q is not 1 to %d characters", n.instance.ID, key, maxTagKeyLen)
		case utf8.RuneCountInString(value) > maxTagValLen:
			return fmt.Errorf("cannot tag %s: value of %q is over %d characters", n.instance.ID, key, maxTagValLen)
		case inMetadata && !validMetadataTagKey(key):
			return fmt.Errorf("cannot tag %s: key %q cannot be served by IMDS", n.instance.ID, key)
		}
	}
	if tags == nil {
		tags = map[string]string{}
	}
	n.tags, n.metadataTags = tags, inMetadata
	return nil
}

// EnableIMDS sets the instance metadata option HttpEndpoint: while it is
// disabled every request is answered 403.
func (n *Node) EnableIMDS(enabled bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.imdsDisabled = !enabled
}

// ExpireTokens makes every session token handed out so far invalid at once.
func (n *Node) ExpireTokens() {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	clear(n.tokens)
}

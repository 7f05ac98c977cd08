// Package facts holds the nouns of the agent: what has been observed about the
// node, and the three ways in which an observation can fail.
package facts

import (
	"maps"
	"slices"
)

// Instance is what the node is, as EC2 tells it. It holds nothing that changes
// from one reading to the next, so that an equal Instance wakes nobody.
type Instance struct {
	ID              string `json:"instance_id"`
	Type            string `json:"instance_type"`
	Region          string `json:"region"`
	Zone            string `json:"availability_zone"`
	ZoneID          string `json:"availability_zone_id,omitempty"`
	AccountID       string `json:"account_id"`
	ImageID         string `json:"image_id"`
	Architecture    string `json:"architecture"` // "x86_64" or "arm64"
	PrivateIP       string `json:"private_ip,omitempty"`
	Hostname        string `json:"hostname,omitempty"`        // local-hostname
	Lifecycle       string `json:"lifecycle,omitempty"`       // Spot, OnDemand or another word of EC2's
	PlacementGroup  string `json:"placement_group,omitempty"` // empty: not in one
	PlacementPart   string `json:"placement_partition,omitempty"`
	PlacementHostID string `json:"placement_host_id,omitempty"`
	Tags            Tags   `json:"tags"`
}

// Values of [Instance.Lifecycle] that the agent acts on. EC2 has others
// ("scheduled", "capacity-block"), which are carried as they are.
const (
	Spot     = "spot"
	OnDemand = "on-demand"
)

// Equal reports whether i and o say the same.
func (i Instance) Equal(o Instance) bool {
	it, ot := i.Tags, o.Tags
	i.Tags, o.Tags = Tags{}, Tags{}
	return i.comparable() == o.comparable() && it.Equal(ot)
}

// comparable is an Instance without its map, for ==.
func (i Instance) comparable() [14]string {
	return [...]string{
		i.ID, i.Type, i.Region, i.Zone, i.ZoneID, i.AccountID, i.ImageID, i.Architecture,
		i.PrivateIP, i.Hostname, i.Lifecycle, i.PlacementGroup, i.PlacementPart, i.PlacementHostID,
	}
}

// Where tags were read.
const (
	TagsFromIMDS = "imds" // tags/instance: InstanceMetadataTags is enabled
	TagsFromEC2  = "ec2"  // ec2:DescribeTags
)

// Presence tells a tag that is not there from a tag nobody could look for.
type Presence int

// The three states of a tag.
const (
	Unavailable Presence = iota // not known: no source of tags has answered
	Absent                      // the source answered and the tag is not set
	Present
)

func (p Presence) String() string {
	return [...]string{"unavailable", "absent", "present"}[p]
}

// Tags are the instance's tags as last read. The zero value knows nothing:
// every tag is [Unavailable].
type Tags struct {
	// Source is [TagsFromIMDS] or [TagsFromEC2]; empty when no source has
	// ever answered, and then Why says what each of them said.
	Source string            `json:"source,omitempty"`
	Values map[string]string `json:"values,omitempty"`
	Why    string            `json:"why,omitempty"`
}

// Lookup returns the value of a tag and whether it is there.
func (t Tags) Lookup(key string) (string, Presence) {
	if t.Source == "" {
		return "", Unavailable
	}
	v, ok := t.Values[key]
	if !ok {
		return "", Absent
	}
	return v, Present
}

// Keys returns the keys in order.
func (t Tags) Keys() []string { return slices.Sorted(maps.Keys(t.Values)) }

// Equal reports whether t and o say the same.
func (t Tags) Equal(o Tags) bool {
	return t.Source == o.Source && t.Why == o.Why && maps.Equal(t.Values, o.Values)
}

// ContainerInstance is what the ECS agent on this node says it is registered
// as. The zero value is a node that is not registered.
type ContainerInstance struct {
	ARN string `json:"arn,omitempty"`
	// Cluster is a name or an ARN, as the agent is configured with it: the
	// agent takes another spelling of the same cluster for another cluster.
	Cluster      string `json:"cluster,omitempty"`
	AgentVersion string `json:"agent_version,omitempty"` // such as "1.108.2"
}

// Registered reports whether the node has joined a cluster.
func (c ContainerInstance) Registered() bool { return c.ARN != "" }

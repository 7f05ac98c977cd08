package sim

import (
	"slices"
	"time"
)

// notices are what IMDS tells of the near future of the instance.
type notices struct {
	spotAction string // "" while there is no notice
	spotTime   time.Time
	rebalance  time.Time // zero while there is none
	target     string    // target-lifecycle-state, "" outside an Auto Scaling group
	scheduled  []ScheduledEvent
}

// ScheduledEvent is an entry of events/maintenance/scheduled.
// Shape: aws/aws-node-termination-handler:pkg/ec2metadata/ec2metadata.go.
type ScheduledEvent struct {
	Code        string    `yaml:"code" json:"code"` // instance-stop, system-reboot, instance-retirement ...
	Description string    `yaml:"description" json:"description"`
	EventID     string    `yaml:"event_id" json:"event_id"`
	State       string    `yaml:"state" json:"state"` // active, completed, canceled
	NotBefore   time.Time `yaml:"not_before" json:"not_before"`
	NotAfter    time.Time `yaml:"not_after" json:"not_after"` // zero: served as ""
}

// SetSpotInterruption puts up a Spot interruption notice: action is terminate,
// stop or hibernate.
func (n *Node) SetSpotInterruption(action string, at time.Time) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.notices.spotAction, n.notices.spotTime = action, at
}

// ClearSpotInterruption takes the Spot notice away.
func (n *Node) ClearSpotInterruption() { n.SetSpotInterruption("", time.Time{}) }

// SetRebalanceRecommendation puts up a rebalance recommendation; the zero time
// takes it away.
func (n *Node) SetRebalanceRecommendation(noticeTime time.Time) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.notices.rebalance = noticeTime
}

// SetTargetLifecycleState sets the Auto Scaling target state: InService,
// Terminated, Standby, Warmed:Stopped ...; "" is an instance outside a group.
func (n *Node) SetTargetLifecycleState(state string) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.notices.target = state
}

// SetScheduledEvents replaces the list of scheduled maintenance events.
func (n *Node) SetScheduledEvents(events []ScheduledEvent) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.notices.scheduled = slices.Clone(events)
}

package facts

import "time"

// Sources of notices.
const (
	NoticeSpot        = "spot"
	NoticeRebalance   = "rebalance"
	NoticeAutoScaling = "autoscaling"
	NoticeMaintenance = "maintenance"
	NoticeShutdown    = "shutdown"
	NoticeOperator    = "operator"
)

// Notice is news that the node will go, or is to be empty. It holds nothing
// that changes from one reading to the next.
type Notice struct {
	Source string `json:"source"`
	What   string `json:"what"`         // in the source's words: terminate, Terminated, system-reboot, ...
	ID     string `json:"id,omitempty"` // tells it from another of the same source: an event's id, a time
	// Drain: the node is to be drained for it. Others are only shown.
	Drain bool `json:"drain"`
	// Start is when the drain for it begins; zero: at once.
	Start time.Time `json:"start,omitzero"`
	// By is when the source says that it happens, zero if it does not say.
	By time.Time `json:"by,omitzero"`
	// Hard: what still runs at By is killed by others. Beyond a soft deadline
	// nothing happens by itself.
	Hard bool `json:"hard"`
	// Cap bounds a drain where By is zero, counted from when the notice was first
	// seen; zero: it is not bounded.
	Cap time.Duration `json:"cap_ns,omitempty"`
	// Force: what is left at the deadline is stopped though it is soft.
	Force bool `json:"force,omitempty"`
	// Lapses is how long after it was first seen the notice stops counting if
	// no other comes; zero: never.
	Lapses time.Duration `json:"lapses_ns,omitempty"`
	Why    string        `json:"why,omitempty"` // somebody's words
}

// Key tells notices apart.
func (n Notice) Key() string { return n.Source + "/" + n.What + "/" + n.ID }

// SpotAction is what EC2 has announced for a Spot Instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
type SpotAction struct {
	Action string // SpotTerminate, SpotStop, SpotHibernate
	Time   time.Time
}

// Actions of a SpotAction.
const (
	SpotTerminate = "terminate"
	SpotStop      = "stop"
	SpotHibernate = "hibernate"
)

// Maintenance is an event scheduled for the instance.
// Shape: aws/aws-node-termination-handler:pkg/ec2metadata/ec2metadata.go
type Maintenance struct {
	ID          string
	Code        string // instance-stop, instance-reboot, system-reboot, system-maintenance, instance-retirement
	State       string // active, completed, canceled
	Description string
	NotBefore   time.Time
	NotAfter    time.Time // zero: not said
}

package sim

import (
	"maps"
	"slices"
	"time"
)

// State is everything about a world and its own node but the call log, for
// people to look at.
type State struct {
	Instance     Instance          `json:"instance"`
	Tags         map[string]string `json:"tags"`
	MetadataTags bool              `json:"metadata_tags"`
	IMDS         bool              `json:"imds"`

	SpotAction              string           `json:"spot_action,omitempty"`
	SpotTime                time.Time        `json:"spot_time,omitzero"`
	RebalanceRecommendation time.Time        `json:"rebalance_recommendation,omitzero"`
	TargetLifecycleState    string           `json:"target_lifecycle_state,omitempty"`
	ScheduledEvents         []ScheduledEvent `json:"scheduled_events"`

	AgentRunning      bool               `json:"agent_running"`
	ContainerInstance *ContainerInstance `json:"container_instance"` // null until registered
	Tasks             []Task             `json:"tasks"`
	ECSTasks          []ECSTask          `json:"ecs_tasks"` // of all clusters

	Buckets    []BucketState    `json:"buckets"`
	Parameters []ParameterState `json:"parameters"`
	Secrets    []SecretState    `json:"secrets"`

	Denied    []string         `json:"denied"`
	Throttled bool             `json:"throttled"`
	Rates     map[string]Rate  `json:"rates"`
	Faults    map[string]Fault `json:"faults"`
}

// State is a copy of the world's state.
func (w *World) State() State {
	s := State{Throttled: w.throttle.isEnabled(), Rates: w.Rates(), Faults: w.Faults()}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Instance, s.Tags, s.MetadataTags, s.IMDS = w.instance, maps.Clone(w.tags), w.metadataTags, !w.imdsDisabled
	s.SpotAction, s.SpotTime = w.notices.spotAction, w.notices.spotTime
	s.RebalanceRecommendation, s.TargetLifecycleState = w.notices.rebalance, w.notices.target
	s.ScheduledEvents = slices.Clone(w.notices.scheduled)
	s.AgentRunning, s.Tasks, s.ECSTasks = w.agent.running, w.agentTasks(), w.ecsTasks()
	if ci, registered := w.agent.registered.view(); registered {
		s.ContainerInstance = &ci
	}
	s.Buckets, s.Parameters, s.Secrets = w.bucketStates(), w.parameterStates(), w.secretStates()
	s.Denied = slices.Sorted(maps.Keys(w.denied))
	return s
}

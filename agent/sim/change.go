package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Change is a change of a world as scenarios and the control API write it.
// What is left out stays as it is. Node state is that of the world's own node.
type Change struct {
	// Instance replaces the instance; what it leaves out gets its default.
	Instance *Instance `yaml:"instance"`
	// Tags replaces all tags, SetTags sets some, DeleteTags removes some.
	Tags       map[string]string `yaml:"tags"`
	SetTags    map[string]string `yaml:"set_tags"`
	DeleteTags []string          `yaml:"delete_tags"`
	// MetadataTags and IMDS are the metadata options InstanceMetadataTags and
	// HttpEndpoint.
	MetadataTags *bool `yaml:"metadata_tags"`
	IMDS         *bool `yaml:"imds"`
	ExpireTokens bool  `yaml:"expire_tokens"`
	// SessionTokens is whether the role's credentials have one, as AWS's always do.
	SessionTokens *bool  `yaml:"session_tokens"`
	Lifecycle     string `yaml:"lifecycle"`

	SpotInterruption *SpotInterruption `yaml:"spot_interruption"`
	// RebalanceRecommendation puts one up as of now, or takes it away.
	RebalanceRecommendation *bool `yaml:"rebalance_recommendation"`
	// TargetLifecycleState of "" is an instance outside a group.
	TargetLifecycleState *string           `yaml:"target_lifecycle_state"`
	ScheduledEvents      *[]ScheduledEvent `yaml:"scheduled_events"`
	Group                *string           `yaml:"group"` // Auto Scaling group; "": none
	LifecycleHooks       *[]LifecycleHook  `yaml:"lifecycle_hooks"`
	Terminate            bool              `yaml:"terminate"` // by its group

	Clusters []string `yaml:"clusters"` // that exist
	// Registered registers with the named cluster; "" deregisters.
	Registered              *string `yaml:"registered"`
	AgentRunning            *bool   `yaml:"agent_running"`
	ContainerInstanceStatus string  `yaml:"container_instance_status"`
	Tasks                   *[]Task `yaml:"tasks"`
	TasksChange             `yaml:",inline"`
	DockerChange            `yaml:",inline"`

	Buckets []Bucket `yaml:"buckets"` // of S3

	// Parameters and Secrets get a new version; DeleteSecrets marks for deletion.
	Parameters       []Parameter `yaml:"parameters"`
	DeleteParameters []string    `yaml:"delete_parameters"`
	Secrets          []Secret    `yaml:"secrets"`
	DeleteSecrets    []string    `yaml:"delete_secrets"`

	Deny     []string        `yaml:"deny"` // IAM actions, see World.Deny
	Allow    []string        `yaml:"allow"`
	Throttle *bool           `yaml:"throttle"`
	Rates    map[string]Rate `yaml:"rates"` // by bucket
	// Faults are set by pattern; ClearFaults names patterns to clear first,
	// ClearAllFaults clears all.
	ClearAllFaults bool             `yaml:"clear_all_faults"`
	ClearFaults    []string         `yaml:"clear_faults"`
	Faults         map[string]Fault `yaml:"faults"`
}

// SpotInterruption is a notice In from now; an empty action takes it away.
type SpotInterruption struct {
	Action string        `yaml:"action"`
	In     time.Duration `yaml:"in"`
}

// validate finds what can be found wrong without a world.
func (c Change) validate() error {
	if s := c.SpotInterruption; s != nil && !slices.Contains([]string{"", "terminate", "stop", "hibernate"}, s.Action) {
		return fmt.Errorf("spot_interruption: unknown action %q, want terminate, stop or hibernate", s.Action)
	}
	if c.LifecycleHooks != nil {
		for i, h := range *c.LifecycleHooks {
			if err := h.validate(); err != nil {
				return fmt.Errorf("lifecycle_hooks[%d]: %w", i, err)
			}
		}
	}
	for i, b := range c.Buckets {
		if err := b.validate(); err != nil {
			return fmt.Errorf("buckets[%d]: %w", i, err)
		}
	}
	for i, p := range c.Parameters {
		if err := p.validate(); err != nil {
			return fmt.Errorf("parameters[%d]: %w", i, err)
		}
	}
	for i, s := range c.Secrets {
		if err := s.validate(); err != nil {
			return fmt.Errorf("secrets[%d]: %w", i, err)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Faults)) {
		if err := c.Faults[pattern].validate(); err != nil {
			return fmt.Errorf("faults: %s: %w", pattern, err)
		}
	}
	for _, bucket := range slices.Sorted(maps.Keys(c.Rates)) {
		if _, known := PublishedRates()[bucket]; !known {
			return fmt.Errorf("rates: unknown bucket %q, want one of %q", bucket, slices.Sorted(maps.Keys(PublishedRates())))
		}
	}
	return nil
}

// Apply carries a change out. On an error it is carried out in part.
func (w *World) Apply(c Change) error {
	if err := c.validate(); err != nil {
		return err
	}
	if err := w.applyIdentity(c); err != nil {
		return err
	}
	w.applyNotices(c)
	if err := w.applyECS(c); err != nil {
		return err
	}
	for _, b := range c.Buckets {
		w.applyBucket(b)
	}
	w.applyStores(c)
	w.applyConditions(c)
	return nil
}

// applyStores: what is set has been validated.
func (w *World) applyStores(c Change) {
	for _, p := range c.Parameters {
		_ = w.SetParameter(p)
	}
	for _, name := range c.DeleteParameters {
		w.DeleteParameter(name)
	}
	for _, s := range c.Secrets {
		_ = w.SetSecret(s)
	}
	for _, name := range c.DeleteSecrets {
		w.DeleteSecret(name)
	}
}

func (w *World) applyIdentity(c Change) error {
	set(c.Instance, w.SetInstance)
	if c.Lifecycle != "" {
		w.SetLifecycle(c.Lifecycle)
	}
	tags := w.Tags()
	if c.Tags != nil {
		tags = maps.Clone(c.Tags)
	}
	maps.Copy(tags, c.SetTags)
	for _, key := range c.DeleteTags {
		delete(tags, key)
	}
	w.mu.Lock()
	inMetadata := w.metadataTags
	if c.MetadataTags != nil {
		inMetadata = *c.MetadataTags
	}
	err := w.replaceTags(tags, inMetadata)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	set(c.IMDS, w.EnableIMDS)
	if c.ExpireTokens {
		w.ExpireTokens()
	}
	set(c.SessionTokens, w.SetSessionTokens)
	return nil
}

func (w *World) applyNotices(c Change) {
	now := time.Now()
	set(c.SpotInterruption, func(s SpotInterruption) { w.SetSpotInterruption(s.Action, now.Add(s.In)) })
	set(c.RebalanceRecommendation, func(up bool) {
		if up {
			w.SetRebalanceRecommendation(now)
		} else {
			w.SetRebalanceRecommendation(time.Time{})
		}
	})
	set(c.TargetLifecycleState, w.SetTargetLifecycleState)
	set(c.ScheduledEvents, w.SetScheduledEvents)
	set(c.Group, w.SetGroup)
	set(c.LifecycleHooks, func(hooks []LifecycleHook) { w.SetLifecycleHooks(hooks...) })
	if c.Terminate {
		w.Terminate()
	}
}

func (w *World) applyECS(c Change) error {
	for _, name := range c.Clusters {
		w.AddCluster(name)
	}
	set(c.Registered, func(cluster string) {
		if cluster == "" {
			w.Deregister()
		} else {
			w.SetRegistered(cluster)
		}
	})
	set(c.AgentRunning, w.SetAgentRunning)
	set(c.Tasks, w.SetTasks)
	if err := w.applyTasks(c.TasksChange); err != nil {
		return err
	}
	if err := w.applyDocker(c.DockerChange); err != nil {
		return err
	}
	if c.ContainerInstanceStatus != "" {
		w.SetContainerInstanceStatus(c.ContainerInstanceStatus)
	}
	return nil
}

func (w *World) applyConditions(c Change) {
	w.Deny(c.Deny...)
	w.Allow(c.Allow...)
	set(c.Throttle, w.EnableThrottle)
	for bucket, rate := range c.Rates {
		w.SetRate(bucket, rate)
	}
	if c.ClearAllFaults {
		w.ClearFaults()
	}
	for _, pattern := range c.ClearFaults {
		w.ClearFault(pattern)
	}
	for pattern, fault := range c.Faults {
		_ = w.SetFault(pattern, fault) // validated
	}
}

// set calls apply with what a change says, if it says anything.
func set[T any](value *T, apply func(T)) {
	if value != nil {
		apply(*value)
	}
}

// Step is a change at a time after the start of its scenario.
type Step struct {
	At     time.Duration `yaml:"at"`
	Change `yaml:",inline"`
}

// byTime orders steps; those of one time stay in the order written.
func byTime(a, b Step) int { return cmp.Compare(a.At, b.At) }

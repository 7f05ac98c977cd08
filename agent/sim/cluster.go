package sim

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// cluster is an ECS cluster, its container instances and its services.
type cluster struct {
	name      string
	instances []*containerInstance
	services  []*service
}

// containerInstance is a node as ECS knows it.
type containerInstance struct {
	id           string // 32 hex digits
	node         *Node
	cluster      string
	spelling     string // of the cluster in the agent's configuration: its name or ARN
	status       string // ACTIVE, DRAINING, INACTIVE ...
	attributes   map[string]string
	memoryMiB    int // for tasks
	registeredAt time.Time
	version      int64 // grows with every change
}

// agentState is the node's ECS agent.
type agentState struct {
	running    bool
	registered *containerInstance // nil until registered
	tasks      []Task             // see SetTasks
}

// What the simulated ECS agent is: a release of 2026 and its Docker.
const (
	agentVersion  = "1.108.2"
	agentHash     = "9f3c0e5a"
	dockerVersion = "25.0.18"
)

// AddCluster makes a cluster exist. SetRegistered does so by itself.
func (w *World) AddCluster(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ensureCluster(name)
}

// ensureCluster finds or makes a cluster; the caller holds the lock.
func (w *World) ensureCluster(name string) *cluster {
	c := w.clusters[name]
	if c == nil {
		c = &cluster{name: name}
		w.clusters[name] = c
	}
	return c
}

// SetRegistered starts the node's ECS agent and registers the node with a
// cluster as a new container instance, ACTIVE and connected. Its ARN comes
// back. The cluster may be an ARN, as in the agent's configuration: the agent's
// introspection spells it so.
func (n *Node) SetRegistered(clusterSpelling string) string {
	clusterName := clusterSpelling[strings.LastIndex(clusterSpelling, "/")+1:]
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.world.changeECS(func() {
		n.deregister()
		n.register(n.world.ensureCluster(clusterName), clusterSpelling)
	})
	return n.agent.registered.arn()
}

// registeredMemory is what an instance has for tasks unless SetMemory says
// otherwise: most of an m6i.large's 8 GiB.
const registeredMemory = 7680

func (n *Node) register(in *cluster, clusterSpelling string) *containerInstance {
	c := &containerInstance{
		id: n.world.randomHex(32), node: n, cluster: in.name, spelling: clusterSpelling, status: facts.StatusActive,
		memoryMiB: registeredMemory, registeredAt: time.Now().UTC(), version: 1,
		// Attributes that every agent registers with:
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html
		attributes: map[string]string{
			"ecs.ami-id":            n.instance.AMI,
			"ecs.availability-zone": n.instance.Zone,
			"ecs.instance-type":     n.instance.Type,
			"ecs.os-type":           "linux",
		},
	}
	in.instances = append(in.instances, c)
	n.agent.running, n.agent.registered = true, c
	return c
}

// SetMemory sets how much memory, in MiB, the container instance has for tasks
// that StartTask starts. It has no effect on a node that is not registered.
func (n *Node) SetMemory(mib int) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if c := n.agent.registered; c != nil {
		c.memoryMiB = mib
		c.changed()
	}
}

// SetAgentRunning starts or stops the ECS agent. While it is stopped its
// introspection port is dead and ECS shows the instance as not connected. An
// agent started before SetRegistered serves an introspection without ARN.
func (n *Node) SetAgentRunning(running bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if n.agent.running != running {
		n.world.changeECS(func() { n.agent.running = running })
		n.agent.registered.changed()
	}
}

// Deregister takes the node's container instance out of its cluster; from then
// on ECS knows nothing of it, and its tasks are STOPPED as those of an instance
// that was terminated.
func (n *Node) Deregister() {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.world.changeECS(n.deregister)
}

func (n *Node) deregister() {
	old := n.agent.registered
	if old == nil {
		return
	}
	in := n.world.clusters[old.cluster]
	for i, c := range in.instances {
		if c == old {
			in.instances = append(in.instances[:i:i], in.instances[i+1:]...)
			break
		}
	}
	for _, t := range n.world.ecs.tasks {
		if t.on == old {
			// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
			t.kill(n.world.ecs.settled, "", fmt.Sprintf("Host EC2 (instance %s) terminated.", n.instance.ID))
		}
	}
	n.agent.registered = nil
}

// SetContainerInstanceStatus sets the status ECS shows: ACTIVE, DRAINING,
// REGISTERING ... It has no effect on a node that is not registered.
func (n *Node) SetContainerInstanceStatus(status string) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if c := n.agent.registered; c != nil {
		n.world.setStatus(c, status)
	}
}

// setStatus: what becomes of service tasks on an instance that is DRAINING is
// the service scheduler's to decide.
func (w *World) setStatus(c *containerInstance, status string) {
	if c.status != status {
		w.changeECS(func() { c.status = status })
		c.changed()
	}
}

// ContainerInstance is a container instance as a test wants to see it.
type ContainerInstance struct {
	ARN        string            `json:"arn"`
	Cluster    string            `json:"cluster"`
	Status     string            `json:"status"`
	Connected  bool              `json:"connected"`
	Attributes map[string]string `json:"attributes"`
}

// ContainerInstance is what ECS knows of the node; false while it is not
// registered.
func (n *Node) ContainerInstance() (ContainerInstance, bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.agent.registered.view()
}

func (c *containerInstance) view() (ContainerInstance, bool) {
	if c == nil {
		return ContainerInstance{}, false
	}
	return ContainerInstance{
		ARN: c.arn(), Cluster: c.cluster, Status: c.status, Connected: c.node.agent.running,
		Attributes: maps.Clone(c.attributes),
	}, true
}

func (c *containerInstance) changed() {
	if c != nil {
		c.version++
	}
}

// arn has the long format.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
func (c *containerInstance) arn() string {
	i := c.node.instance
	return fmt.Sprintf("arn:aws:ecs:%s:%s:container-instance/%s/%s", i.Region, i.Account, c.cluster, c.id)
}

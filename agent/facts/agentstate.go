package facts

// Files in which the ECS agent keeps its state over a restart. It reads the
// second only while the first has no AgentVersion: loadData in
// aws/amazon-ecs-agent:agent/app/data.go
const (
	AgentDB   = "/var/lib/ecs/data/agent.db"
	AgentJSON = "/var/lib/ecs/data/ecs_agent_data.json" // of agents before 1.44
)

// AgentState is what one of these files says about the node that it was
// written on. What it does not say is empty.
type AgentState struct {
	Cluster      string // a name or an ARN, as the agent was configured with it
	ARN          string // of the container instance
	InstanceID   string // of EC2
	AgentVersion string // such as "1.108.2"
	File         string // which of the files
}

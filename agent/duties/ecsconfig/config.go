package ecsconfig

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says what the block in ecs.config holds. What is not set is not
// written.
type Config struct {
	Path                 string                 `yaml:"path" help:"The file that the ECS agent's service reads."`
	Attributes           map[string]render.Text `yaml:"attributes" help:"Custom attributes of the container instance, for placement; one whose value is absent or empty is left out. They count when the node first registers."`
	PutAttributes        bool                   `yaml:"put_attributes" help:"Change the attributes of a registered node with ecs:PutAttributes when they change here."`
	ContainerStopTimeout *when.Duration         `yaml:"container_stop_timeout" help:"How long a container may take to stop before it is killed (ECS_CONTAINER_STOP_TIMEOUT)."`
	SpotInstanceDraining *bool                  `yaml:"spot_instance_draining" help:"Whether the ECS agent itself sets the node DRAINING at a spot interruption notice (ECS_ENABLE_SPOT_INSTANCE_DRAINING)."`
	ReservedMemory       *int                   `yaml:"reserved_memory" help:"MiB of memory that are not reported to ECS, so that no task is placed on them (ECS_RESERVED_MEMORY)."`
	AWSVPCBlockIMDS      *bool                  `yaml:"awsvpc_block_imds" help:"Whether tasks in awsvpc mode are kept from instance metadata (ECS_AWSVPC_BLOCK_IMDS)."`
	ContainerMetadata    *bool                  `yaml:"container_metadata" help:"Whether each container gets a metadata file (ECS_ENABLE_CONTAINER_METADATA)."`
	LogDrivers           []LogDriver            `yaml:"log_drivers" help:"Log drivers that tasks may use (ECS_AVAILABLE_LOGGING_DRIVERS)."`
	Settings             map[string]render.Text `yaml:"settings" help:"Any other ECS_* variable of the agent, by name."`

	// Cluster is the setting cluster of the top level. Zero: what others wrote
	// into ecs.config counts.
	Cluster render.Text `yaml:"-"`
}

// Default is the attributes lifecycle and environment, in /etc/ecs/ecs.config.
func Default() Config {
	return Config{
		Path: "/etc/ecs/ecs.config",
		Attributes: map[string]render.Text{
			"lifecycle":   render.NewText(`{{ node "lifecycle" }}`),
			"environment": render.NewText(`{{ tag "env" }}`),
		},
	}
}

// The variables that settings of their own stand for.
const (
	clusterKey           = "ECS_CLUSTER"
	attributesKey        = "ECS_INSTANCE_ATTRIBUTES"
	stopTimeoutKey       = "ECS_CONTAINER_STOP_TIMEOUT"
	spotDrainingKey      = "ECS_ENABLE_SPOT_INSTANCE_DRAINING"
	reservedMemoryKey    = "ECS_RESERVED_MEMORY"
	blockIMDSKey         = "ECS_AWSVPC_BLOCK_IMDS"
	containerMetadataKey = "ECS_ENABLE_CONTAINER_METADATA"
	logDriversKey        = "ECS_AVAILABLE_LOGGING_DRIVERS"
)

// Credentials of private registries: how they are written, and what they are.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/private-auth-container-instances.html
const (
	authTypeKey = "ECS_ENGINE_AUTH_TYPE"
	authDataKey = "ECS_ENGINE_AUTH_DATA"
)

// ownSetting returns the setting that a variable has of its own, or "".
func ownSetting(key string) string {
	switch key {
	case clusterKey:
		return "cluster"
	case attributesKey:
		return "ecs_config.attributes"
	case stopTimeoutKey:
		return "ecs_config.container_stop_timeout"
	case spotDrainingKey:
		return "ecs_config.spot_instance_draining"
	case reservedMemoryKey:
		return "ecs_config.reserved_memory"
	case blockIMDSKey:
		return "ecs_config.awsvpc_block_imds"
	case containerMetadataKey:
		return "ecs_config.container_metadata"
	case logDriversKey:
		return "ecs_config.log_drivers"
	}
	return ""
}

var keyPattern = pattern.New(`^ECS_[A-Z0-9_]+$`)

// checkKey judges the name of a variable under settings.
func checkKey(key string) error {
	switch {
	case ownSetting(key) != "":
		return fmt.Errorf("%s has a setting of its own: %s", key, ownSetting(key))
	case !keyPattern.MatchString(key):
		return fmt.Errorf("%q is no variable of the agent: expected ECS_ and capitals, digits and underscores", key)
	}
	return nil
}

// checkSetting judges a variable under settings, as far as it can be without
// facts.
func checkSetting(key string, text render.Text) error {
	if key == authDataKey && !text.Calls("secret") && !text.Calls("ssm") {
		return fmt.Errorf(`%s is a secret, which has no place in this configuration: take it from where secrets are kept, by {{ secret "NAME" }} or {{ ssm "NAME" }}`, key)
	}
	return checkKey(key)
}

const (
	minStopTimeout = time.Second // the agent raises less to this: agent/config/parse.go in aws/amazon-ecs-agent
	maxReserved    = 1<<16 - 1   // the agent ignores more: parseEnvVariableUint16, ibid.
)

// Validate reports what is wrong with c, by setting. What depends on facts is
// found out when it is rendered. For Cluster there is [ClusterProblem].
func (c Config) Validate(report func(path, message string)) {
	if !path.IsAbs(c.Path) || path.Clean(c.Path) != c.Path || c.Path == "/" {
		report("path", fmt.Sprintf("%q is no file: expected an absolute path such as /etc/ecs/ecs.config", c.Path))
	}
	c.validateAttributes(report)
	if d := c.ContainerStopTimeout; d != nil && time.Duration(*d) < minStopTimeout {
		report("container_stop_timeout", fmt.Sprintf("%v is too short: expected at least %v", d, minStopTimeout))
	}
	if m := c.ReservedMemory; m != nil && (*m < 0 || *m > maxReserved) {
		report("reserved_memory", fmt.Sprintf("%d is out of range: expected 0 to %d MiB", *m, maxReserved))
	}
	for i, d := range c.LogDrivers {
		if slices.Contains(c.LogDrivers[:i], d) {
			report(fmt.Sprintf("log_drivers[%d]", i), fmt.Sprintf("%s is in the list already", d))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Settings)) {
		err := checkSetting(key, c.Settings[key])
		if value, renderErr := c.Settings[key].Render(render.Inputs{}); err == nil && renderErr == nil {
			err = checkWritable(value)
		}
		if err != nil {
			report(under("settings", key), err.Error())
		}
	}
}

func (c Config) validateAttributes(report func(path, message string)) {
	certain := 0 // attributes that are there whatever the facts
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		text := c.Attributes[name]
		if text.IsZero() {
			continue
		}
		err := checkAttributeName(name)
		if value, renderErr := text.Render(render.Inputs{}); renderErr == nil && value != "" {
			certain++
			if err == nil {
				err = checkAttributeValue(value)
			}
		}
		if err != nil {
			report(under("attributes", name), err.Error())
		}
	}
	if certain > maxAttributes {
		report("attributes", fmt.Sprintf("there are %d: a container instance has at most %d", certain, maxAttributes))
	}
}

// under returns the path of a key in a section, quoted unless it is plain.
func under(section, key string) string {
	plain := func(r rune) bool {
		return r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if key == "" || strings.IndexFunc(key, func(r rune) bool { return !plain(r) }) >= 0 {
		key = strconv.Quote(key)
	}
	return section + "." + key
}

// LogDriver is a log driver that the agent knows; with any other it does not
// start (aws/amazon-ecs-agent:agent/dockerclient/logging_drivers.go and
// validateAndOverrideBounds in agent/config/config.go).
type LogDriver string

// Enum returns the log drivers.
func (LogDriver) Enum() []string {
	return []string{
		"awsfirelens", "awslogs", "fluentd", "gelf", "journald", "json-file",
		"logentries", "none", "splunk", "sumologic", "syslog",
	}
}

// Expected says what the setting takes.
func (d LogDriver) Expected() string { return "one of " + strings.Join(d.Enum(), ", ") }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *LogDriver) UnmarshalText(b []byte) error {
	if !slices.Contains(d.Enum(), string(b)) {
		return fmt.Errorf("%q is no log driver of the ECS agent", b)
	}
	*d = LogDriver(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d LogDriver) MarshalText() ([]byte, error) { return []byte(d), nil }

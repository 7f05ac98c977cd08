package drain

import (
	"encoding"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Policy is what becomes of standalone tasks, which ECS leaves alone on an
// instance that drains.
type Policy string

// The policies.
const (
	Wait   Policy = "wait"   // until they end by themselves
	Stop   Policy = "stop"   // stop_standalone before the deadline
	Ignore Policy = "ignore" // they count for nothing
)

var _ encoding.TextUnmarshaler = (*Policy)(nil)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Policy) UnmarshalText(b []byte) error {
	switch v := Policy(b); v {
	case Wait, Stop, Ignore:
		*p = v
		return nil
	}
	return fmt.Errorf("%q is no policy for tasks", b)
}

// MarshalText implements [encoding.TextMarshaler].
func (p Policy) MarshalText() ([]byte, error) { return []byte(p), nil }

// Expected is what a message says in place of another value.
func (Policy) Expected() string { return `"wait", "stop" or "ignore"` }

// SchemaEnum lists the values.
func (Policy) SchemaEnum() []string { return []string{string(Wait), string(Stop), string(Ignore)} }

// Config says how the node drains.
type Config struct {
	Standalone     Policy            `yaml:"standalone" help:"What becomes of tasks that belong to no service: wait until they end, stop them, or ignore them."`
	Families       map[string]Policy `yaml:"families" help:"The same by the family of their task definition."`
	StopStandalone when.Duration     `yaml:"stop_standalone" help:"How long before the deadline standalone tasks are stopped whose policy is stop; without a deadline, at once."`
	StopBefore     when.Duration     `yaml:"stop_before" help:"How long before a hard deadline everything that is left is stopped, so that it gets its SIGTERM before the power goes."`
	LeaveLast      []string          `yaml:"leave_last" help:"Families whose tasks stay until all others have gone, such as log shippers, and are then stopped."`
	Flush          when.Duration     `yaml:"flush" help:"How long those have to send what they still hold."`
	// LeaveWith are families whose tasks are stopped once nothing is left but such
	// ones and those that leave last. Settings of others than the drain tell them.
	LeaveWith      []string      `yaml:"-"`
	Sidecars       []string      `yaml:"sidecars" help:"Names of containers, or beginnings of them with a *, that are stopped after the others of their task where containers are stopped one by one."`
	LifecycleHooks []string      `yaml:"lifecycle_hooks" help:"Termination lifecycle hooks of the Auto Scaling group that ecsnode keeps waiting and completes. Others are never touched."`
	HookTimeout    when.Duration `yaml:"hook_timeout" help:"How long a hook below /etc/ecsnode/hooks may run."`
	// Hooks has those of the bundle in effect, "" without one.
	Hooks   string  `yaml:"-"`
	Webhook Webhook `yaml:"webhook" help:"A URL that is told of each drain: when it begins, when the node is drained, when it is undone."`
	Upload  Upload  `yaml:"upload" help:"Where in S3 the record of each drain is put, as it grows: the disk of a node that was terminated cannot be read."`
}

// Webhook is a URL that is told of drains.
type Webhook struct {
	URL     string                 `yaml:"url" help:"Where messages are posted. Empty: nowhere."`
	Headers map[string]render.Text `yaml:"headers" help:"Headers of the message, beside Content-Type: application/json."`
	Body    string                 `yaml:"body" help:"Template of the message. It may use .event, .notices, .deadline, .seconds_left, .outcome, .instance_id, .cluster and .container_instance, and the functions of node.config templates. Empty: all of these as JSON."`
	Timeout when.Duration          `yaml:"timeout" help:"How long one attempt may take."`
}

// Upload is where records are put.
type Upload struct {
	Bucket string `yaml:"bucket" help:"Name of the bucket. Empty: records are not put anywhere."`
	Prefix string `yaml:"prefix" help:"What the keys begin with; INSTANCE/BEGINNING.json follows."`
	Region string `yaml:"region" help:"Region of the bucket. Empty: that of the node."`
}

// Default waits for tasks as long as there is time.
func Default() Config {
	return Config{
		Standalone:     Wait,
		Families:       map[string]Policy{},
		StopStandalone: when.Duration(60 * time.Second),
		StopBefore:     when.Duration(30 * time.Second),
		LeaveLast:      []string{"logspout", "datadog"},
		Flush:          when.Duration(5 * time.Second),
		Sidecars:       []string{"log_router", "envoy", "ecs-service-connect-*", "xray-daemon"},
		LifecycleHooks: []string{"ecsnode-drain"},
		HookTimeout:    when.Duration(30 * time.Second),
		Webhook:        Webhook{Headers: map[string]render.Text{}, Timeout: when.Duration(5 * time.Second)},
		Upload:         Upload{Prefix: "drains/"},
	}
}

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for path, d := range map[string]when.Duration{
		"stop_standalone": c.StopStandalone, "stop_before": c.StopBefore, "flush": c.Flush,
	} {
		if d < 0 {
			report(path, "it cannot be negative")
		}
	}
	if time.Duration(c.HookTimeout) < time.Second {
		report("hook_timeout", fmt.Sprintf("%v is too short: expected 1s or more", c.HookTimeout))
	}
	c.Webhook.validate(report)
	if c.Upload.Bucket != "" && !bucketName.MatchString(c.Upload.Bucket) {
		report("upload.bucket", fmt.Sprintf("%q is no name of a bucket", c.Upload.Bucket))
	}
	for i, name := range c.LifecycleHooks {
		if strings.HasPrefix(name, "ecs-managed-") {
			report(fmt.Sprintf("lifecycle_hooks[%d]", i), fmt.Sprintf("%q is ECS's own hook, which ECS completes", name))
		}
	}
}

// bucketName: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = pattern.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (w Webhook) validate(report func(path, message string)) {
	if w.URL == "" {
		return
	}
	// Not quoted: a URL may hold a secret.
	if u, err := url.Parse(w.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		report("webhook.url", "it is no URL: expected https://HOST/PATH")
	}
	if time.Duration(w.Timeout) < 100*time.Millisecond || time.Duration(w.Timeout) > maxWebhookTime {
		report("webhook.timeout", fmt.Sprintf("%v: expected 100ms to %v", w.Timeout, maxWebhookTime))
	}
	if _, err := w.template(); err != nil {
		report("webhook.body", err.Error())
	}
}

// policy returns what becomes of a standalone task of a family.
func (c Config) policy(family string) Policy {
	if p, ok := c.Families[family]; ok {
		return p
	}
	return c.Standalone
}

func (c Config) sidecar(container string) bool {
	for _, pattern := range c.Sidecars {
		prefix, open := strings.CutSuffix(pattern, "*")
		if container == prefix || open && strings.HasPrefix(container, prefix) {
			return true
		}
	}
	return false
}

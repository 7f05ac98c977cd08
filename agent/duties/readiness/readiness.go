// Package readiness is the duty that tells ECS, by attributes of the container
// instance, whether the node is ready for work: services can be constrained to
// `attribute:ecsnode.ready == true`.
package readiness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config says whether readiness is told.
type Config struct {
	Publish   bool          `yaml:"publish" help:"Whether the attributes ecsnode.ready, ecsnode.version and ecsnode.config of the container instance are kept, for placement constraints of services. Needs ecs:PutAttributes."`
	SoftAfter when.Duration `yaml:"soft_after" help:"How long after its start a node counts as ready without node tasks that are needed: soft."`
}

// Default tells it.
func Default() Config { return Config{Publish: true, SoftAfter: when.Duration(5 * time.Minute)} }

// Attributes of the container instance.
const (
	Ready   = "ecsnode.ready"
	Version = "ecsnode.version"
	Hash    = "ecsnode.config"
)

// File keeps what ECS was told last.
const File = "/var/lib/ecsnode/readiness.json"

// ECS is the API of ECS.
type ECS interface {
	PutAttributes(ctx context.Context, on facts.ContainerInstance, attributes map[string]string) error
}

// Duty keeps the attributes.
type Duty struct {
	FS           fsx.FS
	Config       cell.Reader[Config]
	Effective    cell.Reader[string] // the configuration, as text
	Version      string              // of ecsnode
	BootID       string
	Closed       bool // the node is starting: it is not ready, whatever is there
	Registration cell.Reader[facts.ContainerInstance]
	Identity     cell.Reader[time.Time] // zero: not established in this boot
	Tasks        cell.Reader[[]facts.NodeTask]
	Drains       cell.Reader[bool] // the node is to be empty, or is not in service again yet
	ECS          ECS

	told *told
	down time.Time // since when a task is missing that is needed: hard
}

// told is what ECS was told, of which container instance, and in which boot.
type told struct {
	On         string            `json:"container_instance"`
	BootID     string            `json:"boot_id"`
	Attributes map[string]string `json:"attributes"`
}

func (t told) ready(bootID string) bool { return t.Attributes[Ready] == "true" && t.BootID == bootID }

// Name implements duty.Duty.
func (*Duty) Name() string { return "readiness" }

const refusedPause = 10 * time.Minute

// Reconcile implements duty.Duty. A role that does not allow it is a warning: the
// node works all the same.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	if !c.Publish {
		return duty.Outcome{Summary: "off: readiness.publish"}, nil
	}
	on, ok := d.Registration.Get()
	if !ok || !on.Registered() {
		return duty.Outcome{Summary: "not registered: there is nobody to tell"}, nil
	}
	var damaged error
	if d.told == nil {
		if d.told, damaged = load(d.FS); d.told.On != on.ARN {
			d.told = &told{On: on.ARN}
		}
	} else if d.told.On != on.ARN {
		d.told = &told{On: on.ARN}
	}
	is, why, again := d.ready(c, time.Now())
	out := duty.Outcome{Summary: "ready", Again: again}
	if !is {
		out.Summary = "not ready: " + why
	} else if why != "" {
		out.Warnings = []string{"counts as ready without " + why}
	}
	if !is && d.told.Attributes == nil {
		return out, damaged // ECS knows nothing of it, which is no "true" either
	}
	want := map[string]string{Ready: strconv.FormatBool(is), Version: d.Version, Hash: d.hash()}
	if maps.Equal(want, d.told.Attributes) && (d.told.BootID == d.BootID || !is) {
		return out, damaged
	}
	if !maps.Equal(want, d.told.Attributes) {
		changed := maps.Clone(want)
		maps.DeleteFunc(changed, func(name, value string) bool { return d.told.Attributes[name] == value })
		if err := d.ECS.PutAttributes(ctx, on, changed); errors.Is(err, facts.ErrRefused) {
			out.Warnings, out.Again = append(out.Warnings, err.Error()+"; or set readiness.publish: false"), refusedPause
			return out, damaged
		} else if err != nil {
			return out, errors.Join(damaged, err)
		}
		out.Changed = true
	}
	d.told = &told{On: on.ARN, BootID: d.BootID, Attributes: want}
	return out, errors.Join(damaged, d.keep())
}

// ready reports whether the node is, why not or without what, and how soon that
// may change by itself. Once it was ready in a boot, a task that is started again
// does not make it unready: services would flap with it.
func (d *Duty) ready(c Config, now time.Time) (is bool, why string, again time.Duration) {
	drains, told := d.Drains.Get()
	at, _ := d.Identity.Get()
	tasks, looked := d.Tasks.Get()
	switch {
	case d.Closed:
		return false, "the node is starting", 0
	case drains:
		return false, "the node drains", 0
	case at.IsZero():
		return false, "the identity of the node is not established", 0
	case !looked || !told:
		return d.told.ready(d.BootID), "it is not known yet which node tasks run", 0
	}
	var hard, soft []string
	for _, t := range tasks {
		left := settles(t, now)
		if left > 0 && (again == 0 || left < again) {
			again = left
		}
		switch {
		case t.Up() && left <= 0 || t.Needed == "no":
		case t.Needed == "hard":
			hard = append(hard, t.Name)
		default:
			soft = append(soft, t.Name)
		}
	}
	if len(hard) == 0 {
		d.down = time.Time{}
	} else if d.down.IsZero() {
		d.down = now
	}
	left := at.Add(time.Duration(c.SoftAfter)).Sub(now)
	switch was := d.told.ready(d.BootID); {
	case len(hard)+len(soft) == 0:
		return true, "", 0
	case was && len(hard) > 0 && now.Sub(d.down) >= time.Duration(c.SoftAfter):
		return false, strings.Join(hard, ", "), 0
	case was && len(hard) > 0:
		return true, strings.Join(slices.Concat(hard, soft), ", "), d.down.Add(time.Duration(c.SoftAfter)).Sub(now)
	case was:
		return true, strings.Join(soft, ", "), again
	case len(hard) > 0:
		return false, strings.Join(slices.Concat(hard, soft), ", "), again
	case left > 0:
		if again == 0 || left < again {
			again = left
		}
		return false, strings.Join(soft, ", "), again
	}
	return true, strings.Join(soft, ", "), again
}

// A task opens the gate once it has run for a while: not one that ends as soon
// as it runs.
const (
	settled = 5 * time.Second
	proven  = time.Minute // after it has ended before
)

// settles returns how long a task that runs must go on to count.
func settles(t facts.NodeTask, now time.Time) time.Duration {
	if t.State != facts.NodeTaskRunning || t.Since.IsZero() {
		return 0
	}
	if t.Restarts > 0 {
		return t.Since.Add(proven).Sub(now)
	}
	return t.Since.Add(settled).Sub(now)
}

func (d *Duty) hash() string {
	text, _ := d.Effective.Get()
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

func (d *Duty) keep() error {
	data, err := json.Marshal(d.told)
	if err == nil {
		_, err = d.FS.MkdirAll(path.Dir(File), 0o755)
	}
	if err == nil {
		_, err = d.FS.WriteFile(File, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot keep what ECS was told of this node: %w", err)
	}
	return nil
}

// load returns nothing told beside an error: it is told anew.
func load(files fsx.FS) (*told, error) {
	data, err := files.ReadFile(File)
	if errors.Is(err, fs.ErrNotExist) {
		return &told{}, nil
	}
	t := &told{}
	if err == nil {
		err = json.Unmarshal(data, t)
	}
	if err != nil {
		return &told{}, fmt.Errorf("cannot read what ECS was told of this node: %w", err)
	}
	return t, nil
}

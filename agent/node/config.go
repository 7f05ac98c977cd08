package node

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duties/daemonjson"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/duties/guard"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/duties/packages"
	"github.com/ecsnode/ecsnode/agent/duties/units"
	"github.com/ecsnode/ecsnode/agent/duties/volumes"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// effective is the configuration with what tags set.
type effective struct {
	config.Config
	loaded      *config.Loaded
	tagWarnings []string
}

func (e *effective) equal(o *effective) bool {
	return e.loaded.Equal(o.loaded) && e.Channel == o.Channel && e.Hold == o.Hold && slices.Equal(e.tagWarnings, o.tagWarnings)
}

// load reads the configuration as it stands.
func (n *Node) load(files fsx.FS) *effective {
	last := &config.Loaded{}
	if e, ok := n.config.Get(); ok {
		last = e.loaded
	}
	loaded := last.Reload(files, n.opts.Config)
	c, warnings := loaded.Config.WithTags(n.known().Tags)
	return &effective{c, loaded, warnings}
}

// configDuty reads the files again and publishes what they say.
type configDuty struct {
	n     *Node
	files fsx.FS
}

const configName = "config"

func (configDuty) Name() string { return configName }

func (d configDuty) Reconcile(context.Context) (duty.Outcome, error) {
	e := d.n.reload(d.files)
	out := duty.Outcome{Warnings: e.tagWarnings}
	switch len(e.loaded.Layers) {
	case 0:
		out.Summary = "no file: every setting is at its default"
	case 1:
		out.Summary = e.loaded.Layers[0]
	default:
		out.Summary = fmt.Sprintf("%s and %d more", e.loaded.Layers[0], len(e.loaded.Layers)-1)
	}
	if len(e.loaded.Problems) == 0 {
		return out, nil
	}
	former := ""
	if len(e.loaded.Former) > 0 {
		former = fmt.Sprintf(" (what %s said before stays in effect)", strings.Join(e.loaded.Former, ", "))
	}
	return out, duty.Lasting(fmt.Errorf("not in effect: %s%s. %w", strings.Join(e.loaded.LeftOut, ", "), former, e.loaded.Problems))
}

// bundleDir is where the bundle is whose settings are in effect, "" without one.
func (n *Node) bundleDir() string {
	if e, ok := n.config.Get(); ok {
		return e.loaded.BundleDir()
	}
	return ""
}

// The parts of the configuration that duties read.

func (n *Node) nodeConfig() cell.Reader[nodeconfig.Config] {
	return cell.View(n.config, func(e *effective) nodeconfig.Config {
		c := e.NodeConfig
		if dir := e.loaded.BundleDir(); dir != "" {
			c.Templates = append(c.Templates, path.Join(dir, bundle.TemplateDir))
		}
		c.Templates = append(c.Templates, files.TemplateDir)
		return c
	})
}

func (n *Node) ecsConfig() cell.Reader[ecsconfig.Config] {
	return cell.View(n.config, func(e *effective) ecsconfig.Config {
		c := e.ECSConfig
		c.Cluster = e.Cluster
		return c
	})
}

func (n *Node) instanceConfig() cell.Reader[instance.Config] {
	return cell.View(n.config, func(e *effective) instance.Config { return e.Instance })
}

func (n *Node) volumesConfig() cell.Reader[volumes.Config] {
	return cell.View(n.config, func(e *effective) volumes.Config { return e.Volumes })
}

func (n *Node) daemonJSONConfig() cell.Reader[daemonjson.Config] {
	return cell.View(n.config, func(e *effective) daemonjson.Config { return e.DaemonJSON })
}

func (n *Node) packagesConfig() cell.Reader[packages.Config] {
	return cell.View(n.config, func(e *effective) packages.Config { return e.Packages })
}

func (n *Node) guardConfig() cell.Reader[guard.Config] {
	return cell.View(n.config, func(e *effective) guard.Config { return e.Guard })
}

func (n *Node) awsvpcBlocked() cell.Reader[bool] {
	return cell.View(n.config, func(e *effective) bool { b := e.ECSConfig.AWSVPCBlockIMDS; return b != nil && *b })
}

func (n *Node) unitsConfig() cell.Reader[units.Config] {
	return cell.View(n.config, func(e *effective) units.Config { return e.Units })
}

func (n *Node) unhealthyAfter() cell.Reader[time.Duration] {
	return cell.View(n.config, func(e *effective) time.Duration { return time.Duration(e.Boot.UnhealthyAfter) })
}

// known returns the instance as far as it is known.
func (n *Node) known() facts.Instance {
	i, _ := n.instance.Get()
	return i
}

// Settings returns every setting in effect and where it comes from. Tags count
// as a running ecsnode last read them. problems is nil if all files are in
// effect.
func (n *Node) Settings() (settings []config.Setting, problems error) {
	loaded := config.Load(n.disk, n.opts.Config)
	settings = loaded.Settings()
	if d, err := status.Load(n.disk, status.Path); err == nil {
		tagged, _ := loaded.Config.WithTags(d.Node.Instance.Tags)
		for i, s := range settings {
			switch {
			case s.Path == "channel" && tagged.Channel != loaded.Config.Channel:
				settings[i].Value, settings[i].Origin = string(tagged.Channel), "tag "+config.ChannelTag
			case s.Path == "hold" && tagged.Hold != loaded.Config.Hold:
				settings[i].Value, settings[i].Origin = strconv.Quote(tagged.Hold), "tag "+config.HoldTag
			}
		}
	}
	return settings, loaded.Problems.Err()
}

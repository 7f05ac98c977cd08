package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/duties/daemonjson"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/status"
)

// Example is the node that a bundle is tried on.
type Example struct {
	Instance facts.Instance
	// SSM and Secrets are parameters and secrets, by name. What is not among them
	// is not known.
	SSM, Secrets map[string]string
	// Image is its ecsnode.yaml without the bundle; nil: it has none.
	Image []byte
}

// parameters are those of the example as templates ask for them.
func (e Example) parameters() facts.Parameters {
	all := facts.Parameters{}
	one := func(kind, name, rest, value string) {
		ref := facts.ParameterRef{Kind: kind, Name: name}
		if all[ref].Values == nil {
			all[ref] = facts.ParameterAnswer{Presence: facts.Present, Values: map[string]facts.Parameter{}}
		}
		all[ref].Values[rest] = facts.Parameter{Value: value, Secret: kind == facts.ASecret}
	}
	for name, value := range e.SSM {
		one(facts.SSMParameter, name, "", value)
		for i, r := range name { // and below each path that it is below
			if r == '/' {
				one(facts.SSMTree, name[:i+1], name[i+1:], value)
				one(facts.SSMTree, name[:i], name[i+1:], value)
			}
		}
	}
	for name, value := range e.Secrets {
		one(facts.ASecret, name, "", value)
	}
	return all
}

// Describe returns what instance metadata says of a node, with its tags.
func Describe(ctx context.Context, opts Options) (facts.Instance, error) {
	getenv := opts.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	metadata := imds.New(imds.Options{Dial: opts.Dial, Endpoint: getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")})
	i, err := metadata.Instance(ctx)
	if err != nil {
		return i, err
	}
	i.Tags.Source = facts.TagsFromIMDS
	i.Tags.Values, err = metadata.Tags(ctx)
	return i, err
}

// Preview shows what the files of an example node would be under a bundle, which
// must have been checked. Nothing outside of a scratch directory is read or
// written: there is no network, Docker or systemd, and checks of files and hooks
// are not run. Users and groups are those of this machine.
func Preview(ctx context.Context, tree bundle.Tree, e Example) (_ *Plan, err error) {
	dir, err := os.MkdirTemp("", "ecsnode-preview-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := New(Options{Root: dir, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errNoNetwork }})
	if err != nil {
		return nil, err
	}
	if err := n.furnish(tree, e.Image); err != nil {
		return nil, err
	}
	n.instance.Set(e.Instance)
	n.parameters.Set(e.parameters())
	files := fsx.NewOverlay(n.disk)
	out, calls := n.dry()
	s := n.newShift(applying, files, out, "", "preview")
	var table []duty.Entry
	for _, en := range s.table {
		switch en.Duty.Name() {
		case "instance", "parameters", "identity": // given, and a consequence
		default:
			table = append(table, en)
		}
	}
	table = append(table, duty.Entry{
		Duty: &daemonjson.Duty{
			FS: files, Config: n.daemonJSONConfig(), Instance: n.instance, Cluster: n.cluster,
			Manager: noUnits{}, Validator: anyDaemonJSON{}, Inputs: n.daemonJSON,
		},
		Timeout: time.Minute,
	})
	board := status.NewBoard(files, "", func() status.Document { return n.head("preview") }, table)
	s.engine.Report, s.engine.Hold = board.Report, nil
	_ = s.engine.Pass(ctx, table) // the records say it
	p := &Plan{Calls: calls.calls, Records: board.Records()}
	for _, c := range files.Changes() {
		if !ownState(c.Name) && !c.ModeAfter.IsDir() {
			p.Files = append(p.Files, n.shown(c))
		}
	}
	return p, nil
}

var errNoNetwork = errors.New("there is no network in a preview")

// anyDaemonJSON stands for a dockerd that would start.
type anyDaemonJSON struct{}

func (anyDaemonJSON) Validate(context.Context, []string, string) error { return nil }

// furnish makes the directories and files that a node has before ecsnode begins.
func (n *Node) furnish(tree bundle.Tree, image []byte) error {
	write := func(name string, data []byte) error {
		if _, err := n.disk.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		_, err := n.disk.WriteFile(name, data, fsx.How{Mode: 0o644, Volatile: true})
		return err
	}
	for name, f := range tree {
		at := path.Join(config.Dir, name)
		if name == bundle.ConfigFile {
			at = path.Join(config.Dir, "conf.d", "bundle.yaml")
		}
		if err := write(at, f.Data); err != nil {
			return err
		}
	}
	if image != nil {
		if err := write(config.Path, image); err != nil {
			return err
		}
	}
	for _, name := range []string{"/etc/passwd", "/etc/group"} {
		if data, err := os.ReadFile(name); err == nil {
			if err := write(name, data); err != nil {
				return err
			}
		}
	}
	c := config.Load(n.disk, n.opts.Config)
	if len(c.Problems) > 0 {
		return fmt.Errorf("cannot preview what has problems: %w", c.Problems)
	}
	dirs := []string{"/etc/docker", "/etc/ecs", "/run/ecsnode", StateDir}
	for name, f := range c.Config.Files.Items {
		dirs = append(dirs, path.Dir(name))
		if f.Block != "" { // it is a block in somebody else's file
			if err := write(name, nil); err != nil {
				return err
			}
		}
	}
	for _, name := range dirs {
		if _, err := n.disk.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	return nil
}

package node

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/duties/ecsconfig"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/agentdata"
	"github.com/ecsnode/ecsnode/agent/host/introspection"
	"github.com/ecsnode/ecsnode/agent/host/systemd"
	"github.com/ecsnode/ecsnode/agent/image"
)

// SealImage removes from this machine what an image of it must not have, and
// tells each step once it is done. With dry set it tells and does nothing. It
// refuses on a node, and it can be done again after it was cut short.
func (n *Node) SealImage(ctx context.Context, dry bool, tell func(image.Step)) error {
	loaded := config.Load(n.disk, n.opts.Config)
	// The lock of the daemon first: nobody makes passes while this goes on.
	if !dry {
		for _, lock := range []string{daemonLock, passLock} {
			unlock, err := n.disk.TryLock(lock, "ecsnode image seal")
			if errors.Is(err, os.ErrNotExist) {
				continue // nobody has run here
			}
			if err != nil {
				return fmt.Errorf("cannot seal: ecsnode is at work: %w: stop it first (systemctl stop ecsnode)", err)
			}
			defer unlock()
		}
	}
	sight, err := n.sight(ctx)
	if err != nil {
		return fmt.Errorf("cannot seal: %w", err)
	}
	if err := image.Refuse(sight); err != nil {
		return err
	}
	steps, err := image.Plan(n.disk, n.imageItems(loaded), n.imageEdits(loaded))
	if err != nil {
		return err
	}
	if dry {
		for _, s := range steps {
			tell(s)
		}
		return nil
	}
	return image.Do(ctx, n.disk, steps, tell)
}

// sight looks at what tells whether this machine is a node at work.
func (n *Node) sight(ctx context.Context) (image.Sight, error) {
	s := image.Sight{Instance: n.id}
	saved := agentdata.New(n.disk.Root())
	for _, file := range []string{facts.AgentDB, facts.AgentJSON} {
		state, err := saved.State(file)
		switch {
		case err == nil:
			s.Saved = append(s.Saved, state)
		case errors.Is(err, facts.ErrUnavailable):
			return s, err
		}
	}
	id, err := n.readIdentity(n.disk)
	if err != nil {
		return s, err
	}
	s.Identity = !id.At.IsZero()
	if n.scratch() {
		return s, nil // the ECS agent and the units of this host are not the image's
	}
	agent := introspection.New(introspection.Options{Dial: n.opts.Dial})
	s.Registered, err = agent.ContainerInstance(ctx)
	if err != nil && !errors.Is(err, facts.ErrUnavailable) && !errors.Is(err, facts.ErrAbsent) {
		return s, err
	}
	s.Agent, err = n.hosts.manager.Unit(ctx, "ecs.service")
	return s, err
}

// imageItems is the list, with the directory of node.config as it is configured.
func (n *Node) imageItems(loaded *config.Loaded) []image.Item {
	items := image.Items()
	for i := range items {
		if items[i].Path == config.Default().NodeConfig.Directory {
			items[i].Path = loaded.Config.NodeConfig.Directory
		}
	}
	return items
}

func (n *Node) imageEdits(loaded *config.Loaded) []image.Edit {
	return []image.Edit{{
		Path: loaded.Config.ECSConfig.Path, Do: ecsconfig.Without, Why: "the block of ecsnode names the cluster of this node",
	}}
}

// CheckImage looks whether an image of this machine is fit for a first boot;
// sealed is the last look, after the seal.
func (n *Node) CheckImage(ctx context.Context, sealed bool) []image.Finding {
	loaded := config.Load(n.disk, n.opts.Config)
	q := image.Question{
		Cluster: loaded.Config.Cluster.String(), Templates: templateFiles(loaded.Config),
		Sealed: sealed, Items: n.imageItems(loaded), Edits: n.imageEdits(loaded),
	}
	for _, p := range loaded.Problems {
		q.Config = append(q.Config, p.Error())
	}
	for _, s := range loaded.Settings() {
		if s.Origin != "default" {
			q.Settings = append(q.Settings, image.Setting{Path: s.Path, Value: s.Value, Origin: s.Origin})
		}
	}
	q.Bundle, q.BundleErr = n.bakedBundle(loaded)
	q.Program, q.ProgramErr = n.machineOf("/usr/bin/ecsnode")
	if q.ProgramErr == nil {
		q.System, q.ProgramErr = n.machineOf("/usr/lib/systemd/systemd")
	}
	if n.scratch() {
		q.UnitsOff = "--root is " + n.disk.Root()
	} else {
		q.Units = systemd.Verify(ctx, image.Units()...)
	}
	return image.Check(n.disk, q)
}

// bakedBundle says which bundle comes with the image. It must be one that the
// first boot can take: signed by a key of the image, whole, and with nothing in it
// that a bundle must not say. Which channel a node follows may be said by its tag:
// all that are there must be right.
func (n *Node) bakedBundle(loaded *config.Loaded) (text string, err error) {
	entries, err := n.disk.ReadDir(path.Join(bakedDir, path.Dir(bundle.ChannelKey("x"))))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := n.disk.Stat(bakedDir); err == nil {
			return "", fmt.Errorf("%s has no %s: lay the channel down beside its bundle", bakedDir, bundle.ChannelKey("NAME"))
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	c := loaded.Config.Bundle
	if c.Source == "" {
		return "", fmt.Errorf("%s has a bundle that no node takes: bundle.source is not set", bakedDir)
	}
	var found []string
	var errs []error
	for _, e := range entries {
		digest, err := n.bakedStable(e.Name(), c.Keys)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s/%s: %w", bakedDir, bundle.ChannelKey(e.Name()), err))
		case len(c.Channels) > 0 && !slices.Contains(c.Channels, e.Name()):
			errs = append(errs, fmt.Errorf("%s/%s: bundle.channels does not name it: no node takes it", bakedDir, bundle.ChannelKey(e.Name())))
		default:
			found = append(found, fmt.Sprintf("%s of %s", digest.Short(), e.Name()))
		}
	}
	return "comes with the image, signed and whole: " + strings.Join(found, ", "), errors.Join(errs...)
}

func (n *Node) bakedStable(name string, keys []bundle.Key) (bundle.Digest, error) {
	sealed, err := baked{n.disk}.Baked(bundle.ChannelKey(name), bundle.MaxChannel)
	if err != nil {
		return "", err
	}
	c, err := bundle.Open(sealed, name, keys)
	if err != nil {
		return "", fmt.Errorf("no node trusts it: %w", err)
	}
	archive, err := baked{n.disk}.Baked(c.Stable.Key, c.Stable.Size)
	if errors.Is(err, facts.ErrAbsent) {
		return "", fmt.Errorf("its stable bundle is not there: lay %s down beside it", c.Stable.Key)
	}
	if err != nil {
		return "", err
	}
	if int64(len(archive)) != c.Stable.Size || bundle.Sum(archive) != c.Stable.Digest {
		return "", fmt.Errorf("%s is not the bundle that it names", c.Stable.Key)
	}
	files, err := bundle.Read(archive)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.Stable.Key, err)
	}
	layer := strict.Layer{Name: path.Join(c.Stable.Digest.Path(), bundle.ConfigFile), Data: files[bundle.ConfigFile].Data}
	if problems := config.BundleProblems(layer); len(problems) > 0 {
		return "", fmt.Errorf("%s: %w", c.Stable.Key, problems.Err())
	}
	return c.Stable.Digest, nil
}

// machineOf returns which machine a program is for.
func (n *Node) machineOf(name string) (elf.Machine, error) {
	info, err := n.disk.Stat(name)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return 0, fmt.Errorf("%s is no program: its mode is %v", name, info.Mode())
	}
	f, err := elf.Open(filepath.Join(n.disk.Root(), name))
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer f.Close()
	return f.Machine, nil
}

// templateFiles are the files of the node that its configuration reads.
func templateFiles(c config.Config) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.NodeConfig.Files)) {
		if t := c.NodeConfig.Files[name].Template; path.IsAbs(t) {
			names = append(names, t)
		} else if t != "" {
			names = append(names, path.Join(files.TemplateDir, t))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files.Items)) {
		if t := c.Files.Items[name].Template; t != "" {
			names = append(names, path.Join(files.TemplateDir, t))
		}
		if s := c.Files.Items[name].Source; s != "" {
			names = append(names, path.Join(files.SourceDir, s))
		}
	}
	return names
}

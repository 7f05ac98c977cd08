package packages

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// installed is what the RPM database has, by name, the newest first.
type installed map[string][]facts.Package

// installed asks for what is listed, what was, and what units run with.
func (d *Duty) installed(ctx context.Context, cfg Config, former []string) (installed, error) {
	ask := slices.Concat(cfg.names(), former)
	for _, of := range units {
		ask = append(ask, of...)
	}
	slices.Sort(ask)
	all, err := d.Packages.Installed(ctx, slices.Compact(ask)...)
	if err != nil {
		return nil, err
	}
	now := installed{}
	for _, p := range all {
		now[p.Name] = append(now[p.Name], p)
	}
	for _, versions := range now {
		slices.SortFunc(versions, func(a, b facts.Package) int {
			return cmp.Or(b.InstalledAt.Compare(a.InstalledAt), strings.Compare(b.Version, a.Version))
		})
	}
	return now, nil
}

func (i installed) versions() map[string]string {
	v := map[string]string{}
	for name, all := range i {
		for _, p := range all {
			v[name] = strings.TrimPrefix(v[name]+" "+p.Version, " ")
		}
	}
	return v
}

// twice returns the packages that are there in more than one version for one
// architecture. Kernels may be: dnf keeps the last ones (installonly_limit).
func (i installed) twice() []string {
	var all []string
	for name, versions := range i {
		if strings.HasPrefix(name, "kernel") {
			continue
		}
		archs := map[string]bool{}
		for _, p := range versions {
			archs[p.Arch] = true
		}
		if len(versions) > len(archs) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// inputs is what units should run with.
func (i installed) inputs() facts.Inputs {
	in := facts.Inputs{}
	for unit, of := range units {
		for _, name := range of {
			if len(i[name]) == 0 {
				continue
			}
			if in[unit] == nil {
				in[unit] = map[string]facts.Input{}
			}
			in[unit][name] = facts.Input{Value: i[name][0].Version, At: i[name][0].InstalledAt}
		}
	}
	return in
}

// states is how the packages stand that should be there.
func (i installed) states(cfg Config, failed map[string]string, outside map[string]bool) facts.Packages {
	all := facts.Packages{}
	for _, name := range cfg.names() {
		if cfg.Ensure[name] == Absent {
			continue
		}
		state := facts.PackageState{Installed: len(i[name]) > 0}
		if !state.Installed {
			state.Failed, state.Outside = failed[name], outside[name]
		}
		all[name] = state
	}
	return all
}

// summary is how the packages stand, in one line.
func (i installed) summary(cfg Config, former []string, note string) string {
	var parts []string
	for _, name := range cfg.names() {
		version := "is not installed"
		if have := i[name]; len(have) > 0 {
			version = have[0].Version
		} else if cfg.Ensure[name] == Absent {
			version = "is absent"
		}
		parts = append(parts, name+" "+version)
	}
	line := strings.Join(parts, ", ")
	if note != "" {
		line += " (" + note + ")"
	}
	var left []string
	for _, name := range former {
		if _, is := cfg.Ensure[name]; !is && len(i[name]) > 0 {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		line = strings.TrimPrefix(fmt.Sprintf("%s; no longer configured, and left as they are: %s", line, strings.Join(left, ", ")), "; ")
	}
	return line
}

// changed reports whether another version is installed than before.
func (i installed) changed(before map[string]string) bool { return !maps.Equal(before, i.versions()) }

package upgrade

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// dnf is a command line that neither waits for another dnf without end nor takes
// a repository that is down for one without news. Measured with dnf 4.14.
func dnf(args ...string) []string {
	return append([]string{
		"/usr/bin/dnf", "-y",
		"--setopt=exit_on_lock=True", "--setopt=*.skip_if_unavailable=0", "--setopt=timeout=10",
	}, args...)
}

// transaction is the command that brings packages to what is wanted; nil if
// nothing is to be done. A package that is not installed is left alone, and so
// are those that are excluded, also as what another one requires.
func transaction(cfg Config, now installed, excluded []string) []string {
	var specs []string
	for _, name := range names(cfg) {
		have := now[name]
		switch want := cfg.Packages[name]; {
		case len(have) == 0 || slices.Contains(excluded, name):
		case want == Latest:
			specs = append(specs, name)
		case have[0].Version != string(want):
			specs = append(specs, name+"-"+string(want))
		}
	}
	if len(specs) == 0 {
		return nil
	}
	args := []string{"--refresh"}
	if cfg.Releasever != "" {
		args = append(args, "--releasever="+cfg.Releasever)
	}
	for _, name := range excluded {
		args = append(args, "--exclude="+name)
	}
	return dnf(append(append(args, "upgrade"), specs...)...)
}

// asked is what a configuration asks for, whatever is installed.
func asked(cfg Config) []string {
	all := []string{"release " + cfg.Releasever}
	for _, name := range names(cfg) {
		all = append(all, name+" "+string(cfg.Packages[name]))
	}
	return all
}

func names(cfg Config) []string { return slices.Sorted(maps.Keys(cfg.Packages)) }

// installed is what the RPM database has, by name, the newest first.
type installed map[string][]facts.Package

// installed asks for what is listed and for what units run with.
func (d *Duty) installed(ctx context.Context, cfg Config) (installed, error) {
	ask := names(cfg)
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
			return cmp.Or(b.InstalledAt.Compare(a.InstalledAt), cmp.Compare(b.Version, a.Version))
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

// twice returns the packages that are there in more than one version.
func (i installed) twice() []string {
	var all []string
	for name, versions := range i {
		if len(versions) > 1 {
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

func (i installed) summary(cfg Config, note string) string {
	var parts []string
	for _, name := range names(cfg) {
		version := "is not installed"
		if have := i[name]; len(have) > 0 {
			version = have[0].Version
		}
		parts = append(parts, name+" "+version)
	}
	line := strings.Join(parts, ", ")
	if note != "" {
		line += " (" + note + ")"
	}
	return line
}

// unreached is an error for packages that are not at the version asked for
// though dnf has done what it can.
func (i installed) unreached(cfg Config, r record) error {
	var errs []error
	for _, name := range names(cfg) {
		want, have := cfg.Packages[name], i[name]
		if want == Latest || len(have) == 0 || have[0].Version == string(want) || slices.Contains(r.Excluded, name) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s stays at %s: version %s is not in the repositories%s, or older: packages are never downgraded",
			name, have[0].Version, want, ofRelease(cfg)))
	}
	return errors.Join(errs...)
}

func ofRelease(cfg Config) string {
	if cfg.Releasever == "" {
		return " of this image's release (set upgrade.releasever for another)"
	}
	return " of release " + cfg.Releasever
}

// recordFile is below /run: a new boot upgrades anew.
const recordFile = "/run/ecsnode/upgrade.json"

// record is which transaction the job is, or was.
type record struct {
	Wanted   []string          `json:"wanted"` // what was asked for
	Excluded []string          `json:"excluded,omitempty"`
	Before   map[string]string `json:"before"` // versions by package
	Done     bool              `json:"done"`
}

// readRecord returns the zero record for one that is not there or makes no
// sense: the transaction is then made again, which does no harm.
func readRecord(files fsx.FS) (record, error) {
	data, err := files.ReadFile(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	var r record
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}, err
	}
	return r, nil
}

func (r record) write(files fsx.FS) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", recordFile, err)
	}
	if _, err := files.MkdirAll(path.Dir(recordFile), 0o755); err != nil {
		return err
	}
	_, err = files.WriteFile(recordFile, append(data, '\n'), fsx.How{Mode: 0o600, Volatile: true})
	return err
}

package config_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// bundled is a node's files with a bundle of these settings in effect.
func bundled(t *testing.T, image, settings, userData string) (*fsx.Disk, bundle.Digest) {
	t.Helper()
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := bundle.Sum([]byte(settings))
	for name, text := range map[string]string{
		config.Path: image, path.Join(d.Path(), bundle.ConfigFile): settings, "/etc/ecsnode/conf.d/50.yaml": userData,
	} {
		if _, err := disk.MkdirAll(path.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteFile(name, []byte(text), fsx.How{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := disk.Symlink(bundle.Active, string(d)); err != nil {
		t.Fatal(err)
	}
	return disk, d
}

func TestABundleIsBetweenTheImageAndUserData(t *testing.T) {
	disk, d := bundled(t,
		"{cluster: image, boot: {budget: 10s, unhealthy_after: 1h}}\n", "{cluster: bundle, boot: {budget: 20s}}\n", "cluster: user\n")
	l := config.Load(disk, config.Path)
	if err := l.Problems.Err(); err != nil {
		t.Fatal(err)
	}
	if l.Bundle != d || l.BundleDir() != d.Path() {
		t.Errorf("bundle %q in %q", l.Bundle, l.BundleDir())
	}
	origins := map[string]string{}
	for _, s := range l.Settings() {
		origins[s.Path], _, _ = strings.Cut(s.Origin, ":")
	}
	for setting, want := range map[string]string{
		"cluster": "/etc/ecsnode/conf.d/50.yaml", "boot.budget": d.Path() + "/ecsnode.yaml", "boot.unhealthy_after": config.Path,
	} {
		if origins[setting] != want {
			t.Errorf("%s is from %s, want %s", setting, origins[setting], want)
		}
	}
}

func TestABundleThatIsNotGoodCostsItself(t *testing.T) {
	for name, tc := range map[string]struct {
		settings string
		says     string
	}{
		"no YAML":                     {"files: [\n", ""},
		"a setting that is not known": {"nonsense: 1\n", "nonsense"},
		"where bundles come from":     {"bundle: {source: s3://other}\n", "a bundle does not say where bundles come from"},
		"wrong beside the image":      {"boot: {unhealthy_after: 5s}\n", "too short"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, d := bundled(t, "boot: {budget: 10s}\n", tc.settings, "cluster: user\n")
			file := d.Path() + "/ecsnode.yaml"
			check := func(l *config.Loaded) {
				t.Helper()
				if !slices.Equal(l.LeftOut, []string{file}) || l.Bundle != "" || l.BundleDir() != "" {
					t.Errorf("left out %q, bundle %q", l.LeftOut, l.Bundle)
				}
				if err := l.Problems.Err(); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("problems: %v", err)
				}
				if !slices.Contains(l.Layers, "/etc/ecsnode/conf.d/50.yaml") {
					t.Errorf("layers: %q", l.Layers)
				}
			}
			check(config.Load(disk, config.Path))

			// What a bundle said before is never the former content of another.
			other, good := bundled(t, "boot: {budget: 10s}\n", "boot: {early_budget: 20s}\n", "cluster: user\n")
			former := config.Load(other, config.Path)
			if former.Bundle != good {
				t.Fatal(former.Problems)
			}
			now := former.Reload(disk, config.Path)
			check(now)
			if len(now.Former) != 0 || now.Config.Boot.EarlyBudget == former.Config.Boot.EarlyBudget {
				t.Errorf("former content is in effect: %q", now.Former)
			}
		})
	}
}

func TestALinkThatLeadsNowhereIsShown(t *testing.T) {
	for _, target := range []string{string(bundle.Sum([]byte("gone"))), "../../etc", ""} {
		disk, _ := bundled(t, "{}\n", "cluster: bundle\n", "{}\n")
		if target != "" {
			if _, err := disk.Symlink(bundle.Active, target); err != nil {
				t.Fatal(err)
			}
		}
		l := config.Load(disk, config.Path)
		if bad := l.Problems.Err(); (bad == nil) != (target == "") || bad != nil && (l.Bundle != "" || !strings.Contains(bad.Error(), "the bundle cannot be read")) {
			t.Errorf("%q: bundle %q, %v", target, l.Bundle, bad)
		}
	}
}

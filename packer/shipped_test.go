// Package packer_test holds what makes images and packages to what is shipped:
// every file, unit and variable that one of them names is there.
package packer_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var tree = os.DirFS("..")

// texts returns the files that match, by their names.
func texts(t *testing.T, patterns ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range patterns {
		names, err := fs.Glob(tree, pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("nothing matches %s (%v)", pattern, err)
		}
		for _, name := range names {
			text, err := fs.ReadFile(tree, name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	return all
}

// content is one file of the package.
type content struct {
	Src  string `yaml:"src"`
	Dst  string `yaml:"dst"`
	Type string `yaml:"type"`
}

// shipped returns what the package has, by where it goes.
func shipped(t *testing.T) map[string]content {
	t.Helper()
	var config struct {
		Contents []content         `yaml:"contents"`
		Scripts  map[string]string `yaml:"scripts"`
	}
	text := texts(t, "scripts/package/nfpm.yaml")["scripts/package/nfpm.yaml"]
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	all := map[string]content{}
	for _, c := range config.Contents {
		if _, twice := all[c.Dst]; twice || path.Clean(c.Dst) != c.Dst {
			t.Errorf("%s is there twice, or not clean", c.Dst)
		}
		all[c.Dst] = c
	}
	if len(all) < 10 || len(config.Scripts) == 0 {
		t.Fatalf("read %d files: is the file understood?", len(all))
	}
	return all
}

// units returns the units in systemd/, by their names.
func units(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(tree, "systemd/*.service")
	if err != nil || len(names) < 4 {
		t.Fatalf("%q, %v", names, err)
	}
	for i, name := range names {
		names[i] = path.Base(name)
	}
	return names
}

func TestThePackageHasEveryUnit(t *testing.T) {
	t.Parallel()
	have := shipped(t)
	for _, c := range have {
		if c.Src == "" || strings.HasPrefix(c.Src, "${") {
			continue // a directory, or made in the build
		}
		if _, err := fs.Stat(tree, c.Src); err != nil {
			t.Errorf("%s is made from what is not there: %v", c.Dst, err)
		}
	}
	preset := texts(t, "scripts/package/ecsnode.preset")["scripts/package/ecsnode.preset"]
	for _, unit := range units(t) {
		if have["/usr/lib/systemd/system/"+unit].Src != "systemd/"+unit {
			t.Errorf("the package is without %s", unit)
		}
		if !strings.Contains(preset, "\nenable "+unit+"\n") {
			t.Errorf("the preset does not enable %s", unit)
		}
	}
	dropIns, err := fs.Glob(tree, "systemd/*.d/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range dropIns {
		if !slices.ContainsFunc(slices.Collect(maps.Values(have)), func(c content) bool { return c.Src == name }) {
			t.Errorf("the package is without %s", name)
		}
	}
}

func TestEveryUnitThatIsNamedExists(t *testing.T) {
	t.Parallel()
	word := regexp.MustCompile(`\becsnode(?:-[a-z]+)*\.service\b`)
	for file, text := range texts(t, "packer/*.*", "packer/user-data", "packer/scripts/*.sh", "scripts/package/*", "agent/image/*.go") {
		for _, unit := range word.FindAllString(text, -1) {
			if !slices.Contains(units(t), unit) {
				t.Errorf("%s names %s", file, unit)
			}
		}
	}
	// Each that acts on one acts on all.
	for _, file := range []string{
		"packer/user-data", "packer/scripts/10-prepare.sh", "packer/scripts/30-configure.sh",
		"scripts/package/postinstall.sh", "scripts/package/preremove.sh", "agent/image/items.go",
	} {
		text := texts(t, file)[file]
		for _, unit := range units(t) {
			if !regexp.MustCompile(`[ "]` + strings.TrimSuffix(unit, ".service") + `(\.service|[ ;"])`).MatchString(text) {
				t.Errorf("%s forgets %s", file, unit)
			}
		}
	}
}

// own are paths that are there without the package: made by ecsnode, by teams or
// in a build.
var own = regexp.MustCompile(`^(/etc/ecsnode/(conf\.d|templates|files|hooks)(/.*)?|/var/lib/ecsnode(/.*)?|/run/ecsnode(/.*)?|/tmp/ecsnode-image(/.*)?)$`)

func TestEveryPathThatIsNamedIsShipped(t *testing.T) {
	t.Parallel()
	have := shipped(t)
	word := regexp.MustCompile(`/(?:usr|etc|var|run|tmp)/[\w./-]*ecsnode[\w./-]*`)
	found := 0
	for file, text := range texts(t, "packer/*.hcl", "packer/user-data", "packer/scripts/*.sh", "scripts/package/*", "agent/image/items.go", "agent/image/check.go") {
		for _, name := range word.FindAllString(text, -1) {
			found++
			name = strings.TrimRight(name, "./")
			if _, ok := have[name]; !ok && !own.MatchString(name) {
				t.Errorf("%s names %s, which is neither shipped nor made", file, name)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d paths", found)
	}
}

func TestVariablesAreDeclaredAndUsed(t *testing.T) {
	t.Parallel()
	declared, used := map[string]bool{}, map[string]bool{}
	for _, text := range texts(t, "packer/*.pkr.hcl") {
		for _, m := range regexp.MustCompile(`(?m)^variable "(\w+)"`).FindAllStringSubmatch(text, -1) {
			declared[m[1]] = true
		}
	}
	for file, text := range texts(t, "packer/*.pkr.hcl", "packer/build.sh", "scripts/lint.sh") {
		if file == "packer/variables.pkr.hcl" {
			continue // there each is its own condition
		}
		for _, m := range regexp.MustCompile(`(?:\bvar\.|-var ["']?)(\w+)`).FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
			if !declared[m[1]] {
				t.Errorf("%s uses the variable %s, which is not declared", file, m[1])
			}
		}
	}
	for name := range declared {
		if !used[name] {
			t.Errorf("the variable %s is not used", name)
		}
	}
}

func TestScriptsStopAtTheFirstFault(t *testing.T) {
	t.Parallel()
	for file, text := range texts(t, "packer/*.sh", "packer/scripts/*.sh", "scripts/packages.sh") {
		if !strings.HasPrefix(text, "#!/usr/bin/env bash\n# ") || !strings.Contains(text, "\nset -euo pipefail\n") {
			t.Errorf("%s: no first line, no comment or no set -euo pipefail", file)
		}
		if info, err := fs.Stat(tree, file); err != nil || info.Mode().Perm()&0o100 == 0 {
			t.Errorf("%s cannot be run (%v)", file, err)
		}
	}
}

func TestJSONAndYAMLCanBeRead(t *testing.T) {
	t.Parallel()
	found := 0
	for _, dir := range []string{"templates", "packer", "scripts", ".github", ".ci"} {
		err := fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			ext := filepath.Ext(name)
			if d.IsDir() || !slices.Contains([]string{".json", ".yaml", ".yml"}, ext) {
				return nil
			}
			found++
			text, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			var any any
			if ext == ".json" {
				err = json.Unmarshal(text, &any)
			} else {
				err = yaml.Unmarshal(text, &any)
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if found < 3 {
		t.Errorf("found %d files", found)
	}
}

// TestWhatOldPackersDoNotRead looks at what scripts/packer-copy.sh takes out for
// them, so that nothing else reads it there.
func TestWhatOldPackersDoNotRead(t *testing.T) {
	t.Parallel()
	text := strings.Join(strings.Fields(texts(t, "packer/ecsnode.pkr.hcl")["packer/ecsnode.pkr.hcl"]), " ")
	for _, want := range []string{
		`metadata_options { http_endpoint = "enabled" http_tokens = "required" http_put_response_hop_limit = 2 }`,
		`imds_support = "v2.0"`, `temporary_security_group_source_public_ip = length(var.ssh_cidrs) == 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Count(text, "include_deprecated = false") != strings.Count(text, "most_recent = true") {
		t.Error("an image that is deprecated may be built upon")
	}
}

func TestBothArchitecturesAreBuiltAlike(t *testing.T) {
	t.Parallel()
	text := texts(t, "packer/ecsnode.pkr.hcl")["packer/ecsnode.pkr.hcl"]
	blocks := regexp.MustCompile(`(?ms)^  source "amazon-ebs\.al2023" \{$.*?^  \}$`).FindAllString(text, -1)
	if len(blocks) != 2 || strings.ReplaceAll(blocks[0], "x86_64", "arm64") != blocks[1] {
		t.Errorf("%d sources, or they differ in more than the architecture", len(blocks))
	}
}

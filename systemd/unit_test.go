package systemd_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// unit is one unit with its drop-ins.
type unit struct {
	name   string
	values map[string][]string // by "Section.Key", in order; an empty one resets (systemd.syntax(7))
}

func (u *unit) parse(text string) error {
	section := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		key, value, assigns := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
		case section == "" || !assigns || strings.HasSuffix(line, `\`):
			return fmt.Errorf("%s: line %d: cannot read %q", u.name, i+1, line)
		case value == "":
			delete(u.values, section+"."+key)
		default:
			u.values[section+"."+key] = append(u.values[section+"."+key], value)
		}
	}
	return nil
}

// last is the value of a setting that has one; "" if it is not set.
func (u *unit) last(key string) string {
	if v := u.values[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// words is the value of a setting that is a list of words.
func (u *unit) words(key string) []string {
	return strings.Fields(strings.Join(u.values[key], " "))
}

// duration is the value of a time span: a sum of numbers with units, or seconds.
func (u *unit) duration(t *testing.T, key string) time.Duration {
	t.Helper()
	text := u.last(key)
	d, err := time.ParseDuration(strings.NewReplacer("min", "m", " ", "").Replace(text))
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil {
		t.Fatalf("%s: %s=%s is no time span that this test can read", u.name, key, text)
	}
	return d
}

// shipped are the files of this directory by their path in a directory of units.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*.service", "*.d/*.conf"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.ToSlash(name)] = string(text)
		}
	}
	for _, want := range []string{"ecsnode.service", "ecsnode-boot.service", "ecsnode-shutdown.service", "ecs.service.d/50-ecsnode.conf"} {
		if files[want] == "" {
			t.Fatalf("%s is missing", want)
		}
	}
	return files
}

// node is what is shipped among the units of Amazon Linux 2023.
func node(t *testing.T) map[string]string {
	t.Helper()
	files := shipped(t)
	standins, err := txtar.ParseFile("testdata/al2023.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range standins.Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

// load reads a directory of units.
func load(t *testing.T, files map[string]string) map[string]*unit {
	t.Helper()
	units := map[string]*unit{}
	// "ecs.service" sorts before its drop-ins "ecs.service.d/".
	for _, path := range slices.Sorted(maps.Keys(files)) {
		name, _, _ := strings.Cut(path, ".d/")
		if units[name] == nil {
			units[name] = &unit{name, map[string][]string{}}
		}
		if err := units[name].parse(files[path]); err != nil {
			t.Fatal(err)
		}
	}
	return units
}

// ours are the names of the units that are shipped whole.
func ours(t *testing.T) []string {
	t.Helper()
	var names []string
	for path := range shipped(t) {
		if !strings.Contains(path, "/") {
			names = append(names, path)
		}
	}
	slices.Sort(names)
	return names
}

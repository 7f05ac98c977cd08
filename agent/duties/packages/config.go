package packages

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Config says which packages there are, and in which version.
type Config struct {
	Ensure     map[string]Wanted `yaml:"ensure" help:"Packages by name: latest (upgraded once in a boot), present (in whatever version), absent, or an exact version such as 1.98.0-1.amzn2023. Never downgraded; a package that is no longer listed stays as it is."`
	Releasever string            `yaml:"releasever" help:"Release of Amazon Linux 2023 whose packages count, such as 2023.9.20251117, or latest. Empty: the release of the image, in which nothing newer may be found."`
}

// Default asks for nothing.
func Default() Config { return Config{} }

// Wanted is how a package should be: [Latest], [Present], [Absent] or in one
// version.
type Wanted string

// How a package should be.
const (
	Latest  Wanted = "latest"  // the newest in the repositories
	Present Wanted = "present" // there, in whatever version
	Absent  Wanted = "absent"
)

// exact reports whether w is one version.
func (w Wanted) exact() bool { return w != Latest && w != Present && w != Absent }

var (
	// As rpm allows: names and versions reach dnf as arguments, never a shell.
	versionForm = pattern.New(`^([0-9]{1,9}:)?[0-9][A-Za-z0-9.+~^_]*-[A-Za-z0-9.+~^_]+$`)
	packageForm = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	kernelForm  = pattern.New(`^kernel[0-9.]*(-core|-modules|-modules-core)?$`)
	releaseForm = pattern.New(`^(latest|2023\.[0-9]+\.[0-9]{8})$`)
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Wanted) UnmarshalText(b []byte) error {
	if v := Wanted(b); !v.exact() || versionForm.MatchString(string(v)) {
		*w = v
		return nil
	}
	return fmt.Errorf("%q is no version of a package", b)
}

// MarshalText implements encoding.TextMarshaler.
func (w Wanted) MarshalText() ([]byte, error) { return []byte(w), nil }

// Expected says what the setting takes.
func (Wanted) Expected() string {
	return `"latest", "present", "absent" or VERSION-RELEASE such as "1.98.0-1.amzn2023"`
}

// needed says why a package is never removed, or "".
func needed(name string) string {
	switch {
	case name == "docker" || name == "containerd" || name == "runc":
		return "containers run with it"
	case name == "ecs-init":
		return "it is the ECS agent"
	case name == "systemd":
		return "nothing starts without it"
	case kernelForm.MatchString(name):
		return "the node does not boot without it"
	case name == "ecsnode":
		return "it would remove itself"
	}
	return ""
}

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for _, name := range c.names() {
		at := fmt.Sprintf("ensure.%q", name)
		if !packageForm.MatchString(name) {
			report(at, "this is no name of a package")
		}
		if why := needed(name); why != "" && c.Ensure[name] == Absent {
			report(at, fmt.Sprintf("%s cannot be absent: %s", name, why))
		}
	}
	if c.Releasever != "" && !releaseForm.MatchString(c.Releasever) {
		report("releasever", fmt.Sprintf(`%q is no release: expected one such as "2023.9.20251117", or "latest"`, c.Releasever))
	}
}

func (c Config) names() []string { return slices.Sorted(maps.Keys(c.Ensure)) }

// asked is what a configuration asks for, whatever is installed.
func (c Config) asked() []string {
	all := []string{"release " + c.Releasever}
	for _, name := range c.names() {
		all = append(all, name+" "+string(c.Ensure[name]))
	}
	return all
}

// latest returns the packages whose newest version is wanted.
func (c Config) latest() []string {
	return slices.DeleteFunc(c.names(), func(name string) bool { return c.Ensure[name] != Latest })
}

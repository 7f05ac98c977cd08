package upgrade

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Config says which packages are brought to which version.
type Config struct {
	Packages   map[string]Version `yaml:"packages" help:"Packages that are upgraded at boot, such as ecs-init: latest, or an exact version such as 1.98.0-1.amzn2023. Never downgraded; one that is not installed is left alone."`
	Releasever string             `yaml:"releasever" help:"Release of Amazon Linux 2023 whose packages count, such as 2023.9.20251117, or latest. Empty: the release of the image, in which nothing newer may be found."`
}

// Default upgrades nothing.
func Default() Config { return Config{} }

// Version is what a package is brought to: [Latest] or one version.
type Version string

// Latest is the newest version in the repositories.
const Latest Version = "latest"

var (
	// As rpm allows: names and versions reach dnf as arguments, never a shell.
	versionForm = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~^_]*-[A-Za-z0-9.+~^_]+$`)
	packageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	releaseForm = regexp.MustCompile(`^(latest|2023\.[0-9]+\.[0-9]{8})$`)
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Version) UnmarshalText(b []byte) error {
	if t := Version(b); t == Latest || versionForm.MatchString(string(t)) {
		*v = t
		return nil
	}
	return fmt.Errorf("%q is no version of a package", b)
}

// MarshalText implements encoding.TextMarshaler.
func (v Version) MarshalText() ([]byte, error) { return []byte(v), nil }

// Expected says what the setting takes.
func (Version) Expected() string { return `"latest" or VERSION-RELEASE such as "1.98.0-1.amzn2023"` }

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	for _, name := range slices.Sorted(maps.Keys(c.Packages)) {
		if !packageForm.MatchString(name) {
			report(fmt.Sprintf("packages.%q", name), "this is no name of a package")
		}
	}
	if c.Releasever != "" && !releaseForm.MatchString(c.Releasever) {
		report("releasever", fmt.Sprintf(`%q is no release: expected one such as "2023.9.20251117", or "latest"`, c.Releasever))
	}
}

package volumes

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/when"
)

// Config is the volumes by name.
type Config map[string]Volume

// Default is none.
func Default() Config { return nil }

// Volume is a block device and where it is mounted.
type Volume struct {
	Device     string         `yaml:"device" help:"The device, as EC2 or udev names it: /dev/xvdcz, or a link below /dev/disk."`
	FileSystem FileSystem     `yaml:"filesystem" help:"What a blank device is formatted with, and what any other must hold to be mounted: ext4 or xfs."`
	MountPoint string         `yaml:"mount_point" help:"The directory; it is made if it is missing, and must be empty."`
	Options    []string       `yaml:"options" help:"Options of the mount, such as noatime or pquota."`
	Label      string         `yaml:"label" help:"The label that formatting gives; the name of the volume if empty."`
	Required   *bool          `yaml:"required" help:"Whether Docker is held back until it is mounted; by default only for /var/lib/docker and what is below it."`
	Wait       *when.Duration `yaml:"wait" help:"How long a required device may take to appear before that is a failure; 2m if it is not set."`
	Otherwise  Otherwise      `yaml:"otherwise" help:"What becomes of Docker without a required volume: hold keeps it back, start lets it start once wait is over."`
}

// SetDefaults is what a volume is that says nothing else.
func (v *Volume) SetDefaults() { v.FileSystem, v.Otherwise = Ext4, Hold }

// DockerDir is where Docker keeps images and containers by default.
const DockerDir = "/var/lib/docker"

const defaultWait = 2 * time.Minute

func (v Volume) required() bool {
	if v.Required != nil {
		return *v.Required
	}
	return within(v.MountPoint, DockerDir)
}

func (v Volume) wait() time.Duration {
	if v.Wait != nil {
		return time.Duration(*v.Wait)
	}
	return defaultWait
}

// label returns what formatting gives, cut to what the file system can hold if
// it is but the name.
func (v Volume) label(name string) string {
	return cmp.Or(v.Label, name[:min(len(name), v.FileSystem.maxLabel())])
}

// within reports whether a directory is dir or below it.
func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// order returns the names so that a volume comes after one that it is mounted
// in.
func (c Config) order() []string {
	return slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		return cmp.Or(strings.Compare(c[a].MountPoint, c[b].MountPoint), strings.Compare(a, b))
	})
}

// below returns the volume in which another is mounted, or "".
func (c Config) below(name string) (parent string) {
	for other, v := range c {
		nearer := parent == "" || len(v.MountPoint) > len(c[parent].MountPoint)
		if other != name && strings.HasPrefix(c[name].MountPoint, v.MountPoint+"/") && nearer {
			parent = other
		}
	}
	return parent
}

var (
	namePattern   = pattern.New(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	devicePattern = pattern.New(`^/dev/[A-Za-z0-9_./:+@=-]+$`)
	dirPattern    = pattern.New(`^/[A-Za-z0-9_./:+@=-]+$`)
	optionPattern = pattern.New(`^[A-Za-z0-9_.:/+@%=-]+$`)
	labelPattern  = pattern.New(`^[A-Za-z0-9_.:+-]*$`)
)

// Validate reports what is wrong with c, by setting.
func (c Config) Validate(report func(path, message string)) {
	devices, dirs := map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		v := c[name]
		at := func(key, format string, args ...any) {
			report(fmt.Sprintf("%s.%s", name, key), fmt.Sprintf(format, args...))
		}
		if !namePattern.MatchString(name) {
			report(fmt.Sprintf("%q", name), "it is no name of a volume: expected up to 32 lower-case letters, digits and hyphens")
		}
		v.validate(at)
		if other, ok := devices[v.Device]; ok && v.Device != "" {
			at("device", "it is the device of %s too", other)
		}
		if other, ok := dirs[v.MountPoint]; ok && v.MountPoint != "" {
			at("mount_point", "it is the mount point of %s too", other)
		}
		devices[v.Device], dirs[v.MountPoint] = name, name
	}
}

func (v Volume) validate(at func(key, format string, args ...any)) {
	if !devicePattern.MatchString(v.Device) || path.Clean(v.Device) != v.Device {
		at("device", "%q is no device: expected a path such as /dev/xvdcz", v.Device)
	}
	if !dirPattern.MatchString(v.MountPoint) || path.Clean(v.MountPoint) != v.MountPoint {
		at("mount_point", "%q is no mount point: expected an absolute path such as %s", v.MountPoint, DockerDir)
	}
	for i, o := range v.Options {
		key, _, _ := strings.Cut(o, "=")
		if !optionPattern.MatchString(o) || slices.Contains([]string{"remount", "bind", "rbind", "move"}, key) {
			at(fmt.Sprintf("options[%d]", i), "%q is no option of a mount that can be used here: expected one such as noatime", o)
		}
	}
	if most := v.FileSystem.maxLabel(); !labelPattern.MatchString(v.Label) || len(v.Label) > most || strings.HasPrefix(v.Label, "-") {
		at("label", "%q is no label: expected up to %d letters, digits, hyphens and underscores", v.Label, most)
	}
}

// FileSystem is the type of a file system.
type FileSystem string

// The file systems.
const (
	Ext4 FileSystem = "ext4"
	XFS  FileSystem = "xfs"
)

// maxLabel: mke2fs(8), mkfs.xfs(8).
func (f FileSystem) maxLabel() int {
	if f == XFS {
		return 12
	}
	return 16
}

// Enum returns the file systems.
func (FileSystem) Enum() []string { return []string{string(Ext4), string(XFS)} }

// Expected says what the setting takes.
func (FileSystem) Expected() string { return `"ext4" or "xfs"` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *FileSystem) UnmarshalText(b []byte) error {
	if !slices.Contains(f.Enum(), string(b)) {
		return fmt.Errorf("%q is no file system for a volume", b)
	}
	*f = FileSystem(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (f FileSystem) MarshalText() ([]byte, error) { return []byte(f), nil }

// Otherwise is what becomes of Docker without a volume that it requires.
type Otherwise string

// The two ways. Anything but [Start] is [Hold].
const (
	Hold  Otherwise = "hold"
	Start Otherwise = "start"
)

// Enum returns the ways.
func (Otherwise) Enum() []string { return []string{string(Hold), string(Start)} }

// Expected says what the setting takes.
func (Otherwise) Expected() string { return `"hold" or "start"` }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Otherwise) UnmarshalText(b []byte) error {
	if !slices.Contains(o.Enum(), string(b)) {
		return fmt.Errorf("%q is neither", b)
	}
	*o = Otherwise(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (o Otherwise) MarshalText() ([]byte, error) { return []byte(o), nil }

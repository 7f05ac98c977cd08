package volumes

import (
	"fmt"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// sight is what was seen of a volume that is not mounted, with its device
// there.
type sight struct {
	device  facts.BlockDevice
	mounts  mounts
	content []string // of the mount point, lost+found apart
	oddDir  string   // why nothing can be mounted there, or ""
}

type verb string

// What is done. A volume that is refused is left alone.
const (
	refuse   verb = "refuse"
	format   verb = "format"
	mountNow verb = "mount"
)

// decide is pure. Only a device on which nothing at all was found is formatted.
func decide(v Volume, s sight) (verb, error) {
	d := s.device
	elsewhere, isMounted := s.mounts.of(d.Number)
	switch {
	case s.oddDir != "":
		return refuse, fmt.Errorf("%s %s: expected an empty directory, or none", v.MountPoint, s.oddDir)
	case isMounted:
		return refuse, fmt.Errorf("%s (%s) is mounted on %s already", v.Device, d.Path, elsewhere)
	case len(s.content) > 0:
		return refuse, fmt.Errorf("%s has content already (%s): %s is not mounted over it. Stop what uses the directory, move its content away, and reboot",
			v.MountPoint, few(s.content), v.Device)
	case d.Blank() && d.ReadOnly:
		return refuse, fmt.Errorf("%s (%s) is blank, and read-only", v.Device, d.Path)
	case d.Blank():
		return format, nil
	case d.Holds(string(v.FileSystem)):
		return mountNow, nil
	}
	return refuse, fmt.Errorf("%s (%s, %s) is left alone, since it is neither blank nor %s and nothing else: found %s. "+
		"If that is not needed: wipefs --all %s; else change device or filesystem",
		v.Device, d.Path, bytes(d.Size), v.FileSystem, found(d), d.Path)
}

// found names what is on a device.
func found(d facts.BlockDevice) string {
	var what []string
	if len(d.Signatures) > 0 {
		what = append(what, strings.Join(d.Signatures, ", "))
	}
	if d.Label != "" {
		what = append(what, fmt.Sprintf("the label %q", d.Label))
	}
	if len(d.Parts) > 0 {
		what = append(what, "in use as "+few(d.Parts))
	}
	return strings.Join(what, ", ")
}

const manyNames = 4

func few(names []string) string {
	if len(names) <= manyNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:manyNames], ", "), len(names)-manyNames)
}

// bytes is a size as people write it.
func bytes(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

package volumes

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// mountinfo is of this process: what is mounted on the node propagates into the
// name space of a unit. proc_pid_mountinfo(5)
const mountinfo = "/proc/self/mountinfo"

// mounted is one line of it.
type mounted struct {
	number     string // major:minor of the device
	dir        string
	fileSystem string
	source     string
}

type mounts []mounted

func readMounts(files fsx.FS) (mounts, error) {
	data, err := files.ReadFile(mountinfo)
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data))
}

func parseMounts(text string) (mounts, error) {
	var all mounts
	for line := range strings.Lines(text) {
		before, after, found := strings.Cut(line, " - ")
		fields, source := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(source) < 2 {
			return nil, fmt.Errorf("cannot use %s: it has a line %q", mountinfo, strings.TrimSpace(line))
		}
		all = append(all, mounted{fields[2], unescape(fields[4]), source[0], unescape(source[1])})
	}
	return all, nil
}

// unescape reads \040 for a space, and so on.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// at returns what is mounted on a directory: the latest.
func (m mounts) at(dir string) (top mounted, ok bool) {
	for _, one := range m {
		if one.dir == dir {
			top, ok = one, true
		}
	}
	return top, ok
}

// of returns where a device is mounted.
func (m mounts) of(number string) (dir string, ok bool) {
	for _, one := range m {
		if one.number == number {
			return one.dir, true
		}
	}
	return "", false
}

// sectors are what sysfs counts sizes in, whatever those of the device.
const sector = 512

// sizeOf returns the size of a device in bytes, as it is now.
func sizeOf(files fsx.FS, number string) (uint64, error) {
	file := "/sys/dev/block/" + number + "/size"
	text, err := fsx.ReadTrimmed(files, file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 54)
	if err != nil {
		return 0, fmt.Errorf("cannot use %s: it says %q", file, text)
	}
	return n * sector, nil
}

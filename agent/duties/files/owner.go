package files

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// owner finds the ids of an item's user and group in the node's own files.
func (p *pass) owner(f File) (o fsx.Owner, err error) {
	if o.UID, err = p.id("/etc/passwd", "user", cmp.Or(f.Owner, "root")); err != nil {
		return o, err
	}
	o.GID, err = p.id("/etc/group", "group", cmp.Or(f.Group, "root"))
	return o, err
}

func (p *pass) id(file, what, name string) (int, error) {
	if id, err := strconv.Atoi(name); err == nil && id >= 0 {
		return id, nil
	}
	if p.users[file] == nil {
		if name == "root" {
			return 0, nil
		}
		data, err := p.FS.ReadFile(file)
		if err != nil {
			return 0, err
		}
		ids := map[string]int{}
		for line := range strings.Lines(string(data)) {
			// name:password:id:...
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) < 3 {
				continue
			}
			if id, err := strconv.Atoi(fields[2]); err == nil {
				ids[fields[0]] = id
			}
		}
		if p.users == nil {
			p.users = map[string]map[string]int{}
		}
		p.users[file] = ids
	}
	id, there := p.users[file][name]
	if !there {
		return 0, fmt.Errorf("%w: there is no %s %s", facts.ErrAbsent, what, name)
	}
	return id, nil
}

package ecsconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// foreign is what one reader takes for a key from the outside of the block.
type foreign struct {
	reader string
	value  string
	line   int // of the outside; 0: the reader takes nothing
}

// foreignValues returns what each reader takes for a key from text that has no
// block. A reader that ignores the text whole, which place reports, is left
// out. The first is ecs-init, whose view the agent gets.
func foreignValues(outside []byte, key string) []foreign {
	var all []foreign
	for _, r := range readers() {
		one := foreign{reader: r.name}
		found, err := r.read(outside)
		if err != nil {
			continue
		}
		for _, a := range found {
			if a.key == key {
				one.value, one.line = a.value, a.from
			}
		}
		all = append(all, one)
	}
	return all
}

func (f foreign) taken() string {
	if f.line == 0 {
		return "nothing"
	}
	return shown(clusterKey, f.value)
}

// conflicts returns a warning for each of our keys that the outside sets too,
// to something else. Lines are those of the file as it will be.
func (c contents) conflicts() []string {
	var warnings []string
	outside := c.outside()
	for _, s := range c.settings {
		all := foreignValues(outside, s.key)
		if s.key == attributesKey {
			continue // merged, and said by name
		}
		differs := func(f foreign) bool { return f.line > 0 && f.value != s.value }
		i := slices.IndexFunc(all, differs)
		if i < 0 {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s is also set outside the block (line %d, value %s): ecsnode's value %s wins",
			s.key, c.lineOf(all[i].line), shown(s.key, all[i].value), shown(s.key, s.value)))
	}
	return warnings
}

// secretKeys are parts of the names of variables that hold secrets.
var secretKeys = [...]string{"AUTH", "SECRET", "PASSW", "TOKEN", "CREDENTIAL", "KEY", "PROXY"}

// isSecret reports whether the value of a variable with this name must never be
// shown.
func isSecret(key string) bool {
	key = strings.ToUpper(key)
	return slices.ContainsFunc(secretKeys[:], func(part string) bool { return strings.Contains(key, part) })
}

// shown is a value for a message. Beyond its first line a value may be another
// variable that an open quote has swallowed.
func shown(key, value string) string {
	if isSecret(key) {
		return "not shown"
	}
	const most = 80
	first, _, cut := strings.Cut(value, "\n")
	if len(first) > most {
		first, cut = strings.ToValidUTF8(first[:most], ""), true
	}
	if cut {
		return fmt.Sprintf("%q and more", first)
	}
	return fmt.Sprintf("%q", first)
}

// foreignCluster returns the cluster that the outside names, as it is written
// there; "" if it names none. Every reader must take the same.
func (c contents) foreignCluster() (string, error) {
	outside := c.outside()
	all := foreignValues(outside, clusterKey)
	for _, f := range all[1:] {
		if f.value != all[0].value {
			return "", fmt.Errorf("line %d: %s reads %s as %s, and %s as %s: write it as %s=NAME, without quotes, or set cluster",
				c.lineOf(max(f.line, all[0].line)), all[0].reader, clusterKey, all[0].taken(), f.reader, f.taken(), clusterKey)
		}
	}
	value := all[0].value
	if value != "" && clusterName(value) == "" {
		return "", fmt.Errorf("line %d: %s is %s: %w", c.lineOf(all[0].line), clusterKey, shown(clusterKey, value), errNoCluster)
	}
	return value, nil
}

// foreignAttributes returns the attributes that the agent would take from the
// outside if there were no block, and the line that sets them; none for line 0.
func (c contents) foreignAttributes() (attributes map[string]string, line int, err error) {
	all := foreignValues(c.outside(), attributesKey)
	if len(all) == 0 || all[0].line == 0 || all[0].value == "" {
		return nil, 0, nil
	}
	line = c.lineOf(all[0].line)
	if err := json.Unmarshal([]byte(all[0].value), &attributes); err != nil {
		return nil, line, errors.New("the agent cannot read them either: expected JSON such as {\"rack\":\"a1\"}, without quotes around it")
	}
	return attributes, line, nil
}

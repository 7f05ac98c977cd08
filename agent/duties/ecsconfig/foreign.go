package ecsconfig

import (
	"fmt"
	"slices"
)

// Foreign is one variable that others set in ecs.config.
type Foreign struct {
	Key, Value string
	Line       int
	// Setting is what sets the same here: cluster, ecs_config.reserved_memory,
	// ecs_config.settings.ECS_LOGLEVEL. Empty: nothing does, and Why says it.
	Setting string
	Why     string
}

// Outside returns what is set outside of the block, as ecs-init, whose view the
// agent gets, reads it; of a key set twice the last counts.
func Outside(file []byte) ([]Foreign, error) {
	c, err := parse(file)
	if err != nil {
		return nil, err
	}
	found, _ := readECSInit(c.outside()) // never fails
	var all []Foreign
	for _, a := range found {
		if a.key == "" || !isVariableName(a.key) { // a comment that has a "="
			continue
		}
		f := Foreign{Key: a.key, Value: a.value, Line: c.lineOf(a.from), Setting: ownSetting(a.key)}
		err := checkKey(a.key)
		switch {
		case checkWritable(a.value) != nil:
			f.Setting, f.Why = "", checkWritable(a.value).Error()
		case IsSecret(a.key):
			f.Setting, f.Why = "", "it may be a secret, which has no place in ecsnode.yaml"
		case f.Setting != "":
		case err != nil:
			f.Why = fmt.Sprintf("%s is no variable that ecs_config sets", a.key)
		default:
			f.Setting = "ecs_config.settings." + a.key
		}
		all = slices.DeleteFunc(all, func(o Foreign) bool { return o.Key == f.Key })
		all = append(all, f)
	}
	return all, nil
}

// Variables returns what the agent is given by a file, by name.
func Variables(file []byte) map[string]string {
	all := map[string]string{}
	found, _ := readECSInit(file) // never fails
	for _, a := range found {
		if isVariableName(a.key) {
			all[a.key] = a.value
		}
	}
	return all
}

// WithoutBlock returns a file as it is without what ecsnode wrote.
func WithoutBlock(file []byte) ([]byte, error) {
	c, err := parse(file)
	if err != nil {
		return nil, err
	}
	return c.outside(), nil
}

// IsSecret reports whether the value of a variable with this name must never be
// shown.
func IsSecret(key string) bool { return isSecret(key) }

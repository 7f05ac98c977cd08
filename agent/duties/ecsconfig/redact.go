package ecsconfig

import (
	"bytes"
	"strings"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

var variable = pattern.New(`^\s*(export\s+)?[A-Za-z_][A-Za-z0-9_]*=`)

// Redact returns ecs.config for people: the block as it is but for credentials,
// and of every other line no more than the name of the variable that it sets. What others wrote
// there may hold passwords in any form, over several lines too.
func Redact(file string) string {
	c, err := parse([]byte(file))
	if err != nil {
		return hide(file)
	}
	after := string(c.after)
	var b strings.Builder
	for line := range strings.Lines(string(c.block)) {
		if key, _, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !canBeOurs(key) {
			after = strings.TrimPrefix(after, line) // parse has put it there
			line = hide(line)
		} else if ok && key == authDataKey {
			line = hide(line)
		}
		b.WriteString(line)
	}
	return hide(string(c.before)) + b.String() + hide(after)
}

// HasBlock reports whether a file has the block that ecsnode writes, and so is
// ecs.config.
func HasBlock(file []byte) bool { return bytes.Contains(file, []byte(beginLine)) }

func hide(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		body := strings.TrimRight(line, "\r\n")
		switch name := variable.FindString(body); {
		case strings.TrimSpace(body) == "":
			b.WriteString(line)
		default:
			b.WriteString(name + "(hidden)" + line[len(body):])
		}
	}
	return b.String()
}

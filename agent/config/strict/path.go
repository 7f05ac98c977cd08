package strict

import (
	"strconv"
	"strings"
)

// Key returns the path of the setting key under parent ("" for the top level):
// node_config.files.app. A key that is not made of letters, digits, "_" and "-"
// is quoted, so that a path has one reading: node_config.files."node.config".
func Key(parent, key string) string {
	if !isPlainKey(key) {
		key = strconv.Quote(key)
	}
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// Index returns the path of entry i of the list at parent: volumes[2].
func Index(parent string, i int) string {
	return parent + "[" + strconv.Itoa(i) + "]"
}

func isPlainKey(key string) bool {
	return key != "" && strings.IndexFunc(key, func(r rune) bool { return !isKeyRune(r) }) < 0
}

func isKeyRune(r rune) bool {
	return r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// step is one element of a path: a key, or the index of a list's entry.
type step struct {
	key   string
	index int
	list  bool
}

// splitPath undoes Key and Index; false for what they cannot have built.
func splitPath(path string) ([]step, bool) {
	var steps []step
	for rest := path; rest != ""; {
		var s step
		var ok bool
		switch {
		case rest[0] == '[':
			s, rest, ok = cutIndex(rest)
		case len(steps) == 0:
			s, rest, ok = cutKey(rest)
		case rest[0] == '.':
			s, rest, ok = cutKey(rest[1:])
		}
		if !ok {
			return nil, false
		}
		steps = append(steps, s)
	}
	return steps, true
}

func cutIndex(path string) (step, string, bool) {
	digits, rest, ok := strings.Cut(path[1:], "]")
	i, err := strconv.Atoi(digits)
	return step{index: i, list: true}, rest, ok && err == nil && i >= 0
}

func cutKey(path string) (step, string, bool) {
	if strings.HasPrefix(path, `"`) {
		quoted, err := strconv.QuotedPrefix(path)
		if err != nil {
			return step{}, "", false
		}
		key, err := strconv.Unquote(quoted)
		return step{key: key}, path[len(quoted):], err == nil
	}
	end := strings.IndexFunc(path, func(r rune) bool { return !isKeyRune(r) })
	if end < 0 {
		end = len(path)
	}
	return step{key: path[:end]}, path[end:], end > 0
}

package bundle

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// versionForm is a release, one of git's names for what came after it, or
// something before it, such as v1.4.0-rc1.
var versionForm = pattern.New(`^v([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?:(-[0-9]+-g[0-9a-f]+)?(?:-dirty)?|(-[0-9A-Za-z.-]+))$`)

// parseVersion returns numbers that compare as versions do.
func parseVersion(text string) ([]int, bool) {
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	var v []int
	for _, part := range m[1:4] {
		n, _ := strconv.Atoi(part)
		v = append(v, n)
	}
	rank := 0
	if m[5] != "" {
		rank = -1
	}
	return append(v, rank), true
}

// newEnough reports whether an agent may run what takes at least another. One
// of no known version may not.
func newEnough(agent, minimum string) bool {
	if minimum == "" {
		return true
	}
	have, known := parseVersion(agent)
	want, _ := parseVersion(minimum)
	return known && slices.CompareFunc(have, want, cmp.Compare[int]) >= 0
}

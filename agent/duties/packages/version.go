package packages

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// newer reports whether what is installed is newer than the version asked for. An
// epoch counts where one is asked for; otherwise the installed one is meant.
func newer(have facts.Package, want Wanted) bool { return compare(have, want) > 0 }

// same reports whether p is the version asked for.
func same(have facts.Package, want Wanted) bool { return compare(have, want) == 0 }

func compare(have facts.Package, want Wanted) int {
	text := string(want)
	epoch := have.Epoch
	if e, rest, ok := strings.Cut(text, ":"); ok {
		epoch, _ = strconv.Atoi(e)
		text = rest
	}
	// As rpm:lib/rpmver.c compares: epoch, version, release.
	haveVersion, haveRelease, _ := strings.Cut(have.Version, "-")
	version, release, _ := strings.Cut(text, "-")
	return cmp.Or(cmp.Compare(have.Epoch, epoch), vercmp(haveVersion, version), vercmp(haveRelease, release))
}

// vercmp compares two versions, or releases, as rpm does: rpm:rpmio/rpmvercmp.c.
// Runs of digits and of letters are compared one by one, digits are newer than
// letters, "~" is older than the end and "^" newer than the end but older than
// anything else.
func vercmp(a, b string) int {
	for a != "" || b != "" {
		a, b = strings.TrimLeftFunc(a, separates), strings.TrimLeftFunc(b, separates)
		switch at, bt := strings.HasPrefix(a, "~"), strings.HasPrefix(b, "~"); {
		case at && bt:
			a, b = a[1:], b[1:]
			continue
		case at:
			return -1
		case bt:
			return 1
		}
		switch ac, bc := strings.HasPrefix(a, "^"), strings.HasPrefix(b, "^"); {
		case ac && bc:
			a, b = a[1:], b[1:]
			continue
		case ac && b == "", bc && a != "":
			return 1
		case bc, ac:
			return -1
		}
		if a == "" || b == "" {
			break
		}
		is := letter
		if digit(rune(a[0])) {
			is = digit
		}
		x, y := run(a, is), run(b, is)
		if y == "" { // of another kind
			if is(rune('0')) {
				return 1
			}
			return -1
		}
		a, b = a[len(x):], b[len(y):]
		if is(rune('0')) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return cmp.Compare(len(x), len(y))
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b)) // what is left of one is newer
}

func digit(r rune) bool     { return r >= '0' && r <= '9' }
func letter(r rune) bool    { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
func separates(r rune) bool { return !digit(r) && !letter(r) && r != '~' && r != '^' }

func run(s string, is func(rune) bool) string {
	return s[:len(s)-len(strings.TrimLeftFunc(s, is))]
}

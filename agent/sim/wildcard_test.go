package sim

import "testing"

func TestMatchesWildcard(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"env", "env", true},
		{"env", "Env", false},
		{"env", "env2", false},
		{"e*", "env", true},
		{"*", "", true},
		{"e?v", "env", true},
		{"e?v", "ev", false},
		{"?", "é", true},
		{"a.c", "abc", false},
		{`a\*c`, "a*c", true},
		{`a\*c`, "abc", false},
		{"a*c", "a\nc", true},
		{"", "", true},
		{"", "x", false},
	} {
		if got := matchesWildcard(tc.pattern, tc.text); got != tc.want {
			t.Errorf("%q matches %q: %t", tc.pattern, tc.text, got)
		}
	}
}

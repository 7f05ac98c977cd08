package packages

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Cases of rpm:tests/rpmvercmp.at, those whose rules differ.
func TestVercmp(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0},
		{"1.0", "2.0", -1},
		{"2.0.1a", "2.0.1", 1},
		{"5.5p1", "5.5p2", -1},
		{"5.5p10", "5.5p1", 1},
		{"10xyz", "10.1xyz", -1},
		{"xyz10", "xyz10.1", -1},
		{"xyz.4", "8", -1},
		{"5.5p2", "5.6p1", -1},
		{"5.6p1", "6.5p1", -1},
		{"6.0.rc1", "6.0", 1},
		{"10b2", "10a1", 1},
		{"1.0aa", "1.0a", 1},
		{"10.0001", "10.1", 0},
		{"10.0001", "10.0039", -1},
		{"4.999.9", "5.0", -1},
		{"20101121", "20101122", -1},
		{"2_0", "2.0", 0},
		{"a+", "a_", 0},
		{"1.0~rc1", "1.0", -1},
		{"1.0~rc1", "1.0~rc2", -1},
		{"1.0~rc1~git123", "1.0~rc1", -1},
		{"1.0^", "1.0", 1},
		{"1.0^git1", "1.0^git2", -1},
		{"1.0^git1", "1.01", -1},
		{"1.0^20160101", "1.0.1", -1},
		{"1.0^20160101^git1", "1.0^20160102", -1},
		{"1.0~rc1^git1", "1.0~rc1", 1},
		{"1.0^git1~pre", "1.0^git1", -1},
	} {
		if got := vercmp(c.a, c.b); got != c.want {
			t.Errorf("%s against %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := vercmp(c.b, c.a); got != -c.want {
			t.Errorf("%s against %s: %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	v := func(epoch int, version string) []facts.Package {
		return []facts.Package{{Epoch: epoch, Version: version}}
	}
	for name, c := range map[string]struct {
		want  Wanted
		have  []facts.Package
		look  bool
		does  string // in words
		spec  string
		fails string
	}{
		"present, and is":                    {want: Present, have: v(0, "1-1")},
		"present, and is not":                {want: Present, does: "install a", spec: "a"},
		"latest, and is not":                 {want: Latest, does: "install a", spec: "a"},
		"latest":                             {want: Latest, have: v(0, "1-1")},
		"latest, to be looked for":           {want: Latest, have: v(0, "1-1"), look: true, does: "upgrade a 1-1 -> latest", spec: "a"},
		"absent, and is":                     {want: Absent},
		"absent, and is not":                 {want: Absent, have: v(0, "1-1"), does: "remove a"},
		"a version, and is not":              {want: "2-1", does: "install a 2-1", spec: "a-2-1"},
		"a version, and is":                  {want: "2-1", have: v(0, "2-1")},
		"a version, and is older":            {want: "2-1", have: v(0, "1-1"), does: "upgrade a 1-1 -> 2-1", spec: "a-2-1"},
		"a version, and its release is":      {want: "2-10", have: v(0, "2-9"), does: "upgrade a 2-9 -> 2-10", spec: "a-2-10"},
		"a version, and is newer":            {want: "2-1", have: v(0, "2-1.1"), fails: "a 2-1.1 is installed, which is newer than 2-1: packages are never downgraded"},
		"another epoch is installed":         {want: "2-1", have: v(1, "1-1"), does: "upgrade a 1-1 -> 2-1", spec: "a-1:2-1"},
		"an epoch is asked for":              {want: "1:1-1", have: v(0, "2-1"), does: "upgrade a 2-1 -> 1:1-1", spec: "a-1:1-1"},
		"an older epoch is asked for":        {want: "0:3-1", have: v(1, "2-1"), fails: "a 2-1 is installed, which is newer than 0:3-1: packages are never downgraded"},
		"the epoch asked for and the rest":   {want: "1:2-1", have: v(1, "2-1")},
		"a release candidate of the version": {want: "2-1", have: v(0, "2~rc1-1"), does: "upgrade a 2~rc1-1 -> 2-1", spec: "a-2-1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(Config{Ensure: map[string]Wanted{"a": c.want}}, installed{"a": c.have}, c.look)
			var does, spec string
			if words := got.words(); len(words) > 0 {
				does = words[0]
			}
			if len(got.install) > 0 {
				spec = got.install[0].spec
			}
			if does != c.does || spec != c.spec || got.refused["a"] != c.fails {
				t.Errorf("%q with %q, refused %q", does, spec, got.refused["a"])
			}
		})
	}
}

func TestRemovable(t *testing.T) {
	needs := map[string][]facts.Dependant{
		"library": {{Name: "program", Needs: "library"}},
		"program": {{Name: "suite", Needs: "/usr/bin/program"}},
	}
	for name, c := range map[string]struct{ ask, can []string }{
		"nothing needs it":            {[]string{"suite"}, []string{"suite"}},
		"one that stays needs it":     {[]string{"library", "tool"}, []string{"tool"}},
		"what needs it goes too":      {[]string{"library", "program", "suite"}, []string{"library", "program", "suite"}},
		"what needs it is needed too": {[]string{"library", "program"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			can, refused := removable(c.ask, needs)
			if len(can)+len(refused) != len(c.ask) || cmp.Diff(c.can, can) != "" && len(c.can)+len(can) > 0 {
				t.Errorf("%q can go, refused %q", can, refused)
			}
		})
	}
}

// As dnf 4.14 says it, under strict=0 and best=1.
func TestSaid(t *testing.T) {
	const output = `Package tool-1.0-1.noarch is already installed.
No match for argument: missing
No match for argument: chrony-4.3-1
Dependencies resolved.

 Problem 1: cannot install the best candidate for the job
  - nothing provides not-there needed by shaky-2.0-1.noarch
 Problem 2: problem with installed package library-2.0-1.noarch
  - package rival-1.0-1.noarch conflicts with library provided by library-2.0-1.noarch
  - conflicting requests
================================================================================
Skipping packages with broken dependencies:
 shaky             noarch           2.0-1             amazonlinux           5.9 k
`
	have := func(v string) []facts.Package { return []facts.Package{{Version: v}} }
	for name, c := range map[string]struct {
		name, spec string
		have       []facts.Package
		want       string
	}{
		"there is none":                  {"missing", "missing", nil, "No match for argument: missing"},
		"there is not that version":      {"chrony", "chrony-4.3-1", have("4.2-1"), "No match for argument: chrony-4.3-1"},
		"the newest cannot be installed": {"shaky", "shaky", have("1.0-1"), "Problem 1: cannot install the best candidate for the job; - nothing provides not-there needed by shaky-2.0-1.noarch"},
		"it is not there":                {"rival", "rival", nil, "Problem 2: problem with installed package library-2.0-1.noarch; - package rival-1.0-1.noarch conflicts with library provided by library-2.0-1.noarch; - conflicting requests"},
		"it stands in another's way":     {"library", "library", have("2.0-1"), ""},
		"nothing":                        {"tool", "tool", have("1.0-1"), ""},
		"another one's name begins so":   {"shak", "shak", nil, ""},
	} {
		if got := said(output, c.name, c.spec, c.have); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

package packages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// todo is what is not as it should be.
type todo struct {
	install []item // to be installed or upgraded, by name
	remove  []string
	refused map[string]string // what is not done, and why
}

// item is one package that dnf is to install or upgrade.
type item struct {
	name string
	spec string // as dnf takes it
	does string // in words
}

// decide compares what is installed with what should be. With look, the newest
// versions are asked for, too.
func decide(cfg Config, now installed, look bool) todo {
	t := todo{refused: map[string]string{}}
	add := func(name, spec, does string, args ...any) {
		t.install = append(t.install, item{name, spec, fmt.Sprintf(does, args...)})
	}
	for _, name := range cfg.names() {
		want, have := cfg.Ensure[name], now[name]
		switch {
		case want == Absent && len(have) > 0:
			t.remove = append(t.remove, name)
		case want == Absent:
		case len(have) == 0 && want.exact():
			add(name, name+"-"+string(want), "install %s %s", name, want)
		case len(have) == 0:
			add(name, name, "install %s", name)
		case want == Latest && look:
			add(name, name, "upgrade %s %s -> latest", name, have[0].Version)
		case !want.exact() || same(have[0], want):
		case newer(have[0], want):
			// dnf would bring it back: "install" and a version downgrade.
			t.refused[name] = fmt.Sprintf("%s %s is installed, which is newer than %s: packages are never downgraded", name, have[0].Version, want)
		default:
			add(name, name+"-"+withEpoch(want, have[0].Epoch), "upgrade %s %s -> %s", name, have[0].Version, want)
		}
	}
	return t
}

// withEpoch is a version with the epoch that it has in mind, so that no other one
// is taken for it.
func withEpoch(want Wanted, epoch int) string {
	if strings.Contains(string(want), ":") || epoch == 0 {
		return string(want)
	}
	return fmt.Sprintf("%d:%s", epoch, want)
}

// words says what t does.
func (t todo) words() (all []string) {
	for _, name := range t.remove {
		all = append(all, "remove "+name)
	}
	for _, i := range t.install {
		all = append(all, i.does)
	}
	return all
}

// without drops what cannot be done now, or was tried in vain a while ago.
func (t todo) without(drop func(name string) bool) todo {
	t.install = slices.DeleteFunc(slices.Clone(t.install), func(i item) bool { return drop(i.name) })
	t.remove = slices.DeleteFunc(slices.Clone(t.remove), drop)
	return t
}

// removable splits packages into those that can go and those that others need,
// with the reason. needs has, for each, what else needs it.
func removable(names []string, needs map[string][]facts.Dependant) (can []string, refused map[string]string) {
	can, refused = slices.Clone(names), map[string]string{}
	for again := true; again; {
		again = false
		for _, name := range slices.Clone(can) {
			// What goes as well needs nothing any more.
			i := slices.IndexFunc(needs[name], func(d facts.Dependant) bool { return !slices.Contains(can, d.Name) })
			if i < 0 {
				continue
			}
			can = slices.DeleteFunc(can, func(n string) bool { return n == name })
			refused[name] = fmt.Sprintf("cannot remove %s: %s needs it (%s): let that be absent too, or keep both", name, needs[name][i].Name, needs[name][i].Needs)
			again = true
		}
	}
	return can, refused
}

// said returns what dnf 4.14 said about a package that is not as it should be:
// that there is none, or why the best one cannot be had.
func said(output, name, spec string, have []facts.Package) string {
	var lines, problem []string
	flush := func() {
		if slices.ContainsFunc(problem, func(line string) bool { return mentions(line, name, have) }) {
			lines = append(lines, problem...)
		}
		problem = nil
	}
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		switch {
		case line == "No match for argument: "+name || line == "No match for argument: "+spec:
			lines = append(lines, line)
		case strings.HasPrefix(line, "Problem"):
			flush()
			problem = append(problem, line)
		case len(problem) > 0 && strings.HasPrefix(line, "- "):
			problem = append(problem, line)
		default:
			flush()
		}
	}
	flush()
	return strings.Join(lines, "; ")
}

// mentions reports whether a line of a problem has the package, NAME-VERSION.ARCH,
// in a version that is newer than the installed one.
func mentions(line, name string, have []facts.Package) bool {
	return slices.ContainsFunc(strings.Fields(line), func(word string) bool {
		rest, ok := strings.CutPrefix(word, name+"-")
		if dot := strings.LastIndexByte(rest, '.'); dot > 0 {
			rest = rest[:dot]
		}
		return ok && versionForm.MatchString(rest) && (len(have) == 0 || compare(have[0], Wanted(rest)) < 0)
	})
}

func ofRelease(cfg Config) string {
	if cfg.Releasever == "" {
		return "of this image's release (set packages.releasever for another)"
	}
	return "of release " + cfg.Releasever
}

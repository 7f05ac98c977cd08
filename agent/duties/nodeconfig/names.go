package nodeconfig

import (
	"path"
	"slices"
	"strings"
)

// isName reports whether s is a name of POSIX shell variables.
func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) || i == 0 && s[i] >= '0' && s[i] <= '9' {
			return false
		}
	}
	return s != ""
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// shellOwned lists the names, with those that start with "BASH_", that dash,
// bash or busybox sh sets by itself or refuses to set: a value would not come
// back, or the script that sources the file would end there.
var shellOwned = []string{
	"BASH", "BASHOPTS", "BASHPID", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS",
	"EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PIPESTATUS",
	"PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SRANDOM", "UID", "_",
}

func isShellOwned(name string) bool {
	return slices.Contains(shellOwned, name) ||
		strings.HasPrefix(name, "BASH_") && !steers(name)
}

// steering lists the names, with those that start with "LD_", "DYLD_" or "GIT_",
// by which a shell, the dynamic linker or an interpreter finds or runs code.
// Whoever may tag an instance must not set them. An operator may, with a value.
var steering = []string{
	"BASH_ENV", "CDPATH", "ENV", "GCONV_PATH", "GLOBIGNORE", "HOME", "IFS",
	"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "MAILPATH",
	"NODE_OPTIONS", "NODE_PATH", "PATH", "PERL5LIB", "PERL5OPT",
	"PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS3", "PS4",
	"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "RUBYLIB", "RUBYOPT", "SHELL",
}

func steers(name string) bool {
	return slices.Contains(steering, name) || strings.HasPrefix(name, "LD_") ||
		strings.HasPrefix(name, "DYLD_") || strings.HasPrefix(name, "GIT_")
}

// reserved is how the names begin that are ecsnode's, now and later.
const reserved = "NODE_"

// RefuseValue says why no value may have this name, or "".
func RefuseValue(name string) string { return refuseValueName(name) }

// IsStandard reports whether every file has a variable of this name.
func IsStandard(name string) bool { return isStandard(name) }

// nodeJS are names that begin so and are Node.js's. What an operator's
// containers run may need them.
// https://nodejs.org/api/cli.html#environment-variables
var nodeJS = []string{
	"NODE_DEBUG", "NODE_DISABLE_COLORS", "NODE_ENV", "NODE_EXTRA_CA_CERTS", "NODE_ICU_DATA", "NODE_NO_WARNINGS", "NODE_OPTIONS",
	"NODE_PATH", "NODE_PENDING_DEPRECATION", "NODE_REPL_HISTORY", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_USE_ENV_PROXY", "NODE_V8_COVERAGE",
}

func isReserved(name string) bool {
	return strings.HasPrefix(name, reserved) && !slices.Contains(nodeJS, name)
}

// included reports whether a tag becomes a variable under t.
func (t Tags) included(key string) bool {
	if _, ok := t.Names[key]; ok {
		return true
	}
	return slices.ContainsFunc(t.Include, func(pattern string) bool {
		ok, err := matches(pattern, key)
		return ok && err == nil
	})
}

// matches is path.Match without its regard for "/", which in a tag key is a
// character like any other.
func matches(pattern, key string) (bool, error) {
	flat := strings.NewReplacer("/", "\x00")
	return path.Match(flat.Replace(pattern), flat.Replace(key))
}

// isPattern reports whether an entry of include stands for several keys.
func isPattern(entry string) bool { return strings.ContainsAny(entry, `*?[\`) }

// variableFor returns the name of the variable that a tag becomes: the one the
// operator gave it, else the prefix and the key in capitals, in which every
// character that no name may have is "_".
func (t Tags) variableFor(key string) string {
	if name, ok := t.Names[key]; ok {
		return name
	}
	return t.Prefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r < 0x80 && isNameByte(byte(r)):
			return r
		}
		return '_'
	}, key)
}

// expected returns the keys that t names one by one, in order.
func (t Tags) expected() []string {
	var keys []string
	for key := range t.Names {
		keys = append(keys, key)
	}
	for _, entry := range t.Include {
		if !isPattern(entry) {
			keys = append(keys, entry)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// hasPattern reports whether t leaves the choice of keys to who sets tags.
func (t Tags) hasPattern() bool { return slices.ContainsFunc(t.Include, isPattern) }

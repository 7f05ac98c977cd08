package systemd

import (
	"os"
	"strings"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// argv reads ExecStart, a(sasbttttuii), with its variables replaced as systemd
// does when it starts the unit: systemd.service(5), "Command lines".
func (p properties) argv() []string {
	commands, _ := p["ExecStart"].([][]any)
	if len(commands) == 0 || len(commands[0]) < 2 {
		return nil
	}
	words, _ := commands[0][1].([]string)
	return expand(words, p.environment())
}

// environment is that of the unit: its Environment= and, later and stronger, its
// files. One that cannot be read is left out.
func (p properties) environment() map[string]string {
	env := map[string]string{}
	list, _ := p["Environment"].([]string)
	for _, assignment := range list {
		name, value, _ := strings.Cut(assignment, "=")
		env[name] = value
	}
	files, _ := p["EnvironmentFiles"].([][]any) // a(sb): path, may be missing
	for _, f := range files {
		if len(f) == 0 {
			continue
		}
		name, _ := f[0].(string)
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if !ok || strings.HasPrefix(name, "#") || strings.HasPrefix(name, ";") {
				continue
			}
			env[name] = unquote(value)
		}
	}
	return env
}

// unquote takes the quotes off a value that is in quotes as a whole. What else
// an EnvironmentFile may hold is no flag of a daemon.
func unquote(s string) string {
	if len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

var braced = pattern.New(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// expand replaces $NAME, which stands alone, by the words of its value, and
// ${NAME} anywhere by its value.
func expand(words []string, env map[string]string) []string {
	var all []string
	for _, word := range words {
		if name, alone := strings.CutPrefix(word, "$"); alone && !strings.ContainsAny(name, "${}") {
			all = append(all, strings.Fields(env[name])...)
			continue
		}
		all = append(all, braced.ReplaceAllStringFunc(word, func(v string) string { return env[v[2:len(v)-1]] }))
	}
	return all
}

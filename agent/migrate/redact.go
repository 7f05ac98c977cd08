package migrate

import (
	"strings"

	"github.com/ecsnode/ecsnode/agent/pattern"
)

// secretWord is in the name of what holds a secret.
const secretWord = `(?:pass|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|auth)`

var (
	// A header has its secret behind a word of its own: Authorization: Bearer x.
	secretHeader = pattern.New(`(?i)((?:proxy-)?authorization\s*[:=]\s*)([^"'\n]+)`)
	secretQuoted = pattern.New(`(?i)(["'])([^"'\s]*` + secretWord + `[a-z0-9_.-]*\s*[=:]\s*)[^"'\n]+(["'])`)
	secretPair   = pattern.New(`(?i)([a-z0-9_.-]*` + secretWord + `[a-z0-9_.-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|\S+)`)
	secretOption = pattern.New(`(?i)(--?[a-z-]*(?:password|secret|token|api-key)[a-z-]*\s+)([^-\s]\S*)`)
	secretLogin  = pattern.New(`((?:^|\s)(?:-u|--user|--proxy-user)[\s=]+["']?[^\s:"']+:)[^\s"']+`)
	secretShort  = pattern.New(`((?:^|\s|/)sshpass\s+-p\s*|(?:^|\s|/)mysql\w*\s(?:[^|;&]*\s)?-p)("[^"]*"|'[^']*'|[^\s-]\S*)`)
	secretURL    = pattern.New(`(://[^/\s:@]*:)[^/\s@]+@`)
)

const hidden = "(hidden)"

// Redact hides what looks like a secret in a command.
func Redact(command string) string {
	command = secretHeader.ReplaceAllString(command, "${1}"+hidden)
	command = secretQuoted.ReplaceAllString(command, "${1}${2}"+hidden+"${3}")
	command = secretPair.ReplaceAllStringFunc(command, func(pair string) string {
		m := secretPair.FindStringSubmatch(pair)
		if strings.HasPrefix(m[2], hidden) {
			return pair
		}
		return m[1] + hidden
	})
	command = secretOption.ReplaceAllString(command, "${1}"+hidden)
	command = secretLogin.ReplaceAllString(command, "${1}"+hidden)
	command = secretShort.ReplaceAllString(command, "${1}"+hidden)
	command = secretURL.ReplaceAllString(command, "${1}"+hidden+"@")
	return strings.TrimRight(command, "\r\n")
}

package migrate

import (
	"regexp"
	"strings"
)

var (
	secretPair   = regexp.MustCompile(`(?i)([a-z0-9_.-]*(?:pass|secret|token|credential|api_?key|auth)[a-z0-9_.-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|\S+)`)
	secretOption = regexp.MustCompile(`(?i)(--?[a-z-]*(?:password|secret|token|api-key)[a-z-]*\s+)([^-\s]\S*)`)
	secretURL    = regexp.MustCompile(`(://[^/\s:@]+:)[^/\s@]+@`)
)

// Redact hides what looks like a secret in a command.
func Redact(command string) string {
	command = secretPair.ReplaceAllString(command, "${1}(hidden)")
	command = secretOption.ReplaceAllString(command, "${1}(hidden)")
	command = secretURL.ReplaceAllString(command, "${1}(hidden)@")
	return strings.TrimRight(command, "\r\n")
}

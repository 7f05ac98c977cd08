package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// Where secrets are looked for: files, and directories with what is in them.
// Names may be patterns.
var secretPlaces = [...]string{
	"/etc/ecsnode", "/usr/share/ecsnode", "/etc/container_config", "/etc/ecs", "/etc/docker", "/etc/environment",
	"/etc/sysconfig/docker", "/etc/cloud/cloud.cfg.d",
	"/root/.aws", "/home/*/.aws", "/root/.docker", "/home/*/.docker", "/root/.ssh", "/home/*/.ssh", "/root/.netrc", "/home/*/.netrc",
}

// maxSecretFiles bounds how many files are read.
const maxSecretFiles = 5000

// notSecret at the end of a line says that it holds none.
const notSecret = "# not a secret"

// named are assignments by names that stand for secrets; the name and the value.
var named = pattern.New(`(?i)(?:^|[\s{,"'-])([\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?data|authorization|credential)s?[\w.-]*)["']?\s*[:=]\s*(\S.*)$`)

// harmless are ends of such names that stand for where a secret is, or for
// what is around it.
var harmless = pattern.New(`(?i)[_.-](names?|arns?|ids?|files?|paths?|dirs?|directory|ttl|timeout|url|uri|region|parameters?|limit|enabled|type|required)$`)

// noValue are values that are none: templates, references, numbers, switches.
var noValue = pattern.New(`(?i)^["']?(\{\{.*|\$.*|/.*|arn:aws[\w-]*:(secretsmanager|ssm):.*|ssm:.*|secretsmanager:.*|null|~|true|false|yes|no|on|off|required|optional|\d{1,6}(ms|[smhdkMG])?|[|>][+-]?|[{[].*|["']?|#.*)["']?[\s,}]*$`)

// shapes are what a secret looks like, wherever it stands.
var shapes = []struct {
	of   *pattern.Regexp
	what string
}{
	{pattern.New(`-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----`), "a private key"},
	{pattern.New(`(?i)^untrusted comment: .*secret key`), "a secret key for signing"},
	{pattern.New(`\b(AKIA|ASIA)[A-Z0-9]{16}\b`), "an access key of AWS"},
	{pattern.New(`"auth"\s*:\s*"[^"]+"`), "a registry's credentials"},
	{pattern.New(`://[^/\s:@{]+:[^/\s@{]+@`), "a URL with a password"},
}

// Secret is a place where a secret stands.
type Secret struct {
	Line int
	What string // never the secret
}

// Secrets returns where in a text secrets stand.
func Secrets(text []byte) []Secret {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil // no text
	}
	var found []Secret
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		if strings.HasSuffix(trimmed, notSecret) {
			continue
		}
		if what := secretIn(line); what != "" {
			found = append(found, Secret{number, what})
		}
	}
	return found
}

func secretIn(line string) string {
	for _, shape := range shapes {
		if shape.of.MatchString(line) {
			return shape.what
		}
	}
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return ""
	}
	for m := named.FindStringSubmatch(line); m != nil; m = named.FindStringSubmatch(m[2]) {
		if !harmless.MatchString(m[1]) && !noValue.MatchString(m[2]) {
			return "a value for " + m[1]
		}
	}
	return ""
}

// Setting is one setting in effect.
type Setting struct{ Path, Value, Origin string }

// Secret reports whether a setting holds a secret: one of the names that lead
// to it stands for one, and it has a value of its own.
func (s Setting) Secret() bool {
	names := strings.Split(s.Path, ".")
	if last := names[len(names)-1]; last == "missing" || noValue.MatchString(s.Value) {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool { return secretIn(strings.Trim(name, `"`)+": literal") != "" })
}

func (c *checker) secrets(q Question) {
	const topic = "secrets"
	for _, s := range q.Settings {
		if s.Secret() && !c.passed(s.Origin) {
			c.say(topic, Problem, "%s: %s: take it out; nodes read secrets when they boot (end the line in %q if it is none)", s.Origin, s.Path, notSecret)
		}
	}
	p := planner{files: c.files}
	left := maxSecretFiles
	for _, place := range secretPlaces {
		found, err := p.match(place)
		for _, name := range found {
			if err == nil {
				err = c.secretsBelow(name, &left, 0)
			}
		}
		if err != nil {
			c.say(topic, Problem, "cannot look for secrets: %v", err)
		}
	}
	c.done(topic, "none found in settings, keys and registries' credentials")
}

// passed reports whether the line that a setting comes from says that it is no
// secret.
func (c *checker) passed(origin string) bool {
	parts := strings.Split(origin, ":") // FILE:LINE:COLUMN
	if len(parts) != 3 {
		return false
	}
	line, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	text, err := c.files.ReadFile(parts[0])
	lines := strings.Split(string(text), "\n")
	return err == nil && line >= 1 && line <= len(lines) && strings.HasSuffix(strings.TrimSpace(lines[line-1]), notSecret)
}

// errMany ends the search.
var errMany = fmt.Errorf("there are more than %d files where settings are", maxSecretFiles)

func (c *checker) secretsBelow(name string, left *int, depth int) error {
	info, err := c.files.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir() && depth < maxDepth:
		entries, err := c.files.ReadDir(name)
		for _, e := range entries {
			err = errors.Join(err, c.secretsBelow(path.Join(name, e.Name()), left, depth+1))
			if errors.Is(err, errMany) {
				return errMany
			}
		}
		return err
	case !info.Mode().IsRegular() || slices.Contains([]string{"known_hosts", "authorized_keys"}, path.Base(name)):
		return nil
	}
	if *left--; *left < 0 {
		return errMany
	}
	text, err := c.files.ReadFile(name)
	if errors.Is(err, fsx.ErrTooLarge) {
		return nil
	}
	for _, s := range Secrets(text) {
		c.say("secrets", Problem, "%s:%d: %s: take it out; nodes read secrets when they boot (end the line in %q if it is none)", name, s.Line, s.What, notSecret)
	}
	return err
}

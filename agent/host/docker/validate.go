package docker

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

const validateTime = 10 * time.Second

// Dockerd is the engine's program, asked without starting it.
type Dockerd struct {
	Root string // directory that is the node's root; empty: "/"
}

// Validate asks dockerd whether it would start with a configuration file and
// the other flags of its command line. The error is facts.ErrAbsent if this
// dockerd has no --validate, which came with version 23, or there is none, and
// facts.ErrRefused with its reason if it would not start.
func (d Dockerd) Validate(ctx context.Context, argv []string, configFile string) error {
	if len(argv) == 0 {
		return fmt.Errorf("%w: its unit names no program", facts.ErrAbsent)
	}
	ctx, cancel := context.WithTimeout(ctx, validateTime)
	defer cancel()
	args := append(withoutConfigFile(argv[1:]), "--validate", "--config-file", filepath.Join(d.Root, configFile))
	cmd := exec.CommandContext(ctx, argv[0], args...)
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(said))
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: dockerd --validate has not answered", facts.ErrUnavailable)
	case !errors.As(err, &exit):
		return fmt.Errorf("%w: %w", facts.ErrAbsent, err)
	case strings.Contains(text, "unknown flag: --validate"):
		return fmt.Errorf("%w: this dockerd has no --validate", facts.ErrAbsent)
	}
	return fmt.Errorf("%w: dockerd would not start: %s", facts.ErrRefused, lastLine(text))
}

func lastLine(text string) string {
	return text[strings.LastIndex(text, "\n")+1:]
}

// withoutConfigFile leaves the flag out that is ours to give.
func withoutConfigFile(args []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--config-file":
			i++
		case strings.HasPrefix(args[i], "--config-file="):
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}

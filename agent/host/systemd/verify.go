package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// verifyTime bounds how long systemd-analyze may take.
const verifyTime = 30 * time.Second

// Verify has systemd-analyze read units as they are installed on this host, and
// returns what it finds wrong with them. The error is facts.ErrAbsent if this
// host has no systemd-analyze.
func Verify(ctx context.Context, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	// Of other units that these are ordered after, what is wrong is not ours.
	args := append([]string{"verify", "--man=no", "--recursive-errors=no"}, names...)
	cmd := exec.CommandContext(ctx, "/usr/bin/systemd-analyze", args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/"}
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot verify units: %w: there is no systemd-analyze", facts.ErrAbsent)
	case ctx.Err() != nil:
		return fmt.Errorf("cannot verify units: %w: systemd-analyze has not ended", facts.ErrUnavailable)
	case !errors.As(err, &exit):
		return fmt.Errorf("cannot verify units: %w", err)
	}
	return fmt.Errorf("systemd-analyze verify: %s", strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", "; "))
}

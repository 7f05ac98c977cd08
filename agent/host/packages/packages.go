// Package packages asks the RPM database of this host what is installed.
package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// DB is the RPM database. The zero value asks /usr/bin/rpm.
type DB struct {
	RPM string // the program; empty: /usr/bin/rpm
}

const rpm = "/usr/bin/rpm"

// questionTime bounds one question: the database may be locked by a transaction.
const questionTime = 10 * time.Second

// Installed returns what is installed of the named packages, in no order: nothing
// for one that is not, and more than one version of one whose transaction was
// cut short. Epochs are left out, as in names of packages.
//
// The error is facts.ErrAbsent if this host has no rpm, and facts.ErrUnavailable
// if the database does not answer.
func (db DB) Installed(ctx context.Context, names ...string) ([]facts.Package, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	program := db.RPM
	if program == "" {
		program = rpm
	}
	args := append([]string{"-q", "--qf", `%{NAME}\t%{VERSION}-%{RELEASE}\t%{INSTALLTIME}\n`, "--"}, names...)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "HOME=/"}
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot ask for packages: %w: there is no %s", facts.ErrAbsent, program)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("cannot ask for packages: %w: rpm has not answered", facts.ErrUnavailable)
	case err != nil && !errors.As(err, &exit):
		return nil, fmt.Errorf("cannot ask for packages: %w", err)
	case err != nil && exit.ExitCode() != notInstalled(out):
		return nil, fmt.Errorf("cannot ask for packages: %w: rpm: %s", facts.ErrUnavailable, firstLine(said.String()))
	}
	return parse(string(out))
}

// notInstalled is how many lines say "package NAME is not installed", which is
// the exit status of rpm -q.
func notInstalled(out []byte) int { return bytes.Count(out, []byte(" is not installed\n")) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func parse(out string) ([]facts.Package, error) {
	var all []facts.Package
	for line := range strings.Lines(out) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(field) != 3 {
			continue // "package NAME is not installed"
		}
		at, err := strconv.ParseInt(field[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot ask for packages: %w: rpm says %q", facts.ErrUnavailable, line)
		}
		all = append(all, facts.Package{Name: field[0], Version: field[1], InstalledAt: time.Unix(at, 0)})
	}
	return all, nil
}

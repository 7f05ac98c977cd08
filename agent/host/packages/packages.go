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
// cut short.
//
// The error is facts.ErrAbsent if this host has no rpm, and facts.ErrUnavailable
// if the database does not answer.
func (db DB) Installed(ctx context.Context, names ...string) ([]facts.Package, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, said, status, err := db.ask(ctx, append([]string{"-q", "--qf", `%{NAME}\t%{EPOCHNUM}\t%{VERSION}-%{RELEASE}\t%{ARCH}\t%{INSTALLTIME}\n`, "--"}, names...))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot ask for packages: %w", err)
	case status != notInstalled(out):
		return nil, fmt.Errorf("cannot ask for packages: %w: rpm: %s", facts.ErrUnavailable, firstLine(said))
	}
	return parse(string(out))
}

// Dependants returns what is installed and could not stay without the named
// packages, all of which are installed. Nothing is removed: that is a question.
func (db DB) Dependants(ctx context.Context, names ...string) ([]facts.Dependant, error) {
	if len(names) == 0 {
		return nil, nil
	}
	_, said, status, err := db.ask(ctx, append([]string{"-e", "--test", "--allmatches", "--"}, names...))
	if err != nil {
		return nil, fmt.Errorf("cannot ask what needs %s: %w", strings.Join(names, ", "), err)
	}
	all := parseDependants(said)
	if status != 0 && len(all) == 0 {
		return nil, fmt.Errorf("cannot ask what needs %s: %w: rpm: %s", strings.Join(names, ", "), facts.ErrUnavailable, firstLine(said))
	}
	return all, nil
}

// ask runs rpm. The error is about a question that was not answered, whatever
// the status.
func (db DB) ask(ctx context.Context, args []string) (out []byte, said string, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	program := db.RPM
	if program == "" {
		program = rpm
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "HOME=/"}
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil, "", 0, fmt.Errorf("%w: there is no %s", facts.ErrAbsent, program)
	case ctx.Err() != nil:
		return nil, "", 0, fmt.Errorf("%w: rpm has not answered", facts.ErrUnavailable)
	case errors.As(err, &exit):
		return out, stderr.String(), exit.ExitCode(), nil
	}
	return out, stderr.String(), 0, err
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
		if len(field) != 5 {
			continue // "package NAME is not installed"
		}
		epoch, err := strconv.Atoi(field[1])
		at, err2 := strconv.ParseInt(field[4], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("cannot ask for packages: %w: rpm says %q", facts.ErrUnavailable, line)
		}
		all = append(all, facts.Package{Name: field[0], Epoch: epoch, Version: field[2], Arch: field[3], InstalledAt: time.Unix(at, 0)})
	}
	return all, nil
}

// parseDependants reads what rpm says of failed dependencies, one in a line:
// "NEEDS is needed by (installed) NAME-VERSION-RELEASE.ARCH" (rpm:lib/rpmps.c).
func parseDependants(said string) (all []facts.Dependant) {
	for line := range strings.Lines(said) {
		needs, by, ok := strings.Cut(strings.TrimSpace(line), " is needed by ")
		if !ok {
			continue
		}
		name := strings.TrimPrefix(by, "(installed) ")
		for range 2 { // release, version
			if i := strings.LastIndexByte(name, '-'); i > 0 {
				name = name[:i]
			}
		}
		all = append(all, facts.Dependant{Name: name, Needs: needs})
	}
	return all
}

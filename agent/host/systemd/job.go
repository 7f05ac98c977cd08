package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/ecsnode/ecsnode/agent/facts"
)

const (
	jobPrefix = "ecsnode-job-"
	// jobDir is where the output of jobs is. It is in memory and charged to the
	// job, whose MemoryMax therefore bounds it.
	jobDir = "/run/ecsnode/jobs"
	// maxOutput is the size, in bytes, at which the output of a job that is
	// looked at begins anew.
	maxOutput = 1 << 20
	tail      = 4 << 10
	// forgetPause is how often a unit is asked for again that is on its way out.
	forgetPause = 20 * time.Millisecond
)

// unitOf returns the unit of a job.
func unitOf(name string) string { return jobPrefix + name + ".service" }

func (c *Client) outputOf(name string) string { return path.Join(c.opts.JobDir, name+".log") }

// RunJob starts a command as a transient unit of its own: outside of the
// sandbox, the memory limit and the life of whoever starts it. It fails if a
// job of that name is running; one that has ended is forgotten. A Kept one is run
// once: where there is one of its name, the answer to its start was lost, and
// [Client.Job] tells what came of it.
func (c *Client) RunJob(ctx context.Context, cmd facts.Command) error {
	if err := c.runJob(ctx, cmd); err != nil {
		return fmt.Errorf("cannot run job %s: %w", cmd.Name, err)
	}
	return nil
}

func (c *Client) runJob(ctx context.Context, cmd facts.Command) error {
	absolute := len(cmd.Argv) > 0 && (path.IsAbs(cmd.Argv[0]) || cmd.Container != "")
	if cmd.Name == "" || strings.ContainsFunc(cmd.Name, notPlain) || !absolute {
		return fmt.Errorf("%q is no name of a job, or %q no absolute command", cmd.Name, cmd.Argv)
	}
	if cmd.Kept {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd = keeping(cmd, self, c.outputOf(cmd.Name))
	}
	job, err := c.Job(ctx, cmd.Name)
	if err != nil {
		return err
	}
	switch {
	case cmd.Kept && job.State != facts.JobAbsent:
		return nil
	case job.State == facts.JobRunning:
		return errors.New("it is running already")
	case !cmd.Kept: // of one that is, the unit may be about to start
		if err := c.ForgetJob(ctx, cmd.Name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.opts.JobDir, 0o700); err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	// Not waited for: a command that fails at once may count as a failed start,
	// and what came of it is told by Job.
	_, err = conn.StartTransientUnitContext(ctx, unitOf(cmd.Name), "fail", jobProperties(cmd, c.outputOf(cmd.Name)), nil)
	var answer dbus.Error
	if errors.As(err, &answer) && answer.Name == "org.freedesktop.systemd1.UnitExists" && cmd.Kept {
		return nil
	}
	return classify(err)
}

// keepSlack is what the program that runs a command takes beside its grace, and
// keepMemory what it takes of memory.
const (
	keepSlack  = 5 * time.Second
	keepMemory = 16 << 20
)

// keeping has this program run a command, which keeps the end of what that
// writes: a file that systemd writes would grow without bound, and in memory.
func keeping(cmd facts.Command, self, output string) facts.Command {
	argv := []string{self, "job", "--output", output, "--grace", cmd.Grace.String()}
	if cmd.Container != "" {
		argv = append(argv, "--container", cmd.Container)
	}
	cmd.Argv = slices.Concat(argv, []string{"--"}, cmd.Argv)
	cmd.Journal, cmd.Grace = true, cmd.Grace+keepSlack
	if cmd.MemoryMax > 0 {
		cmd.MemoryMax += keepMemory
	}
	return cmd
}

func notPlain(r rune) bool {
	return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
}

// jobProperties are as in systemd.service(5), with the names and types that
// systemd:src/shared/bus-unit-util.c gives them on the bus.
func jobProperties(cmd facts.Command, output string) []systemd.Property {
	set := func(name string, value any) systemd.Property {
		return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	argv := slices.Clone(cmd.Argv)
	for i := range argv[1:] {
		argv[i+1] = strings.ReplaceAll(argv[i+1], "$", "$$") // systemd expands variables
	}
	props := []systemd.Property{
		set("Description", "ecsnode job: "+cmd.Name),
		// The job is up once the command was executed, and stays when it has
		// ended, so that its result can be read.
		set("Type", "exec"),
		set("RemainAfterExit", true),
		// Not ExecStartEx, which could leave the "$" alone: systemd 252 writes it
		// into the unit's file under that name and cannot read it back when it
		// reloads, as it does in the middle of a package transaction.
		systemd.PropExecStart(argv, false),
		set("UMask", uint32(0o077)),
	}
	if !cmd.Journal {
		props = append(props, set("StandardOutputFileToAppend", output)) // and standard error, which inherits it
	}
	if len(cmd.Env) > 0 {
		props = append(props, set("Environment", cmd.Env))
	}
	if cmd.RuntimeMax > 0 {
		props = append(props, set("RuntimeMaxUSec", uint64(cmd.RuntimeMax.Microseconds())))
	}
	if cmd.Grace > 0 {
		props = append(props, set("TimeoutStopUSec", uint64(cmd.Grace.Microseconds())))
	}
	if cmd.MemoryMax > 0 {
		props = append(props, set("MemoryMax", cmd.MemoryMax), set("OOMPolicy", "kill"))
	}
	if cmd.NoKill {
		props = append(props, set("SendSIGKILL", false), set("TimeoutStopUSec", uint64(math.MaxUint64)))
	}
	return props
}

// Job tells how a job stands. One that was not run since the node booted, or is
// forgotten, is [facts.JobAbsent].
func (c *Client) Job(ctx context.Context, name string) (facts.Job, error) {
	p, err := c.properties(ctx, unitOf(name))
	if err != nil {
		return facts.Job{}, fmt.Errorf("cannot ask systemd about job %s: %w", name, err)
	}
	u := p.unit(unitOf(name))
	if !u.Exists() || u.Active == "inactive" && u.Started.IsZero() {
		return facts.Job{}, nil
	}
	job := facts.Job{State: facts.JobRunning, Started: u.Started}
	if u.Active == "failed" || u.Active == "inactive" || u.Active == "active" && u.Sub == "exited" {
		job.State, job.Result, job.ExitStatus = facts.JobEnded, u.Result, p.number("ExecMainStatus")
		job.Ended = p.time("ExecMainExitTimestamp")
	}
	job.Output, err = c.output(name)
	return job, err
}

// output returns the end of what a job wrote, and keeps the file small: what
// is appended after it was cut begins anew.
func (c *Client) output(name string) (string, error) {
	f, err := os.OpenFile(c.outputOf(name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	data := make([]byte, min(info.Size(), tail))
	n, err := f.ReadAt(data, info.Size()-int64(len(data)))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if info.Size() > maxOutput {
		if err := f.Truncate(0); err != nil {
			return "", err
		}
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(data[:n]), "")), nil
}

// EndJob tells a job to end and does not wait for it. What came of it is not
// known then. One that is gone is no error.
func (c *Client) EndJob(ctx context.Context, name string) error {
	conn, err := c.connect(ctx)
	if err == nil {
		_, err = conn.StopUnitContext(ctx, unitOf(name), "replace", nil)
		err = classify(err)
	}
	if errors.Is(err, facts.ErrAbsent) {
		return nil
	}
	return wrap(err, "end job", name)
}

// ForgetJob removes what is known of a job that has ended. One that runs is
// stopped.
func (c *Client) ForgetJob(ctx context.Context, name string) error {
	if err := c.forget(ctx, unitOf(name)); err != nil {
		return fmt.Errorf("cannot forget job %s: %w", name, err)
	}
	if err := os.Remove(c.outputOf(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *Client) forget(ctx context.Context, unit string) error {
	for {
		u, err := c.Unit(ctx, unit)
		if err != nil || !u.Exists() {
			return err
		}
		conn, err := c.connect(ctx)
		if err != nil {
			return err
		}
		if u.Active == "failed" {
			err = conn.ResetFailedUnitContext(ctx, unit)
		} else if u.Active != "inactive" {
			done := make(chan string, 1)
			if _, err = conn.StopUnitContext(ctx, unit, "replace", done); err == nil {
				err = await(ctx, conn, done)
			}
		}
		if err = classify(err); err != nil && !errors.Is(err, facts.ErrAbsent) {
			return err
		}
		// systemd forgets a transient unit that is down in its own time.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(forgetPause):
		}
	}
}

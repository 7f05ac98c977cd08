// Package blockdev looks at block devices, makes file systems and mounts them,
// each by a command that runs as a job: outside of the agent's sandbox, in the
// mount namespace of the node, and on its own if the agent is restarted.
package blockdev

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Jobs runs commands that outlive the agent.
type Jobs interface {
	RunJob(ctx context.Context, c facts.Command) error
	Job(ctx context.Context, name string) (facts.Job, error)
	ForgetJob(ctx context.Context, name string) error
}

// Client works on the devices of volumes. A volume's name is part of the names
// of its jobs: lower-case letters, digits and "-".
//
// Its methods do not wait: done is false until the command has ended, and they
// are to be called again.
type Client struct{ jobs Jobs }

// New returns a client. It starts nothing.
func New(jobs Jobs) *Client { return &Client{jobs} }

// Where Amazon Linux 2023 has the tools.
const (
	lsblk     = "/usr/bin/lsblk"
	blkid     = "/usr/sbin/blkid"
	wipefs    = "/usr/sbin/wipefs"
	mount     = "/usr/bin/mount"
	mkfs      = "/usr/sbin/mkfs." // and the type
	resize2fs = "/usr/sbin/resize2fs"
	xfsGrowfs = "/usr/sbin/xfs_growfs"
)

// Bounds of the commands. A file system of some TB is made, replayed or grown
// in seconds.
const (
	lookMax  = 30 * time.Second
	mountMax = 5 * time.Minute
	makeMax  = 15 * time.Minute
)

// justNow tells the end of a command that was just started from one before.
const justNow = 5 * time.Second

func jobName(volume, verb string) string { return "volume-" + volume + "-" + verb }

// Verbs are parts of the names of jobs.
const (
	format   = "format"
	mounting = "mount"
	grow     = "grow"
)

// UnderWay names the command, "format" or "mount", that changes a volume now,
// or is "". The error is that of one which has failed since; it is told once.
func (c *Client) UnderWay(ctx context.Context, volume string) (string, error) {
	for _, verb := range []string{format, mounting} {
		job, err := c.jobs.Job(ctx, jobName(volume, verb))
		switch {
		case err != nil:
			return "", err
		case job.State == facts.JobRunning:
			return verb, nil
		case job.State == facts.JobEnded:
			if err := c.result(ctx, volume, verb, job); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}

// result forgets a job that has ended, and says why it failed.
func (c *Client) result(ctx context.Context, volume, verb string, job facts.Job) error {
	if err := c.jobs.ForgetJob(ctx, jobName(volume, verb)); err != nil {
		return err
	}
	if job.Result != success || job.ExitStatus != 0 {
		verb, _, _ := strings.Cut(verb, "-")
		return fmt.Errorf("cannot %s volume %s: it %w", verb, volume, failure(job))
	}
	return nil
}

// Format makes a file system, "ext4" or "xfs". It does not look what is there.
func (c *Client) Format(ctx context.Context, volume, device, fileSystem, label string) (done bool, err error) {
	return c.change(ctx, volume, facts.Command{
		Name: format, Argv: []string{mkfs + fileSystem, "-q", "-L", label, device}, RuntimeMax: makeMax, NoKill: true,
	})
}

// Mount mounts a device, and makes the directory if it is missing.
func (c *Client) Mount(ctx context.Context, volume, device, fileSystem, dir string, options []string) (done bool, err error) {
	all := strings.Join(append([]string{"X-mount.mkdir=0755"}, options...), ",")
	return c.change(ctx, volume, facts.Command{
		Name: mounting, Argv: []string{mount, "-t", fileSystem, "-o", all, device, dir}, RuntimeMax: mountMax,
	})
}

// Grow makes a mounted file system as large as its device, which has size bytes.
// It does nothing to one that is. That of another size is another command: the
// end of one from before the device was enlarged again says nothing.
func (c *Client) Grow(ctx context.Context, volume, device, fileSystem, dir string, size uint64) (done bool, err error) {
	argv := []string{resize2fs, device}
	if fileSystem == "xfs" {
		argv = []string{xfsGrowfs, "-d", dir}
	}
	return c.change(ctx, volume, facts.Command{
		Name: fmt.Sprintf("%s-%d", grow, size), Argv: argv, RuntimeMax: makeMax, NoKill: true,
	})
}

// change runs a command to its end, and once per end that was told.
func (c *Client) change(ctx context.Context, volume string, cmd facts.Command) (done bool, err error) {
	verb := cmd.Name
	cmd.Name = jobName(volume, verb)
	job, done, err := c.run(ctx, cmd, 0)
	if err != nil || !done {
		return false, err
	}
	err = c.result(ctx, volume, verb, job)
	return err == nil, err
}

// run starts a job unless there is one, and tells whether it has ended. One
// that ended longer ago than fresh, if that is positive, is started again.
func (c *Client) run(ctx context.Context, cmd facts.Command, fresh time.Duration) (job facts.Job, done bool, err error) {
	cmd.Env = []string{"LC_ALL=C"}
	if job, err = c.jobs.Job(ctx, cmd.Name); err != nil {
		return job, false, err
	}
	stale := job.State == facts.JobEnded && fresh > 0 && time.Since(job.Ended) > fresh
	if job.State == facts.JobAbsent || stale {
		startErr := c.jobs.RunJob(ctx, cmd)
		job, err = c.jobs.Job(ctx, cmd.Name)
		if startErr != nil && (err != nil || job.State != facts.JobEnded || time.Since(job.Ended) > justNow) {
			return job, false, startErr
		}
		// A command that fails at once may look to systemd as one that could not
		// be started: how it ended tells.
		if err != nil {
			return job, false, err
		}
	}
	return job, job.State == facts.JobEnded, nil
}

// Results of a job whose command ended by itself.
const (
	success  = "success"
	exitCode = "exit-code"
)

const maxReason = 400

// failure says how a command ended, with the end of what it wrote.
func failure(job facts.Job) error {
	how := job.Result
	if how == success || how == exitCode {
		how = fmt.Sprintf("exit status %d", job.ExitStatus)
	}
	text := strings.Join(strings.Fields(job.Output), " ")
	if text == "" {
		return fmt.Errorf("ended with %s", how)
	}
	return fmt.Errorf("ended with %s: %s", how, strings.ToValidUTF8(text[max(0, len(text)-maxReason):], ""))
}

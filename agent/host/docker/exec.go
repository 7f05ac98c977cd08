package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Exec runs a command in a container that runs, writes what it writes to out, and
// returns its exit status once it has ended.
//
// When ctx is done the command is told to end: SIGTERM goes to it and whatever is
// still in its session's process group, and SIGKILL after grace. The engine has no
// way to do that, so that it is this host that sends them, and this process must
// be root in the host's own namespace of processes. What it has moved to a group
// of its own lives on in the container.
func (c *Client) Exec(ctx context.Context, id string, argv []string, out io.Writer, grace time.Duration) (status int, err error) {
	status, err = c.execute(ctx, id, argv, out, grace)
	if err != nil {
		return status, fmt.Errorf("cannot run %s in container %s: %w", argv[0], id, err)
	}
	return status, nil
}

const (
	execCall = 30 * time.Second
	execPoll = 100 * time.Millisecond
)

func (c *Client) execute(ctx context.Context, id string, argv []string, out io.Writer, grace time.Duration) (int, error) {
	calls, cancel := context.WithTimeout(ctx, execCall)
	defer cancel()
	if err := c.agree(calls); err != nil {
		return 0, classify(err)
	}
	made, err := c.execCreate(calls, id, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, classify(err)
	}
	// Not bound to ctx: what it writes as it ends is read too.
	attached, err := c.execAttach(context.WithoutCancel(ctx), made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, classify(err)
	}
	defer attached.Close()
	read := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(out, out, attached.Reader)
		read <- err
	}()
	select {
	case err = <-read:
	case <-ctx.Done():
		err = c.endExec(made.ID, grace, read)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", facts.ErrUnavailable, err)
	}
	return c.execStatus(context.WithoutCancel(ctx), made.ID)
}

// execStatus waits for the engine to know how the command ended, of which it has
// closed the output: one that runs on without it is not waited for.
func (c *Client) execStatus(ctx context.Context, exec string) (int, error) {
	for end := time.Now().Add(execCall); ; time.Sleep(execPoll) {
		i, err := c.execInspect(ctx, exec)
		switch {
		case err != nil:
			return 0, classify(err)
		case !i.Running:
			return i.ExitCode, nil
		case time.Now().After(end):
			return 0, errors.New("it has closed its output and runs on")
		}
	}
}

// endExec ends a command and what is in its group, which may outlive it, and waits
// until its output is closed.
func (c *Client) endExec(exec string, grace time.Duration, read <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), execCall)
	defer cancel()
	i, err := c.execInspect(ctx, exec)
	if err != nil {
		return classify(err)
	}
	if !i.Running || i.Pid <= 1 {
		i.Pid = 0 // it has just ended
	}
	if err := signalGroup(i.Pid, unix.SIGTERM); err != nil {
		return err
	}
	for end := time.Now().Add(max(grace, time.Second)); groupLives(i.Pid); time.Sleep(execPoll) {
		if time.Now().After(end) {
			if err := signalGroup(i.Pid, unix.SIGKILL); err != nil {
				return err
			}
			break
		}
	}
	select {
	case err := <-read:
		return err
	case <-time.After(max(grace, time.Second)):
		return errors.New("it does not end")
	}
}

// signalGroup signals a command in a container and what it began, but for what
// began a session of its own; 0 is none. runc gives each command a session:
// opencontainers/runc:libcontainer/nsenter/nsexec.c, setsid.
func signalGroup(pid int, signal unix.Signal) error {
	if pid == 0 {
		return nil
	}
	if unix.Kill(-pid, signal) == nil {
		return nil
	}
	if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot end process %d: %w", pid, err)
	}
	return nil
}

func groupLives(pid int) bool {
	return pid != 0 && (unix.Kill(-pid, 0) == nil || unix.Kill(pid, 0) == nil)
}

package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Exec runs a command in a container that runs, writes what it writes to out, and
// returns its exit status once it has ended, and how many processes it had left
// running, which were ended then.
//
// When ctx is done the command is told to end, with all that it has begun: they
// get SIGTERM, and SIGKILL after grace, as does what it leaves running. The engine
// has no way to do that, so that it is this host that sends them, and this process
// must be root in the host's own namespace of processes. See [begun] for what is
// found.
func (c *Client) Exec(ctx context.Context, id string, argv []string, out io.Writer, grace time.Duration) (status, left int, err error) {
	status, left, err = c.execute(ctx, id, argv, out, grace)
	if err != nil {
		return status, left, fmt.Errorf("cannot run %s in container %s: %w", argv[0], id, err)
	}
	return status, left, nil
}

const (
	execCall = 30 * time.Second
	execPoll = 100 * time.Millisecond
)

func (c *Client) execute(ctx context.Context, id string, argv []string, out io.Writer, grace time.Duration) (status, left int, err error) {
	calls, cancel := context.WithTimeout(ctx, execCall)
	defer cancel()
	if err := c.agree(calls); err != nil {
		return 0, 0, classify(err)
	}
	b := begun{mark: execMark + "=" + rand.Text()}
	made, err := c.execCreate(calls, id, container.ExecOptions{Cmd: argv, Env: []string{b.mark}, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, 0, classify(err)
	}
	// Not bound to ctx: what it writes as it ends is read too.
	attached, err := c.execAttach(context.WithoutCancel(ctx), made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, 0, classify(err)
	}
	defer attached.Close()
	read := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(out, out, attached.Reader)
		read <- err
	}()
	if i, err := c.execInspect(calls, made.ID); err == nil && i.Running {
		b.is(i.Pid)
	}
	select {
	case err = <-read:
	case <-ctx.Done():
		if _, err = b.end(grace); err == nil {
			err = closed(read, grace)
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", facts.ErrUnavailable, err)
	}
	if status, err = c.execStatus(context.WithoutCancel(ctx), made.ID); err == nil {
		left, err = b.end(grace)
	}
	return status, left, err
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

// closed waits until the output of a command that was ended is closed.
func closed(read <-chan error, grace time.Duration) error {
	select {
	case err := <-read:
		return err
	case <-time.After(max(grace, time.Second)):
		return errors.New("it does not end")
	}
}

package node

import (
	"context"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/host/child"
	"github.com/ecsnode/ecsnode/agent/host/docker"
)

// Child is what the unit of a job runs.
type Child struct {
	Argv      []string
	Output    string        // file that gets the end of what it writes
	Grace     time.Duration // between its SIGTERM and its SIGKILL
	Container string        // in which it runs; "": on the host
}

// Run runs it and returns its exit status. ctx is done when it is to end.
func (c Child) Run(ctx context.Context) (status int, err error) {
	out, err := child.OpenTail(c.Output)
	if err != nil {
		return 1, err
	}
	defer out.Close()
	if c.Container != "" {
		left := 0
		engine, err := docker.New(nil)
		if err == nil {
			status, left, err = engine.Exec(ctx, c.Container, c.Argv, out, c.Grace)
		}
		noteLeft(out, left)
		if err != nil {
			out.Note("ecsnode: %v", err)
			return max(status, 1), err
		}
		return status, nil
	}
	told := make(chan time.Time, 1)
	defer context.AfterFunc(ctx, func() { told <- time.Now() })()
	status, err = child.Run(ctx, c.Argv, out, c.Grace)
	if err != nil {
		out.Note("ecsnode: %v", err)
		return status, err
	}
	grace, all := c.Grace, ctx.Err() != nil
	if all { // they were told with it, and have what is left of their time
		grace -= time.Since(<-told)
	}
	n, err := child.EndOthers(grace, all)
	if !all {
		noteLeft(out, n)
	}
	if err != nil {
		err = fmt.Errorf("cannot clear up after %s: %w", c.Argv[0], err)
	}
	return status, err
}

// noteLeft says that a command left something running.
func noteLeft(out *child.Tail, n int) {
	if n > 0 {
		out.Note("ecsnode: it left %d running, which %s ended", n, map[bool]string{true: "was", false: "were"}[n == 1])
	}
}

package docker

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Bounds of what is read of a container's log.
const (
	logLines = 100
	logMax   = 1 << 20
	logTail  = 4 << 10
)

// Ended returns what is left of a task: how its containers ended, and the end of
// what the main one wrote, if its log driver lets Docker read it. The main one
// has the name of the family, or is the only one. Containers that run do not count.
//
// The error is facts.ErrUnavailable if the engine does not answer.
func (c *Client) Ended(ctx context.Context, task string) (facts.Ended, error) {
	var ended facts.Ended
	all, err := c.endedOf(ctx, task)
	if err != nil {
		return ended, err
	}
	for _, one := range all {
		name := one.Labels[facts.LabelContainerName]
		if strings.HasPrefix(name, "~internal~") { // the pause container
			continue
		}
		ended.Containers++
		status, known := exitStatus(one.Status)
		if !known {
			status = -1
		}
		main := name == one.Labels[facts.LabelFamily] || len(all) == 1
		if status != 0 && (main || ended.ExitStatus == 0) {
			ended.ExitStatus = status
		}
		if main {
			ended.Output = c.logOf(ctx, one.ID)
		}
	}
	return ended, nil
}

// exitStatus reads "Exited (3) 2 seconds ago":
// moby/moby:container/state.go, String.
func exitStatus(text string) (status int, known bool) {
	rest, found := strings.CutPrefix(text, "Exited (")
	number, _, closed := strings.Cut(rest, ")")
	status, err := strconv.Atoi(number)
	return status, found && closed && err == nil
}

// logOf returns the end of a log; "" if it cannot be read, as with awslogs.
func (c *Client) logOf(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := c.logs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(logLines)})
	if err != nil {
		return ""
	}
	defer stream.Close()
	var text bytes.Buffer
	// A log that is damaged or long is shown as far as it goes.
	_, _ = stdcopy.StdCopy(limited{&text}, limited{&text}, stream)
	tail := text.Bytes()
	tail = tail[max(0, len(tail)-logTail):]
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(tail), ""))
}

// limited keeps the latest of what is written, within bounds.
type limited struct{ b *bytes.Buffer }

func (l limited) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-logMax):]
	if l.b.Len()+len(p) > logMax {
		l.b.Next(min(l.b.Len(), logMax/2))
	}
	l.b.Write(p)
	return n, nil
}

// RemoveEnded removes the containers of a task that do not run. One that is gone
// is no error.
func (c *Client) RemoveEnded(ctx context.Context, task string) error {
	all, err := c.endedOf(ctx, task)
	if err != nil {
		return err
	}
	for _, one := range all {
		// Without force: one that runs after all is left alone. Its anonymous
		// volumes go with it, as when the ECS agent removes it:
		// aws/amazon-ecs-agent:agent/dockerclient/dockerapi/docker_client.go
		err := c.remove(ctx, one.ID, container.RemoveOptions{RemoveVolumes: true})
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return fmt.Errorf("cannot remove container %s: %w", one.ID, classify(err))
		}
	}
	return nil
}

// endedOf lists the containers of a task that do not run.
func (c *Client) endedOf(ctx context.Context, task string) ([]container.Summary, error) {
	err := c.agree(ctx)
	var all []container.Summary
	if err == nil && task != "" {
		by := filters.NewArgs(filters.Arg("label", facts.LabelTaskARN+"="+task))
		all, err = c.list(ctx, container.ListOptions{All: true, Filters: by})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the containers of %s: %w", task, classify(err))
	}
	var ended []container.Summary
	for _, one := range all {
		over := one.State == container.StateExited || one.State == container.StateDead || one.State == container.StateCreated
		if over && one.Labels[facts.LabelTaskARN] == task {
			ended = append(ended, one)
		}
	}
	return ended, nil
}

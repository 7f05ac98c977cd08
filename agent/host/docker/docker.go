// Package docker asks the Docker Engine of this host what runs on it, stops
// containers, removes those that have ended, and runs commands in them.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Socket is where the engine listens.
const Socket = "/run/docker.sock"

// Client is a client of the engine. It connects when it is asked, and takes the
// newest version of the API that both know: an engine of version 29 refuses
// versions below 1.44.
//
// It keeps the methods of the library's client that it calls and not the
// client, for the reason that package ec2 gives.
type Client struct {
	agree  func(context.Context) error
	info   func(context.Context) (system.Info, error)
	look   func(context.Context, string) (container.InspectResponse, error)
	list   func(context.Context, container.ListOptions) ([]container.Summary, error)
	events func(context.Context, events.ListOptions) (<-chan events.Message, <-chan error)
	stop   func(context.Context, string, container.StopOptions) error
	remove func(context.Context, string, container.RemoveOptions) error
	logs   func(context.Context, string, container.LogsOptions) (io.ReadCloser, error)

	execCreate  func(context.Context, string, container.ExecOptions) (container.ExecCreateResponse, error)
	execAttach  func(context.Context, string, container.ExecAttachOptions) (types.HijackedResponse, error)
	execInspect func(context.Context, string) (container.ExecInspect, error)
}

// New returns a client of the engine at [Socket]. dial, unless nil, reaches it
// elsewhere.
func New(dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*Client, error) {
	options := []client.Opt{client.WithHost("unix://" + Socket)}
	if dial != nil {
		options = append(options, client.WithDialContext(dial))
	}
	c, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("cannot make a Docker client: %w", err)
	}
	a := agreement{ping: c.Ping, take: c.NegotiateAPIVersionPing}
	return &Client{
		agree: a.reach, info: c.Info, look: c.ContainerInspect, list: c.ContainerList, events: c.Events, stop: c.ContainerStop, remove: c.ContainerRemove,
		logs: c.ContainerLogs, execCreate: c.ContainerExecCreate, execAttach: c.ContainerExecAttach, execInspect: c.ContainerExecInspect,
	}, nil
}

// agreement settles, once, which version of the API both sides speak. The
// library would do it within its calls, where one reads the version while
// another still writes it (client/events.go, client/client.go of
// github.com/docker/docker v28.5.2).
type agreement struct {
	ping    func(context.Context) (types.Ping, error)
	take    func(types.Ping)
	once    sync.Once
	reached atomic.Bool
}

func (a *agreement) reach(ctx context.Context) error {
	if a.reached.Load() {
		return nil
	}
	answer, err := a.ping(ctx)
	if err != nil {
		return err
	}
	a.once.Do(func() {
		a.take(answer)
		a.reached.Store(true)
	})
	return nil
}

// Info returns what the engine says of itself. The error is
// facts.ErrUnavailable if it does not answer.
func (c *Client) Info(ctx context.Context) (facts.Docker, error) {
	if err := c.agree(ctx); err != nil {
		return facts.Docker{}, fmt.Errorf("cannot ask Docker: %w", classify(err))
	}
	i, err := c.info(ctx)
	if err != nil {
		return facts.Docker{}, fmt.Errorf("cannot ask Docker: %w", classify(err))
	}
	return facts.Docker{Version: i.ServerVersion, LiveRestore: i.LiveRestoreEnabled}, nil
}

// Containers returns the containers that run, paused ones included.
func (c *Client) Containers(ctx context.Context) ([]facts.Container, error) {
	if err := c.agree(ctx); err != nil {
		return nil, fmt.Errorf("cannot list containers: %w", classify(err))
	}
	all, err := c.list(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list containers: %w", classify(err))
	}
	found := make([]facts.Container, len(all))
	for i, one := range all {
		found[i] = facts.Container{ID: one.ID, Image: one.Image, Created: time.Unix(one.Created, 0).UTC(), Labels: one.Labels, Addresses: addresses(one.NetworkSettings)}
		if len(one.Names) > 0 {
			found[i].Name = strings.TrimPrefix(one.Names[0], "/")
		}
	}
	return found, nil
}

func addresses(s *container.NetworkSettingsSummary) (all []netip.Addr) {
	if s == nil {
		return nil
	}
	for _, n := range s.Networks {
		if n == nil {
			continue
		}
		for _, text := range []string{n.IPAddress, n.GlobalIPv6Address} {
			if a, err := netip.ParseAddr(text); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// Watch calls changed when containers start or end, or join or leave a network,
// until ctx is done or the engine is gone.
func (c *Client) Watch(ctx context.Context, changed func()) error {
	if err := c.agree(ctx); err != nil {
		return fmt.Errorf("cannot watch Docker: %w", classify(err))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listed := make(chan struct{}) // an end that was told of
	messages, failed := c.events(ctx, events.ListOptions{})
	for {
		select {
		case m := <-messages:
			switch m.Action {
			case events.ActionDie:
				go func() {
					c.awaitEnd(ctx, m.Actor.ID)
					select {
					case listed <- struct{}{}:
					case <-ctx.Done():
					}
				}()
			case events.ActionStart, events.ActionConnect, events.ActionDisconnect:
				changed()
			}
		case <-listed:
			changed()
		case err := <-failed:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("cannot watch Docker: %w", classify(err))
		}
	}
}

// awaitEnd waits until the list of containers tells of an end that an event has told
// of. Up to version 20.10 the engine tells first, cleans up after the container, and
// only then takes it from the list, all under the lock that whoever inspects the
// container waits for: handleContainerExit in moby/moby:daemon/monitor.go
func (c *Client) awaitEnd(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	_, _ = c.look(ctx, id) // gone, and no answer, are as good
}

// cleanTime is how long an end that is told of may take to be listed.
const cleanTime = 2 * time.Second

// stopGrace is how much longer than a container the engine may take to say that
// it has stopped.
const stopGrace = 10 * time.Second

// Stop sends a container its stop signal and kills it if it still runs after
// timeout, which is cut to whole seconds and is at least one. It returns when
// the container has stopped. One that does not run, or is gone, is no error. id
// is a whole id.
//
// The error is facts.ErrUnavailable if the engine does not answer in time or
// the container goes on running, and facts.ErrRefused if it must not be asked.
func (c *Client) Stop(ctx context.Context, id string, timeout time.Duration) error {
	seconds := max(1, int(timeout/time.Second))
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+stopGrace)
	defer cancel()
	err := c.agree(ctx)
	if err == nil {
		err = c.stop(ctx, id, container.StopOptions{Timeout: &seconds})
	}
	if err == nil || c.isDown(ctx, id) {
		return nil
	}
	return fmt.Errorf("cannot stop container %s: %w", id, classify(err))
}

// isDown reports whether the engine says that the container does not run:
// whatever it had against stopping it, it is stopped, removed or on its way out.
func (c *Client) isDown(ctx context.Context, id string) bool {
	running, err := c.Containers(ctx)
	return err == nil && !slices.ContainsFunc(running, func(one facts.Container) bool { return one.ID == id })
}

func classify(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", facts.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", facts.ErrUnavailable, err)
}

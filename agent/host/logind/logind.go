// Package logind delays a shutdown of the host by way of its login manager.
package logind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Names on the bus: org.freedesktop.login1(5), org.freedesktop.systemd1(5).
const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"

	systemdService = "org.freedesktop.systemd1"
	systemdObject  = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// Options say how the login manager is reached.
type Options struct {
	// Address is that of the D-Bus on which it answers; empty: the system bus.
	Address string
}

// Client is the login manager of this host. It connects when it is first asked,
// and again after the connection has died. It may be used by several goroutines.
//
// Errors wrap facts.ErrRefused if the answer was that we may not, and
// facts.ErrUnavailable if no usable one came.
type Client struct {
	opts Options

	mu   sync.Mutex
	conn *dbus.Conn
}

// New returns a client. It does not connect.
func New(opts Options) *Client { return &Client{opts: opts} }

func (c *Client) dial() (*dbus.Conn, error) {
	if c.opts.Address != "" {
		return dbus.Connect(c.opts.Address)
	}
	return dbus.ConnectSystemBus()
}

func (c *Client) connect() (*dbus.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.Connected() {
		return c.conn, nil
	}
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return conn, nil
}

// Close ends the connection.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Inhibit takes a delay inhibitor: a shutdown or reboot waits for its release,
// at most [Client.DelayMax]. It is released too when this process ends.
func (c *Client) Inhibit(ctx context.Context, why string) (release func() error, err error) {
	conn, err := c.connect()
	var fd dbus.UnixFD
	if err == nil {
		err = conn.Object(service, object).CallWithContext(ctx, manager+".Inhibit", 0, "shutdown", "ecsnode", why, "delay").Store(&fd)
	}
	if err != nil {
		return nil, classify("delay a shutdown", err)
	}
	file := os.NewFile(uintptr(fd), "inhibitor")
	return file.Close, nil
}

// DelayMax returns how long an inhibitor delays at most: InhibitDelayMaxSec= as
// it is in effect.
func (c *Client) DelayMax(ctx context.Context) (time.Duration, error) {
	var usec uint64
	if err := c.property(ctx, service, object, manager, "InhibitDelayMaxUSec", &usec); err != nil {
		return 0, classify("tell how long a shutdown is delayed", err)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

// Preparing reports whether the host is about to shut down, for which only
// inhibitors are waited for.
func (c *Client) Preparing(ctx context.Context) (bool, error) {
	var is bool
	if err := c.property(ctx, service, object, manager, "PreparingForShutdown", &is); err != nil {
		return false, classify("tell whether the host shuts down", err)
	}
	return is, nil
}

// Stopping returns what the service manager is about to reach: "reboot",
// "poweroff", "halt" or "kexec", or "shutdown" if it stops without saying for
// what; "" while the host is to stay. It begins to stop only after what an
// inhibitor delays, and the login manager is among the first to go then:
// [Client.Preparing] has no answer any more.
func (c *Client) Stopping(ctx context.Context) (kind string, err error) {
	const what = "tell where the host goes"
	var state string
	if err := c.property(ctx, systemdService, systemdObject, systemdManager, "SystemState", &state); err != nil {
		return "", classify(what, err)
	}
	if state != "stopping" {
		return "", nil
	}
	conn, err := c.connect()
	if err != nil {
		return "", classify(what, err)
	}
	var jobs []struct {
		ID        uint32
		Unit      string
		Type      string
		State     string
		Job, Path dbus.ObjectPath
	}
	if err := conn.Object(systemdService, systemdObject).CallWithContext(ctx, systemdManager+".ListJobs", 0).Store(&jobs); err != nil {
		return "", classify(what, err)
	}
	for _, j := range jobs {
		for _, kind := range []string{"reboot", "poweroff", "halt", "kexec"} {
			if j.Unit == kind+".target" && j.Type == "start" {
				return kind, nil
			}
		}
	}
	return "shutdown", nil
}

// Watch calls changed when the host begins to shut down, or no longer does,
// until ctx is done or the connection is lost.
func (c *Client) Watch(ctx context.Context, changed func()) error {
	conn, err := c.dial() // its own: signals of others are none of ours
	if err != nil {
		return classify("watch for a shutdown", err)
	}
	defer conn.Close()
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchObjectPath(object), dbus.WithMatchInterface(manager),
		dbus.WithMatchMember("PrepareForShutdown")); err != nil {
		return classify("watch for a shutdown", err)
	}
	signals := make(chan *dbus.Signal, 4)
	conn.Signal(signals)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-signals:
			if !ok {
				return classify("watch for a shutdown", errors.New("the connection to D-Bus was lost"))
			}
			changed()
		}
	}
}

func (c *Client) property(ctx context.Context, dest string, at dbus.ObjectPath, iface, name string, v any) error {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	var value dbus.Variant
	if err := conn.Object(dest, at).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, iface, name).Store(&value); err != nil {
		return err
	}
	return value.Store(v)
}

// classify tells a refusal from an answer that did not come.
func classify(what string, err error) error {
	is := facts.ErrUnavailable
	var answer dbus.Error
	if errors.As(err, &answer) {
		switch answer.Name {
		case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
			"org.freedesktop.DBus.Error.AuthFailed":
			is = facts.ErrRefused
		}
	}
	return fmt.Errorf("cannot %s: %w: %w", what, is, err)
}

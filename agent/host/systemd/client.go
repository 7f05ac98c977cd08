package systemd

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sync/singleflight"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Options say how the service manager is reached.
type Options struct {
	// Address is that of the D-Bus on which the service manager answers; empty:
	// the system bus.
	Address string
	JobDir  string // where the output of jobs is; empty: /run/ecsnode/jobs
}

// Client is the service manager of this host. It connects when it is first
// asked, and again after the connection has died. It may be used by several
// goroutines.
type Client struct {
	opts Options

	dials singleflight.Group

	mu   sync.Mutex
	conn *connection
}

// connection is one to the service manager.
type connection struct {
	*systemd.Conn
	lost <-chan struct{} // closed when no result of a job comes any more
}

// New returns a client. It does not connect.
func New(opts Options) *Client {
	opts.JobDir = cmp.Or(opts.JobDir, jobDir)
	return &Client{opts: opts}
}

// Close ends the connection.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// connect returns the connection, or makes one. It waits for that until ctx is
// done: a bus that accepts and says nothing keeps nobody else.
func (c *Client) connect(ctx context.Context) (*connection, error) {
	if conn := c.connected(); conn != nil {
		return conn, nil
	}
	var err error
	select {
	case made := <-c.dials.DoChan("", c.reconnect):
		if err = made.Err; err == nil {
			return made.Val.(*connection), nil
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("cannot reach systemd over D-Bus: %w: %w", facts.ErrUnavailable, err)
}

// connected returns the connection, nil if there is none that lives.
func (c *Client) connected() *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || !c.conn.Connected() {
		return nil
	}
	return c.conn
}

func (c *Client) reconnect() (any, error) {
	if conn := c.connected(); conn != nil { // somebody else's attempt has just ended
		return conn, nil
	}
	c.Close()
	conn := &connection{}
	var err error
	conn.Conn, err = systemd.NewConnection(func() (*dbus.Conn, error) {
		bus, err := c.dial()
		if err == nil {
			conn.lost = bus.Context().Done() // the last one has the signals
		}
		return bus, err
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	return conn, nil
}

// dial connects to the bus. The connection outlives the pass that makes it.
func (c *Client) dial(options ...dbus.ConnOption) (*dbus.Conn, error) {
	if c.opts.Address != "" {
		return dbus.Connect(c.opts.Address, options...)
	}
	return dbus.ConnectSystemBus(options...)
}

// Unit tells how a unit stands. One that does not exist is no error.
func (c *Client) Unit(ctx context.Context, name string) (facts.Unit, error) {
	p, err := c.properties(ctx, name)
	if err != nil {
		return facts.Unit{}, fmt.Errorf("cannot ask systemd about %s: %w", name, err)
	}
	return p.unit(name), nil
}

func (c *Client) properties(ctx context.Context, name string) (properties, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	p, err := conn.GetAllPropertiesContext(ctx, name)
	return p, classify(err)
}

// Enqueue asks for a start and does not wait for it: the only way to start a
// unit that is ordered after the unit which asks.
func (c *Client) Enqueue(ctx context.Context, name string) error {
	conn, err := c.connect(ctx)
	if err == nil {
		_, err = conn.StartUnitContext(ctx, name, "replace", nil)
		err = classify(err)
	}
	return wrap(err, "enqueue a start of", name)
}

// Start starts a unit and waits for it until ctx is done.
func (c *Client) Start(ctx context.Context, name string) error {
	return wrap(c.job(ctx, (*systemd.Conn).StartUnitContext, name), "start", name)
}

// Restart stops and starts a unit in one job, which keeps the queued start of
// units that are part of it, and waits for it until ctx is done.
func (c *Client) Restart(ctx context.Context, name string) error {
	return wrap(c.job(ctx, (*systemd.Conn).RestartUnitContext, name), "restart", name)
}

// Reload has a unit read its configuration again and waits for that until ctx is
// done. One that cannot be reloaded is an error.
func (c *Client) Reload(ctx context.Context, name string) error {
	return wrap(c.job(ctx, (*systemd.Conn).ReloadUnitContext, name), "reload", name)
}

type order func(conn *systemd.Conn, ctx context.Context, name, mode string, done chan<- string) (int, error)

// job waits for the result of a job. Anything but "done" is an error: systemd
// tells of a start limit, a failed dependency or a time-out in no other way.
func (c *Client) job(ctx context.Context, give order, name string) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	done := make(chan string, 1)
	if _, err := give(conn.Conn, ctx, name, "replace", done); err != nil {
		return classify(err)
	}
	return await(ctx, conn, done)
}

func await(ctx context.Context, conn *connection, done <-chan string) error {
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("the job ended with %q", result)
		}
		return nil
	case <-conn.lost:
		return fmt.Errorf("%w: the connection to D-Bus was lost before the job ended", facts.ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("the job has not ended: %w", context.Cause(ctx))
	}
}

// Stop stops a unit and waits for it until ctx is done.
func (c *Client) Stop(ctx context.Context, name string) error {
	return wrap(c.job(ctx, (*systemd.Conn).StopUnitContext, name), "stop", name)
}

// Enable has a unit started at boot, or not any longer, as its [Install] section
// says.
func (c *Client) Enable(ctx context.Context, name string, on bool) error {
	conn, err := c.connect(ctx)
	switch {
	case err != nil:
	case on:
		_, _, err = conn.EnableUnitFilesContext(ctx, []string{name}, false, false)
	default:
		_, err = conn.DisableUnitFilesContext(ctx, []string{name}, false)
	}
	if err = classify(err); err != nil {
		return wrap(err, map[bool]string{true: "enable", false: "disable"}[on], name)
	}
	return c.ReloadUnits(ctx)
}

// Mask makes a unit impossible to start, or possible again.
func (c *Client) Mask(ctx context.Context, name string, on bool) error {
	conn, err := c.connect(ctx)
	switch {
	case err != nil:
	case on:
		_, err = conn.MaskUnitFilesContext(ctx, []string{name}, false, false)
	default:
		_, err = conn.UnmaskUnitFilesContext(ctx, []string{name}, false)
	}
	if err = classify(err); err != nil {
		return wrap(err, map[bool]string{true: "mask", false: "unmask"}[on], name)
	}
	return c.ReloadUnits(ctx)
}

// ResetFailed forgets that a unit failed, and its starts so far.
func (c *Client) ResetFailed(ctx context.Context, name string) error {
	conn, err := c.connect(ctx)
	if err == nil {
		err = classify(conn.ResetFailedUnitContext(ctx, name))
	}
	return wrap(err, "reset", name)
}

// ReloadUnits makes systemd read its units again.
func (c *Client) ReloadUnits(ctx context.Context) error {
	conn, err := c.connect(ctx)
	if err == nil {
		err = classify(conn.ReloadContext(ctx))
	}
	return wrap(err, "reload", "the units")
}

// Watch calls changed once it watches and whenever one of the units may stand
// otherwise than before, until ctx is done or the connection is lost.
func (c *Client) Watch(ctx context.Context, changed func(), names ...string) error {
	conn, err := c.dial(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("cannot watch units: %w: %w", facts.ErrUnavailable, cmp.Or(context.Cause(ctx), err))
	}
	defer conn.Close()
	for _, name := range names {
		path := dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + systemd.PathBusEscape(name))
		if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchObjectPath(path),
			dbus.WithMatchInterface("org.freedesktop.DBus.Properties")); err != nil {
			return fmt.Errorf("cannot watch %s: %w", name, classify(cmp.Or(context.Cause(ctx), err)))
		}
	}
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	manager := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := manager.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.Subscribe", 0).Err; err != nil {
		return fmt.Errorf("cannot watch units: %w", classify(cmp.Or(context.Cause(ctx), err)))
	}
	changed() // what happened before went unseen
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-signals:
			if !ok {
				return fmt.Errorf("cannot watch units: the connection to D-Bus was lost: %w", facts.ErrUnavailable)
			}
			changed()
		}
	}
}

func wrap(err error, verb, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s %s: %w", verb, name, err)
}

// classify tells a refusal from an answer that did not come. Errors that say
// what is wrong with a unit stay as they are.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var answer dbus.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", facts.ErrUnavailable, err)
	}
	switch answer.Name {
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return fmt.Errorf("%w: %w", facts.ErrRefused, err)
	case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.Timeout",
		"org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.Disconnected":
		return fmt.Errorf("%w: %w", facts.ErrUnavailable, err)
	case "org.freedesktop.systemd1.NoSuchUnit":
		return fmt.Errorf("%w: %w", facts.ErrAbsent, err)
	}
	return err
}

// properties are those of a unit and, if it is one, of a service:
// org.freedesktop.systemd1(5).
type properties map[string]any

func (p properties) unit(name string) facts.Unit {
	return facts.Unit{
		Name: name,
		Load: p.text("LoadState"), Active: p.text("ActiveState"), Sub: p.text("SubState"), Result: p.text("Result"),
		Enabled:    p.text("UnitFileState"),
		Queued:     p.queued(),
		NeedReload: p["NeedDaemonReload"] == true,
		Invocation: p.invocation(),
		Started:    p.started(), Stopped: p.time("InactiveEnterTimestamp"),
		Argv: p.argv(),
	}
}

// started is when the main process was; of what has none, such as a socket, when
// it came up.
func (p properties) started() time.Time {
	if at := p.time("ExecMainStartTimestamp"); !at.IsZero() {
		return at
	}
	return p.time("ActiveEnterTimestamp")
}

func (p properties) text(name string) string {
	s, _ := p[name].(string)
	return s
}

func (p properties) number(name string) int {
	n, _ := p[name].(int32)
	return int(n)
}

// time is a property in microseconds since 1970; zero for 0.
func (p properties) time(name string) time.Time {
	us, _ := p[name].(uint64)
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us))
}

// queued reads Job, (uo): the id is 0 if there is none.
func (p properties) queued() bool {
	job, _ := p["Job"].([]any)
	if len(job) == 0 {
		return false
	}
	id, _ := job[0].(uint32)
	return id != 0
}

func (p properties) invocation() string {
	id, _ := p["InvocationID"].([]byte)
	return hex.EncodeToString(id)
}

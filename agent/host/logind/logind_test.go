package logind_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/logind"
)

// bus starts a D-Bus of the test's own in dir and returns its address, and what
// ends it.
func bus(t *testing.T, dir string) (address string, end func()) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs dbus-daemon (Debian: apt-get install dbus-daemon)")
		}
		t.Skip("needs dbus-daemon (Debian: apt-get install dbus-daemon)")
	}
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<busconfig><type>custom</type><listen>unix:path=%s/socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`, dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("dbus-daemon does not start: ", err)
	}
	return strings.TrimSpace(line), end
}

// host is a login manager and a service manager on a bus.
type host struct {
	conn  *dbus.Conn
	props map[string]*prop.Properties // by path

	mu   sync.Mutex
	held *os.File // the end of the inhibitor that stays here
	sent *os.File // what was handed out
	jobs []job
	deny bool // inhibitors
}

type job struct {
	ID        uint32
	Unit      string
	Type      string
	State     string
	Job, Path dbus.ObjectPath
}

func (h *host) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "shutdown" || who != "ecsnode" || mode != "delay" || why == "" {
		return 0, dbus.MakeFailedError(fmt.Errorf("%s %s %s %s", what, who, why, mode))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deny {
		return 0, dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"Permission denied"})
	}
	h.held, h.sent = r, w
	return dbus.UnixFD(w.Fd()), nil
}

func (h *host) ListJobs() ([]job, *dbus.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.jobs, nil
}

const (
	login   = "org.freedesktop.login1"
	systemd = "org.freedesktop.systemd1"
)

// serve makes h answer on the bus.
func (h *host) serve(t *testing.T, address string) {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h.conn = conn
	for path, values := range map[string]prop.Map{
		"/org/freedesktop/login1": {login + ".Manager": {
			"InhibitDelayMaxUSec":  {Value: uint64(5 * time.Second / time.Microsecond)},
			"PreparingForShutdown": {Value: false},
		}},
		"/org/freedesktop/systemd1": {systemd + ".Manager": {"SystemState": {Value: "running"}}},
	} {
		for iface := range values {
			if err := conn.Export(h, dbus.ObjectPath(path), iface); err != nil {
				t.Fatal(err)
			}
		}
		props, err := prop.Export(conn, dbus.ObjectPath(path), values)
		if err != nil {
			t.Fatal(err)
		}
		if h.props == nil {
			h.props = map[string]*prop.Properties{}
		}
		h.props[path] = props
	}
	for _, name := range []string{login, systemd} {
		if _, err := conn.RequestName(name, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// start returns a host on a bus in dir, a client of it, and what ends the bus.
func start(t *testing.T, dir string) (h *host, c *logind.Client, end func()) {
	t.Helper()
	address, end := bus(t, dir)
	h = &host{}
	h.serve(t, address)
	c = logind.New(logind.Options{Address: address})
	t.Cleanup(c.Close)
	return h, c, end
}

func TestAShutdownIsDelayedUntilTheInhibitorIsReleased(t *testing.T) {
	h, c, _ := start(t, t.TempDir())
	release, err := c.Inhibit(t.Context(), "tasks leave first")
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	held := h.held
	_ = h.sent.Close() // the message had a copy
	h.mu.Unlock()
	let := func() error {
		_ = held.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := held.Read(make([]byte, 1))
		return err
	}
	if err := let(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it is not held: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := let(); !errors.Is(err, io.EOF) {
		t.Errorf("it is not released: %v", err)
	}
	if release, err = c.Inhibit(t.Context(), "again"); err != nil {
		t.Errorf("a second one: %v", err)
	} else {
		_ = release()
	}
}

func TestTheDelayAndTheStateAreRead(t *testing.T) {
	h, c, _ := start(t, t.TempDir())
	if d, err := c.DelayMax(t.Context()); err != nil || d != 5*time.Second {
		t.Errorf("%v, %v", d, err)
	}
	if is, err := c.Preparing(t.Context()); err != nil || is {
		t.Errorf("%v, %v", is, err)
	}
	h.props["/org/freedesktop/login1"].SetMust(login+".Manager", "PreparingForShutdown", true)
	if is, err := c.Preparing(t.Context()); err != nil || !is {
		t.Errorf("%v, %v", is, err)
	}
}

func TestWhereTheHostGoesIsToldByTheStateAndTheJobs(t *testing.T) {
	h, c, _ := start(t, t.TempDir())
	for _, tc := range []struct{ state, queued, want string }{
		{"running", "", ""},
		{"degraded", "", ""},
		{"starting", "docker.service start", ""},
		{"running", "reboot.target verify-active", ""},
		{"stopping", "reboot.target start", "reboot"},
		{"stopping", "poweroff.target start", "poweroff"},
		{"stopping", "halt.target start", "halt"},
		{"stopping", "kexec.target start", "kexec"},
		{"stopping", "soft-reboot.target start", "shutdown"},
		{"stopping", "poweroff.target stop", "shutdown"},
		{"stopping", "", "shutdown"},
	} {
		h.props["/org/freedesktop/systemd1"].SetMust(systemd+".Manager", "SystemState", tc.state)
		h.mu.Lock()
		h.jobs = []job{{ID: 1, Unit: "multi-user.target", Type: "stop", Job: "/1", Path: "/u1"}}
		if unit, kind, queued := strings.Cut(tc.queued, " "); queued {
			h.jobs = append(h.jobs, job{ID: 2, Unit: unit, Type: kind, Job: "/2", Path: "/u2"})
		}
		h.mu.Unlock()
		if got, err := c.Stopping(t.Context()); err != nil || got != tc.want {
			t.Errorf("%s with %q: %q, %v, want %q", tc.state, tc.queued, got, err, tc.want)
		}
	}
}

// announceUntil sends the signal until it arrives: nobody tells when a watch has
// taken effect.
func (h *host) announceUntil(t *testing.T, arrived <-chan struct{}) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		if err := h.conn.Emit("/org/freedesktop/login1", login+".Manager.PrepareForShutdown", true); err != nil {
			t.Fatal(err)
		}
		select {
		case <-arrived:
			return
		case <-late:
			t.Fatal("it never arrives")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAnAnnouncementWakes(t *testing.T) {
	h, c, _ := start(t, t.TempDir())
	woken, ended := make(chan struct{}, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- c.Watch(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	h.announceUntil(t, woken)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestALoginManagerThatIsNotThereIsUnavailable(t *testing.T) {
	c := logind.New(logind.Options{Address: "unix:path=" + filepath.Join(t.TempDir(), "none")})
	_, inhibit := c.Inhibit(t.Context(), "x")
	_, delay := c.DelayMax(t.Context())
	_, preparing := c.Preparing(t.Context())
	_, stopping := c.Stopping(t.Context())
	for _, err := range []error{inhibit, delay, preparing, stopping, c.Watch(t.Context(), func() {})} {
		if !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
}

func TestAnInhibitorThatIsNotGrantedIsRefused(t *testing.T) {
	h, c, _ := start(t, t.TempDir())
	h.mu.Lock()
	h.deny = true
	h.mu.Unlock()
	_, err := c.Inhibit(t.Context(), "tasks leave first")
	if want := "cannot delay a shutdown: refused: Permission denied"; !errors.Is(err, facts.ErrRefused) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestAConnectionThatIsLostIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	h, c, end := start(t, dir)
	ended := make(chan error, 1)
	watched := make(chan struct{}, 1)
	go func() {
		ended <- c.Watch(t.Context(), func() {
			select {
			case watched <- struct{}{}:
			default:
			}
		})
	}()
	h.announceUntil(t, watched)
	if _, err := c.DelayMax(t.Context()); err != nil {
		t.Fatal(err)
	}
	end()
	if err := <-ended; !errors.Is(err, facts.ErrUnavailable) {
		t.Errorf("the watch ended with %v", err)
	}
	if _, err := c.DelayMax(t.Context()); !errors.Is(err, facts.ErrUnavailable) {
		t.Errorf("without a bus: %v", err)
	}
	address, _ := bus(t, dir)
	h.serve(t, address)
	if _, err := c.DelayMax(t.Context()); err != nil {
		t.Errorf("on the next bus: %v", err)
	}
}

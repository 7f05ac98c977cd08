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

// bus starts a D-Bus of the test's own and returns its address.
func bus(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("needs dbus-daemon (Debian: apt-get install dbus-daemon)")
	}
	dir := t.TempDir()
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
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("dbus-daemon does not start: ", err)
	}
	return strings.TrimSpace(line)
}

// host is a login manager and a service manager on a bus.
type host struct {
	conn  *dbus.Conn
	props *prop.Properties

	mu   sync.Mutex
	held *os.File // the end of the inhibitor that stays here
	sent *os.File // what was handed out
	jobs []job
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
	h.held, h.sent = r, w
	return dbus.UnixFD(w.Fd()), nil
}

func (h *host) ListJobs() ([]job, *dbus.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.jobs, nil
}

func start(t *testing.T) (*host, *logind.Client, string) {
	t.Helper()
	address := bus(t)
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h := &host{conn: conn}
	for _, e := range []struct{ path, iface string }{
		{"/org/freedesktop/login1", "org.freedesktop.login1.Manager"},
		{"/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"},
	} {
		if err := conn.Export(h, dbus.ObjectPath(e.path), e.iface); err != nil {
			t.Fatal(err)
		}
	}
	h.props, err = prop.Export(conn, "/org/freedesktop/login1", prop.Map{"org.freedesktop.login1.Manager": {
		"InhibitDelayMaxUSec":  {Value: uint64(5 * time.Second / time.Microsecond)},
		"PreparingForShutdown": {Value: false},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"org.freedesktop.login1", "org.freedesktop.systemd1"} {
		if _, err := conn.RequestName(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	c := logind.New(logind.Options{Address: address})
	t.Cleanup(c.Close)
	return h, c, address
}

func TestAShutdownIsDelayedUntilTheInhibitorIsReleased(t *testing.T) {
	h, c, _ := start(t)
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
	h, c, _ := start(t)
	if d, err := c.DelayMax(t.Context()); err != nil || d != 5*time.Second {
		t.Errorf("%v, %v", d, err)
	}
	if is, err := c.Preparing(t.Context()); err != nil || is {
		t.Errorf("%v, %v", is, err)
	}
	h.props.SetMust("org.freedesktop.login1.Manager", "PreparingForShutdown", true)
	if is, err := c.Preparing(t.Context()); err != nil || !is {
		t.Errorf("%v, %v", is, err)
	}
}

func TestWhereTheHostGoesIsToldByTheJobs(t *testing.T) {
	h, c, _ := start(t)
	for _, want := range []string{"", "reboot", "poweroff", "halt", "kexec"} {
		h.mu.Lock()
		h.jobs = []job{{ID: 1, Unit: "multi-user.target", Type: "stop", Job: "/1", Path: "/u1"}}
		if want != "" {
			h.jobs = append(h.jobs, job{ID: 2, Unit: want + ".target", Type: "start", Job: "/2", Path: "/u2"})
		}
		h.mu.Unlock()
		if got, err := c.Stopping(t.Context()); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
}

func TestAnAnnouncementWakes(t *testing.T) {
	h, c, _ := start(t)
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
	for woke := false; !woke; { // until the match has taken effect
		if err := h.conn.Emit("/org/freedesktop/login1", "org.freedesktop.login1.Manager.PrepareForShutdown", true); err != nil {
			t.Fatal(err)
		}
		select {
		case <-woken:
			woke = true
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
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

package systemd_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/host/systemd"
)

func TestNotifier(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	var n systemd.Notifier
	for _, c := range []struct {
		what string
		tell func() error
		want string
	}{
		{"ready", func() error { return n.Ready("all well") }, "READY=1\nSTATUS=all well"},
		{"status", func() error { return n.Status("failing: instance") }, "STATUS=failing: instance"},
		{"watchdog", n.Alive, "WATCHDOG=1"},
		{"stopping", n.Stopping, "STOPPING=1"},
	} {
		if err := c.tell(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		size, err := l.Read(buf)
		if err != nil || string(buf[:size]) != c.want {
			t.Errorf("%s: %q, %v", c.what, buf[:size], err)
		}
	}
}

func TestWithoutAServiceManagerNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := (systemd.Notifier{}).Ready("all well"); err != nil {
		t.Error(err)
	}
}

func TestAManagerThatIsGoneIsAnError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := (systemd.Notifier{}).Alive(); err == nil || !strings.Contains(err.Error(), "cannot notify the service manager") {
		t.Errorf("err = %v", err)
	}
}

// Package systemd talks to the service manager of this node.
package systemd

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells the service manager how the daemon is (sd_notify(3)). Where
// none listens, because the daemon was started by hand, it does nothing.
type Notifier struct{}

// Ready says that the daemon has started, and in one line what it does.
func (Notifier) Ready(status string) error {
	return notify(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// Status replaces that line.
func (Notifier) Status(status string) error { return notify("STATUS=" + status) }

// Alive feeds the watchdog (WatchdogSec= of the unit).
func (Notifier) Alive() error { return notify(daemon.SdNotifyWatchdog) }

// Stopping says that the daemon has begun an orderly end.
func (Notifier) Stopping() error { return notify(daemon.SdNotifyStopping) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("cannot notify the service manager: %w", err)
	}
	return nil
}

package facts

import "time"

// Moment is a point in time by two clocks, so that it survives a restart of the
// agent, a reboot and a clock that is set.
type Moment struct {
	Wall time.Time `json:"wall"`
	// Boot is CLOCK_BOOTTIME, which counts while the machine is suspended, in
	// the boot BootID.
	Boot   time.Duration `json:"boottime_ns"`
	BootID string        `json:"boot_id"`
}

// Add returns the moment d after m.
func (m Moment) Add(d time.Duration) Moment {
	return Moment{Wall: m.Wall.Round(0).Add(d), Boot: m.Boot + d, BootID: m.BootID}
}

// Left returns the time from now until m. In one boot the clocks may differ,
// because one was set: the shorter time counts. In another boot only the wall
// clock says anything.
func (m Moment) Left(now Moment) time.Duration {
	left := m.Wall.Sub(now.Wall.Round(0))
	if m.BootID != "" && m.BootID == now.BootID {
		left = min(left, m.Boot-now.Boot)
	}
	return left
}

// Passed reports whether now is past m. In one boot the clock that nobody sets
// says so.
func (m Moment) Passed(now Moment) bool {
	if m.BootID != "" && m.BootID == now.BootID {
		return now.Boot >= m.Boot
	}
	return !now.Wall.Round(0).Before(m.Wall)
}

// At returns the moment of a wall clock time.
func (m Moment) At(t time.Time) Moment { return m.Add(t.Sub(m.Wall.Round(0))) }

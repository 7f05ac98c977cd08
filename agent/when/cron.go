package when

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a minimal AMI may lack /usr/share/zoneinfo

	"github.com/robfig/cron/v3"
)

// errEvery explains why @every is refused: cron rounds it to whole seconds
// without a word, and its phase is that of the process, not of the clock.
var errEvery = errors.New(`"@every" is not taken: use five fields, such as "*/15 * * * *"`)

// Cron parses a cron expression: five fields (minute hour day month weekday)
// or one of @hourly, @daily, @weekly, @monthly, @yearly, in the zone loc.
//
// Where clocks change, an expression for every hour goes by real time: its ticks
// are an hour apart. Of any other, each time of day comes once a day: one that
// comes twice counts the first time, one that is left out comes as the clock
// jumps over it. So does cronie; robfig/cron v3.0.1 would run the one twice and
// the other not at all.
//
// Cron guards against robfig/cron v3.0.1, which panics on "TZ=UTC" alone and
// accepts dates that never come.
func Cron(expr string, loc *time.Location) (s Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("cannot parse cron expression %q: %v", expr, p)
		}
	}()
	switch {
	case strings.Contains(expr, "TZ="):
		return nil, fmt.Errorf("cannot parse cron expression %q: a time zone has a setting of its own", expr)
	case strings.HasPrefix(strings.TrimSpace(expr), "@every"):
		return nil, fmt.Errorf("cannot parse cron expression %q: %w", expr, errEvery)
	}
	c, err := cron.ParseStandard(expr)
	if err != nil {
		return nil, fmt.Errorf("cannot parse cron expression %q: %w", expr, err)
	}
	spec, ok := c.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cannot parse cron expression %q: it names no dates", expr)
	}
	if spec.Hour&everyHour == everyHour {
		spec.Location, s = loc, spec
	} else {
		spec.Location, s = time.UTC, wallClock{spec, loc}
	}
	// A fixed date: whether an expression is good must not depend on the day.
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron expression %q names a date that never comes", expr)
	}
	return s, nil
}

// everyHour is the field of an hour that may be any.
const everyHour = 1<<24 - 1

// wallClock goes by what the clocks of a place show. spec is in UTC, where no
// clock ever changes: what it says is looked up in loc.
type wallClock struct {
	spec *cron.SpecSchedule
	loc  *time.Location
}

// Next implements Schedule. What clocks showed up to t has come by t.
func (s wallClock) Next(t time.Time) time.Time {
	for shown := asUTC(t.In(s.loc)); ; {
		if shown = s.spec.Next(shown); shown.IsZero() {
			return shown
		}
		if at := s.comes(shown); at.After(t) { // else clocks show it for the second time
			return at
		}
	}
}

// comes returns when clocks show a time first, or jump over it.
func (s wallClock) comes(shown time.Time) time.Time {
	at := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), 0, 0, s.loc)
	begin, end := at.ZoneBounds()
	switch got := asUTC(at); {
	case got.After(shown):
		return begin
	case got.Before(shown):
		return end
	case begin.IsZero():
		return at
	}
	_, offset := at.Zone()
	_, before := begin.Add(-1).Zone()
	if earlier := at.Add(time.Duration(offset-before) * time.Second); earlier.Before(begin) && asUTC(earlier).Equal(shown) {
		return earlier
	}
	return at
}

// asUTC is what a clock shows, as if it were in UTC.
func asUTC(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

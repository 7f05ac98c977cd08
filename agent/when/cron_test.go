package when_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/when"
)

// ticks of an expression in a zone between two times.
func ticks(t *testing.T, expr, zone, from, to string) (all []string) {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	s, err := when.Cron(expr, loc)
	if err != nil {
		t.Fatal(err)
	}
	begin, _ := time.Parse(time.RFC3339, from)
	end, err := time.Parse(time.RFC3339, to)
	if err != nil {
		t.Fatal(err)
	}
	for at := s.Next(begin); !at.After(end); at = s.Next(at) {
		all = append(all, at.UTC().Format("02T15:04"))
		if len(all) > 100 {
			t.Fatalf("it does not get on: %v", all)
		}
	}
	return all
}

// In Berlin clocks go from 2:00 to 3:00 on 2026-03-29 (1:00 UTC), and from 3:00
// back to 2:00 on 2026-10-25 (1:00 UTC). On Lord Howe Island they go from 2:00
// to 2:30 on 2026-10-04 and from 2:00 back to 1:30 on 2026-04-05 (both 15:30,
// 15:00 UTC of the day before). In Apia 2011-12-30 did not happen.
func TestCronWhereClocksChange(t *testing.T) {
	for name, c := range map[string]struct {
		expr, zone, from, to string
		want                 []string
	}{
		"a time that is left out comes as the clock jumps": {"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z", []string{"28T01:30", "29T01:00", "30T00:30"}},
		"several of them come at once":                     {"*/10 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z", []string{"29T01:00"}},
		"and are the tick that is there anyway":            {"30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z", []string{"29T01:00", "29T01:30"}},
		"or one with it":                                   {"0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z", []string{"29T01:00"}},
		"a time that comes twice counts the first time":    {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", []string{"25T00:30", "26T01:30"}},
		"several of them too":                              {"*/20 2 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T12:00:00Z", []string{"25T00:20", "25T00:40"}},
		"every hour goes by real time, forward":            {"0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T03:30:00Z", []string{"29T00:00", "29T01:00", "29T02:00", "29T03:00"}},
		"every hour goes by real time, back":               {"*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", []string{"25T00:30", "25T01:00", "25T01:30", "25T02:00"}},
		"half an hour forward":                             {"15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z", "2026-10-05T00:00:00Z", []string{"03T15:30", "04T15:15"}},
		"half an hour back":                                {"45 1 * * *", "Australia/Lord_Howe", "2026-04-03T20:00:00Z", "2026-04-06T00:00:00Z", []string{"04T14:45", "05T15:15"}},
		"a day that did not happen":                        {"0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2012-12-31T12:00:00Z", []string{"30T10:00", "29T22:00"}},
		"midnight is left out":                             {"0 0 * * *", "America/Havana", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z", []string{"08T05:00", "09T04:00"}},
		"midnight comes twice":                             {"0 0 * * *", "America/Havana", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z", []string{"01T04:00", "02T05:00"}},
		"no change at all":                                 {"30 2 * * *", "UTC", "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z", []string{"28T02:30", "29T02:30"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ticks(t, c.expr, c.zone, c.from, c.to); !slices.Equal(got, c.want) {
				t.Errorf("ticks %v, want %v", got, c.want)
			}
		})
	}
}

// Wherever one begins to look, the ticks are the same.
func TestCronTicksDoNotDependOnWhereOneBegins(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{"30 2 * * *", "*/20 1-3 * * *", "0 */2 * * *", "15 * * * *"} {
		s, err := when.Cron(expr, berlin)
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range []time.Time{time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC)} {
			all := map[time.Time]bool{}
			for at := s.Next(day.Add(-3 * time.Hour)); at.Before(day.Add(6 * time.Hour)); at = s.Next(at) {
				all[at.UTC()] = true
			}
			for from := day.Add(-2 * time.Hour); from.Before(day.Add(4 * time.Hour)); from = from.Add(time.Minute) {
				if at := s.Next(from).UTC(); at.Before(day.Add(6*time.Hour)) && !all[at] {
					t.Errorf("%s: from %v the next is %v, which is no tick from before", expr, from, at)
				}
			}
		}
	}
}

// Wherever clocks change, and however, ticks get on, and what comes is the same
// from wherever one looks.
func TestCronGetsOnInEveryPlace(t *testing.T) {
	for _, zone := range []string{"America/Sao_Paulo", "Asia/Beirut", "America/Havana", "Pacific/Apia", "Asia/Gaza", "Australia/Lord_Howe", "Antarctica/Troll"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, expr := range []string{"45 0-3 * * *", "15 12 30 * *"} {
			s, err := when.Cron(expr, loc)
			if err != nil {
				t.Fatal(err)
			}
			for _, year := range []int{2011, 2024} {
				at := time.Date(year, 1, 1, 0, 0, 30, 0, time.UTC)
				for end := at.AddDate(1, 0, 0); at.Before(end); {
					next := s.Next(at)
					if !next.After(at) {
						t.Fatalf("%s in %s: after %v comes %v", expr, zone, at, next)
					}
					if sooner := s.Next(next.Add(-time.Second)); !sooner.Equal(next) {
						t.Errorf("%s in %s: %v, and a second before it %v", expr, zone, next, sooner)
					}
					at = next
				}
			}
		}
	}
}

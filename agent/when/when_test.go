package when_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/when"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestEveryKeepsItsPhase(t *testing.T) {
	s := when.Every(15 * time.Minute)
	for _, at := range []time.Duration{0, time.Second, 7 * time.Minute, 15*time.Minute - 1} {
		if got := s.Next(noon.Add(at)); !got.Equal(noon.Add(15 * time.Minute)) {
			t.Errorf("Next(noon+%v) = %v", at, got)
		}
	}
	if got := when.Every(1900 * time.Millisecond).Next(noon).Sub(noon); got <= 0 || got > 1900*time.Millisecond {
		t.Errorf("Every(1.9s) ticks after %v", got)
	}
}

// A tick with a monotonic reading comes in time though the clock is set back.
func TestEveryKeepsTheMonotonicClock(t *testing.T) {
	if tick := when.Splay(when.Every(5*time.Second), "i-1", time.Second).Next(time.Now()); !strings.Contains(tick.String(), "m=") {
		t.Errorf("%v has no monotonic reading", tick)
	}
}

func TestSplayShiftsEveryTickByTheSameAmount(t *testing.T) {
	const max = 15 * time.Minute
	s := when.Splay(when.Every(max), "i-0123", max)
	by := when.Offset("i-0123", max)
	if by <= 0 || by >= max {
		t.Fatalf("offset = %v", by)
	}
	at := noon
	for i := range 4 {
		at = s.Next(at)
		want := noon.Add(by + time.Duration(i)*max)
		if !at.Equal(want) {
			t.Fatalf("tick %d at %v, want %v", i, at, want)
		}
	}
}

func TestOffsetIsStableAndEven(t *testing.T) {
	if when.Offset("i-1", 0) != 0 {
		t.Error("no splay is no offset")
	}
	const nodes, slots = 10000, 10
	var count [slots]int
	for i := range nodes {
		o := when.Offset(fmt.Sprintf("i-%017x", i), slots*time.Minute)
		count[o/time.Minute]++
	}
	for slot, n := range count {
		if n < 900 || n > 1100 { // 10 sigma is 300; 3.3 sigma is 100
			t.Errorf("minute %d has %d of %d nodes", slot, n, nodes)
		}
	}
}

func TestCron(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		expr string
		loc  *time.Location
		next string // RFC 3339; empty: refused with a message that contains msg
		msg  string
	}{
		"each quarter of an hour": {"*/15 * * * *", time.UTC, "2026-03-01T12:15:00Z", ""},
		"a word":                  {"@daily", time.UTC, "2026-03-02T00:00:00Z", ""},
		"in another zone":         {"0 3 * * *", berlin, "2026-03-02T02:00:00Z", ""},
		"leap day":                {"0 0 29 2 *", time.UTC, "2028-02-29T00:00:00Z", ""},
		"a date that never comes": {"0 0 31 2 *", time.UTC, "", "never comes"},
		"@every":                  {"@every 1.9s", time.UTC, "", "five fields"},
		"a zone alone":            {"TZ=UTC", time.UTC, "", "setting of its own"},
		"a zone before":           {"CRON_TZ=UTC 0 * * * *", time.UTC, "", "setting of its own"},
		"six fields":              {"0 0 * * * *", time.UTC, "", "expected exactly 5 fields"},
		"minute 60":               {"60 * * * *", time.UTC, "", "above maximum"},
		"nothing":                 {"", time.UTC, "", "empty spec"},
		"words":                   {"every now and then", time.UTC, "", "cannot parse"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := when.Cron(c.expr, c.loc)
			if c.next == "" {
				if err == nil || !strings.Contains(err.Error(), c.msg) {
					t.Fatalf("err = %v, want one with %q", err, c.msg)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Next(noon).UTC().Format(time.RFC3339); got != c.next {
				t.Errorf("next = %s, want %s", got, c.next)
			}
		})
	}
}

// FuzzCron shows that no expression panics or hangs.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"*/15 * * * *", "TZ=UTC", "@every 1s", "0 0 31 2 *", "1-0 * * * *", "* * * * * *", "@", "1/0 * * * *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		for _, zone := range []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"} {
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			s, err := when.Cron(expr, loc)
			if err != nil {
				continue
			}
			for from := range 5 {
				at := noon.Add(time.Duration(from) * 53 * 24 * time.Hour)
				if !s.Next(at).After(at) {
					t.Errorf("%q ticks in the past in %s", expr, zone)
				}
			}
		}
	})
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{"90s": "1m30s", "2h30m": "2h30m0s", "0": "0s", "15": "", "-1s": "", "soon": "", "": ""} {
		var d when.Duration
		err := d.UnmarshalText([]byte(in))
		if want == "" && err == nil || want != "" && (err != nil || d.String() != want) {
			t.Errorf("%q: %v, %v", in, d, err)
		}
	}
}

package main

import (
	"log/slog"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	for name, c := range map[string]struct {
		journal string
		verbose bool
		want    []string
		not     []string
	}{
		"on a terminal":          {"", false, []string{"time=", "level=ERROR msg=bad duty=x", "level=INFO msg=fine"}, []string{"<3>", "quiet"}},
		"verbose":                {"", true, []string{"level=DEBUG msg=quiet"}, nil},
		"under journald":         {"8:1", false, []string{"<3>msg=bad duty=x err=\"disk full\"\n", "<4>msg=odd duty=x\n", "<6>msg=fine duty=x\n"}, []string{"time=", "level="}},
		"verbose under journald": {"8:1", true, []string{"<7>msg=quiet duty=x\n"}, []string{"time="}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", c.journal)
			var b strings.Builder
			log := (&app{err: &b, verbose: c.verbose}).logger(slog.LevelInfo).With("duty", "x")
			log.Error("bad", "err", "disk full")
			log.Warn("odd")
			log.Info("fine")
			log.Debug("quiet")
			for _, want := range c.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("lacks %q:\n%s", want, &b)
				}
			}
			for _, not := range c.not {
				if strings.Contains(b.String(), not) {
					t.Errorf("has %q:\n%s", not, &b)
				}
			}
		})
	}
}

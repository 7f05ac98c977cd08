package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// logger writes to standard error: what is at least at the given level, and
// everything with --verbose. Under journald each line carries its priority in
// the manner of sd-daemon(3) and no time, which the journal has.
func (a *app) logger(level slog.Level) *slog.Logger {
	if a.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") == "" {
		return slog.New(slog.NewTextHandler(a.err, options))
	}
	options.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
		if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return attr
	}
	return slog.New(journal{slog.NewTextHandler(a.err, options), a.err, &sync.Mutex{}})
}

// journal is a handler that writes the priority before each line.
type journal struct {
	slog.Handler
	w  io.Writer
	mu *sync.Mutex
}

func (j journal) Handle(ctx context.Context, r slog.Record) error {
	priority := 6 // syslog's "info"
	switch {
	case r.Level >= slog.LevelError:
		priority = 3
	case r.Level >= slog.LevelWarn:
		priority = 4
	case r.Level < slog.LevelInfo:
		priority = 7
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := fmt.Fprintf(j.w, "<%d>", priority); err != nil {
		return err
	}
	return j.Handler.Handle(ctx, r)
}

func (j journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journal{j.Handler.WithAttrs(attrs), j.w, j.mu}
}

func (j journal) WithGroup(name string) slog.Handler {
	return journal{j.Handler.WithGroup(name), j.w, j.mu}
}

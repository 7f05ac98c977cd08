package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// Exit statuses of `ecsnode status`.
const (
	exitFailing = 1
	exitGone    = 3
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the node is, what it does, what is wrong and what to do",
		Long: `status shows what the running ecsnode last wrote, also when that is dead.
Colours are used on a terminal unless NO_COLOR is set.

The JSON has a version; fields are added without changing it.

Exit status: 0 all duties are ok, waiting or held, 1 something is failing,
3 ecsnode is not running, or has not written for some time.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := fsx.Open(a.root)
			if err != nil {
				return exit{code: exitGone, err: err}
			}
			switch {
			case watch:
				return a.watchStatus(cmd.Context(), files)
			case asJSON:
				return a.jsonStatus(files)
			}
			return a.textStatus(a.out, files)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status document")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again each second")
	cmd.MarkFlagsMutuallyExclusive("json", "watch")
	return cmd
}

// textStatus writes the status for a person and returns what it comes to.
func (a *app) textStatus(w io.Writer, files fsx.FS) error {
	return a.judge(files, func(d *status.Document, v status.Verdict, gone string) error {
		d.Text(w, time.Now(), v, gone, a.style())
		return nil
	})
}

func (a *app) jsonStatus(files fsx.FS) error {
	return a.judge(files, func(d *status.Document, _ status.Verdict, _ string) error {
		return a.printJSON(d)
	})
}

// judge shows the latest status and returns the exit status it comes to.
func (a *app) judge(files fsx.FS, show func(*status.Document, status.Verdict, string) error) error {
	d, err := status.Latest(files)
	switch {
	case errors.Is(err, status.ErrNone):
		return exit{exitGone, err, advice}
	case err != nil:
		return exit{code: exitGone, err: err}
	}
	if n, err := a.node(); err == nil {
		d.Schedules = n.WithOutput(d.Schedules) // as far as whoever asks may read it
	}
	verdict, gone := d.Judge(time.Now(), alive)
	if err := show(d, verdict, gone); err != nil {
		return err
	}
	switch verdict {
	case status.Gone:
		return exit{exitGone, errors.New(gone), advice}
	case status.Failing:
		return exit{code: exitFailing}
	}
	return nil
}

const advice = `Start it with "systemctl start ecsnode"; "journalctl -u ecsnode -b" tells how it ended.`

// watchStatus shows the status each second until interrupted.
func (a *app) watchStatus(ctx context.Context, files fsx.FS) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var screen strings.Builder
		err := a.textStatus(&screen, files)
		if e := (exit{}); errors.As(err, &e) && e.err != nil {
			fmt.Fprintf(&screen, "\n%v\n%s\n", e.err, e.advice)
		}
		fmt.Fprint(a.out, a.onScreen(screen.String()))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// onScreen is text for a cleared terminal: cut to its height, because the first
// line matters most. Elsewhere it is the text as it is.
func (a *app) onScreen(text string) string {
	f, ok := a.out.(*os.File)
	if !ok || !a.terminal() {
		return text
	}
	if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 1 {
		lines := strings.SplitAfter(text, "\n")
		text = strings.Join(lines[:min(len(lines), height-1)], "")
	}
	return "\x1b[H\x1b[2J" + text
}

// alive reports whether a process runs, also one of another user.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func (a *app) terminal() bool {
	f, ok := a.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) style() status.Style {
	if !a.terminal() {
		return status.Style{}
	}
	s := status.Style{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(a.out.(*os.File).Fd())); err == nil {
		s.Width = width
	}
	return s
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
			if watch {
				return a.watchStatus(cmd.Context(), files)
			}
			return a.showStatus(files, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the status document")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again each second")
	cmd.MarkFlagsMutuallyExclusive("json", "watch")
	return cmd
}

func (a *app) showStatus(files fsx.FS, asJSON bool) error {
	d, err := status.Latest(files)
	switch {
	case errors.Is(err, status.ErrNone):
		return exit{exitGone, err, advice}
	case err != nil:
		return exit{code: exitGone, err: err}
	}
	verdict, gone := d.Judge(time.Now(), alive)
	if asJSON {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(d); err != nil {
			return err
		}
	} else {
		d.Text(a.out, time.Now(), verdict, gone, a.style())
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
		if a.terminal() {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J")
		}
		err := a.showStatus(files, false)
		if e := (exit{}); errors.As(err, &e) && e.err != nil {
			fmt.Fprintf(a.out, "\n%v\n%s\n", e.err, e.advice)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
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

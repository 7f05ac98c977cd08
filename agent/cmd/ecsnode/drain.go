package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/status"
)

func (a *app) drainCommand() *cobra.Command {
	var ask node.DrainRequest
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Empty the node: let its tasks leave, until undrain",
		Long: `drain asks the running ecsnode to empty this node: ECS sets it DRAINING, tasks of
services move elsewhere, log shippers leave last. It counts until "ecsnode
undrain", over reboots too. Beyond the deadline nothing happens by itself,
unless --force is given: then what is left is stopped before it.

With --wait: exit status 0 drained, 1 not by the deadline.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ask.Deadline < 0 || cmd.Flags().Changed("deadline") && ask.Deadline == 0 {
				return usage(cmd, errors.New("--deadline takes a duration such as 15m"))
			}
			n, err := a.node()
			if err != nil {
				return err
			}
			asked, err := n.Drain(ask)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, `asked for: a drain, until "ecsnode undrain"`)
			return a.followDrain(cmd.Context(), n, asked, wait)
		},
	}
	cmd.Flags().DurationVar(&ask.Deadline, "deadline", 0, "how long it may take (default interruption.soft_cap)")
	cmd.Flags().BoolVar(&ask.Force, "force", false, "stop what is left before the deadline")
	cmd.Flags().StringVar(&ask.Why, "why", "", "reason, shown by status")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the node is drained and say what happens")
	cmd.AddCommand(a.drainShowCommand())
	return cmd
}

// followDrain waits for a drain that was asked for, if that is wanted.
func (a *app) followDrain(ctx context.Context, n *node.Node, asked time.Time, wait bool) error {
	if err := n.WatchesDrains(); err != nil || !wait {
		return err
	}
	drained, err := n.AwaitDrain(ctx, asked, a.tellDrain())
	if err == nil && !drained {
		return exit{code: 1}
	}
	return err
}

// tellDrain prints what is new in a record. On a terminal the last line is how
// the drain stands, and is written anew as it changes.
func (a *app) tellDrain() node.TellDrain {
	told := 0
	live := a.terminal()
	return func(p *node.DrainRecord, stands string) {
		if live {
			fmt.Fprint(a.out, "\r\x1b[K")
		}
		for _, m := range p.Milestones[min(told, len(p.Milestones)):] {
			fmt.Fprintf(a.out, "+%.1fs  %s\n", m.At.Sub(p.Began.Wall).Seconds(), status.Printable(m.What))
		}
		told = len(p.Milestones)
		if live && p.DrainedAt == (facts.Moment{}) && !p.Missed {
			fmt.Fprint(a.out, a.oneLine(stands))
		}
	}
}

// oneLine cuts text to what fits a line of the terminal.
func (a *app) oneLine(text string) string {
	text, _, _ = strings.Cut(status.Printable(text), "\n")
	if width := a.style().Width; width > 1 && utf8.RuneCountInString(text) >= width {
		text = string([]rune(text)[:width-2]) + "…"
	}
	return text
}

func (a *app) shutdownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shutdown",
		Short: "Empty the node if the host is going down (ecsnode-shutdown.service)",
		Long: `shutdown empties the node if the service manager is stopping, and returns once it
is empty or the time for it is over. While the host stays it does nothing.

Exit status: 0 empty, or the host stays, 1 not empty in time.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			kind, drained, err := n.Shutdown(cmd.Context(), a.tellDrain())
			switch {
			case err != nil:
				return err
			case kind == "":
				fmt.Fprintln(a.out, "the host stays: nothing is to be done")
			case !drained:
				return exit{code: 1}
			}
			return nil
		},
	}
}

func (a *app) drainShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [N]",
		Short: "Show what happened in the latest drain, or in the N latest",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			count, err := strconv.Atoi(first(args, "1"))
			if err != nil || count < 1 {
				return usage(cmd, fmt.Errorf("expected a number of drains, not %q", args[0]))
			}
			n, err := a.node()
			if err != nil {
				return err
			}
			all, err := n.Drains(count)
			for _, p := range all {
				fmt.Fprint(a.out, node.DrainText(p))
			}
			return err
		},
	}
}

func (a *app) undrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "undrain",
		Short: "Take a drain that an operator asked for back",
		Long: `undrain takes back what "ecsnode drain" asked for. The node becomes ACTIVE in ECS
again, if it was ecsnode that set it DRAINING and no other notice stands.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			asked, err := n.Undrain()
			if err != nil {
				return err
			}
			if !asked {
				fmt.Fprintln(a.out, "no operator had asked for a drain")
				return nil
			}
			fmt.Fprintln(a.out, "taken back: the operator's drain")
			return nil
		},
	}
}

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/status"
)

func (a *app) applyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apply",
		Short: "Make one pass of every duty now",
		Long: `apply makes one pass of every duty and prints how each stands. A running
ecsnode is asked for the pass; without one it is made here.

Exit status: 0 all ok, waiting or held, 1 something is failing.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			records, err := n.Apply(cmd.Context())
			a.printOff(n)
			failed := a.printRecords(records)
			if err != nil {
				return err
			}
			return failed
		},
	}
}

// printOff says what was left out of a pass.
func (a *app) printOff(n *node.Node) {
	for _, off := range n.Off() {
		fmt.Fprintln(a.err, off)
	}
}

// printRecords writes one line for each duty and fails if one of them does.
func (a *app) printRecords(records []duty.Record) error {
	failing := false
	for _, r := range records {
		text := r.Summary
		if r.Err != "" {
			text = r.Err
		}
		mark := ""
		if r.Changed && r.State != duty.Held {
			mark = "changed: "
		}
		fmt.Fprintf(a.out, "%-12s  %-7s  %s%s\n", r.Name, r.State, mark, status.Printable(text))
		for _, w := range r.Warnings {
			fmt.Fprintf(a.out, "%-12s  %-7s  %s\n", "", "warning", status.Printable(w))
		}
		failing = failing || r.State == duty.Failing || r.State == duty.Stuck || r.State == duty.Starting
	}
	if failing {
		return exit{code: 1}
	}
	return nil
}

func (a *app) holdCommand() *cobra.Command {
	var why string
	var for_ time.Duration
	cmd := &cobra.Command{
		Use:   "hold [DUTY|all]",
		Short: "Stop the duties that change the node",
		Long: `hold stops one duty, or all that change the node, until "ecsnode release". It
counts at once and survives reboots. What a node needs to know what it is
happens all the same: a hold cannot keep a node out of its cluster.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if for_ < 0 || cmd.Flags().Changed("for") && for_ == 0 {
				return usage(cmd, errors.New("--for takes a duration such as 2h"))
			}
			n, err := a.node()
			if err != nil {
				return err
			}
			what := first(args, node.HoldAll)
			if err := n.Hold(cmd.Context(), what, why, for_); err != nil {
				return err
			}
			until := `until "ecsnode release"`
			if for_ > 0 {
				until = "until " + time.Now().Add(for_).Format("15:04 MST on 2 January")
			}
			fmt.Fprintf(a.out, "held: %s, %s\n", what, until)
			return nil
		},
	}
	cmd.Flags().DurationVar(&for_, "for", 0, "how long, such as 2h (default until released)")
	cmd.Flags().StringVar(&why, "why", "", "reason, shown by status")
	return cmd
}

func (a *app) releaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "release [DUTY|all]",
		Short: "End a hold",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			what := first(args, node.HoldAll)
			released, err := n.Release(cmd.Context(), what)
			if err != nil {
				return err
			}
			if !released {
				fmt.Fprintf(a.out, "nothing was held by an operator\n")
				return nil
			}
			fmt.Fprintf(a.out, "released: %s\n", what)
			return nil
		},
	}
}

func first(args []string, otherwise string) string {
	if len(args) > 0 {
		return args[0]
	}
	return otherwise
}

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
)

func (a *app) simulateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Rehearse what the node would do about a notice that it goes",
		Long: `simulate shows what this node would do if a notice came now: with its real tasks,
the clock it would keep, and what is in the way. It changes nothing.

With --for-real the node drains as it would for the notice, until "ecsnode
undrain"; only the notice itself is made up.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range []struct{ use, source, what, help, short string }{
		{"spot", facts.NoticeSpot, "action", "terminate, stop or hibernate", "EC2 takes the Spot Instance back"},
		{"rebalance", facts.NoticeRebalance, "", "", "EC2 recommends to leave the Spot Instance"},
		{"lifecycle", facts.NoticeAutoScaling, "", "", "The Auto Scaling group terminates the instance"},
		{"maintenance", facts.NoticeMaintenance, "code", "instance-stop, instance-retirement, instance-reboot, system-reboot or system-maintenance", "EC2 has scheduled an event"},
		{"shutdown", facts.NoticeShutdown, "", "", "The host shuts down"},
	} {
		cmd.AddCommand(a.simulateSourceCommand(s.use, s.source, s.what, s.help, s.short))
	}
	return cmd
}

func (a *app) simulateSourceCommand(use, source, whatFlag, whatHelp, short string) *cobra.Command {
	s := node.Simulation{Source: source}
	var forReal, wait bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.In < 0 || cmd.Flags().Changed("in") && s.In == 0 {
				return usage(cmd, errors.New("--in takes a duration such as 2m"))
			}
			if wait && !forReal {
				return usage(cmd, errors.New("--wait goes with --for-real: nothing else is waited for"))
			}
			n, err := a.node()
			if err != nil {
				return err
			}
			if !forReal {
				r, err := n.Rehearse(cmd.Context(), s)
				if err != nil {
					return err
				}
				r.Text(a.out)
				return nil
			}
			asked, err := n.Simulate(s)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "asked for: a drain as for a notice of %s, until \"ecsnode undrain\"\n", use)
			return a.followDrain(cmd.Context(), n, asked, wait)
		},
	}
	what, in := node.UsualNotice(source)
	if whatFlag != "" {
		cmd.Flags().StringVar(&s.What, whatFlag, what, whatHelp)
	}
	if in > 0 {
		cmd.Flags().DurationVar(&s.In, "in", in, "how long from now it happens")
	}
	cmd.Flags().BoolVar(&forReal, "for-real", false, "drain the node")
	cmd.Flags().BoolVar(&wait, "wait", false, "with --for-real: wait until the node is drained and say what happens")
	return cmd
}

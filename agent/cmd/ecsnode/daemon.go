package main

import (
	"log/slog"

	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run every duty until told to stop (ecsnode.service)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.nodeWith(a.logger(slog.LevelInfo))
			if err != nil {
				return err
			}
			return n.Run(cmd.Context())
		},
	}
}

func (a *app) bootCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "boot",
		Short: "Make every duty right once, within the boot budget (ecsnode-boot.service)",
		Long: `boot makes passes of every duty, in order, and repeats what failed or waits,
until all are well or the budget (setting boot.budget) is spent.

Exit status: 0 all well, 1 something is left undone.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.nodeWith(a.logger(slog.LevelInfo))
			if err != nil {
				return err
			}
			return n.Boot(cmd.Context())
		},
	}
}

func (a *app) earlyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "early",
		Short: "Make right what must be there before Docker starts (ecsnode-early.service)",
		Long: `early mounts volumes and writes daemon.json, from the configuration as it stands
and what was last known about the instance. It asks no network. It waits for
volumes until the budget (setting boot.early_budget) is spent.

Exit status: 0 all well, 1 something is left undone.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.nodeWith(a.logger(slog.LevelInfo))
			if err != nil {
				return err
			}
			return n.Early(cmd.Context())
		},
	}
}

func (a *app) readyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ready",
		Short: "Tell by the exit status whether the node is ready",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "identity",
		Short: "Whether the node knows what it is, so that its ECS agent may start",
		Long: `identity exits 0 once every duty that establishes the identity of the node
(its cluster, and the values of node.config that must be there) has succeeded
since the node booted, and 1 with the reason until then. A later failure does
not undo it: the last good files are those of this node.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			return n.Ready()
		},
	})
	cmd.AddCommand(&cobra.Command{
		Use:   "docker",
		Short: "Whether Docker may start, as far as its volumes go",
		Long: `docker exits 1, with the reason, while a volume is missing that Docker must have
and that holds it back, and 0 otherwise.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			return n.ReadyDocker()
		},
	})
	return cmd
}

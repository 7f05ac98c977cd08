package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/image"
	"github.com/ecsnode/ecsnode/agent/status"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Check and seal the machine that an image is made of",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageCheckCommand(), a.imageSealCommand())
	return cmd
}

func (a *app) imageCheckCommand() *cobra.Command {
	var sealed bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look whether an image of this machine is fit for a first boot",
		Long: `check looks whether everything is there that the first boot of an instance needs:
the program, its units, a valid configuration with the templates it names. And
that nothing is there that no image may have: a cluster, a secret.

Exit status: 0 the image is fit, 1 it is not.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			found := n.CheckImage(cmd.Context(), sealed)
			for _, f := range found {
				fmt.Fprintf(a.out, "%-10s  %-7s  %s\n", f.Topic, f.Level, status.Printable(f.Text))
			}
			if image.Failed(found) {
				return exit{code: 1, err: errors.New("this machine is not fit for an image")}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&sealed, "sealed", false, "look also whether the seal has left nothing undone")
	return cmd
}

func (a *app) imageSealCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Remove what is this machine's alone, before an image is made of it",
		Long: `seal removes the state of the ECS agent, of ecsnode and of cloud-init, what was
rendered for this node, machine id, keys and authorized keys, registrations, logs
and histories, and prints each path. It keeps what the ECS agent starts with
(/var/cache/ecs, /var/lib/ecs/deps). The ECS agent is unmasked and enabled.

It refuses on a machine that is a node. Cut short, it can be done again.

Exit status: 0 all is removed, 1 not all.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.nodeWith(a.logger(slog.LevelWarn))
			if err != nil {
				return err
			}
			done := 0
			err = n.SealImage(cmd.Context(), dry, func(s image.Step) {
				done++
				fmt.Fprintln(a.out, status.Printable(s.String()))
			})
			if err != nil {
				return err
			}
			switch {
			case done == 0:
				fmt.Fprintln(a.out, "sealed: nothing was left to do")
			case dry:
				fmt.Fprintf(a.out, "a seal would take %d steps\n", done)
			default:
				fmt.Fprintf(a.out, "sealed: %d steps\n", done)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would be done, and do nothing")
	return cmd
}

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/status"
)

// bundleNodeCommands are those about the bundle that a node runs.
func (a *app) bundleNodeCommands() []*cobra.Command {
	return []*cobra.Command{a.bundleShowCommand(), a.bundlePullCommand(), a.bundlePinCommand(), a.bundleUnpinCommand()}
}

func (a *app) bundleShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show which bundle this node runs, since when and why",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			b, err := n.Bundle()
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(b)
			}
			a.printBundle(b)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

func (a *app) printBundle(b facts.Bundle) {
	for _, line := range status.BundleLines(b, time.Now()) {
		fmt.Fprintln(a.out, status.Printable(line))
	}
}

func (a *app) bundlePullCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pull",
		Short: "Look at the channel of this node now",
		Long: `pull looks at the channel and puts into effect what it has for this node. A
running ecsnode is asked to; without one it is done here.

Exit status: 0 what the channel has is in effect, or the node keeps what it
runs as it should, 1 it cannot be.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			r, b, err := n.PullBundle(cmd.Context())
			if err != nil {
				return err
			}
			failed := a.printRecords([]duty.Record{r})
			a.printBundle(b)
			return failed
		},
	}
}

func (a *app) bundlePinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pin DIGEST|none",
		Short: "Have this node run a bundle that it has, whatever its channel says",
		Long: `pin has the node run a bundle that is on its disk, by the beginning of its
digest, or with none the baked configuration, until "ecsnode bundle unpin". It
survives reboots. A bundle that was bad for the node is tried again.`,
		Args: exactly("DIGEST"),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			d, err := n.PinBundle(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "pinned: %s, until \"ecsnode bundle unpin\"\n", shortened(d))
			return nil
		},
	}
}

func shortened(d bundle.Digest) string {
	if d == facts.NoBundle {
		return "the baked configuration"
	}
	return "bundle " + d.Short()
}

func (a *app) bundleUnpinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unpin",
		Short: "Have this node follow its channel again",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			was, err := n.UnpinBundle()
			if err == nil && !was {
				fmt.Fprintln(a.out, "no bundle was pinned")
			} else if err == nil {
				fmt.Fprintln(a.out, "unpinned: the channel counts")
			}
			return err
		},
	}
}

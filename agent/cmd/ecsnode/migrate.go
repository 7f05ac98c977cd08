package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/status"
)

func (a *app) migrateCommand() *cobra.Command {
	var o node.MigrateOptions
	var cutOver, undo, accept, force, asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Take the node over from Ansible, and back",
		Long: `migrate looks for what runs ansible on this node (tables of cron, rc.local,
scripts of cron and cloud-init, timers of systemd), renders node.config beside
the one that is there and shows the difference, and writes the draft of a
configuration that makes the node what it is. It changes nothing else. A draft
that is there is kept, and counts: change it and run migrate again.

With --cut-over it disables what runs ansible, line by line and nothing else,
and installs the draft as the configuration. It refuses, and changes nothing,
where containers would notice a difference, where ansible runs just now, where
there is another configuration, and where something cannot be disabled safely or
cannot be looked at. A job or a statement is disabled whole: what else goes with
it is shown. What it changes is written down first: cut short, it goes on or back.

With --undo every file that cut-over changed, node.config and ecs.config are again
what they were: content, mode, owner, time. ecsnode must not run then. A file that
others have changed since is named and nothing is done, unless --force puts it
aside.

Where a bundle is in effect, what it sets comes after the configuration, and is
in what is compared. Cut-over and undo leave the bundle alone.

Exit status: 0 done, or cut-over would go ahead; 2 cut-over would refuse or the
command line is wrong; 1 it failed or refused.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cutOver && undo:
				return usage(cmd, errors.New("--cut-over and --undo are opposites"))
			case accept && !cutOver:
				return usage(cmd, errors.New("--accept-difference goes with --cut-over"))
			case force && !undo:
				return usage(cmd, errors.New("--force goes with --undo"))
			}
			n, err := a.node()
			if err != nil {
				return err
			}
			switch {
			case cutOver:
				return a.cutOver(cmd, n, o, accept, asJSON)
			case undo:
				return a.undoCutOver(cmd, n, force, asJSON)
			}
			r, err := n.Migrate(cmd.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(r)
			} else {
				r.Text(a.out)
			}
			if err == nil && (len(r.Refusals) > 0 || r.Node.Differs()) {
				return exit{code: 2}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&cutOver, "cut-over", false, "disable what runs ansible and install the configuration")
	flags.BoolVar(&undo, "undo", false, "take the cut-over back")
	flags.BoolVar(&accept, "accept-difference", false, "cut over though variables of node.config differ")
	flags.BoolVar(&force, "force", false, "undo though others have changed files since; those are kept aside")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.StringVar(&o.Output, "output", "", "file of the draft (default: the configuration file, with .migrated)")
	flags.StringVar(&o.NodeConfig, "node-config", "", "file that containers source (default /etc/container_config/node.config)")
	return cmd
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(v)
}

func (a *app) cutOver(cmd *cobra.Command, n *node.Node, o node.MigrateOptions, accept, asJSON bool) error {
	c, err := n.CutOver(cmd.Context(), o, accept)
	for _, name := range c.Changed {
		if !asJSON {
			fmt.Fprintf(a.out, "changed: %s\n", status.Printable(name))
		}
	}
	switch {
	case errors.Is(err, node.ErrDiffers):
		return exit{1, err, `See "ecsnode migrate"; mend the draft, or --accept-difference.`}
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(struct {
			Changed []string `json:"changed"`
			Runs    bool     `json:"ecsnode_runs"`
		}{c.Changed, c.Runs})
	case len(c.Changed) == 0:
		fmt.Fprintln(a.out, "Nothing is left to change: the cut-over was made before.")
		return nil
	}
	fmt.Fprintln(a.out, "Cut over; \"ecsnode migrate --undo\" takes it back.")
	if c.Runs {
		fmt.Fprintln(a.out, "ecsnode runs and takes the configuration by itself: ecsnode status")
	} else {
		fmt.Fprintln(a.out, "Now: ecsnode plan; systemctl enable --now ecsnode-early ecsnode-boot ecsnode ecsnode-shutdown")
	}
	return nil
}

func (a *app) undoCutOver(cmd *cobra.Command, n *node.Node, force, asJSON bool) error {
	u, err := n.UndoCutOver(cmd.Context(), force)
	switch {
	case errors.Is(err, node.ErrDaemonRuns):
		return exit{1, err, "First: systemctl disable --now ecsnode ecsnode-boot ecsnode-early ecsnode-shutdown"}
	case errors.Is(err, node.ErrChanged):
		return exit{1, err, "Look at what was changed. With --force it is kept aside and the rest given back."}
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(u)
	case u.None:
		fmt.Fprintln(a.out, "There is no cut-over to undo.")
		return nil
	}
	for _, name := range u.Names {
		fmt.Fprintf(a.out, "as before: %s\n", status.Printable(name))
	}
	for _, name := range u.Aside {
		fmt.Fprintf(a.out, "kept aside: %s\n", status.Printable(name))
	}
	fmt.Fprintln(a.out, "Undone. While ecsnode is installed ecs.service waits for it at boot: take its package away, or cut over again.")
	return nil
}

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/status"
)

func (a *app) planCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a pass would change, and change nothing",
		Long: `plan makes a pass of every duty on a copy of the node's files in memory and
prints what would be different as a unified diff, then the calls to AWS that
would be made, packages that dnf would change and units that would be restarted,
with the files they would be restarted for. Files that are not for everybody are
not shown. Where a change counts only from the next start of the ECS agent on,
that is said.

Exit status: 0 nothing would change, 2 something would, 1 a duty fails or
waits, so that the plan is not whole.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			p := n.Plan(cmd.Context())
			if asJSON {
				if err := a.printJSON(p); err != nil {
					return err
				}
				return planned(p)
			}
			a.printOff(n)
			p.Diff(a.out)
			for _, r := range p.Records {
				switch {
				case r.State == duty.Held:
					fmt.Fprintf(a.err, "%s is %s\n", r.Name, status.Printable(r.Summary))
				case r.State != duty.OK:
					fmt.Fprintf(a.err, "%s %s: %s\n", r.Name, r.State, status.Printable(r.Err))
				case r.Changed:
					fmt.Fprintf(a.err, "%s would change the node: %s\n", r.Name, status.Printable(r.Summary))
				}
				for _, w := range r.Warnings {
					fmt.Fprintf(a.err, "%s warns: %s\n", r.Name, status.Printable(w))
				}
			}
			if err := planned(p); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "Nothing would change.")
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// planned is the exit status that goes with a plan.
func planned(p *node.Plan) error {
	for _, r := range p.Records {
		if r.State != duty.OK && r.State != duty.Held {
			return exit{code: 1}
		}
	}
	if !p.Empty() {
		return exit{code: 2}
	}
	return nil
}

func (a *app) renderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "render [FILE]",
		Short: "Print the files that would be written, or one of them",
		Long: `render prints what a pass would write into node.config, ecs.config and their
like, from the facts as they are now. FILE is a path or the last part of one.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			files, err := n.Render(cmd.Context(), first(args, ""))
			if err != nil {
				return err
			}
			for i, f := range files {
				if len(files) > 1 {
					if i > 0 {
						fmt.Fprintln(a.out)
					}
					fmt.Fprintf(a.out, "==> %s <==\n", f.Name)
				}
				if _, err := a.out.Write(f.Data); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.out, "ecsnode %s (%s %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

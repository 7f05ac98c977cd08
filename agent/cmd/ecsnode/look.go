package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/status"
)

func (a *app) planCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "Show what a pass would change, and change nothing",
		Long: `plan makes a pass of every duty on a copy of the node's files in memory and
prints what would be different as a unified diff, then the calls to AWS that
would be made. Values of secrets are hidden. No duty restarts a unit: where a
change counts only from the next start of the ECS agent on, that is said.

Exit status: 0 nothing would change, 2 something would, 1 a duty fails or
waits, so that the plan is not whole.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			p := n.Plan(cmd.Context())
			a.printOff(n)
			p.Diff(a.out)
			open := false
			for _, r := range p.Records {
				switch {
				case r.State == duty.Held:
					fmt.Fprintf(a.err, "%s is %s\n", r.Name, status.Printable(r.Summary))
				case r.State != duty.OK:
					open = true
					fmt.Fprintf(a.err, "%s %s: %s\n", r.Name, r.State, status.Printable(r.Err))
				case r.Changed:
					fmt.Fprintf(a.err, "%s would change the node: %s\n", r.Name, status.Printable(r.Summary))
				}
				for _, w := range r.Warnings {
					fmt.Fprintf(a.err, "%s warns: %s\n", r.Name, status.Printable(w))
				}
			}
			switch {
			case open:
				return exit{code: 1}
			case !p.Empty():
				return exit{code: 2}
			}
			fmt.Fprintln(a.out, "Nothing would change.")
			return nil
		},
	}
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

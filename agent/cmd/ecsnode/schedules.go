package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/status"
)

// shownOutput is how many lines of what a run wrote are shown.
const shownOutput = 20

func (a *app) schedulesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "schedules",
		Short: "Show what runs at set times, and what came of it; run, pause, resume",
		Long: `schedules lists what this node runs at set times: how it stands, when it runs
next, how its last run ended and the end of what that wrote, which root alone may
read. Times are in UTC.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			all, err := n.Schedules()
			if errors.Is(err, status.ErrNone) {
				return exit{exitGone, err, advice}
			}
			if err != nil {
				return err
			}
			if asJSON {
				if all == nil {
					all = []facts.Schedule{}
				}
				return a.printJSON(all)
			}
			if len(all) == 0 {
				fmt.Fprintln(a.out, "nothing is configured to run at set times (setting schedules.items)")
			}
			status.WriteSchedules(a.out, all, time.Now(), a.style(), shownOutput)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of JSON objects")
	cmd.AddCommand(a.scheduleRunCommand(), a.schedulePauseCommand(), a.scheduleResumeCommand())
	return cmd
}

// exactlyOne is cobra.ExactArgs(1) with the error of this program.
func exactlyOne(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(cmd, fmt.Errorf("%s takes the name of a schedule", cmd.CommandPath()))
	}
	return nil
}

func (a *app) scheduleRunCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Run one now, on this node",
		Long: `run asks the running ecsnode to run a schedule now, on this node, also one that is
paused or that runs once per cluster: no lease is asked for. While a run is under
way, the schedule's overlap says what becomes of it. A node that drains runs none.
What is asked for twice before ecsnode has taken it up is one run.

With --wait: exit status 0 it ended well, 1 it did not.`,
		Args: exactlyOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			asked, err := n.RunSchedule(args[0])
			if err != nil {
				return err
			}
			if !wait {
				fmt.Fprintf(a.out, "asked for: a run of %s; \"ecsnode schedules\" tells what comes of it\n", args[0])
				return nil
			}
			run, err := n.AwaitSchedule(cmd.Context(), args[0], asked)
			if err != nil {
				return err
			}
			if text := strings.TrimRight(run.Output, "\n"); text != "" {
				fmt.Fprintln(a.out, status.Printable(text))
			}
			if run.Failed {
				return exit{code: 1, err: fmt.Errorf("%s: %s", args[0], run.Result)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended and print the end of what it wrote")
	return cmd
}

func (a *app) schedulePauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME",
		Short: "Leave out the ticks of one, until resume",
		Long: `pause leaves out the ticks of a schedule on this node, over reboots, until
"ecsnode schedules resume NAME". A run under way goes on.`,
		Args: exactlyOne,
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			if err := n.PauseSchedule(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "paused: %s, until \"ecsnode schedules resume %s\"\n", args[0], args[0])
			return nil
		},
	}
}

func (a *app) scheduleResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "End a pause",
		Args:  exactlyOne,
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			was, err := n.ResumeSchedule(args[0])
			if err != nil {
				return err
			}
			if !was {
				fmt.Fprintf(a.out, "%s was not paused\n", args[0])
				return nil
			}
			fmt.Fprintf(a.out, "resumed: %s\n", args[0])
			return nil
		},
	}
}

// jobCommand is the command of the unit of a job.
func (a *app) jobCommand() *cobra.Command {
	var c node.Child
	cmd := &cobra.Command{
		Use:    "job -- COMMAND ARG...",
		Short:  "Run the command of a job and keep the end of what it writes (units of jobs)",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || c.Output == "" {
				return usage(cmd, errors.New("job takes --output and a command"))
			}
			c.Argv = args
			code, err := c.Run(cmd.Context())
			if code == 0 && err == nil {
				return nil
			}
			return exit{code: code, err: err}
		},
	}
	cmd.Flags().StringVar(&c.Output, "output", "", "file that gets the end of what it writes")
	cmd.Flags().DurationVar(&c.Grace, "grace", 10*time.Second, "time between its SIGTERM and its SIGKILL")
	cmd.Flags().StringVar(&c.Container, "container", "", "id of the container that it is run in")
	return cmd
}

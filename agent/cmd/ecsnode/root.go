package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/node"
)

// app is what every command has: where to write, and which node.
type app struct {
	out, err io.Writer
	root     string
	config   string
	verbose  bool
}

// exit ends the program with a code; err may be nil, when all has been said.
type exit struct {
	code   int
	err    error
	advice string // what to do next, on a line of its own
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// collectRarely spares a command that ends soon most of its garbage collections. What
// stays does with as little memory as it can.
func collectRarely(command string) {
	_, set := os.LookupEnv("GOGC")
	if set || command == "ecsnode run" || command == "ecsnode shutdown" {
		return
	}
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(64 << 20)
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut}
	cmd := a.command()
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var e exit
	if !errors.As(err, &e) {
		e = exit{code: 1, err: err}
	}
	if e.err != nil {
		fmt.Fprintf(errOut, "error: %v\n", e.err)
	}
	if e.advice != "" {
		fmt.Fprintln(errOut, e.advice)
	}
	return e.code
}

func (a *app) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ecsnode",
		Short: "The agent of an Amazon ECS container instance",
		Long: `ecsnode tells containers what node they run on (node.config), owns its block of
ecs.config, and answers for the state of the node it runs on.

On a node systemd runs it; by hand, begin with "ecsnode status" and
"ecsnode plan".`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// On this very machine a relative path means what it means to any program.
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			collectRarely(cmd.CommandPath())
			if a.root == "/" {
				a.config, err = filepath.Abs(a.config)
			}
			return err
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&a.root, "root", "/", "directory that is the node's root")
	flags.StringVar(&a.config, "config", config.Path, "main configuration file, below the root")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log what is done to standard error")
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	cmd.AddGroup(
		&cobra.Group{ID: "look", Title: "Looking:"},
		&cobra.Group{ID: "act", Title: "Acting:"},
		&cobra.Group{ID: "publish", Title: "Configuring a fleet:"},
		&cobra.Group{ID: "unit", Title: "Run by systemd:"},
	)
	in := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			cmd.AddCommand(c)
		}
	}
	in("look", a.statusCommand(), a.schedulesCommand(), a.planCommand(), a.renderCommand(), a.configCommand(), a.iamPolicyCommand(), a.simulateCommand(), a.versionCommand())
	in("act", a.applyCommand(), a.holdCommand(), a.releaseCommand(), a.drainCommand(), a.undrainCommand(), a.migrateCommand(), a.imageCommand())
	in("publish", a.bundleCommand(), a.userDataCommand())
	in("unit", a.runCommand(), a.earlyCommand(), a.bootCommand(), a.readyCommand(), a.shutdownCommand(), a.jobCommand())
	return cmd
}

// usage is an error in the command line itself.
func usage(cmd *cobra.Command, err error) error {
	return exit{2, err, fmt.Sprintf("See %q.", cmd.CommandPath()+" --help")}
}

// noArgs refuses arguments; of a command with subcommands it is a wrong name.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which it sets only on its way to its own error
	err := fmt.Errorf("%q is no command of %s", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	} else if !cmd.HasSubCommands() {
		err = fmt.Errorf("%s takes no argument, not %q", cmd.CommandPath(), args[0])
	}
	return usage(cmd, err)
}

// atMost is cobra.MaximumNArgs with the error of this program.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(cmd, fmt.Errorf("%s takes at most %d argument, not %d", cmd.CommandPath(), n, len(args)))
		}
		return nil
	}
}

// node opens the node that the flags name.
func (a *app) node() (*node.Node, error) {
	return a.nodeWith(a.logger(slog.LevelWarn + 100))
}

func (a *app) nodeWith(log *slog.Logger) (*node.Node, error) {
	return node.New(node.Options{Root: a.root, Config: a.config, Version: version, Log: log})
}

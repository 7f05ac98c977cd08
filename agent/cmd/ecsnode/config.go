package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configCheckCommand(), a.configShowCommand(), a.configSchemaCommand())
	return cmd
}

func (a *app) load() (*config.Loaded, error) {
	files, err := fsx.Open(a.root)
	if err != nil {
		return nil, err
	}
	return config.Load(files, a.config), nil
}

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Report every problem of the configuration files",
		Long: `check reads the main file, conf.d/*.yaml beside it and the templates that they
name, and prints every problem as FILE:LINE:COLUMN: SETTING: what is wrong and
what was expected. Each template is tried, twice, on made-up values.

Exit status: 0 no problem, 1 problems.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := a.load()
			if err != nil {
				return err
			}
			files, err := fsx.Open(a.root)
			if err != nil {
				return err
			}
			problems := append(l.Problems, l.CheckTemplates(files)...)
			for _, p := range problems {
				fmt.Fprintln(a.out, p.Error())
			}
			effect := ""
			if len(l.LeftOut) > 0 {
				effect = "; not in effect: " + strings.Join(l.LeftOut, ", ")
			}
			switch n := len(problems); {
			case n == 1:
				return exit{code: 1, err: fmt.Errorf("one problem%s", effect)}
			case n > 1:
				return exit{code: 1, err: fmt.Errorf("%d problems%s", n, effect)}
			case len(l.Layers) == 0:
				fmt.Fprintf(a.out, "no problem: there is no %s, every setting is at its default\n", a.config)
			default:
				fmt.Fprintf(a.out, "no problem in %s\n", strings.Join(l.Layers, ", "))
			}
			return nil
		},
	}
}

func (a *app) configShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every setting in effect and where it comes from",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			n, err := a.node()
			if err != nil {
				return err
			}
			settings, problems := n.Settings()
			if asJSON {
				return a.printJSON(settings)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
			for _, s := range settings {
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Path, s.Value, s.Origin)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if problems != nil {
				return exit{code: 1, err: errors.New(`some files are not in effect: see "ecsnode config check"`)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration",
		Long: `schema prints the JSON Schema of the configuration. Editors complete and check
ecsnode.yaml with it, for example after a first line of
# yaml-language-server: $schema=ecsnode.schema.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			data, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n", strings.TrimRight(string(data), "\n"))
			return err
		},
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/config/strict"
	"github.com/ecsnode/ecsnode/agent/node"
)

func (a *app) bundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Make, sign and publish configuration bundles, and what this node runs",
		Long: `A bundle is ecsnode.yaml with templates/, files/ and hooks/ beside it, packed and
named by its digest. A channel is a small signed document in S3 that says which
bundle its nodes run: stable, and while it is tried canary on some of them.

Those that make and publish run where bundles are made, which need be no node. On
the way:
  ecsnode bundle init DIR                    a working example to begin with
  ecsnode bundle keygen bundle.key           once; bundle.key.pub goes into images
  ecsnode bundle check DIR                   what a node would make of it
  ecsnode bundle push s3://BUCKET DIR        first with --percent 100, then a 10% canary
  ecsnode bundle promote s3://BUCKET 100%    refuses while the canary is unwell
  ecsnode bundle rollback s3://BUCKET

Credentials for S3 and ECS are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_SESSION_TOKEN, and without them those of the instance role. Profiles and SSO
are not read: "aws configure export-credentials --format env" has them.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddGroup(&cobra.Group{ID: "make", Title: "Making:"}, &cobra.Group{ID: "publish", Title: "Publishing:"}, &cobra.Group{ID: "node", Title: "On a node:"})
	in := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			cmd.AddCommand(c)
		}
	}
	in("make", a.bundleInitCommand(), a.bundleCheckCommand(), a.bundleBuildCommand(), a.bundleDiffCommand(), a.bundleKeygenCommand(), a.bundleSignCommand())
	in("publish", a.bundlePushCommand(), a.bundlePromoteCommand(), a.bundleHistoryCommand(), a.bundleRollbackCommand(), a.bundleRetryCommand())
	in("node", a.bundleNodeCommands()...)
	return cmd
}

// exactly is cobra.ExactArgs with the error of this program.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usage(cmd, fmt.Errorf("%s takes %s", cmd.CommandPath(), strings.Join(names, " ")))
		}
		return nil
	}
}

// packed is a bundle with what became of it.
type packed struct {
	archive []byte
	tree    bundle.Tree
	name    string   // of its settings, for people
	leftOut []string // of the directory
}

// open packs a directory, or reads an archive.
func open(from string) (packed, error) {
	info, err := os.Stat(from)
	if err != nil {
		return packed{}, fmt.Errorf("cannot read the bundle: %w", err)
	}
	p := packed{name: filepath.Join(from, bundle.ConfigFile)}
	switch {
	case info.IsDir():
		var b bytes.Buffer
		p.leftOut, err = bundle.Build(os.DirFS(from), &b)
		p.archive = b.Bytes()
	case info.Size() > bundle.MaxSize:
		err = fmt.Errorf("cannot read %s: it has %d bytes, and %d at most are allowed", from, info.Size(), bundle.MaxSize)
	default:
		p.archive, err = os.ReadFile(from)
	}
	if err != nil {
		return p, err
	}
	if p.tree, err = bundle.Read(p.archive); err != nil {
		return p, fmt.Errorf("cannot read %s: %w", from, err)
	}
	return p, nil
}

// digest is the bundle's name.
func (p packed) digest() bundle.Digest { return bundle.Sum(p.archive) }

// checked is open for a bundle that is to run: it prints every problem, and
// returns an error if there is one.
func (a *app) checked(from, image string) (p packed, imageData []byte, err error) {
	if p, err = open(from); err != nil {
		return p, nil, err
	}
	var layers []strict.Layer
	if image != "" {
		if imageData, err = os.ReadFile(image); err != nil {
			return p, nil, fmt.Errorf("cannot read the image's settings: %w", err)
		}
		layers = append(layers, strict.Layer{Name: image, Data: imageData})
	}
	problems := config.CheckBundle(p.tree, p.name, layers...)
	for _, problem := range problems {
		fmt.Fprintln(a.out, problem.Error())
	}
	switch len(problems) {
	case 0:
		return p, imageData, nil
	case 1:
		return p, nil, exit{code: 1, err: errors.New("one problem: no node would take the bundle")}
	}
	return p, nil, exit{code: 1, err: fmt.Errorf("%d problems: no node would take the bundle", len(problems))}
}

func (a *app) tellLeftOut(p packed) {
	if len(p.leftOut) > 0 {
		fmt.Fprintf(a.err, "not part of the bundle: %s\n", strings.Join(p.leftOut, ", "))
	}
}

// size is a number of bytes for people.
func size(n int) string {
	if n < 10<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// create writes a file that must not be there yet.
func create(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot write %s: it is there already", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// operator reaches AWS as whoever types.
func (a *app) operator(ctx context.Context, region string) (*node.Operator, error) {
	return node.NewOperator(ctx, node.Options{}, region)
}

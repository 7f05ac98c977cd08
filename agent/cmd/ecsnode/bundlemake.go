package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/status"
	"github.com/ecsnode/ecsnode/templates"
)

func (a *app) bundleInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init DIR",
		Short: "Write an example of a bundle to begin with",
		Args:  exactly("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
				return fmt.Errorf("cannot begin a bundle in %s: it is not empty", dir)
			}
			tree := templates.Bundle()
			err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				at := filepath.Join(dir, name)
				if d.IsDir() {
					return os.MkdirAll(at, 0o755)
				}
				mode := fs.FileMode(0o644)
				if strings.HasPrefix(name, bundle.HookDir+"/") {
					mode = 0o755
				}
				data, err := fs.ReadFile(tree, name)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.out, at)
				return create(at, data, mode)
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "See what a node would make of it: ecsnode bundle check %s\n", dir)
			return nil
		},
	}
}

// exampleFile is the node that a bundle is tried on, beside its settings.
const exampleFile = "example-node.json"

func (a *app) bundleCheckCommand() *cobra.Command {
	var image, example string
	var metadata bool
	cmd := &cobra.Command{
		Use:   "check BUNDLE",
		Short: "Check a bundle as a node would, and show what a node would get",
		Long: `check reads a bundle, a directory or an archive, prints every problem that a node
would refuse it for, and then every file that an example node would get.

The example is "ecsnode status --json" of a node, in a file or in example-node.json
beside ecsnode.yaml, or what instance metadata says: that of this machine, or of
ecsnode-sim where AWS_EC2_METADATA_SERVICE_ENDPOINT says so. What templates ask of
Parameter Store and Secrets Manager the file may have in "ssm" and "secrets", by
name.

Nothing outside is asked: checks of files are not run, and what runs besides files
(services, node tasks, volumes) is checked but not shown.

Exit status: 0 no problem, 1 problems.`,
		Args: exactly("BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, data, err := a.checked(args[0], image)
			if err != nil {
				return err
			}
			of, err := exampleNode(cmd.Context(), args[0], example, metadata)
			if err != nil {
				return err
			}
			of.Image = data
			preview, err := node.Preview(cmd.Context(), p.tree, of)
			if err != nil {
				return err
			}
			preview.Diff(a.out)
			bad := 0
			for _, r := range preview.Records {
				if r.State != duty.OK {
					bad++
					fmt.Fprintf(a.err, "%s %s: %s\n", r.Name, r.State, status.Printable(r.Err))
				}
			}
			if bad > 0 {
				wanting := exit{code: 1, err: errors.New("the example node would not get all of it")}
				if image == "" {
					wanting.advice = "If the image sets what is missing, name its ecsnode.yaml with --image."
				}
				return wanting
			}
			a.tellLeftOut(p)
			fmt.Fprintf(a.out, "no problem: %s, %d files, %s\n", p.digest().Short(), len(p.tree), size(len(p.archive)))
			return nil
		},
	}
	cmd.Flags().StringVar(&image, "image", "", "ecsnode.yaml of the image, over which the bundle counts")
	cmd.Flags().StringVar(&example, "node", "", "file with an example node (default "+exampleFile+" of the bundle)")
	cmd.Flags().BoolVar(&metadata, "metadata", false, "take the example from instance metadata")
	return cmd
}

// exampleNode reads what the bundle is tried on.
func exampleNode(ctx context.Context, from, file string, metadata bool) (e node.Example, err error) {
	if metadata {
		e.Instance, err = node.Describe(ctx, node.Options{})
		return e, err
	}
	if file == "" {
		file = filepath.Join(from, exampleFile)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return e, exit{code: 1, err: fmt.Errorf("cannot read an example node: %w", err), advice: "Name one with --node, or take instance metadata with --metadata."}
	}
	var of struct {
		Node struct {
			Instance facts.Instance `json:"instance"`
		} `json:"node"`
		facts.Instance
		SSM     map[string]string `json:"ssm"`
		Secrets map[string]string `json:"secrets"`
	}
	if err := json.Unmarshal(data, &of); err != nil {
		return e, fmt.Errorf("cannot read an example node from %s: %w", file, err)
	}
	e = node.Example{Instance: of.Instance, SSM: of.SSM, Secrets: of.Secrets}
	if of.Node.Instance.ID != "" {
		e.Instance = of.Node.Instance
	}
	if e.Instance.ID == "" {
		return e, fmt.Errorf("cannot read an example node from %s: it has no instance_id", file)
	}
	return e, nil
}

func (a *app) bundleBuildCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "build DIR",
		Short: "Pack a bundle: the same bytes, and the same digest, wherever it is built",
		Args:  exactly("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, _, err := a.checked(args[0], "")
			if err != nil {
				return err
			}
			if to == "" {
				to = p.digest().Short() + bundle.Suffix
			}
			if err := create(to, p.archive, 0o644); err != nil {
				return err
			}
			a.tellLeftOut(p)
			fmt.Fprintf(a.out, "%s  %s\n", p.digest(), to)
			return nil
		},
	}
	cmd.Flags().StringVarP(&to, "output", "o", "", "file to write (default the beginning of the digest, "+bundle.Suffix+")")
	return cmd
}

func (a *app) bundleDiffCommand() *cobra.Command {
	var region string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show how two bundles differ",
		Long: `diff compares two bundles, each a directory, an archive, or one that was pushed, as
s3://BUCKET/PREFIX@DIGEST; the beginning of a digest will do.

Exit status: 0 the same, 2 different.`,
		Args: exactly("A", "B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var trees [2]bundle.Tree
			for i, from := range args {
				p, err := a.openAnywhere(cmd.Context(), from, region)
				if err != nil {
					return err
				}
				trees[i] = p.tree
			}
			if a.diff(trees[0], trees[1]) {
				return exit{code: 2}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&region, "region", "", "region of the bucket (default AWS_REGION)")
	return cmd
}

// openAnywhere is open for what was pushed too.
func (a *app) openAnywhere(ctx context.Context, from, region string) (packed, error) {
	at, digest, pushed := strings.Cut(from, "@")
	if !pushed || !strings.HasPrefix(at, "s3://") {
		return open(from)
	}
	source, err := bundle.ParseSource(at)
	if err != nil {
		return packed{}, err
	}
	o, err := a.operator(ctx, region)
	if err != nil {
		return packed{}, err
	}
	p := packed{name: from}
	if p.archive, err = o.Publisher(source, "", nil, bundle.SecretKey{}).Find(ctx, digest); err == nil {
		p.tree, err = bundle.Read(p.archive)
	}
	return p, err
}

// diff prints how b differs from a.
func (a *app) diff(from, to bundle.Tree) (different bool) {
	both := maps.Clone(from)
	maps.Copy(both, to)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		before, was := from[name]
		after, is := to[name]
		left, right := "a/"+name, "b/"+name
		switch {
		case !was:
			left = "/dev/null"
		case !is:
			right = "/dev/null"
		case before.Mode != after.Mode:
			different = true
			fmt.Fprintf(a.out, "file %s mode %04o -> %04o\n", name, before.Mode, after.Mode)
		}
		text := ""
		switch {
		case was == is && string(before.Data) == string(after.Data):
		case isText(before.Data) && isText(after.Data) && len(before.Data)+len(after.Data) > 0:
			text = udiff.Unified(left, right, string(before.Data), string(after.Data))
		default:
			text = fmt.Sprintf("file %s differs: %s -> %s\n", name, size(len(before.Data)), size(len(after.Data)))
		}
		different = different || text != ""
		fmt.Fprint(a.out, text)
	}
	return different
}

// isText reports whether a terminal may have it.
func isText(data []byte) bool {
	return utf8.Valid(data) && !strings.ContainsFunc(string(data), func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t'
	})
}

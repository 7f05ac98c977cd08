package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/node"
	"github.com/ecsnode/ecsnode/agent/publish"
	"github.com/ecsnode/ecsnode/agent/status"
)

// publishing is what all commands about a channel take.
type publishing struct {
	channel, region    string
	key, passwordFile  string
	trust              []string
	reason, expires    string
	operator           *node.Operator
	*publish.Publisher // set by open
	note               publish.Note
}

const trustHelp = `The channel that is there must be signed by the key of --key, or one of --trust.`

func (p *publishing) flags(cmd *cobra.Command, changes bool) {
	f := cmd.Flags()
	f.StringVar(&p.channel, "channel", "stable", "name of the channel")
	f.StringVar(&p.region, "region", "", "region of the bucket and of clusters (default AWS_REGION, else that of the instance)")
	f.StringVar(&p.key, "key", "", "file with the secret key")
	f.StringArrayVar(&p.trust, "trust", nil, "public key that is trusted too, or a file with one; may be repeated")
	if !changes {
		return
	}
	f.StringVar(&p.passwordFile, "password-file", "", "file whose first line is the key's password")
	f.StringVar(&p.reason, "reason", "", "why, for the history")
	f.StringVar(&p.expires, "expires", "", "how long the channel counts, such as 90d; 0: for ever (default as before)")
}

// open makes the publisher of the channel at a source.
func (p *publishing) open(ctx context.Context, a *app, at string, changes bool) error {
	source, err := bundle.ParseSource(at)
	if err != nil {
		return err
	}
	if !bundle.ValidName(p.channel) {
		return fmt.Errorf("%q is no name of a channel", p.channel)
	}
	p.note.Reason = p.reason
	if p.expires != "" {
		d, err := days(p.expires)
		if err != nil {
			return err
		}
		p.note.Expires = &d
	}
	var trusted []bundle.Key
	for _, text := range p.trust {
		key, err := publicKey(text)
		if err != nil {
			return err
		}
		trusted = append(trusted, key)
	}
	var secret bundle.SecretKey
	switch {
	case changes && p.key == "":
		return errNoKey
	case changes:
		if secret, err = a.secretKey(p.key, p.passwordFile); err != nil {
			return err
		}
		trusted = append(trusted, secret.Public())
	case p.key != "": // reading takes no password
		key, err := publicKey(p.key + ".pub")
		if err != nil {
			return err
		}
		trusted = append(trusted, key)
	}
	if p.operator, err = a.operator(ctx, p.region); err != nil {
		return err
	}
	p.Publisher = p.operator.Publisher(source, p.channel, trusted, secret)
	return nil
}

// days reads a duration in which d stands for days.
func days(text string) (time.Duration, error) {
	if n, isDays := strings.CutSuffix(text, "d"); isDays {
		if days, err := strconv.ParseUint(n, 10, 16); err == nil {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration such as 90d or 12h", text)
	}
	return d, nil
}

// advise says what to do about an error of AWS.
func (p *publishing) advise(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, facts.ErrRefused) && p.operator != nil:
		return exit{1, err, "AWS was asked with the credentials of " + p.operator.Caller + "."}
	case errors.Is(err, bundle.ErrKey):
		return exit{1, err, "If that key is one of yours, name it with --trust."}
	}
	return err
}

// tell prints what a channel says now.
func (a *app) tell(c *bundle.Channel) {
	line := fmt.Sprintf("%s, serial %d: %s is stable", c.Name, c.Serial, c.Stable.Digest.Short())
	if c.Canary != nil {
		line += fmt.Sprintf(", %s is tried by %d%% of the nodes", c.Canary.Digest.Short(), c.Canary.Percent)
	}
	if !c.Expires.IsZero() {
		line += ", until " + c.Expires.Format(time.RFC3339)
	}
	fmt.Fprintln(a.out, line)
}

func percentage(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || n < 1 || n > 100 {
		return 0, fmt.Errorf("%q is no percentage from 1%% to 100%%", text)
	}
	return n, nil
}

func (a *app) bundlePushCommand() *cobra.Command {
	var p publishing
	var percent, minimum string
	var force bool
	cmd := &cobra.Command{
		Use:   "push s3://BUCKET/PREFIX BUNDLE --key FILE",
		Short: "Publish a bundle, at first for 10% of the nodes",
		Long: `push checks a bundle, uploads it, and names it in the channel: as the canary that 10%
of the nodes try, or as many as --percent says. It takes the place of a canary that
is there. All other nodes, those launched meanwhile too, run what is stable.

A channel begins with --percent 100, when there is no stable bundle yet; later that
takes --force. When two push at once, one of them is told so, and nothing is lost.

` + trustHelp + `
` + passwordHelp,
		Args: exactly("s3://BUCKET/PREFIX", "BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := percentage(percent)
			if err != nil {
				return usage(cmd, err)
			}
			made, _, err := a.checked(args[1], "")
			if err != nil {
				return err
			}
			if err := p.open(cmd.Context(), a, args[0], true); err != nil {
				return p.advise(err)
			}
			c, err := p.Push(cmd.Context(), publish.Push{Note: p.note, Archive: made.archive, Percent: n, MinimumAgent: minimum, Force: force, Info: who()})
			if err != nil {
				return p.advise(err)
			}
			a.tellLeftOut(made)
			a.tell(c)
			return nil
		},
	}
	p.flags(cmd, true)
	cmd.Flags().StringVar(&percent, "percent", strconv.Itoa(publish.DefaultPercent), "how many of the nodes try it; 100: it is stable at once")
	cmd.Flags().StringVar(&minimum, "minimum-agent", "", "oldest ecsnode that takes the bundle, such as v1.4.0")
	cmd.Flags().BoolVar(&force, "force", false, "all nodes at once, without a canary, or the canary that is there for another percentage")
	return cmd
}

// who is for the history: no node reads it.
func who() map[string]string {
	info := map[string]string{"agent": version}
	for _, name := range []string{"USER", "GITHUB_SHA", "CI_COMMIT_SHA"} {
		if text := os.Getenv(name); text != "" && len(text) <= 100 {
			info[strings.ToLower(name)] = text
		}
	}
	return info
}

func (a *app) bundlePromoteCommand() *cobra.Command {
	var p publishing
	var clusters []string
	var force bool
	cmd := &cobra.Command{
		Use:   "promote s3://BUCKET/PREFIX PERCENT --key FILE --cluster NAME",
		Short: "Let more nodes try the canary; with 100% it is stable",
		Long: `promote asks ECS what the nodes of the clusters tell of the canary (the attribute
` + bundle.ReportAttribute + ` of the container instances), and refuses while a node went back from
it, or fewer than 80% of those that try it are well. --force overrides that, and
says what. Nodes are only added: those that try a bundle go on to.

` + trustHelp + `
` + passwordHelp,
		Args: exactly("s3://BUCKET/PREFIX", "PERCENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			percent, err := percentage(args[1])
			if err != nil {
				return usage(cmd, err)
			}
			if len(clusters) == 0 && !force {
				return usage(cmd, errors.New("promote looks at the nodes that try the canary: name their --cluster, or --force it"))
			}
			if err := p.open(cmd.Context(), a, args[0], true); err != nil {
				return p.advise(err)
			}
			now, err := p.Current(cmd.Context())
			if err != nil {
				return p.advise(err)
			}
			if now.Canary == nil {
				return fmt.Errorf("cannot promote in the channel %s: it has no canary", now.Name)
			}
			if err := a.weigh(cmd.Context(), &p, now, clusters, force); err != nil {
				return err
			}
			c, err := p.Promote(cmd.Context(), now.Canary.Digest, percent, p.note)
			if err != nil {
				return p.advise(err)
			}
			a.tell(c)
			return nil
		},
	}
	p.flags(cmd, true)
	cmd.Flags().StringArrayVar(&clusters, "cluster", nil, "cluster whose nodes follow the channel, by name or ARN; may be repeated")
	cmd.Flags().BoolVar(&force, "force", false, "promote it however the nodes are")
	return cmd
}

// weigh looks at the nodes, and refuses what speaks against the canary.
func (a *app) weigh(ctx context.Context, p *publishing, now *bundle.Channel, clusters []string, force bool) error {
	if len(clusters) == 0 { // which takes force
		fmt.Fprintln(a.err, "overridden: no cluster is named, so that no node is asked how the canary is")
		return nil
	}
	members, err := p.operator.Members(ctx, clusters)
	if err != nil && !force {
		return p.advise(err)
	}
	progress := publish.Judge(now, members)
	fmt.Fprintf(a.out, "%s on %d%%: of %d nodes %d try it, %d are well, %d are being watched, %d went back\n",
		now.Canary.Digest.Short(), now.Canary.Percent, progress.Nodes, progress.Chosen, progress.Well, progress.Trying, len(progress.Unwell))
	against := progress.Against()
	if err != nil {
		against = append(against, err.Error())
	}
	for _, why := range against {
		lead := "against it: "
		if force {
			lead = "overridden: "
		}
		fmt.Fprintln(a.err, lead+status.Printable(why))
	}
	if len(against) > 0 && !force {
		return exit{1, fmt.Errorf("cannot promote in the channel %s: the canary is not well enough", now.Name), "Wait, roll back, or override it with --force."}
	}
	return nil
}

func (a *app) bundleHistoryCommand() *cobra.Command {
	var p publishing
	var most int
	cmd := &cobra.Command{
		Use:   "history s3://BUCKET/PREFIX --trust KEY",
		Short: "Show what a channel has said, latest first",
		Long: `history shows the documents of a channel that a trusted key has signed: that of --key,
whose .pub is read, or those of --trust.`,
		Args: exactly("s3://BUCKET/PREFIX"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.open(cmd.Context(), a, args[0], false); err != nil {
				return p.advise(err)
			}
			all, err := p.History(cmd.Context(), most)
			if err != nil {
				return p.advise(err)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SERIAL\tSIGNED\tSTABLE\tCANARY\tREASON")
			for _, past := range all {
				if past.Channel == nil {
					fmt.Fprintf(w, "%d\t-\t-\t-\t%s\n", past.Serial, status.Printable(past.Err.Error()))
					continue
				}
				c, canary := past.Channel, "-"
				if c.Canary != nil {
					canary = fmt.Sprintf("%s %d%%", c.Canary.Digest.Short(), c.Canary.Percent)
				}
				reason := strings.ReplaceAll(status.Printable(c.Reason), "\n", " ")
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", c.Serial, c.Signed.Format(time.RFC3339), c.Stable.Digest.Short(), canary, reason)
			}
			return w.Flush()
		},
	}
	p.flags(cmd, false)
	cmd.Flags().IntVarP(&most, "count", "n", 20, "how many before the current one")
	return cmd
}

func (a *app) bundleRollbackCommand() *cobra.Command {
	return a.bundleTakeBack("rollback s3://BUCKET/PREFIX [DIGEST] --key FILE", "Take the canary back, or what is stable",
		`rollback takes the canary back. Without one it makes stable what was stable before,
for all nodes at once, and with a DIGEST that bundle, which the channel has had. It
is a new document with a new serial: a node never goes back to an old one.`, 1,
		func(ctx context.Context, p *publishing, args []string) (*bundle.Channel, error) {
			return p.Rollback(ctx, first(args, ""), p.note)
		})
}

func (a *app) bundleRetryCommand() *cobra.Command {
	return a.bundleTakeBack("retry s3://BUCKET/PREFIX DIGEST --key FILE", "Let nodes try a bundle again that was bad for them",
		`retry signs that the nodes forget that a bundle was bad for them. It must be stable or
canary; they try it again when they next look at the channel.`, 2,
		func(ctx context.Context, p *publishing, args []string) (*bundle.Channel, error) {
			return p.Retry(ctx, args[0], p.note)
		})
}

// bundleTakeBack is a command about a bundle that the channel has or had.
func (a *app) bundleTakeBack(use, short, long string, least int, do func(context.Context, *publishing, []string) (*bundle.Channel, error)) *cobra.Command {
	var p publishing
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long + "\n\nThe beginning of a digest will do. " + trustHelp + "\n" + passwordHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < least || len(args) > 2 {
				return usage(cmd, fmt.Errorf("expected %s", strings.TrimSuffix(use[strings.IndexByte(use, ' ')+1:], " --key FILE")))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.open(cmd.Context(), a, args[0], true); err != nil {
				return p.advise(err)
			}
			c, err := do(cmd.Context(), &p, args[1:])
			if err != nil {
				return p.advise(err)
			}
			a.tell(c)
			return nil
		},
	}
	p.flags(cmd, true)
	return cmd
}

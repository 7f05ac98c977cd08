package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/iam"
)

func (a *app) iamPolicyCommand() *cobra.Command {
	var role iam.Role
	var ofBundle string
	cmd := &cobra.Command{
		Use:   "iam-policy",
		Short: "Print the least IAM policy that the instance role needs for this configuration",
		Long: `iam-policy prints what the instance role must allow ecsnode for the settings in
effect, as a policy of IAM. It asks nobody: the same settings give the same policy.
What is not said by a flag is *, and a cluster that is no template is that of the
settings. The settings of a bundle count on a node that runs it, and with --bundle.

The ECS agent has needs of its own. It keeps the managed policy
AmazonEC2ContainerServiceforEC2Role, and nothing of that is printed.

For CloudFormation, references may be given:
--partition '${AWS::Partition}' --region '${AWS::Region}' --account '${AWS::AccountId}'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := role.Check(); err != nil {
				return usage(cmd, err)
			}
			l, err := a.load()
			if err != nil {
				return err
			}
			files, err := fsx.Open(a.root)
			if err != nil {
				return err
			}
			if len(l.Problems) > 0 {
				return errors.New(`cannot tell what the role needs: some files are not in effect: see "ecsnode config check"`)
			}
			var reader config.Reader = files
			if ofBundle != "" {
				p, _, err := a.checked(ofBundle, "")
				if err != nil {
					return err
				}
				if l, reader = l.WithBundle(p.tree, p.name, a.config, files); len(l.Problems) > 0 {
					return fmt.Errorf("cannot tell what the role needs: %w", l.Problems)
				}
			}
			role.Config = l.Config
			if role.Asks, err = l.Asks(reader); err != nil {
				return fmt.Errorf("cannot tell what the role needs: %w", err)
			}
			text, err := iam.Least(role).JSON()
			if err != nil {
				return err
			}
			for _, warning := range iam.Warnings(role) {
				fmt.Fprintln(a.err, "warning:", warning)
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&ofBundle, "bundle", "", "directory or archive of a bundle that nodes are to run")
	flags.StringVar(&role.Partition, "partition", "aws", "partition of AWS: aws, aws-cn, aws-us-gov")
	flags.StringVar(&role.Region, "region", "", "region of the nodes")
	flags.StringVar(&role.Account, "account", "", "account of the nodes")
	flags.StringSliceVar(&role.Clusters, "cluster", nil, "name of a cluster that nodes join")
	flags.StringSliceVar(&role.Groups, "group", nil, "name of an Auto Scaling group of the nodes")
	flags.StringSliceVar(&role.TaskRoles, "task-role", nil, "ARN of a role of a task that ecsnode starts, its execution role too; without any, no role may be passed")
	flags.StringSliceVar(&role.Keys, "key", nil, "ARN of a key of your own that parameters, secrets or buckets are encrypted with")
	return cmd
}

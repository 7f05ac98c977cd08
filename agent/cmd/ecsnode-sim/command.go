package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// options are the flags.
type options struct {
	listen, imds, introspection, aws, control string // addresses, "" for none

	tls       bool
	caFile    string
	scenario  string
	readyFile string
	envFile   string
	callLog   string
	seed      uint64
}

const help = `Serve a simulated EC2 instance with its AWS APIs and its ECS agent.

One address serves everything: IMDS under /latest and the dated versions, the
ECS agent's introspection under /v1, the control API under /_sim/ (its root is
its manual), and the AWS APIs at every other path. The parts can have addresses
of their own besides. Port 0 is any free port.

Once all addresses listen, the environment variables for an AWS SDK are printed
as shell exports, and then one line, "ready" with the real addresses. It runs
until SIGINT or SIGTERM.

A scenario is a state, set up before anything listens, and steps, in seconds
and so on after the ready line. Both are changes in the words of the control
API's "apply" (the type Change of package sim):

  state:
    instance: {type: m6i.xlarge, lifecycle: spot}
    tags: {env: prod, cluster: web}
    metadata_tags: true
    registered: web
    parameters:
      - {name: /prod/db/host, value: db.internal}
      - {name: /prod/db/password, type: SecureString, value: hunter2, key: KEY-ID}
    secrets: [{name: prod/registry, value: '{"user": "a"}'}]
  steps:
    - at: 5s
      set_tags: {env: staging}
    - at: 10s
      faults: {imds/meta-data: {kind: status, status: 503, count: 3}}
    - at: 20s
      deny: ["ssm:GetParameters on arn:aws:ssm:*:parameter/prod/*", kms:Decrypt]
      delete_secrets: [prod/registry]
    - at: 1m
      spot_interruption: {action: terminate, in: 2m}`

const example = `  ecsnode-sim --env-file /tmp/sim.env &
  . /tmp/sim.env; aws ec2 describe-tags --region eu-west-1
  curl -X PUT -d staging http://127.0.0.1:1338/_sim/tags/env`

func newCommand(stdout, stderr io.Writer) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "ecsnode-sim", Short: "Simulate the outside world of an ECS container instance", Long: help, Example: example,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o, stdout, stderr)
		},
	}
	c.SetOut(stdout)
	c.SetErr(stderr)
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:1338", "serve everything at `ADDRESS`; empty for nothing")
	f.StringVar(&o.imds, "imds", "", "serve IMDS at `ADDRESS` too")
	f.StringVar(&o.introspection, "introspection", "", "serve the ECS agent's introspection at `ADDRESS` too")
	f.StringVar(&o.aws, "aws", "", "serve the AWS APIs at `ADDRESS` too (with --tls: 127.0.0.1:0 if not given)")
	f.StringVar(&o.control, "control", "", "serve the control API at `ADDRESS` too")
	f.BoolVar(&o.tls, "tls", false, "serve --aws with TLS, by a certificate authority made for this run")
	f.StringVar(&o.caFile, "tls-ca", "", "write the authority's certificate to `FILE`, for AWS_CA_BUNDLE")
	f.StringVar(&o.scenario, "scenario", "", "play the scenario in `FILE`: initial state and timed steps, YAML")
	f.StringVar(&o.readyFile, "ready-file", "", "write the ready line to `FILE` once everything listens")
	f.StringVar(&o.envFile, "env-file", "", "write the environment variables to `FILE`, for a shell to source")
	f.StringVar(&o.callLog, "log", "", "write every call as a line of JSON to `FILE`, - for standard error")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the random choices: credentials, tokens, faults with a probability")
	return c
}

func (o *options) validate() error {
	if o.tls != (o.caFile != "") {
		return errors.New("--tls and --tls-ca go together: without the certificate no client can connect")
	}
	if o.tls && o.aws == "" {
		o.aws = "127.0.0.1:0"
	}
	if o.listen == "" && o.imds == "" && o.introspection == "" && o.aws == "" && o.control == "" {
		return errors.New("no address to listen on")
	}
	return nil
}

// execute runs the command and returns the exit status: 0 when it was stopped
// by a signal, 1 for an error, which is printed.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newCommand(stdout, stderr)
	c.SetArgs(args)
	if err := c.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	return 0
}

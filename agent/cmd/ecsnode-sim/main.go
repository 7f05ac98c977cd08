// Command ecsnode-sim is the outside world of a simulated ECS container
// instance as a program: IMDS, the AWS APIs, the ECS agent's introspection and
// a control API, for trying ecsnode without AWS. It is not part of an AMI.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

package nodetasks

import (
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// What ECS says of a task whose image or secrets could not be had, whoever is to
// blame for it:
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
var pulls = []string{"CannotPull", "unable to pull secrets or registry auth"}

// answers of a registry, or of this node, after which another try is of no use:
// what is asked for is wrong. Any other reason is taken for an outage.
var definite = []string{
	"manifest unknown", "not found", "does not exist", "denied", "no matching manifest", "invalid reference",
	"no basic auth credentials", "no space left on device",
}

// outage reports whether a task ended for want of an answer of its registry.
func outage(reason string) bool {
	in := func(reason string) func(string) bool {
		return func(text string) bool { return strings.Contains(reason, text) }
	}
	return slices.ContainsFunc(pulls, in(reason)) && !slices.ContainsFunc(definite, in(strings.ToLower(reason)))
}

// blame marks an error as one of the outside if the reason is an outage.
func blame(reason string, err error) error {
	if outage(reason) {
		return facts.Unanswered(err)
	}
	return err
}

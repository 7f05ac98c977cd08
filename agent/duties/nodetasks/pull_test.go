package nodetasks

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// TestARegistryThatDoesNotAnswerIsOutside: what ECS says of a task whose image it
// could not get.
func TestARegistryThatDoesNotAnswerIsOutside(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for reason, outside := range map[string]bool{
		"CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref docker.io/library/x:1: dial tcp 34.1.1.1:443: i/o timeout": true,
		"CannotPullContainerError: inspect image has been retried 5 time(s): unexpected status code Too Many Requests - Server message: toomanyrequests":            true,
		"CannotPullContainerError: Error response from daemon: Get https://r.example/v2/: net/http: request canceled while waiting for connection":                  true,
		"CannotPullContainerError: unexpected status code 503 Service Unavailable":                                                                                  true,
		"CannotPullECRContainerError: AccessDeniedException: User is not authorized to perform ecr:GetAuthorizationToken: denied":                                   false,
		"CannotPullContainerError: failed to resolve ref r.example/x:2: r.example/x:2: not found":                                                                   false,
		"CannotPullContainerError: Error response from daemon: manifest for r.example/x:2 not found: manifest unknown: Requested image not found":                   false,
		"CannotPullContainerError: pull access denied for x, repository does not exist or may require 'docker login'":                                               false,
		"CannotPullContainerError: write /var/lib/docker/tmp/x: no space left on device":                                                                            false,
		"ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: RequestError: send request failed: i/o timeout": true,
		"Essential container in task exited":                                  false,
		"OutOfMemoryError: Container killed due to memory usage: i/o timeout": false,
	} {
		want := spec{Definition: "logspout:12"}
		_, gone := view{now: now, id: "i-1", want: want}.gone(record{Ends: 3, EndedAt: now, LastEnd: reason}, step{})
		// The revision before was taken instead.
		back := record{Running: run{ARN: "a", Spec: spec{Definition: "logspout:11"}}, Bad: map[string]string{want.hash(): "logspout:12 did not stay up: " + reason}}
		_, instead := view{now: now, id: "i-1", want: want}.running(back, step{}, task{arn: "a", up: true, created: now.Add(-2 * time.Hour)})
		for _, s := range []step{gone, instead} {
			if s.err == nil || errors.Is(s.err, facts.ErrUnavailable) != outside || !strings.Contains(s.err.Error(), reason) {
				t.Errorf("outside %v, want %v: %v", !outside, outside, s.err)
			}
		}
	}
}

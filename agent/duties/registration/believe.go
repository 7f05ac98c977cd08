package registration

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
)

var errNotBelieved = errors.New("cannot believe what answers as the ECS agent")

// believe returns why said cannot be what the instance is registered as. While
// the agent is down, its port is there for any task with host networking.
func believe(said facts.ContainerInstance, is facts.Instance) error {
	scope, resource := cutARN(said.ARN)
	cluster := said.Cluster
	ofARN := strings.Split(resource, "/") // container-instance, cluster unless it is of the old format, id
	switch {
	case !strings.HasSuffix(scope, ":"+is.Region+":"+is.AccountID):
	case strings.Contains(cluster, "/") && cluster != scope+":cluster/"+nameOf(cluster):
	case len(ofARN) == 3 && ofARN[1] == nameOf(cluster), len(ofARN) == 2:
		return nil
	}
	return fmt.Errorf("%w: it says that it is %s in cluster %s, and this is %s in %s of account %s",
		errNotBelieved, said.ARN, cluster, is.ID, is.Region, is.AccountID)
}

// cutARN cuts an ARN behind its account.
func cutARN(arn string) (scope, resource string) {
	at := strings.LastIndex(arn, ":")
	if at < 0 {
		return "", arn
	}
	return arn[:at], arn[at+1:]
}

// nameOf is the name of a cluster that is spelled as a name or an ARN.
func nameOf(cluster string) string { return cluster[strings.LastIndex(cluster, "/")+1:] }

package agent_test

import (
	"os"
	"testing"
)

const module = "github.com/ecsnode/ecsnode"

// layers is the architecture: which of our packages each package may import.
// "*" stands for one path element. The first line that matches a package
// counts; a package that no line matches is a breach. agent/pattern stands where
// others have regexp: everybody may.
var layers = []struct{ pkg, imports string }{
	{"templates", ""},
	{"agent", ""},

	{"agent/pattern", ""},
	{"agent/facts", ""},
	{"agent/cell", ""},
	{"agent/when", ""},
	{"agent/fsx", ""},
	{"agent/config/strict", ""},

	{"agent/duty", "agent/cell agent/when"},
	{"agent/render", "agent/cell agent/facts"},
	{"agent/bundle", "agent/facts"},
	{"agent/publish", "agent/bundle agent/facts"},

	{"agent/duties/bundle", "agent/bundle agent/duty agent/cell agent/when agent/facts agent/fsx agent/render"},
	{"agent/duties/*", "agent/duty agent/cell agent/when agent/facts agent/fsx agent/render"},
	// What host packages share: HTTP, and on it what every AWS client needs.
	{"agent/host/httpx", "agent/facts agent/fsx"},
	{"agent/host/awsapi", "agent/facts agent/fsx agent/host/httpx"},
	{"agent/host/s3/s3test", "agent/host/awsapi"},
	{"agent/host/*", "agent/facts agent/fsx agent/host/httpx agent/host/awsapi"},
	{"agent/status", "agent/duty agent/cell agent/facts agent/fsx"},
	{"agent/sim", "agent/facts"},
	{"agent/image", "agent/facts agent/fsx"},

	{"agent/config", "agent/config/strict agent/duties/* agent/when agent/render agent/fsx agent/facts agent/bundle"},

	{"agent/iam", "agent/config agent/duties/* agent/bundle agent/facts agent/render"},
	{"agent/migrate", "agent/facts agent/fsx agent/render agent/when agent/duties/nodeconfig agent/duties/ecsconfig"},

	// The simulator is never part of the agent: neither the node nor the
	// ecsnode command may have it.
	{"agent/node", "agent/facts agent/cell agent/when agent/fsx agent/duty agent/render agent/duties/* " +
		"agent/host/* agent/status agent/config agent/config/strict agent/bundle agent/publish agent/migrate agent/image templates"},
	{"agent/cmd/ecsnode-sim", "agent/sim agent/facts agent/fsx"},
	{"agent/cmd/*", "agent/node agent/status agent/config agent/config/strict agent/bundle agent/publish agent/duty agent/facts agent/fsx agent/image agent/iam templates"},

	{"scripts/bench", "agent/sim agent/bundle"},
	{"scripts/*", ""},
}

// bans keep packages from what their layer leaves to others. "*" stands for one
// path element and a last element "..." for the path before it and all below.
var bans = []struct {
	in, notIn string // packages it holds for: these (all if empty), but not those
	imports   string
	except    string
	why       string
}{
	{
		in:      "agent/duties/*",
		imports: "os/... io/ioutil path/filepath net/... crypto/tls log/syslog syscall plugin golang.org/x/sys/... golang.org/x/net/...",
		except:  "net/netip net/url",
		why:     "a duty reaches the node through fsx and its hosts only",
	},
	{
		in:      "agent/duties/*",
		imports: "sync/... golang.org/x/sync/...",
		why:     "the engine calls a duty from one goroutine at a time, and a duty starts none",
	},
	{
		notIn: "agent/host/* agent/node agent/sim agent/cmd/ecsnode-sim scripts/*",
		imports: "os/exec net net/http/... github.com/aws/... github.com/docker/... github.com/coreos/... " +
			"github.com/fsnotify/...",
		why: "only host packages, the node and the simulator reach outside",
	},
	{
		in: "agent/...", notIn: "agent/pattern agent/config/strict agent/sim agent/cmd/ecsnode-sim",
		imports: "regexp",
		why:     "what is compiled on import costs every command: use agent/pattern",
	},
}

// TestArchitecture reads the sources itself: the test cache notices files that a
// test reads, not those that a command started by it reads.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	packages, err := parse(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{"agent/facts", "agent/duty"} {
		if packages[known] == nil {
			t.Errorf("%s was not found: are the sources being read?", known)
		}
	}
	for _, breach := range check(packages) {
		t.Error(breach)
	}
}

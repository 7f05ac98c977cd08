package node

import (
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/files"
	"github.com/ecsnode/ecsnode/agent/duties/parameters"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// rendering are the duties whose templates may ask for parameters.
var rendering = [...]string{"daemonjson", "ecsconfig", "files", "nodeconfig", "nodetasks"}

func newAsked() map[string]*cell.Cell[facts.References] {
	asked := map[string]*cell.Cell[facts.References]{}
	for _, name := range rendering {
		asked[name] = cell.New(facts.References.Equal)
	}
	return asked
}

// supply is what the templates of one duty may ask for.
func (n *Node) supply(name string, disk fsx.FS) render.Supply {
	return render.Supply{Parameters: n.parameters, Asked: n.asked[name], File: func(file string) ([]byte, error) {
		return files.ReadSource(disk, n.bundleDir(), file)
	}}
}

// parametersDuty reads what all of them ask for. Where the network must not be
// asked, only what was kept is there.
func (n *Node) parametersDuty(disk fsx.FS, offline bool) duty.Entry {
	d := &parameters.Duty{
		FS: disk, ID: n.id, Config: n.parametersConfig(), Instance: n.instance, Parameters: n.parameters, Asks: n.passAsked,
	}
	if !offline {
		d.Store, d.Secrets = n.hosts.ssm, n.hosts.secrets
	}
	on := []cell.Waker{n.config, n.instance}
	for _, name := range rendering {
		d.Asked = append(d.Asked, n.asked[name])
		on = append(on, n.asked[name])
	}
	return duty.Entry{
		Duty: d, On: on, Timeout: time.Minute, // it says itself when it is due
		Retry: duty.Retry{Min: 15 * time.Minute, Max: 15 * time.Minute},
	}
}

func (n *Node) parametersConfig() cell.Reader[parameters.Config] {
	return cell.View(n.config, func(e *effective) parameters.Config { return e.Parameters })
}

package render

import (
	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/facts"
)

// Supply connects a duty that renders with who reads parameters for it. The zero
// value has none.
type Supply struct {
	Parameters cell.Reader[facts.Parameters]
	// Asked gets what the duty's templates ask for; each duty has its own.
	Asked *cell.Cell[facts.References]
	// File reads a file that came with the configuration.
	File func(name string) ([]byte, error)
}

// Inputs returns what templates may ask for in one pass.
func (s Supply) Inputs(instance facts.Instance, cluster string) Inputs {
	in := Inputs{Instance: instance, Cluster: cluster, File: s.File, Trace: &Trace{}}
	if s.Parameters != nil {
		in.Parameters, _ = s.Parameters.Get()
	}
	return in
}

// Tell publishes what was asked for in a pass, once all is rendered that the pass
// renders; nothing, by the zero value.
func (s Supply) Tell(in Inputs) {
	if s.Asked != nil {
		s.Asked.Set(in.Trace.References())
	}
}

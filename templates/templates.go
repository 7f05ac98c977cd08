// Package templates holds the templates that are built into ecsnode.
package templates

import (
	"embed"
	"io/fs"
)

//go:embed node.config.tmpl
var nodeConfig string

// NodeConfig returns the template of node.config, a file for POSIX shells. It
// takes what a template of node_config takes: .Variables and the functions of
// package render.
func NodeConfig() string { return nodeConfig }

//go:embed fleet/user-data-*.yaml
var userData embed.FS

// UserData returns the user data of instances of a kind of fleet, a cloud-config:
// "auto-scaling" or "spot-fleet". Of others there is none.
func UserData(fleet string) (text string, found bool) {
	data, err := userData.ReadFile("fleet/user-data-" + fleet + ".yaml")
	return string(data), err == nil
}

//go:embed examples/bundle
var examples embed.FS

// Bundle returns an example of a configuration bundle, with a node to try it on.
// What is below hooks is to be executable.
func Bundle() fs.FS {
	tree, err := fs.Sub(examples, "examples/bundle")
	if err != nil {
		panic(err) // it is built in
	}
	return tree
}

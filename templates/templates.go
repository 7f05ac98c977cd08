// Package templates holds the templates that are built into ecsnode.
package templates

import _ "embed"

//go:embed node.config.tmpl
var nodeConfig string

// NodeConfig returns the template of node.config, a file for POSIX shells. It
// takes what a template of node_config takes: .Variables and the functions of
// package render.
func NodeConfig() string { return nodeConfig }

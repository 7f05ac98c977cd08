//go:build !race

package node_test

var unraced []string

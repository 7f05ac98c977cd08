//go:build race

package node_test

// unraced is what only tests call that are not built with the race detector.
var unraced = []string{"s3:GetObject"}

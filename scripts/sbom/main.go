// Command sbom prints what a Go binary is made of, as the linker has written it down in
// it: a bill of materials in CycloneDX 1.5, the same for the same binary.
//
//	sbom BINARY NAME VERSION
//
// The time in it is SOURCE_DATE_EPOCH.
package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: sbom BINARY NAME VERSION")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

func write(binary, name, version string) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("cannot read SOURCE_DATE_EPOCH: %w", err)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	text, err := bill(info, content, name, version, time.Unix(seconds, 0))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

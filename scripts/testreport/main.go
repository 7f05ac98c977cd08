// Command testreport reads the events of `go test -json` and prints what a person wants
// of them: failures in full, skipped tests in one line with their reason, and
// go test's own line of every package, last.
//
// It exits 1 if a test or a build failed, if no package was tested, or, with
// CI=true in the environment, if a test was skipped.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "testreport: cannot read the events of go test: %v\n", err)
		os.Exit(1)
	}
	err := r.verdict(os.Getenv("CI") == "true")
	if err != nil && !errors.Is(err, errShown) {
		fmt.Fprintf(os.Stderr, "test: %v\n", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

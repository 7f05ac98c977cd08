package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/mixed.txt")

// TestReport reads what `go test -json` wrote of six packages: failed subtests,
// a test that ends the process, a build that fails, skipped tests, no tests at
// all, and a failing TestMain.
func TestReport(t *testing.T) {
	t.Parallel()
	events, err := os.Open("testdata/mixed.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	var got bytes.Buffer
	r := newReport(&got)
	if err := r.read(events); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/mixed.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	const (
		pass      = `{"Action":"pass","Package":"p"}`
		fail      = `{"Action":"fail","Package":"p"}`
		buildFail = `{"Action":"build-fail","ImportPath":"p"}`
		start     = `{"Action":"start","Package":"p"}`
		testSkip  = `{"Action":"skip","Package":"p","Test":"T"}`
		testFail  = `{"Action":"fail","Package":"p","Test":"T"}`
		noTests   = `{"Action":"skip","Package":"p"}`
	)
	tests := []struct {
		name           string
		events         []string
		nothingSkipped bool
		want           string
	}{
		{name: "passed", events: []string{start, pass}, nothingSkipped: true},
		{name: "a package without tests is not a skipped test", events: []string{start, noTests}, nothingSkipped: true},
		{name: "skipped", events: []string{start, testSkip, pass}},
		{
			name: "skipped where nothing may be", events: []string{start, testSkip, pass}, nothingSkipped: true,
			want: "tests skipped: 1; with CI=true nothing may be skipped",
		},
		{name: "a test failed", events: []string{start, testFail, fail}, want: errShown.Error()},
		{name: "a package failed outside its tests", events: []string{start, fail}, want: errShown.Error()},
		{name: "a build failed", events: []string{buildFail}, want: errShown.Error()},
		{name: "go test was killed", events: []string{start}, want: "go test ended before p"},
		{name: "go test said nothing", want: "no package was tested"},
		{name: "lines that are no events", events: []string{"go: downloading", "{}"}, want: "no package was tested"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReport(new(bytes.Buffer))
			if err := r.read(strings.NewReader(strings.Join(tt.events, "\n"))); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := r.verdict(tt.nothingSkipped); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("verdict %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, output, want string }{
		{"a message", "=== RUN   T\n    a_test.go:4: needs root: mounts\n--- SKIP: T (0.00s)\n", "needs root: mounts"},
		{"the last of two", "    a_test.go:4: looked\n    a_test.go:5: needs root\n", "needs root"},
		{"several lines", "    a_test.go:4: needs root:\n        mounts\n", "needs root: mounts"},
		{"after other output", "chatter\n    a_test.go:4: needs root\n", "needs root"},
		{"an empty message", "    a_test.go:4: \n--- SKIP: T (0.00s)\n", "no reason given"},
		{"none", "=== RUN   T\n--- SKIP: T (0.00s)\n", "no reason given"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := reason(tt.output); got != tt.want {
				t.Errorf("reason(%q) = %q, want %q", tt.output, got, tt.want)
			}
		})
	}
}

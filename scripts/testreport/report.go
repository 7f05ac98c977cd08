package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json`, as in `go doc test2json` and, for
// builds, `go help buildjson`.
type event struct {
	Action  string
	Package string
	Test    string // empty: the event is about the package
	Output  string
}

// report turns events into lines. Packages run side by side, so that what a
// test printed is kept until the test has ended.
type report struct {
	out     io.Writer
	pending map[string]*pkg
	tested  int // packages that ended
	skipped int // tests
	failed  bool
}

// pkg is a package whose tests are running.
type pkg struct {
	output map[string]*strings.Builder // by test; "" is the package itself
	skips  []string
}

func newReport(out io.Writer) *report {
	return &report{out: out, pending: make(map[string]*pkg)}
}

// read takes events up to the end of in. Lines that are no events are passed on.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.take(e)
			} else {
				fmt.Fprintf(r.out, "%s", line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
		return
	case "build-fail":
		r.failed = true
		return
	}
	p := r.pending[e.Package]
	if p == nil {
		p = &pkg{output: make(map[string]*strings.Builder)}
		r.pending[e.Package] = p
	}
	switch e.Action {
	case "output":
		p.add(e.Test, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e.Package, p, e.Action)
		} else {
			r.endTest(p, e)
		}
	}
}

func (p *pkg) add(test, output string) {
	b := p.output[test]
	if b == nil {
		b = new(strings.Builder)
		p.output[test] = b
	}
	b.WriteString(output)
}

// take returns what a test printed and forgets it.
func (p *pkg) take(test string) string {
	b := p.output[test]
	delete(p.output, test)
	if b == nil {
		return ""
	}
	return b.String()
}

func (r *report) endTest(p *pkg, e event) {
	output := p.take(e.Test)
	switch e.Action {
	case "fail":
		r.failed = true
		fmt.Fprint(r.out, output)
	case "skip":
		p.skips = append(p.skips, fmt.Sprintf("skip\t%s.%s: %s\n", e.Package, e.Test, reason(output)))
	}
}

// packageLine matches the lines go test itself prints about a package.
var packageLine = regexp.MustCompile(`^(ok  |FAIL|\?   )\t`)

func (r *report) endPackage(name string, p *pkg, action string) {
	delete(r.pending, name)
	r.tested++
	r.skipped += len(p.skips)
	own := p.take("")
	if action == "fail" {
		r.failed = true
		// A panic, an exit or the time limit ends tests without an event.
		for _, test := range slices.Sorted(maps.Keys(p.output)) {
			fmt.Fprint(r.out, p.take(test))
		}
	}
	for _, skip := range p.skips {
		fmt.Fprint(r.out, skip)
	}
	for line := range strings.Lines(own) {
		if action == "fail" || packageLine.MatchString(line) {
			fmt.Fprint(r.out, line)
		}
	}
}

// location is the file and line that the testing package puts before a message.
var location = regexp.MustCompile(`^\S+\.go:\d+:( |$)`)

// reason finds why a test was skipped in what it printed: its last message, in
// one line.
func reason(output string) string {
	var message []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if at := location.FindString(line); at != "" {
			message, line = nil, line[len(at):]
		}
		if line != "" {
			message = append(message, line)
		}
	}
	if len(message) == 0 {
		return "no reason given"
	}
	return strings.Join(message, " ")
}

// errShown is the verdict on a run whose failures were printed.
var errShown = errors.New("a test or a build failed")

// verdict returns why the run did not pass, or nil.
func (r *report) verdict(nothingSkipped bool) error {
	switch {
	case r.failed:
		return errShown
	case len(r.pending) > 0:
		names := slices.Sorted(maps.Keys(r.pending))
		return fmt.Errorf("go test ended before %s", strings.Join(names, ", "))
	case r.tested == 0:
		return errors.New("no package was tested")
	case nothingSkipped && r.skipped > 0:
		return fmt.Errorf("tests skipped: %d; with CI=true nothing may be skipped", r.skipped)
	}
	return nil
}

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"mvdan.cc/sh/v3/syntax"
)

// announce tells the world where it is: the environment for clients, and then
// the ready line, on stdout and in the files asked for.
func announce(o options, endpoints []endpoint, stdout io.Writer) error {
	env, err := environment(o, endpoints)
	if err != nil {
		return err
	}
	ready := readyLine(endpoints)
	for _, file := range []struct{ path, content string }{{o.envFile, env}, {o.readyFile, ready}} {
		if file.path == "" {
			continue
		}
		if err := renameio.WriteFile(file.path, []byte(file.content), 0o644); err != nil {
			return fmt.Errorf("cannot write %s: %w", file.path, err)
		}
	}
	_, err = io.WriteString(stdout, env+ready)
	return err
}

// where is the URL of a part: its own, else the shared one, else "".
func where(endpoints []endpoint, part string) string {
	url := ""
	for _, e := range endpoints {
		if e.part == part || e.part == "" && url == "" {
			url = e.url()
		}
	}
	return url
}

// readyLine names the addresses of all parts that are served.
func readyLine(endpoints []endpoint) string {
	line := "ready"
	for _, part := range []string{"imds", "introspection", "aws", "control"} {
		if url := where(endpoints, part); url != "" {
			line += " " + part + "=" + url
		}
	}
	return line + "\n"
}

// environment points an AWS SDK at the simulator. Names:
// https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
func environment(o options, endpoints []endpoint) (string, error) {
	caFile := ""
	if o.tls {
		absolute, err := filepath.Abs(o.caFile)
		if err != nil {
			return "", fmt.Errorf("cannot find %s: %w", o.caFile, err)
		}
		caFile = absolute
	}
	var b strings.Builder
	for _, v := range []struct{ name, value string }{
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT", where(endpoints, "imds")},
		{"AWS_ENDPOINT_URL", where(endpoints, "aws")},
		{"AWS_CA_BUNDLE", caFile},
	} {
		if v.value == "" {
			continue
		}
		quoted, err := syntax.Quote(v.value, syntax.LangPOSIX)
		if err != nil {
			return "", fmt.Errorf("cannot export %s: %w", v.name, err)
		}
		fmt.Fprintf(&b, "export %s=%s\n", v.name, quoted)
	}
	return b.String(), nil
}

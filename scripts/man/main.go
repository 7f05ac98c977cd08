// Command man writes the man pages of ecsnode, packed, from what the program says of
// itself: ecsnode(8) from the help of its commands, ecsnode.yaml(5) from the
// schema of its configuration.
//
//	man BINARY DIRECTORY
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: man BINARY DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "man: %v\n", err)
		os.Exit(1)
	}
}

func write(binary, dir string) error {
	run := func(args ...string) ([]byte, error) {
		out, err := exec.Command(binary, args...).Output()
		if err != nil {
			return nil, fmt.Errorf("cannot run %s %q: %w", binary, args, err)
		}
		return out, nil
	}
	commands, err := commandsPage(func(command []string) ([]byte, error) { return run(append(command, "--help")...) })
	if err != nil {
		return err
	}
	text, err := run("config", "schema")
	if err != nil {
		return err
	}
	settings, err := settingsPage(text)
	if err != nil {
		return err
	}
	for name, page := range map[string][]byte{"ecsnode.8.gz": commands, "ecsnode.yaml.5.gz": settings} {
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // without a time: the same page is the same bytes
		if _, err := w.Write(page); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), packed.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestUnitsRunCommandsThatExist holds the units to this program's command line.
func TestUnitsRunCommandsThatExist(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`(?m)^Exec\w+=/usr/bin/ecsnode (.+)$`)
	found := 0
	for _, pattern := range []string{"*.service", "*.d/*.conf"} {
		files, err := filepath.Glob(filepath.Join("../../../systemd", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range line.FindAllStringSubmatch(string(text), -1) {
				found++
				args := strings.Fields(m[1])
				a := &app{out: io.Discard, err: io.Discard}
				cmd, rest, err := a.command().Find(args)
				if err != nil || len(rest) > 0 || cmd.HasSubCommands() {
					t.Errorf("%s runs \"ecsnode %s\", which is no command (%q left over, %v)", file, m[1], rest, err)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d commands in units, want at least those of boot, run and ready", found)
	}
}

// TestScriptsOfTheImageRunCommandsThatExist holds packer/scripts to it, flags
// included.
func TestScriptsOfTheImageRunCommandsThatExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../packer/scripts/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^\s*ecsnode (.+)$`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			found++
			a := &app{out: io.Discard, err: io.Discard}
			cmd, rest, err := a.command().Find(strings.Fields(m[1]))
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil || cmd.Flags().NArg() > 0 || cmd.HasSubCommands() {
				t.Errorf("%s runs \"ecsnode %s\", which is no command: %v", file, m[1], err)
			}
		}
	}
	if found < 4 {
		t.Errorf("found %d commands, want at least those of check and seal", found)
	}
}

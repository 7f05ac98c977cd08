package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// lines are the lines of the README that one may type, without comments.
func lines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if typed, is := strings.CutPrefix(line, "    "); is {
			typed, _, _ = strings.Cut(typed, " #")
			all = append(all, strings.TrimSpace(typed))
		}
	}
	// And what stands in the text between backticks.
	for _, m := range regexp.MustCompile("`((?:bin/)?ecsnode [^`]+|make [a-z]+[^`]*)`").FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
}

func TestCommandsInTheREADMEExist(t *testing.T) {
	t.Parallel()
	found := 0
	for _, line := range lines(t) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.TrimPrefix(words[0], "bin/") != "ecsnode" {
			continue
		}
		found++
		root := (&app{out: io.Discard, err: io.Discard}).command()
		root.InitDefaultHelpFlag()
		root.InitDefaultCompletionCmd()
		var names, flags []string
		for _, word := range words[1:] {
			if name, isFlag := strings.CutPrefix(strings.Trim(word, ",;()"), "--"); isFlag {
				name, _, _ = strings.Cut(name, "=")
				flags = append(flags, name)
			} else if len(flags) == 0 {
				names = append(names, strings.Split(strings.Trim(word, ",;"), "|")[0])
			}
		}
		cmd, rest, err := root.Find(names)
		if err != nil || cmd == root || cmd.HasSubCommands() && len(rest) > 0 && rest[0] != "..." {
			t.Errorf("%q: there is no such command (%v)", line, err)
			continue
		}
		for _, name := range flags {
			if !has(cmd, name) {
				t.Errorf("%q: %s has no flag --%s", line, cmd.CommandPath(), name)
			}
		}
	}
	if found < 40 {
		t.Errorf("found %d commands: is the README read?", found)
	}
}

func has(cmd *cobra.Command, flag string) bool {
	return cmd.Flags().Lookup(flag) != nil || cmd.InheritedFlags().Lookup(flag) != nil
}

func TestTargetsOfMakeInTheREADMEExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	makefile, found := string(text), 0
	for _, line := range lines(t) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "make" {
			continue
		}
		found++
		for _, word := range words[1:] {
			name, _, isVariable := strings.Cut(word, "=")
			switch {
			case isVariable && !strings.Contains(makefile, "$("+name+")"):
				t.Errorf("%q: the Makefile has no variable %s", line, name)
			case !isVariable && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`:`).MatchString(makefile):
				t.Errorf("%q: the Makefile has no target %s", line, name)
			}
		}
	}
	if found < 8 {
		t.Errorf("found %d", found)
	}
}

func TestFilesInTheREADMEExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`\b(?:templates|packer|scripts|agent)/[A-Za-z0-9_./-]*[A-Za-z0-9]`).FindAllString(string(text), -1)
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		if strings.HasSuffix(name, "NAME") { // a placeholder
			name = filepath.Dir(name)
		}
		if _, err := os.Stat(filepath.Join("../../..", name)); err != nil && !strings.HasPrefix(name, "templates/motd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(all) < 10 {
		t.Errorf("found %q", all)
	}
	for _, dir := range []string{"templates/examples", "templates/fleet"} {
		files, err := filepath.Glob(filepath.Join("../../..", dir, "*.*"))
		if err != nil || len(files) == 0 {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.Contains(string(text), "`"+filepath.Base(file)+"`") {
				t.Errorf("%s is not in the README", file)
			}
		}
	}
}

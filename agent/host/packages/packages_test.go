package packages_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/packages"
)

// rpm is a program in place of rpm that runs a shell script.
func rpm(t *testing.T, script string) packages.DB {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rpm")
	// A program that is run meanwhile would inherit the file, open for writing,
	// and this one could not be run.
	syscall.ForkLock.RLock()
	err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return packages.DB{RPM: name}
}

// Answers as of rpm 4.16 and 4.18.
func TestInstalled(t *testing.T) {
	at := time.Unix(1700000000, 0)
	for name, c := range map[string]struct {
		script string
		want   []facts.Package
		is     error
		says   string
	}{
		"installed":        {`printf 'ecs-init\t0\t1.98.0-1.amzn2023\tx86_64\t1700000000\n'`, []facts.Package{{Name: "ecs-init", Version: "1.98.0-1.amzn2023", Arch: "x86_64", InstalledAt: at}}, nil, ""},
		"not installed":    {"echo 'package ecs-init is not installed'; exit 1", nil, nil, ""},
		"one of two":       {`printf 'docker\t0\t25.0.8-1\tx86_64\t1700000000\npackage runc is not installed\n'; exit 1`, []facts.Package{{Name: "docker", Version: "25.0.8-1", Arch: "x86_64", InstalledAt: at}}, nil, ""},
		"two versions":     {`printf 'docker\t0\t25.0.3-1\tx86_64\t1700000000\ndocker\t1\t25.0.8-1\tx86_64\t1700000000\n'`, []facts.Package{{Name: "docker", Version: "25.0.3-1", Arch: "x86_64", InstalledAt: at}, {Name: "docker", Epoch: 1, Version: "25.0.8-1", Arch: "x86_64", InstalledAt: at}}, nil, ""},
		"a broken db":      {"echo 'error: sqlite failure: disk I/O error' >&2; exit 1", nil, facts.ErrUnavailable, "sqlite failure: disk I/O error"},
		"killed":           {"kill -9 $$", nil, facts.ErrUnavailable, ""},
		"makes no sense":   {`printf 'docker\t0\t25.0.3-1\tx86_64\tyesterday\n'`, nil, facts.ErrUnavailable, "yesterday"},
		"in its own words": {`[ "$LC_ALL" = C ] && [ "$1 $2" = "-q --qf" ] && [ "$5 $6" = "a b" ] || exit 99`, nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := rpm(t, c.script).Installed(t.Context(), "a", "b")
			if !errors.Is(err, c.is) || c.is != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v with %q", err, c.is, c.says)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Answers as of rpm 4.18.
func TestDependants(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   []facts.Dependant
		is     error
	}{
		"none": {`[ "$1 $2 $3 $4 $5 $6" = "-e --test --allmatches -- a b" ]`, nil, nil},
		"two": {
			`printf 'error: Failed dependencies:\n\tlibrary is needed by (installed) program-1.0-1.noarch\n\tlibz.so.1()(64bit) is needed by (installed) my-tool-2:1.0-1.amzn2023.x86_64\n' >&2; exit 1`,
			[]facts.Dependant{{Name: "program", Needs: "library"}, {Name: "my-tool", Needs: "libz.so.1()(64bit)"}},
			nil,
		},
		"it has gone":  {"echo 'error: package a is not installed' >&2; exit 1", nil, facts.ErrUnavailable},
		"a broken db":  {"echo 'error: sqlite failure: disk I/O error' >&2; exit 1", nil, facts.ErrUnavailable},
		"it is killed": {"kill -9 $$", nil, facts.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := rpm(t, c.script).Dependants(t.Context(), "a", "b")
			if !errors.Is(err, c.is) {
				t.Errorf("%v, want %v", err, c.is)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAHostWithoutRPM(t *testing.T) {
	_, err := packages.DB{RPM: "/nonexistent/rpm"}.Installed(t.Context(), "docker")
	if !errors.Is(err, facts.ErrAbsent) {
		t.Error(err)
	}
}

func TestADatabaseThatDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	db := rpm(t, "echo > "+asked+"; exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := db.Installed(ctx, "docker")
		done <- err
	}()
	for {
		if _, err := os.Stat(asked); err == nil {
			break
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, facts.ErrUnavailable) {
		t.Error(err)
	}
}

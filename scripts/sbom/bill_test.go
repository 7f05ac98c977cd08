package main

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestBill(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Settings:  []debug.BuildSetting{{Key: "GOARCH", Value: "arm64"}, {Key: "-ldflags", Value: "-X x=y"}},
		Deps: []*debug.Module{
			{Path: "example.com/z", Version: "v1.0.0", Sum: "h1:z"},
			{Path: "example.com/old", Version: "v0.1.0", Replace: &debug.Module{Path: "example.com/a", Version: "v2.0.0", Sum: "h1:a"}},
		},
	}
	text, err := bill(info, []byte("binary"), "ecsnode", "1.2.3", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got.Components {
		names = append(names, c.PURL)
	}
	if want := "pkg:golang/example.com/a@v2.0.0 pkg:golang/example.com/z@v1.0.0 pkg:golang/std@1.26.8"; strings.Join(names, " ") != want {
		t.Errorf("components: %v", names)
	}
	main := got.Metadata.Component
	// printf binary | sha256sum
	if main.Hashes[0].Content != "9a3a45d01531a20e89ac6ae10b0b0beb0492acd7216a368aa062d1a5fecaf9cd" ||
		got.Metadata.Timestamp != "1970-01-01T00:00:00Z" || len(main.Properties) != 1 {
		t.Errorf("%+v", got.Metadata)
	}
}

func TestAModuleFromADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{Deps: []*debug.Module{{Path: "example.com/a", Version: "v1.0.0", Replace: &debug.Module{Path: "../a"}}}}
	if _, err := bill(info, nil, "ecsnode", "1", time.Unix(0, 0)); err == nil {
		t.Error("no error")
	}
}

package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// The parts of CycloneDX that are used: https://cyclonedx.org/docs/1.5/json/
type (
	document struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		PURL       string     `json:"purl,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// bill returns the bill of materials of a binary.
func bill(info *debug.BuildInfo, binary []byte, name, version string, at time.Time) ([]byte, error) {
	sum := sha256.Sum256(binary)
	main := component{
		Type: "application", Ref: name, Name: name, Version: version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" {
			main.Properties = append(main.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	std := strings.TrimPrefix(info.GoVersion, "go")
	parts := []component{{Type: "library", Ref: "std", Name: "std", Version: std, PURL: "pkg:golang/std@" + std}}
	for _, dep := range info.Deps {
		for dep.Replace != nil {
			dep = dep.Replace
		}
		if dep.Version == "" || dep.Sum == "" {
			return nil, fmt.Errorf("the module %s has no version or checksum: it was built from a directory", dep.Path)
		}
		parts = append(parts, component{
			Type: "library", Ref: dep.Path, Name: dep.Path, Version: dep.Version,
			PURL:       "pkg:golang/" + dep.Path + "@" + dep.Version,
			Properties: []property{{"go:sum", dep.Sum}},
		})
	}
	slices.SortFunc(parts, func(a, b component) int { return cmp.Compare(a.Name, b.Name) })
	text, err := json.MarshalIndent(document{
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata:   metadata{at.UTC().Format(time.RFC3339), main},
		Components: parts,
	}, "", "  ")
	return append(text, '\n'), err
}

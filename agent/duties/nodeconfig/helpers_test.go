package nodeconfig_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
	"github.com/ecsnode/ecsnode/templates"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// inputs is a spot instance with these tags.
func inputs(tags map[string]string) render.Inputs {
	return render.Inputs{
		Cluster: "web",
		Instance: facts.Instance{
			ID: "i-0123456789abcdef0", Type: "c7g.large", Region: "eu-west-1", Zone: "eu-west-1a", ZoneID: "euw1-az3",
			AccountID: "123456789012", ImageID: "ami-0fedcba9876543210", Architecture: "arm64",
			PrivateIP: "10.0.1.17", Hostname: "ip-10-0-1-17.eu-west-1.compute.internal", Lifecycle: facts.Spot,
			Tags: facts.Tags{Source: facts.TagsFromIMDS, Values: tags},
		},
	}
}

// file is a file as the configuration makes a new one.
func file(change func(*nodeconfig.File)) nodeconfig.File {
	var f nodeconfig.File
	f.SetDefaults()
	f.Values = map[string]nodeconfig.Value{}
	change(&f)
	return f
}

func value(text string, missing nodeconfig.Policy, def string) nodeconfig.Value {
	return nodeconfig.Value{Value: render.NewText(text), Missing: missing, Default: def}
}

// mustRender renders with the built-in template.
func mustRender(t *testing.T, f nodeconfig.File, in render.Inputs) nodeconfig.Rendered {
	t.Helper()
	r, err := nodeconfig.Render(f, templates.NodeConfig(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// values returns the variables of a rendering by name.
func values(r nodeconfig.Rendered) map[string]string {
	m := map[string]string{}
	for _, v := range r.Variables {
		m[v.Name] = v.Value
	}
	return m
}

package bundle

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ecsnode/ecsnode/agent/bundle"
)

func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	secret, err := bundle.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key := secret.Public()
	for name, tc := range map[string]struct {
		change func(c *Config)
		at     []string
	}{
		"the defaults":            {func(*Config) {}, nil},
		"a source and a key":      {func(c *Config) { c.Source, c.Keys = "s3://acme/web", []bundle.Key{key} }, nil},
		"a source without a key":  {func(c *Config) { c.Source = "s3://acme" }, []string{"keys"}},
		"a source that is no S3":  {func(c *Config) { c.Source, c.Keys = "https://acme", []bundle.Key{key} }, []string{"source"}},
		"a source that climbs":    {func(c *Config) { c.Source, c.Keys = "s3://acme/a/../b", []bundle.Key{key} }, []string{"source"}},
		"a key twice":             {func(c *Config) { c.Keys = []bundle.Key{key, key} }, []string{"keys[1]"}},
		"a region that is none":   {func(c *Config) { c.Region = "Ireland" }, []string{"region"}},
		"a channel that is none":  {func(c *Config) { c.Channels = []string{"stable", "../x"} }, []string{"channels[1]"}},
		"a schedule that is none": {func(c *Config) { c.Schedule = "@every 1m" }, []string{"schedule"}},
		"a single bundle":         {func(c *Config) { c.Keep = 1 }, []string{"keep"}},
	} {
		c := Default()
		tc.change(&c)
		var at []string
		c.Validate(func(path, message string) {
			at = append(at, path)
			if message == "" {
				t.Errorf("%s: nothing is said of %s", name, path)
			}
		})
		if !slices.Equal(at, tc.at) {
			t.Errorf("%s: %s", name, fmt.Sprint(at))
		}
	}
}

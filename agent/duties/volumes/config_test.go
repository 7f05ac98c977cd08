package volumes_test

import (
	"encoding"
	"slices"
	"testing"

	"github.com/ecsnode/ecsnode/agent/duties/volumes"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	with := func(change func(*volumes.Volume)) volumes.Config {
		v := docker()
		change(&v)
		return volumes.Config{"docker": v}
	}
	for name, tc := range map[string]struct {
		config volumes.Config
		want   []string // paths
	}{
		"none":                             {nil, nil},
		"one":                              {volumes.Config{"docker": docker()}, nil},
		"a link below /dev/disk":           {with(func(v *volumes.Volume) { v.Device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc" }), nil},
		"no device":                        {with(func(v *volumes.Volume) { v.Device = "" }), []string{"docker.device"}},
		"a name of EC2's without /dev":     {with(func(v *volumes.Volume) { v.Device = "xvdcz" }), []string{"docker.device"}},
		"a device that leaves /dev":        {with(func(v *volumes.Volume) { v.Device = "/dev/../etc/passwd" }), []string{"docker.device"}},
		"no mount point":                   {with(func(v *volumes.Volume) { v.MountPoint = "" }), []string{"docker.mount_point"}},
		"the root":                         {with(func(v *volumes.Volume) { v.MountPoint = "/" }), []string{"docker.mount_point"}},
		"a mount point with a final slash": {with(func(v *volumes.Volume) { v.MountPoint = "/var/lib/docker/" }), []string{"docker.mount_point"}},
		"two options in one":               {with(func(v *volumes.Volume) { v.Options = []string{"noatime", "ro,remount"} }), []string{"docker.options[1]"}},
		"an option that mounts otherwise":  {with(func(v *volumes.Volume) { v.Options = []string{"bind"} }), []string{"docker.options[0]"}},
		"an option with a value":           {with(func(v *volumes.Volume) { v.Options = []string{"commit=30"} }), nil},
		"a label that is too long for XFS": {with(func(v *volumes.Volume) { v.FileSystem, v.Label = volumes.XFS, "thirteen-long" }), []string{"docker.label"}},
		"a label that is long for ext4":    {with(func(v *volumes.Volume) { v.Label = "sixteen-is-right" }), nil},
		"a label like an option":           {with(func(v *volumes.Volume) { v.Label = "-F" }), []string{"docker.label"}},
		"a name with a capital":            {volumes.Config{"Docker": docker()}, []string{`"Docker"`}},
		"two of one device and directory":  {volumes.Config{"a": docker(), "b": docker()}, []string{"b.device", "b.mount_point"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			tc.config.Validate(func(path, message string) {
				got = append(got, path)
				if message == "" {
					t.Errorf("%s: no message", path)
				}
			})
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWordsOfTheSettings(t *testing.T) {
	t.Parallel()
	var fs volumes.FileSystem
	var otherwise volumes.Otherwise
	for _, tc := range []struct {
		into  encoding.TextUnmarshaler
		words []string
	}{{&fs, fs.Enum()}, {&otherwise, otherwise.Enum()}} {
		for _, w := range tc.words {
			if err := tc.into.UnmarshalText([]byte(w)); err != nil {
				t.Error(err)
			}
		}
		if err := tc.into.UnmarshalText([]byte("btrfs")); err == nil {
			t.Errorf("%T takes anything", tc.into)
		}
	}
	var v volumes.Volume
	v.SetDefaults()
	if v.FileSystem != volumes.Ext4 || v.Otherwise != volumes.Hold {
		t.Errorf("defaults: %+v", v)
	}
}

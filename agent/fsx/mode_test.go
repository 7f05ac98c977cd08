package fsx_test

import (
	"testing"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

func TestMode(t *testing.T) {
	for in, want := range map[string]string{"0644": "0644", "644": "0644", "0": "", "0000": "", "77": "", "0o644": "", "1777": "", "8": "", "-1": "", "rw-r--r--": "", "": ""} {
		var m fsx.Mode
		err := m.UnmarshalText([]byte(in))
		if want == "" && err == nil || want != "" && (err != nil || m.String() != want) {
			t.Errorf("%q: %v, %v", in, m, err)
		}
	}
}

package cloudinit_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/ecsnode/ecsnode/agent/duties/cloudinit"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

type metadata struct {
	userData bool
	err      error
	asked    int
}

func (m *metadata) HasUserData(context.Context) (bool, error) {
	m.asked++
	return m.userData, m.err
}

const (
	result  = "/run/cloud-init/result.json"
	status  = "/run/cloud-init/status.json"
	enabled = "/run/cloud-init/enabled"
)

func TestReconcile(t *testing.T) {
	t.Parallel()
	const none = `{"v1": {"datasource": "DataSourceNone", "errors": []}}`
	for name, tc := range map[string]struct {
		files    map[string]string
		metadata metadata
		fails    []string // words of the error; none: no error
		waits    bool
		summary  string
		warnings int
		asked    int
	}{
		"user data was run": {
			files:    map[string]string{status: `{}`, result: `{"v1": {"datasource": "DataSourceEc2Local", "errors": []}}`},
			metadata: metadata{userData: true}, summary: "cloud-init has ended: DataSourceEc2Local",
		},
		"a data source with details": {
			files:   map[string]string{result: `{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb][dsmode=net]", "errors": []}}`},
			summary: "cloud-init has ended: DataSourceNoCloud",
		},
		"a script of user data failed": {
			files:   map[string]string{result: `{"v1": {"datasource": "DataSourceEc2", "errors": ["('scripts_user', RuntimeError('Runparts: 1 failures'))"]}}`},
			summary: "cloud-init has ended: DataSourceEc2", warnings: 1,
		},
		"much has failed": {
			files:   map[string]string{result: `{"v1": {"datasource": "DataSourceEc2", "errors": ["a", "b", "c", "d", "` + strings.Repeat("e", 1000) + `"]}}`},
			summary: "cloud-init has ended: DataSourceEc2", warnings: 4,
		},
		"no data source, and there is user data": {
			files: map[string]string{result: none}, metadata: metadata{userData: true}, asked: 1,
			fails: []string{"DataSourceNone", "user data of this instance was never run", "replace the instance", "cloud-init clean --logs"},
		},
		"no data source, by another spelling": {
			files: map[string]string{result: `{"v1": {"datasource": "DataSourceNone [dsmode=net]"}}`}, metadata: metadata{userData: true}, asked: 1,
			fails: []string{"never run"},
		},
		"no data source, and no user data": {
			files: map[string]string{result: none}, asked: 1,
			summary: "cloud-init has ended: DataSourceNone, and this instance has no user data",
		},
		"no data source, and still no metadata": {
			files: map[string]string{result: none}, metadata: metadata{err: fmt.Errorf("cannot read user-data: %w", facts.ErrUnavailable)}, asked: 1,
			waits: true, fails: []string{"cannot be told yet", "cannot read user-data"},
		},
		"no data source, and metadata is off": {
			files: map[string]string{result: none}, metadata: metadata{err: fmt.Errorf("cannot read user-data: %w", facts.ErrRefused)}, asked: 1,
			fails: []string{"nobody can tell whether this instance has user data"},
		},
		"under way": {
			files: map[string]string{enabled: "", status: `{"v1": {"datasource": "DataSourceEc2", "stage": "modules-final"}}`},
			waits: true, fails: []string{"cloud-init has not ended (stage modules-final)"},
		},
		"between two stages": {
			files: map[string]string{status: `{"v1": {"datasource": null, "stage": null}}`},
			waits: true, fails: []string{"cloud-init has not ended: see"},
		},
		"not begun": {files: map[string]string{enabled: ""}, waits: true, fails: []string{"cloud-init has not begun"}},
		"disabled":  {files: map[string]string{"/run/cloud-init/disabled": ""}, summary: "no cloud-init runs on this node"},
		"none":      {summary: "no cloud-init runs on this node"},
		"a result that is cut short": {
			files: map[string]string{result: `{"v1": {"data`}, fails: []string{"cannot tell how cloud-init ended", result + " is damaged"},
		},
		"a status that is cut short": {
			files: map[string]string{status: ``}, fails: []string{"cannot tell whether cloud-init has ended", status + " is damaged"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, err := fsx.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for file, text := range tc.files {
				if _, err := disk.MkdirAll(path.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if _, err := disk.WriteFile(file, []byte(text), fsx.How{}); err != nil {
					t.Fatal(err)
				}
			}
			out, err := (&cloudinit.Duty{FS: disk, Metadata: &tc.metadata}).Reconcile(t.Context())
			if (err != nil) != (len(tc.fails) > 0) || errors.Is(err, duty.ErrNotReady) != tc.waits {
				t.Fatalf("err = %v", err)
			}
			for _, words := range tc.fails {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q does not say %q", err, words)
				}
			}
			if err == nil && out.Summary != tc.summary || out.Changed || len(out.Warnings) != tc.warnings || tc.metadata.asked != tc.asked {
				t.Errorf("%+v, asked %d times", out, tc.metadata.asked)
			}
			for _, w := range out.Warnings {
				if len(w) > 300 {
					t.Errorf("a warning of %d bytes", len(w))
				}
			}
		})
	}
}

func TestAResultThatCannotBeReadIsNotAbsent(t *testing.T) {
	t.Parallel()
	disk, err := fsx.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.MkdirAll(result, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = (&cloudinit.Duty{FS: disk, Metadata: &metadata{}}).Reconcile(t.Context())
	if !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("err = %v", err)
	}
}

// Package cloudinit is the duty that notices when cloud-init has failed
// silently: it found no metadata service when it ran, and user data that may
// name the cluster was never looked at.
package cloudinit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Files of cloud-init in this boot: status_wrapper in
// canonical/cloud-init:cloudinit/cmd/main.py
const (
	resultFile  = "/run/cloud-init/result.json" // written when the last stage has ended
	statusFile  = "/run/cloud-init/status.json" // written from the first stage on
	enabledFile = "/run/cloud-init/enabled"     // written by its systemd generator, before any stage
)

// noSource is how cloud-init names that it found no data source. What it ran
// with then is its own defaults.
const noSource = "DataSourceNone"

// Metadata is the instance metadata service.
type Metadata interface {
	HasUserData(ctx context.Context) (bool, error)
}

// Duty changes nothing. It fails while the ECS agent would run on a node whose
// user data was never run; the agent itself refuses that since 1.105.0
// (CheckCloudInitFailure in
// aws/amazon-ecs-agent:agent/config/cloudinit_check_linux.go).
type Duty struct {
	FS       fsx.FS
	Metadata Metadata
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "cloudinit" }

// Reconcile implements duty.Duty.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	r, err := readResult(d.FS)
	if errors.Is(err, fs.ErrNotExist) {
		return underWay(d.FS)
	}
	if err != nil {
		return duty.Outcome{}, err
	}
	out := duty.Outcome{Summary: r.source(), Warnings: r.warnings()}
	if !strings.HasPrefix(r.V1.DataSource, noSource) {
		return out, nil
	}
	switch has, err := d.Metadata.HasUserData(ctx); {
	case errors.Is(err, facts.ErrUnavailable):
		return out, duty.WaitingFor("cloud-init found no data source (%s), and whether this instance has user data cannot be told yet: %w", noSource, err)
	case err != nil:
		return out, fmt.Errorf("cloud-init found no data source (%s), and nobody can tell whether this instance has user data: %w", noSource, err)
	case has:
		return out, errors.New("cloud-init found no data source (" + noSource + ") when it ran, so that the user data of this instance was never run: " +
			"replace the instance, or run cloud-init clean --logs and reboot")
	}
	out.Summary += ", and this instance has no user data"
	return out, nil
}

// soon is how soon cloud-init is looked at again that is under way.
const soon = 2 * time.Second

// underWay is for a node on which cloud-init has not ended, if it has begun.
func underWay(files fsx.FS) (duty.Outcome, error) {
	stage, err := readStage(files)
	if err == nil {
		return duty.Outcome{Again: soon}, duty.WaitingFor("cloud-init has not ended%s: see cloud-init status --long", stage)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return duty.Outcome{}, err
	}
	switch _, err := files.Stat(enabledFile); {
	case err == nil:
		return duty.Outcome{Again: soon}, duty.WaitingFor("cloud-init has not begun")
	case errors.Is(err, fs.ErrNotExist):
		return duty.Outcome{Summary: "no cloud-init runs on this node"}, nil
	default:
		return duty.Outcome{}, err
	}
}

type result struct {
	V1 struct {
		DataSource string   `json:"datasource"`
		Errors     []string `json:"errors"`
	} `json:"v1"`
}

func readResult(files fsx.FS) (result, error) {
	data, err := files.ReadFile(resultFile)
	if err != nil {
		return result{}, err
	}
	var r result
	if err := json.Unmarshal(data, &r); err != nil {
		return result{}, fmt.Errorf("cannot tell how cloud-init ended: %s is damaged: %w", resultFile, err)
	}
	return r, nil
}

// source is the kind of data source: what follows is its details.
func (r result) source() string {
	kind, _, _ := strings.Cut(r.V1.DataSource, " ")
	if kind == "" {
		return "cloud-init has ended"
	}
	return "cloud-init has ended: " + kind
}

const maxErrors, maxError = 3, 200

// warnings are what failed while user data was run. It may be nothing that the
// node needs, so that it holds nothing back.
func (r result) warnings() []string {
	var lines []string
	for i, e := range r.V1.Errors {
		if i == maxErrors {
			return append(lines, fmt.Sprintf("cloud-init has %d more errors: see cloud-init status --long", len(r.V1.Errors)-i))
		}
		e = strings.ToValidUTF8(e[:min(len(e), maxError)], "")
		lines = append(lines, fmt.Sprintf("cloud-init had an error: %q", e))
	}
	return lines
}

// readStage returns the stage that runs, in brackets, or "" between two.
func readStage(files fsx.FS) (string, error) {
	data, err := files.ReadFile(statusFile)
	if err != nil {
		return "", err
	}
	var status struct {
		V1 struct {
			Stage *string `json:"stage"`
		} `json:"v1"`
	}
	if err := json.Unmarshal(data, &status); err != nil {
		return "", fmt.Errorf("cannot tell whether cloud-init has ended: %s is damaged: %w", statusFile, err)
	}
	if s := status.V1.Stage; s != nil && *s != "" {
		return " (stage " + *s + ")", nil
	}
	return "", nil
}

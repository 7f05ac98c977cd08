// Package daemonjson is the duty that keeps keys of Docker's daemon.json as they
// are configured. The rest of the file belongs to others and is kept.
package daemonjson

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

const (
	// File is what Docker reads.
	File = "/etc/docker/daemon.json"
	// staged is what dockerd is asked about. Docker does not look at it.
	staged = "/run/ecsnode/daemon.json"
	// ledgerFile holds the keys that we have set, and to what.
	ledgerFile = "/var/lib/ecsnode/daemonjson.json"

	unit = "docker.service"
	part = "daemon.json" // of what Docker should run with
)

// Manager is the service manager.
type Manager interface {
	Unit(ctx context.Context, name string) (facts.Unit, error)
}

// Validator is dockerd, asked whether it would start.
type Validator interface {
	// Validate is facts.ErrAbsent if this dockerd cannot be asked, and
	// facts.ErrRefused, with its reason, if it would not start.
	Validate(ctx context.Context, argv []string, configFile string) error
}

// Duty keeps the file.
type Duty struct {
	FS        fsx.FS
	Config    cell.Reader[Config]
	Instance  cell.Reader[facts.Instance]
	Cluster   cell.Reader[string]
	Manager   Manager
	Validator Validator
	Inputs    *cell.Cell[facts.Inputs] // gets what Docker should run with
	Supply    render.Supply
}

// Name implements duty.Duty.
func (*Duty) Name() string { return "daemonjson" }

// Reconcile implements duty.Duty. A value that cannot be told yet leaves the
// whole file as it is: half a configuration may be worse than the former one.
func (d *Duty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	cfg, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	former, err := readLedger(d.FS)
	if err != nil {
		return duty.Outcome{}, err
	}
	if len(cfg.Settings) == 0 && len(former.Keys) == 0 {
		d.Inputs.Set(former.Left.inputs())
		d.Supply.Tell(render.Inputs{})
		return duty.Outcome{Summary: "no key is set under daemon_json.settings"}, nil
	}
	ours, err := d.render(cfg)
	if err != nil {
		return duty.Outcome{}, err
	}
	have, err := d.read()
	if err != nil {
		return duty.Outcome{}, err
	}
	want := merge(without(have.object, former.Keys, ours), ours)
	out := duty.Outcome{Summary: fmt.Sprintf("%s: %s set", File, count(len(cfg.Settings)))}
	if !same(have.object, want) {
		if out.Warnings, err = d.replace(ctx, want, merge(former.Keys, ours)); err != nil {
			return out, err
		}
		out.Changed = true
		if have, err = d.read(); err != nil {
			return out, err
		}
	}
	now := ledger{Keys: ours}
	if len(ours) == 0 {
		now.Left = &have.input
	}
	_, err = writeLedger(d.FS, now)
	d.Inputs.Set(have.input.inputs())
	return out, err
}

func count(keys int) string {
	if keys == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", keys)
}

func (d *Duty) render(cfg Config) (map[string]any, error) {
	instance, _ := d.Instance.Get()
	cluster, _ := d.Cluster.Get()
	in := d.Supply.Inputs(instance, cluster)
	ours := map[string]any{}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(cfg.Settings)) {
		value, err := cfg.Settings[key].render(in)
		switch {
		case errors.Is(err, facts.ErrUnavailable):
			errs = append(errs, duty.WaitingFor("%s: %w; %s stays as it is", key, err, File))
		case err != nil:
			errs = append(errs, fmt.Errorf("cannot set %s in %s: %w", key, File, err))
		}
		ours[key] = value
	}
	d.Supply.Tell(in)
	return ours, errors.Join(errs...)
}

// contents is the file as it is.
type contents struct {
	object map[string]any // nil: there is no file
	input  input
}

// input is the file as something that Docker runs with.
type input facts.Input

func (in *input) inputs() facts.Inputs {
	if in == nil {
		return facts.Inputs{}
	}
	return facts.Inputs{unit: {part: facts.Input(*in)}}
}

func (d *Duty) read() (contents, error) {
	data, err := d.FS.ReadFile(File)
	if errors.Is(err, fs.ErrNotExist) {
		return contents{}, nil
	}
	if err != nil {
		return contents{}, err
	}
	object := map[string]any{}
	if len(bytes.TrimSpace(data)) > 0 { // dockerd takes an empty file
		value, err := decode(data)
		if err != nil {
			return contents{}, fmt.Errorf("cannot use %s: it is no JSON: %w: mend or remove it; it is left as it is", File, err)
		}
		var ok bool
		if object, ok = value.(map[string]any); !ok {
			return contents{}, fmt.Errorf("cannot use %s: it is no JSON object: mend or remove it; it is left as it is", File)
		}
	}
	info, err := d.FS.Stat(File)
	if err != nil {
		return contents{}, err
	}
	canonical, err := json.Marshal(object)
	if err != nil {
		return contents{}, fmt.Errorf("cannot use %s: %w", File, err)
	}
	sum := sha256.Sum256(canonical)
	return contents{object, input{Value: hex.EncodeToString(sum[:]), At: info.ModTime()}}, nil
}

// replace puts a new file in place once nothing speaks against it. maybe is all that
// may be ours in it, whenever the power is cut.
func (d *Duty) replace(ctx context.Context, want, maybe map[string]any) (warnings []string, err error) {
	data, err := json.MarshalIndent(want, "", "    ")
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", File, err)
	}
	data = append(data, '\n')
	u, err := d.Manager.Unit(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("cannot check %s against the flags of dockerd: %w", File, err)
	}
	if err := flagConflicts(u.Argv, want); err != nil {
		return nil, err
	}
	if _, err := d.FS.MkdirAll(path.Dir(staged), 0o755); err != nil {
		return nil, err
	}
	if _, err := d.FS.WriteFile(staged, data, fsx.How{Mode: 0o600, Volatile: true}); err != nil {
		return nil, err
	}
	switch err := d.Validator.Validate(ctx, u.Argv, staged); {
	case errors.Is(err, facts.ErrAbsent):
		warnings = append(warnings, File+" was not checked by dockerd: "+err.Error())
	case err != nil:
		return nil, fmt.Errorf("cannot change %s, which is left as it is: %w", File, err)
	}
	if _, err := d.FS.Remove(staged); err != nil {
		return nil, err
	}
	// First the ledger, with all that may be ours, so that a key that is written
	// is never forgotten.
	if _, err := writeLedger(d.FS, ledger{Keys: maybe}); err != nil {
		return warnings, err
	}
	if _, err := d.FS.MkdirAll(path.Dir(File), 0o755); err != nil {
		return warnings, err
	}
	how := fsx.How{}
	if _, err := d.FS.Stat(File); errors.Is(err, fs.ErrNotExist) {
		how.Mode = 0o644
	}
	_, err = d.FS.WriteFile(File, data, how)
	return warnings, err
}

// merge returns base with what over sets; objects are merged key by key.
func merge(base, over map[string]any) map[string]any {
	all := maps.Clone(base)
	if all == nil {
		all = map[string]any{}
	}
	for key, value := range over {
		object, isObject := value.(map[string]any)
		former, wasObject := all[key].(map[string]any)
		if isObject && wasObject {
			all[key] = merge(former, object)
			continue
		}
		all[key] = value
	}
	return all
}

// without returns have less what we have set before and do not set any more.
// What somebody has changed since is theirs.
func without(have, former, ours map[string]any) map[string]any {
	rest := map[string]any{}
	for key, value := range have {
		was, set := former[key]
		is, stays := ours[key]
		object, isObject := value.(map[string]any)
		wasObject, wasSo := was.(map[string]any)
		switch {
		case isObject && wasSo:
			isObject, _ := is.(map[string]any)
			if left := without(object, wasObject, isObject); len(left) > 0 || len(object) == 0 || stays {
				rest[key] = left
			}
		case set && !stays && same(value, was):
		default:
			rest[key] = value
		}
	}
	return rest
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// ledger is what is ours of the file.
type ledger struct {
	Keys map[string]any `json:"keys"`
	// Left is the file as it was when our last key went. Docker is to run with that
	// still, and what others write into it later is theirs.
	Left *input `json:"left,omitempty"`
}

func readLedger(files fsx.FS) (ledger, error) {
	var l ledger
	data, err := files.ReadFile(ledgerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	if err := decodeInto(data, &l); err != nil {
		return l, fmt.Errorf("cannot use %s: it is damaged: remove it; keys of %s that are no longer configured then stay", ledgerFile, File)
	}
	return l, nil
}

func writeLedger(files fsx.FS, l ledger) (changed bool, err error) {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return false, fmt.Errorf("cannot write %s: %w", ledgerFile, err)
	}
	if _, err := files.MkdirAll(path.Dir(ledgerFile), 0o700); err != nil {
		return false, err
	}
	return files.WriteFile(ledgerFile, append(data, '\n'), fsx.How{Mode: 0o600})
}

// flags are those of dockerd whose key in the file has another name.
// moby/moby:cmd/dockerd/config.go, config_unix.go; a key that is given in both
// places keeps dockerd from starting: findConfigurationConflicts in
// daemon/config/config.go
var flags = map[string]string{
	"-H": "hosts", "--host": "hosts", "-D": "debug", "-G": "group", "-g": "data-root", "-l": "log-level", "-b": "bridge", "-s": "storage-driver",
	"--label": "labels", "--log-opt": "log-opts", "--storage-opt": "storage-opts", "--exec-opt": "exec-opts",
	"--default-ulimit": "default-ulimits", "--insecure-registry": "insecure-registries", "--registry-mirror": "registry-mirrors",
	"--add-runtime": "runtimes", "--default-address-pool": "default-address-pools", "--dns-opt": "dns-opts",
	"--authorization-plugin": "authorization-plugins", "--node-generic-resource": "node-generic-resources", "--cdi-spec-dir": "cdi-spec-dirs",
	"-p": "pidfile",
}

// flagConflicts names the keys that dockerd is given as flags too.
func flagConflicts(argv []string, want map[string]any) error {
	var both []string
	for _, arg := range argv[min(1, len(argv)):] {
		flag, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(flag, "-") {
			continue
		}
		key, known := flags[flag]
		if !known {
			key = strings.TrimPrefix(flag, "--")
		}
		if _, set := want[key]; set {
			both = append(both, fmt.Sprintf("%s (%s)", key, flag))
		}
	}
	if len(both) == 0 {
		return nil
	}
	slices.Sort(both)
	return duty.Lasting(fmt.Errorf("cannot change %s: dockerd does not start with a key that its unit gives as a flag too: %s: take it out of daemon_json.settings, or the flag out of %s",
		File, strings.Join(slices.Compact(both), ", "), unit))
}

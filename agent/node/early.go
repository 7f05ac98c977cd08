package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/status"
)

// Early makes right what must be there before Docker starts, from the
// configuration as it stands and from what was last known about the instance:
// no network is asked. It waits for volumes until boot.early_budget is spent.
func (n *Node) Early(ctx context.Context) error {
	if n.scratch() {
		return fmt.Errorf("early works on the machine itself and not below --root %s", n.disk.Root())
	}
	if err := n.prepare(); err != nil {
		return err
	}
	return n.counted(ctx, "early", n.early)
}

func (n *Node) early(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n.load(n.disk).Boot.EarlyBudget))
	defer cancel()
	unlock, err := n.disk.Lock(ctx, passLock, "ecsnode early")
	if err != nil {
		return err
	}
	defer unlock()
	sources := []duty.Entry{
		{
			Duty:    &instance.Duty{FS: n.disk, Config: n.instanceConfig(), Metadata: notAsked{}, Instance: n.instance},
			Timeout: 5 * time.Second,
		},
		{Duty: configDuty{n, n.disk}, Timeout: 10 * time.Second},
		{Duty: requestsDuty{n, n.disk, func(bool) {}}, Timeout: 5 * time.Second},
		n.parametersDuty(n.disk, true),
	}
	// What fails here does so again in boot, which says it.
	silent := &duty.Engine{ID: n.id, Log: slog.New(slog.DiscardHandler)}
	_ = silent.Pass(ctx, sources)

	before := n.beforeDocker(n.disk, n.outside())
	volumes, daemonJSON := before[:2], before[2:]
	for i := range volumes {
		// A node that is held is held with its volumes: without them Docker
		// would start with another's directories, or not at all.
		volumes[i].Changes = false
	}
	engine := &duty.Engine{ID: n.id, Log: n.opts.Log, Hold: holding{n}}
	err = engine.Pass(ctx, daemonJSON)

	// What waits is waited for. What failed is not: Docker starts without it, or
	// is held back and started later.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	engine.Report = func(r duty.Record) {
		if r.State == duty.Failing {
			stop()
		}
	}
	return errors.Join(err, engine.Settle(ctx, volumes))
}

// notAsked is instance metadata before Docker starts.
type notAsked struct{}

var errNotAsked = fmt.Errorf("%w: the network is not asked before Docker starts", facts.ErrUnavailable)

func (notAsked) Instance(context.Context) (facts.Instance, error) {
	return facts.Instance{}, errNotAsked
}

func (notAsked) Tags(context.Context) (map[string]string, error) { return nil, errNotAsked }

// dockerHoldFile is there while Docker must not start.
const dockerHoldFile = status.Dir + "/docker-held.json"

type dockerHold struct {
	BootID string `json:"boot_id"`
	Why    string `json:"why"`
}

// dockerHoldDuty notes for docker.service, which asks by ReadyDocker, whether
// its volumes let it start.
type dockerHoldDuty struct {
	n     *Node
	files fsx.FS
}

func (dockerHoldDuty) Name() string { return "dockerhold" }

func (d dockerHoldDuty) Reconcile(context.Context) (duty.Outcome, error) {
	v, ok := d.n.volumes.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("volumes have not been looked at yet")
	}
	if !v.Held {
		changed, err := d.files.Remove(dockerHoldFile)
		return duty.Outcome{Changed: changed, Summary: "Docker may start"}, err
	}
	data, err := json.Marshal(dockerHold{d.n.bootID, v.Why})
	if err != nil {
		return duty.Outcome{}, fmt.Errorf("cannot write %s: %w", dockerHoldFile, err)
	}
	changed, err := d.files.WriteFile(dockerHoldFile, append(data, '\n'), fsx.How{Mode: 0o644, Volatile: true})
	return duty.Outcome{Changed: changed, Summary: "Docker is held back: " + v.Why}, err
}

// dockerHeld says why Docker must not be started, or "".
func (n *Node) dockerHeld() string {
	v, _ := n.volumes.Get()
	return v.Why
}

// ReadyDocker returns nil unless Docker must not start in this boot for want of
// a volume, and else why.
func (n *Node) ReadyDocker() error {
	data, err := n.disk.ReadFile(dockerHoldFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var h dockerHold
	if err == nil {
		err = json.Unmarshal(data, &h)
	}
	if err != nil {
		return fmt.Errorf("cannot tell whether Docker may start: %w", err)
	}
	if h.BootID != n.bootID {
		return nil
	}
	return fmt.Errorf("docker is held back: %s", h.Why)
}

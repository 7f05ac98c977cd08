package drain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Poster posts messages. An error is facts.ErrRefused if the same message will
// be refused again.
type Poster interface {
	Post(ctx context.Context, m facts.Message) error
}

// WebhookDuty tells a URL of the events of a drain, each at least once. It is a
// duty of its own so that a URL that hangs takes no time from tasks.
type WebhookDuty struct {
	FS       fsx.FS
	Config   cell.Reader[Config]
	Clock    Clock
	Instance cell.Reader[facts.Instance]
	Cluster  cell.Reader[string]
	Plan     cell.Reader[*Plan]
	Poster   Poster

	told *told
}

// webhookFile keeps which events of the latest drain were told.
const webhookFile = "/var/lib/ecsnode/webhook.json"

type told struct {
	Drain  time.Time `json:"drain"` // when it began
	Events []string  `json:"events"`
}

const (
	maxWebhookTime = 30 * time.Second
	// tellFor is for how long after an event it is still told.
	tellFor = 10 * time.Minute
)

// Name implements duty.Duty.
func (*WebhookDuty) Name() string { return "webhook" }

// Reconcile implements duty.Duty.
func (d *WebhookDuty) Reconcile(ctx context.Context) (duty.Outcome, error) {
	c, ok := d.Config.Get()
	if !ok {
		return duty.Outcome{}, duty.WaitingFor("the configuration has not been read yet")
	}
	if c.Webhook.URL == "" {
		return duty.Outcome{Summary: "off: drain.webhook.url"}, nil
	}
	p, _ := d.Plan.Get()
	if p == nil {
		return duty.Outcome{Summary: "nothing to tell"}, nil
	}
	var damaged error
	if d.told == nil || !d.told.Drain.Equal(p.Began.Wall) {
		if damaged = d.read(); !d.told.Drain.Equal(p.Began.Wall) {
			d.told = &told{Drain: p.Began.Wall}
		}
	}
	var errs []error
	for _, event := range []string{onNotice, onDrained, onUndrained} {
		// The drain marks an event when its hooks are due, whether it has any.
		if !p.Told["hooks "+event] || slices.Contains(d.told.Events, event) {
			continue
		}
		err := d.tell(ctx, c.Webhook, event, p)
		if err != nil && d.age(p, event) < tellFor && !errors.Is(err, facts.ErrRefused) {
			return duty.Outcome{}, errors.Join(damaged, err)
		}
		d.told.Events = append(d.told.Events, event)
		errs = append(errs, err, d.keep())
	}
	return duty.Outcome{Summary: "told: " + cmp.Or(strings.Join(d.told.Events, ", "), "nothing yet")}, errors.Join(append(errs, damaged)...)
}

// age is how long ago an event was.
func (d *WebhookDuty) age(p *Plan, event string) time.Duration {
	at := map[string]facts.Moment{onNotice: p.Began, onDrained: p.DrainedAt, onUndrained: p.EndedAt}[event]
	if at == (facts.Moment{}) {
		at = p.Began
	}
	return -at.Left(d.Clock.Now())
}

func (d *WebhookDuty) tell(ctx context.Context, w Webhook, event string, p *Plan) error {
	t, err := w.template()
	if err != nil {
		return fmt.Errorf("cannot use drain.webhook.body: %w: %w", facts.ErrRefused, err)
	}
	var in render.Inputs
	in.Instance, _ = d.Instance.Get()
	in.Cluster, _ = d.Cluster.Get()
	body, err := t.Render(in, p.message(event, in, d.Clock.Now()))
	if err != nil {
		return fmt.Errorf("cannot make the message of %s: %w", event, err)
	}
	m := facts.Message{URL: w.URL, Headers: map[string]string{}, Body: []byte(body)}
	for name, text := range w.Headers {
		if m.Headers[name], err = text.Render(in); err != nil {
			return fmt.Errorf("cannot make header %s of the message of %s: %w", name, event, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.Timeout))
	defer cancel()
	return d.Poster.Post(ctx, m)
}

func (w Webhook) template() (*render.Template, error) {
	return render.Parse("body", cmp.Or(w.Body, "{{ json . }}"), (&Plan{}).message(onNotice, render.Inputs{}, facts.Moment{}))
}

// message is what the template of a body is given.
func (p *Plan) message(event string, in render.Inputs, now facts.Moment) map[string]any {
	m := map[string]any{
		"event": event, "notices": append([]string{}, p.For...), "deadline": "", "seconds_left": 0, "outcome": p.Outcome,
		"instance_id": in.Instance.ID, "cluster": in.Cluster, "container_instance": p.Container.ARN,
	}
	if left, bounded := p.Left(now); bounded {
		m["deadline"], m["seconds_left"] = p.Deadline.Wall.UTC().Format(time.RFC3339), max(0, int(left.Seconds()))
	}
	return m
}

func (d *WebhookDuty) keep() error {
	data, err := json.Marshal(d.told)
	if err == nil {
		_, err = d.FS.WriteFile(webhookFile, append(data, '\n'), fsx.How{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("cannot keep what the webhook was told, it may be told again: %w", err)
	}
	return nil
}

// read sets what was told; beside an error it is nothing.
func (d *WebhookDuty) read() error {
	d.told = &told{}
	data, err := d.FS.ReadFile(webhookFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, d.told)
	}
	if err != nil {
		d.told = &told{}
		return fmt.Errorf("cannot read what the webhook was told, it may be told again: %w", err)
	}
	return nil
}

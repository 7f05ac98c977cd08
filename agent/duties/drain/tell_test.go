package drain_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/drain"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/render"
)

// listener is a URL that is told of drains, and a bucket.
type listener struct {
	messages []facts.Message
	objects  map[string]string
	err      error
}

func (l *listener) Post(_ context.Context, m facts.Message) error {
	if l.err == nil {
		l.messages = append(l.messages, m)
	}
	return l.err
}

func (l *listener) Put(_ context.Context, o facts.Object, body []byte, _ facts.Condition) (string, error) {
	if l.err != nil {
		return "", l.err
	}
	if l.objects == nil {
		l.objects = map[string]string{}
	}
	l.objects[o.Region+" "+o.String()] = string(body)
	return "", nil
}

// events are those in the messages so far.
func (l *listener) events(t *testing.T) (all []string) {
	t.Helper()
	for _, m := range l.messages {
		var body struct{ Event string }
		if err := json.Unmarshal(m.Body, &body); err != nil {
			t.Fatalf("%v: %s", err, m.Body)
		}
		all = append(all, body.Event)
	}
	return all
}

func (r *rig) webhook(l *listener) *drain.WebhookDuty {
	instance := cell.New(facts.Instance.Equal)
	instance.Set(facts.Instance{ID: "i-1", Region: "eu-west-1"})
	cluster := cell.Comparable[string]()
	cluster.Set("web")
	return &drain.WebhookDuty{FS: r.disk, Clock: r, Config: r.config, Instance: instance, Cluster: cluster, Plan: r.plan, Poster: l}
}

func (r *rig) withWebhook(change func(*drain.Webhook)) {
	c := drain.Default()
	c.Webhook.URL = "https://example.com/hook"
	if change != nil {
		change(&c.Webhook)
	}
	var problems []string
	c.Validate(func(path, message string) { problems = append(problems, path+": "+message) })
	if len(problems) > 0 {
		r.t.Fatal(problems)
	}
	r.config.Set(c)
}

func TestAWebhookIsToldOfEachEventOnce(t *testing.T) {
	onNode(t, []*running{service(10 * time.Second)}, func(t *testing.T, r *rig) {
		r.withWebhook(nil)
		l := &listener{}
		hook := r.webhook(l)
		tell := func(want ...string) {
			t.Helper()
			for range 2 {
				if _, err := hook.Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.events(t); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		tell()
		r.notice(r.operator(time.Hour))
		r.passes(2 * time.Second)
		tell("notice")
		hook = r.webhook(l) // after a restart
		tell("notice")
		r.passes(time.Minute)
		tell("notice", "drained")
		r.notice()
		r.passes(time.Minute)
		tell("notice", "drained", "undrained")
		body := string(l.messages[0].Body)
		for _, part := range []string{`"instance_id":"i-1"`, `"cluster":"web"`, `"notices":["operator/drain/"]`, `"seconds_left":3598`, `"container_instance":"` + arn} {
			if !strings.Contains(body, part) {
				t.Errorf("the message lacks %s: %s", part, body)
			}
		}
		// The next drain is told anew.
		time.Sleep(time.Minute)
		r.notice(r.operator(time.Hour))
		r.passes(2 * time.Second)
		tell("notice", "drained", "undrained", "notice", "drained")
	})
}

func TestAWebhookThatIsIllIsTriedAgainAndGivenUp(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.withWebhook(nil)
		l := &listener{err: fmt.Errorf("%w: HTTP status 502", facts.ErrUnavailable)}
		hook := r.webhook(l)
		pass := func(failing bool) {
			t.Helper()
			if _, err := hook.Reconcile(t.Context()); err != nil != failing {
				t.Errorf("after %v: %v", time.Since(r.since), err)
			}
		}
		r.notice(r.operator(time.Hour))
		r.passes(time.Second)
		pass(true)
		pass(true)
		l.err = nil
		pass(false)
		if got := l.events(t); !slices.Equal(got, []string{"notice", "drained"}) {
			t.Errorf("told %q", got)
		}
		// What is refused once will be refused again.
		l.err = fmt.Errorf("%w: HTTP status 404", facts.ErrRefused)
		r.notice()
		r.passes(time.Minute)
		pass(true)
		pass(false)
		// News of long ago are no news.
		l.err = fmt.Errorf("%w: no answer", facts.ErrUnavailable)
		r.notice(r.operator(time.Hour))
		r.passes(11 * time.Minute)
		pass(true)
		pass(false)
	})
}

func TestAWebhookGetsTheBodyAndHeadersOfItsTemplates(t *testing.T) {
	onNode(t, nil, func(t *testing.T, r *rig) {
		r.withWebhook(func(w *drain.Webhook) {
			w.Body = `{"text": {{ json (printf "%s: %s until %s" (node "instance_id") .event .deadline) }}}`
			w.Headers = map[string]render.Text{"X-Region": render.NewText(`{{ node "region" }}`)}
		})
		l := &listener{}
		by := r.Now().Wall.Add(2 * time.Minute).UTC().Format(time.RFC3339)
		r.notice(r.spot(2 * time.Minute))
		r.passes(time.Second)
		if _, err := r.webhook(l).Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := l.messages[0]; string(m.Body) != `{"text": "i-1: notice until `+by+`"}` || m.Headers["X-Region"] != "eu-west-1" {
			t.Errorf("%s %v", m.Body, m.Headers)
		}
	})
}

func TestWhatIsWrongWithAWebhookIsSaidWithoutItsURL(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*drain.Config)
		want   string
	}{
		"no URL":   {func(c *drain.Config) { c.Webhook.URL = "T0K3N" }, "webhook.url: it is no URL"},
		"body":     {func(c *drain.Config) { c.Webhook.Body = "{{ .evnt }}" }, "webhook.body: "},
		"timeout":  {func(c *drain.Config) { c.Webhook.Timeout = 0 }, "webhook.timeout: 0s: expected"},
		"a bucket": {func(c *drain.Config) { c.Upload.Bucket = "s3://x" }, `upload.bucket: "s3://x" is no name`},
	} {
		t.Run(name, func(t *testing.T) {
			config := drain.Default()
			config.Webhook.URL = "https://example.com/T0K3N"
			c.change(&config)
			var got []string
			config.Validate(func(path, message string) { got = append(got, path+": "+message) })
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) || strings.Contains(got[0], "T0K3N") {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestTheRecordIsPutIntoS3AsItGrows(t *testing.T) {
	onNode(t, []*running{service(10 * time.Second)}, func(t *testing.T, r *rig) {
		c := drain.Default()
		c.Upload = drain.Upload{Bucket: "records", Prefix: "drains/", Region: "eu-central-1"}
		r.config.Set(c)
		l := &listener{}
		instance := cell.New(facts.Instance.Equal)
		instance.Set(facts.Instance{ID: "i-1", Region: "eu-west-1"})
		upload := &drain.UploadDuty{Config: r.config, Instance: instance, Plan: r.plan, Store: l}
		put := func() string {
			t.Helper()
			if _, err := upload.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			return l.objects["eu-central-1 s3://records/drains/i-1/"+r.record().Began.Wall.Format("20060102T150405.000Z")+".json"]
		}
		r.notice(r.spot(2 * time.Minute))
		r.passes(time.Second)
		if got := put(); !strings.Contains(got, "DRAINING was asked for") || strings.Contains(got, "the node is drained") {
			t.Errorf("%s", got)
		}
		r.passes(time.Minute)
		l.err = fmt.Errorf("%w: no answer", facts.ErrUnavailable)
		if _, err := upload.Reconcile(t.Context()); err == nil {
			t.Error("a failure is not told")
		}
		l.err = nil
		if got := put(); !strings.Contains(got, "the node is drained") {
			t.Errorf("%s", got)
		}
		l.objects = nil
		if got := put(); got != "" {
			t.Error("what is there is put again")
		}
	})
}

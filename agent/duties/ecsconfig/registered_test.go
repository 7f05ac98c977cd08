package ecsconfig

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

func TestAWriteOnARegisteredNodeSaysWhenItCounts(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.good()
	c := withCluster("web")
	c.ReservedMemory = ptr(64)
	b.config.Set(c)
	if out := b.good(); out.Summary != "cluster web, 3 settings; takes effect when ecs.service next starts" {
		t.Errorf("%+v", out)
	}
}

func TestRegisteredElsewhere(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.good()

	c := withCluster("batch")
	c.ReservedMemory = ptr(64)
	b.config.Set(c)
	for range 2 {
		_, err := b.pass()
		wantErr(t, err, `cannot change ECS_CLUSTER from "web" to "batch": this node is registered in "web"`, "remove /var/lib/ecs/data/agent.db, run ecsnode apply, start ecs")
		if got := b.block(); got[clusterKey] != "web" || got["ECS_RESERVED_MEMORY"] != "64" || b.published() != "web" {
			t.Errorf("block %v, published %q", got, b.published())
		}
	}

	// What the error advises: the agent forgets, and then joins.
	b.registration.Set(facts.ContainerInstance{})
	b.good()
	if b.block()[clusterKey] != "batch" || b.published() != "batch" {
		t.Errorf("block %v, published %q", b.block(), b.published())
	}
	b.register(arn2, "batch")
	b.good()
	if b.block()[clusterKey] != "batch" || b.published() != "batch" || !strings.Contains(b.read(historyPath), arn2) {
		t.Errorf("block %v, published %q, history %s", b.block(), b.published(), b.read(historyPath))
	}
}

func TestARegistrationThatNamesNoCluster(t *testing.T) {
	b := newBench(t)
	b.config.Set(withCluster("batch"))
	b.registration.Set(facts.ContainerInstance{ARN: arn})
	_, err := b.pass()
	wantErr(t, err, `registered in "web"`)
	if b.block()[clusterKey] != "web" || b.published() != "web" {
		t.Errorf("block %v, published %q", b.block(), b.published())
	}
}

// An image may carry ecs.config and history of the node it was made from.
func TestAnImageOfARegisteredNode(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.good()
	b.boot()
	b.config.Set(withCluster("batch"))
	b.setAttribute("team", "a", false)
	b.good()
	if b.block()[clusterKey] != "batch" || b.published() != "batch" {
		t.Errorf("block %v, published %q", b.block(), b.published())
	}
	b.register(arn2, "batch")
	wantWarnings(t, b.good()) // it registered with what the block said then
}

func TestAttributesOfARegisteredNodeWithoutPut(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	wantWarnings(t, b.good())

	b.setAttribute("team", "a", false)
	b.setAttribute("environment", "test", false)
	b.setAttribute("lifecycle", "", false)
	for range 2 {
		wantWarnings(t, b.good(),
			"the node stays registered with what is no longer configured: attribute lifecycle",
			"attributes environment, team: not what the node registered with; it counts at the next registration unless ecs_config.put_attributes is set")
	}
	if b.ecs.calls != 0 {
		t.Errorf("%d calls", b.ecs.calls)
	}
	if got := b.block()[attributesKey]; got != `{"environment":"test","team":"a"}` {
		t.Errorf("block %s", got)
	}
	b.boot() // also known after a restart
	b.registration.Set(facts.ContainerInstance{ARN: arn, Cluster: "web"})
	if out := b.good(); len(out.Warnings) != 2 {
		t.Errorf("%q", out.Warnings)
	}
}

func TestAttributesOfARegisteredNodeWithPut(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.setAttribute("environment", "{{ tag \"env\" }}", true)
	b.good()
	if b.ecs.calls != 0 {
		t.Fatalf("%d calls though nothing differs", b.ecs.calls)
	}

	b.setAttribute("team", "a", true)
	b.setAttribute("lifecycle", "", true)
	out := b.good()
	wantWarnings(t, out, "the node stays registered with what is no longer configured: attribute lifecycle")
	if b.ecs.calls != 1 || out.Summary != "cluster web, 2 settings, attributes put: 1; takes effect when ecs.service next starts" {
		t.Errorf("%d calls, %+v", b.ecs.calls, out)
	}
	want := map[string]string{"environment": "prod", "lifecycle": "spot", "team": "a"}
	if diff := cmp.Diff(want, b.ecs.attributes[arn]); diff != "" {
		t.Error(diff)
	}
	b.setAttribute("team", "b", true)
	b.good()
	if b.ecs.calls != 2 || b.ecs.attributes[arn]["team"] != "b" {
		t.Errorf("%d calls, %v", b.ecs.calls, b.ecs.attributes[arn])
	}
}

func TestPutAttributesThatFails(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.good()
	b.setAttribute("team", "a", true)

	b.ecs.fail = fmt.Errorf("cannot call ecs:PutAttributes: %w: AccessDenied", facts.ErrRefused)
	_, err := b.pass()
	wantErr(t, err, "cannot put attribute team: cannot call ecs:PutAttributes: refused")
	if !errors.Is(err, facts.ErrRefused) || b.block()[attributesKey] == "" {
		t.Errorf("%v", err)
	}
	// Nobody asks again for the same soon, and it stays an error.
	_, err = b.pass()
	wantErr(t, err, "cannot put attribute team: cannot call ecs:PutAttributes: refused")
	if b.ecs.calls != 1 {
		t.Errorf("%d calls", b.ecs.calls)
	}
	b.duty.refused.at = b.duty.refused.at.Add(-askAgainAfter)
	b.ecs.fail = fmt.Errorf("cannot call ecs:PutAttributes: %w: time-out", facts.ErrUnavailable)
	_, err = b.pass()
	wantErr(t, err, "time-out")
	if strings.Contains(err.Error(), "the role") {
		t.Error(err)
	}
	b.ecs.fail = nil
	b.good()
	if b.ecs.calls != 3 || b.ecs.attributes[arn]["team"] != "a" {
		t.Errorf("%d calls, %v", b.ecs.calls, b.ecs.attributes[arn])
	}

	b.duty.ECS = nil
	b.setAttribute("team", "b", true)
	wantWarnings(t, b.good(), "attribute team: not what the node registered with, and ecs_config.put_attributes has no ECS to talk to here")
}

func TestAttributesThatAreNotKnownAreNotPut(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.setAttribute("team", "a", true)
	b.instance.Set(dark())
	if _, err := b.pass(); !errors.Is(err, duty.ErrNotReady) || b.ecs.calls != 0 {
		t.Errorf("%v, %d calls", err, b.ecs.calls)
	}
}

func TestADamagedHistoryIsWrittenAnew(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.put(historyPath, "{", 0o644)
	out, err := b.pass()
	if err != nil || len(out.Warnings) != 1 || !strings.HasPrefix(out.Warnings[0], "/var/lib/ecsnode/attributes.json was damaged") {
		t.Errorf("%+v, %v", out, err)
	}
	wantWarnings(t, b.good())
}

func TestWithoutAHistoryTheBlockOfARegisteredNodeStays(t *testing.T) {
	b := newBench(t)
	b.good()
	b.register(arn, "web")
	b.put(stateDir, "in the way", 0o644)
	b.setAttribute("team", "a", false)
	before := b.read(configFile)
	_, err := b.pass()
	wantErr(t, err, stateDir)
	if b.read(configFile) != before {
		t.Errorf("what the node registered with is lost: %s", b.read(configFile))
	}
	if err := os.Remove(b.path(stateDir)); err != nil {
		t.Fatal(err)
	}
	wantWarnings(t, b.good(), "attribute team: not what the node registered with; it counts at the next registration unless ecs_config.put_attributes is set")
}

func TestARefusalCountsForTheSameQuestionOnly(t *testing.T) {
	for name, change := range map[string]func(b *bench){
		"another attribute":          func(b *bench) { b.setAttribute("team", "b", true) },
		"another container instance": func(b *bench) { b.register(arn2, "web"); b.setAttribute("rack", "1", true) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.good()
			b.register(arn, "web")
			b.good()
			b.setAttribute("team", "a", true)
			b.ecs.fail = fmt.Errorf("no such cluster: %w", facts.ErrAbsent)
			for range 2 {
				if _, err := b.pass(); !errors.Is(err, facts.ErrAbsent) {
					t.Fatal(err)
				}
			}
			if b.ecs.calls != 1 {
				t.Fatalf("%d calls", b.ecs.calls)
			}
			change(b)
			_, _ = b.pass()
			if b.ecs.calls != 2 {
				t.Errorf("%d calls", b.ecs.calls)
			}
		})
	}
}

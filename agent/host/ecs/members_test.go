package ecs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/ecs"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestTheNodesOfAClusterAreListed(t *testing.T) {
	bubble(t, func(t *testing.T, w *sim.World, c *ecs.Client, on facts.ContainerInstance) {
		if err := c.PutAttributes(t.Context(), on, map[string]string{"ecsnode.bundle": "stable/none:well", "other": "x"}); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{w.Instance().ID: "stable/none:well"}
		for i := range 230 { // more than one page
			n, err := w.AddNode(sim.Instance{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			id := n.Instance().ID
			ci := facts.ContainerInstance{ARN: n.SetRegistered("web"), Cluster: "web"}
			if i < 3 {
				want[id] = fmt.Sprintf("stable/%012d:well", i)
				if err := c.PutAttributes(t.Context(), ci, map[string]string{"ecsnode.bundle": want[id]}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want[id] = ""
			if i == 7 { // it is on its way out
				delete(want, id)
				if err := c.SetState(t.Context(), ci, facts.StatusDraining); err != nil {
					t.Fatal(err)
				}
			}
		}
		all, err := c.Members(t.Context(), "eu-west-1", "web", "ecsnode.bundle")
		if err != nil || len(all) != len(want) {
			t.Fatalf("%d nodes, want %d: %v", len(all), len(want), err)
		}
		for _, m := range all {
			if value, is := want[m.InstanceID]; !is || value != m.Attribute {
				t.Errorf("%+v, want %q", m, value)
			}
		}
		if _, err := c.Members(t.Context(), "eu-west-1", "nobodys", "x"); !errors.Is(err, facts.ErrAbsent) {
			t.Error(err)
		}
		w.Deny("ecs:DescribeContainerInstances")
		if _, err := c.Members(t.Context(), "eu-west-1", "web", "x"); !errors.Is(err, facts.ErrRefused) {
			t.Error(err)
		}
	})
}

package imds_test

import (
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestHasUserData(t *testing.T) {
	for name, tc := range map[string]struct {
		userData string
		want     bool
	}{
		"an instance with user data": {"#!/bin/sh\n", true},
		"an instance without":        {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{Instance: sim.Instance{UserData: tc.userData}}, func(t *testing.T, w *sim.World, c *imds.Client) {
				if got, err := c.HasUserData(t.Context()); got != tc.want || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		})
	}
}

func TestUserDataThatCannotBeReadIsNotAbsent(t *testing.T) {
	for name, tc := range map[string]struct {
		fault sim.Fault
		is    error
		says  string
	}{
		"503": {sim.Fault{Kind: sim.FaultStatus, Status: 503}, facts.ErrUnavailable, "cannot read user-data: unavailable: HTTP status 503 for it"},
		"403": {sim.Fault{Kind: sim.FaultStatus, Status: 403}, facts.ErrRefused, "cannot read user-data: refused: 403: is the metadata endpoint (HttpEndpoint) disabled?"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, w *sim.World, c *imds.Client) {
				fault(t, w, "imds/user-data", tc.fault)
				has, err := c.HasUserData(t.Context())
				checkError(t, err, tc.is, tc.says)
				if has {
					t.Error("it is said to have user data")
				}
			})
		})
	}
}

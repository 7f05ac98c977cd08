package imds_test

import (
	"net/http/httptest"
	"testing"

	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// BenchmarkNoNotice is what a Spot Instance pays twice a second.
func BenchmarkNoNotice(b *testing.B) {
	server := httptest.NewServer(sim.New(sim.Options{}).IMDS())
	defer server.Close()
	c := imds.New(imds.Options{Endpoint: server.URL})
	for b.Loop() {
		if _, err := c.SpotAction(b.Context()); err == nil {
			b.Fatal("there is a notice")
		}
	}
}

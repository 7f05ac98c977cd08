package imds_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/imds"
)

// On real sockets: the time to live of a packet is not to be had otherwise.
func TestAnswersAreForwardedUnlessTheirHopLimitIsOne(t *testing.T) {
	for name, c := range map[string]struct {
		address string
		hops    int
		want    bool
	}{
		"hop limit 1":           {"127.0.0.1:0", 1, false},
		"hop limit 2":           {"127.0.0.1:0", 2, true},
		"hop limit 64":          {"127.0.0.1:0", 64, true},
		"hop limit 1 over IPv6": {"[::1]:0", 1, false},
		"hop limit 2 over IPv6": {"[::1]:0", 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := imds.New(imds.Options{Endpoint: serveTokens(t, c.address, c.hops, http.StatusOK)}).Forwarded(t.Context())
			if err != nil || got != c.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestAServiceThatIsIllTellsNoHopLimit(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct{ endpoint, says string }{
		"gone":    {gone.URL, "connection refused"},
		"refuses": {serveTokens(t, "127.0.0.1:0", 64, http.StatusForbidden), "HTTP status 403"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := imds.New(imds.Options{Endpoint: c.endpoint}).Forwarded(t.Context())
			checkError(t, err, facts.ErrUnavailable, "cannot tell the hop limit of instance metadata: unavailable: "+c.says)
		})
	}
}

// serveTokens gives tokens in packets that live for that many hops.
func serveTokens(t *testing.T, address string, hops, status int) (endpoint string) {
	t.Helper()
	config := net.ListenConfig{Control: func(network, _ string, conn syscall.RawConn) error {
		level, option := syscall.IPPROTO_IP, syscall.IP_TTL
		if strings.HasSuffix(network, "6") {
			level, option = syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS
		}
		var err error
		return errFirst(conn.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), level, option, hops) }), &err)
	}}
	l, err := config.Listen(t.Context(), "tcp", address)
	if err != nil && strings.HasPrefix(address, "[") {
		t.Skip("there is no IPv6 here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func errFirst(err error, other *error) error {
	if err != nil {
		return err
	}
	return *other
}

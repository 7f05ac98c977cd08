package sim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// bubble is a world on an in-memory network, closed with the test.
type bubble struct {
	*sim.World
	network *sim.Network
	http    *http.Client
}

// inBubble runs f in a synctest bubble with a connected world.
func inBubble(t *testing.T, o sim.Options, f func(t *testing.T, b bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := sim.NewNetwork()
		b := bubble{World: sim.New(o), network: network}
		if err := b.Connect(network); err != nil {
			t.Fatal(err)
		}
		authority, err := b.Authority()
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: network.DialContext}
		transport.TLSClientConfig = authority.ClientConfig()
		b.http = &http.Client{Transport: transport}
		defer func() {
			transport.CloseIdleConnections()
			if err := network.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(t, b)
	})
}

// imds is the SDK's own client with its own endpoint.
func (b bubble) imds() *imds.Client {
	return imds.New(imds.Options{HTTPClient: b.http, EnableFallback: aws.FalseTernary})
}

func getMetadata(ctx context.Context, c *imds.Client, path string) (string, error) {
	out, err := c.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", err
	}
	defer out.Content.Close()
	body, err := io.ReadAll(out.Content)
	return string(body), err
}

func TestIMDSPolledForAVirtualHour(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		client := b.imds()
		start := time.Now()
		polls := 0
		for ; time.Since(start) < time.Hour; time.Sleep(5 * time.Second) {
			id, err := getMetadata(t.Context(), client, "instance-id")
			if err != nil || id != "i-0123456789abcdef0" {
				t.Fatalf("poll %d: %q, %v", polls, id, err)
			}
			polls++
		}
		if got := b.Count("imds/meta-data/instance-id"); got != polls || polls != 720 {
			t.Errorf("%d polls, %d of them counted, want 720", polls, got)
		}
		// The SDK's tokens live for five minutes, their last instant included.
		if got := b.Count("imds/api/token"); got != 12 {
			t.Errorf("%d tokens in an hour, want 12", got)
		}
	})
}

func TestNetworkFailsAsTCPDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := sim.NewNetwork()
		defer n.Close()
		if _, err := n.DialContext(t.Context(), "tcp", "10.0.0.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial without listener: %v, want connection refused", err)
		}
		if _, err := n.DialContext(t.Context(), "unix", "/run/docker.sock"); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("dial to a socket that is not there: %v, want no such file", err)
		}
		l, err := n.Listen("10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("10.0.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v, want address in use", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.DialContext(ctx, "tcp", "10.0.0.1:80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial to a listener that does not accept: %v, want deadline exceeded", err)
		}
		client, server := dial(t, n, l)
		if err := client.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read past its deadline: %v", err)
		}
		server.Close()
		if err := client.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read after the peer closed: %v, want EOF", err)
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after the peer closed: %v, want broken pipe", err)
		}
		client.Close()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after closing: %v, want closed", err)
		}
		client, server = dial(t, n, l)
		_ = server.(interface{ SetLinger(int) error }).SetLinger(0)
		server.Close()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after a reset: %v, want connection reset", err)
		}
	})
}

// dial makes a connection and returns both ends.
func dial(t *testing.T, n *sim.Network, l net.Listener) (client, server net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err := n.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

func TestNetworkKeepsConnectionsAlive(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		b.SetRegistered("web")
		for range 5 {
			resp, err := b.http.Get("http://localhost:51678/v1/metadata")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !strings.Contains(string(body), `"Cluster":"web"`) {
				t.Fatalf("%s, %v", body, err)
			}
			time.Sleep(time.Minute)
		}
		clients := map[string]bool{}
		for _, c := range b.Calls() {
			clients[c.Client] = true
		}
		if len(clients) != 1 {
			t.Errorf("5 requests took %d connections, want 1", len(clients))
		}
	})
}

func TestIMDSOverIPv6(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		client := imds.New(imds.Options{HTTPClient: b.http, EnableFallback: aws.FalseTernary, EndpointMode: imds.EndpointModeStateIPv6})
		if mac, err := getMetadata(t.Context(), client, "mac"); err != nil || mac != "0a:1b:2c:3d:4e:5f" {
			t.Errorf("%q, %v", mac, err)
		}
	})
}

func TestNodesOfAWorld(t *testing.T) {
	t.Parallel()
	w := sim.New(sim.Options{Instance: sim.Instance{Region: "eu-central-1"}})
	n, err := w.AddNode(sim.Instance{Type: "c7g.large"}, map[string]string{"env": "prod"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := w.Instance(), n.Instance()
	if second.ID == first.ID || second.PrivateIP == first.PrivateIP || second.MAC == first.MAC || second.Region != first.Region || second.Zone != "eu-central-1a" {
		t.Errorf("%+v beside %+v", second, first)
	}
	if _, err := w.AddNode(sim.Instance{ID: first.ID}, nil); err == nil {
		t.Error("two nodes of one id")
	}
	if _, err := w.AddNode(sim.Instance{}, map[string]string{"a b": ""}); err == nil {
		t.Error("a node with a tag that IMDS cannot serve")
	}
}

func TestNetworkServesOtherHostsByPort(t *testing.T) {
	inBubble(t, sim.Options{}, func(t *testing.T, b bubble) {
		for _, url := range []string{"http://sts.eu-west-1.amazonaws.com/", "https://sts.eu-west-1.amazonaws.com/"} {
			resp, err := b.http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusNotImplemented {
				t.Errorf("%s: %s, want 501", url, resp.Status)
			}
		}
	})
}

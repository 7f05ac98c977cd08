package instance_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/instance"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/host/imds"
	"github.com/ecsnode/ecsnode/agent/sim"
)

// serveEnv makes the test binary a simulator, so that a benchmark measures the
// agent's side only.
const serveEnv = "ECSNODE_TEST_SERVE_IMDS"

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveIMDS()
		return
	}
	os.Exit(m.Run())
}

// serveIMDS serves an instance with 10 tags until standard input ends.
func serveIMDS() {
	tags := map[string]string{}
	for i := range 10 {
		tags[fmt.Sprint("key", i)] = "a value of a common length"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		_ = sim.Serve(context.Background(), listener, sim.New(sim.Options{Tags: tags, CallLimit: 1}).IMDS())
	}()
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkSteadyPass is a pass in which nothing is new, over loopback, on an
// instance with 10 tags. cpu-µs/op is user and system time of the agent's side.
func BenchmarkSteadyPass(b *testing.B) {
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serveEnv+"=1")
	stdin, err := server.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	defer server.Wait()
	defer stdin.Close()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	files, err := fsx.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	d := &instance.Duty{
		FS: files, Config: cell.Comparable[instance.Config](), Instance: cell.New(facts.Instance.Equal),
		Metadata: imds.New(imds.Options{Endpoint: "http://" + strings.TrimSpace(addr)}),
	}
	if _, err := d.Reconcile(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if _, err := d.Reconcile(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

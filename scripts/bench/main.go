// Command bench measures what ecsnode costs, beside its budgets: the CPU of a
// pass that changes nothing, the memory of a steady daemon, the requests of a
// pass. The same job done by ansible-playbook is measured in the same run where
// that is installed.
//
//	go run ./scripts/bench bin/ecsnode
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	applies  = 40
	ansibles = 3
	steady   = 90 * time.Second // more than one pass of every duty
)

// Budgets.
const (
	applyCPU    = 40 * time.Millisecond
	ansibleRate = 100
	maxAnon     = 16 << 10 // KiB
	maxRSS      = 34 << 10 // KiB
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bench BINARY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a simulated world, a scratch node, and the figures so far.
type bench struct {
	binary string
	world  *sim.World
	root   string
	env    []string

	applied time.Duration // CPU of a no-op apply
	over    bool
}

func run(binary string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "ecsnode-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBench(ctx, binary, dir, "")
	if err != nil {
		return err
	}
	watchers := func() error { return b.watchers(ctx, dir) }
	looks := func() error { return b.looks(ctx, dir) }
	for _, measure := range []func() error{b.apply, b.ansible, b.firstFile, b.daemon, watchers, looks} {
		if err := measure(); err != nil {
			return err
		}
	}
	if b.over {
		return fmt.Errorf("a figure is over its budget")
	}
	return nil
}

// newBench makes a world and a node below dir, with more in its configuration.
func newBench(ctx context.Context, binary, dir, config string) (*bench, error) {
	b := &bench{binary: binary, root: filepath.Join(dir, "root"), world: sim.New(sim.Options{Tags: tags()})}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return b, b.serve(ctx, dir, config)
}

// tags are ten, as on a usual instance.
func tags() map[string]string {
	t := map[string]string{"env": "prod", "cluster": "web"}
	for i := range 8 {
		t["app:key"+strconv.Itoa(i)] = "value " + strconv.Itoa(i)
	}
	return t
}

// serve puts the world on loopback, the API with TLS, and makes the node.
func (b *bench) serve(ctx context.Context, dir, more string) error {
	authority, err := b.world.Authority()
	if err != nil {
		return err
	}
	listen := func(handler http.Handler, withTLS bool) (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		at := "http://" + l.Addr().String()
		if withTLS {
			l, at = tls.NewListener(l, authority.TLSConfig()), "https://"+l.Addr().String()
		}
		go func() { _ = sim.Serve(ctx, l, handler) }()
		return at, nil
	}
	imds, err := listen(b.world.IMDS(), false)
	if err != nil {
		return err
	}
	api, err := listen(b.world.AWS(), true)
	if err != nil {
		return err
	}
	agent, err := listen(b.world.Introspection(), false)
	if err != nil {
		return err
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		return err
	}
	b.env = append(os.Environ(),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT="+imds, "AWS_ENDPOINT_URL="+api, "AWS_CA_BUNDLE="+ca)
	b.world.SetRegistered("web")
	config := "cluster: '{{ tag \"cluster\" }}'\n" +
		"node_config: {files: {node.config: {tags: {include: ['app:*']}}}}\n" +
		"ecs_agent: {introspection: \"" + agent + "\"}\n" + more
	for name, content := range map[string]string{
		"etc/ecsnode/ecsnode.yaml":         config,
		"sys/class/dmi/id/board_asset_tag": b.world.Instance().ID,
		"proc/sys/kernel/random/boot_id":   "11111111-1111-4111-8111-111111111111",
	} {
		name = filepath.Join(b.root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// row prints one figure beside its budget.
func (b *bench) row(what, figure, budget string, within bool) {
	verdict := ""
	switch {
	case budget == "":
		budget = "-"
	case within:
		verdict = "within"
	default:
		verdict, b.over = "OVER", true
	}
	fmt.Printf("%-58s %14s   budget %-12s %s\n", what, figure, budget, verdict)
}

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.binary, append(args, "--root", b.root)...)
	cmd.Env = b.env
	return cmd
}

// cost runs a command n times and returns the median CPU and wall time of one,
// and the largest memory of any, in KiB.
func cost(n int, command func() *exec.Cmd) (cpu, wall time.Duration, rss int64, err error) {
	var cpus, walls []time.Duration
	for range n {
		cmd := command()
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, 0, 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		walls = append(walls, time.Since(began))
		cpus = append(cpus, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		rss = max(rss, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	}
	return median(cpus), median(walls), rss, nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (b *bench) apply() error {
	if err := b.command("apply").Run(); err != nil {
		return fmt.Errorf("first apply: %w", err)
	}
	b.world.ResetCalls()
	cpu, wall, rss, err := cost(applies, func() *exec.Cmd { return b.command("apply") })
	if err != nil {
		return err
	}
	b.applied = cpu
	b.row(fmt.Sprintf("no-op apply, CPU (median of %d)", applies), ms(cpu), ms(applyCPU), cpu <= applyCPU)
	b.row("no-op apply, wall", ms(wall), "", true)
	b.row("no-op apply, largest RSS", fmt.Sprintf("%.1f MiB", float64(rss)/1024), "", true)
	b.requests("requests of an apply, ten tags", applies)
	return nil
}

// requests prints the calls since the last reset, per run.
func (b *bench) requests(what string, runs int) {
	counts := b.world.Counts()
	total := 0
	services := map[string]int{}
	for op, n := range counts {
		service, _, _ := strings.Cut(op, "/")
		service, _, _ = strings.Cut(service, ":")
		services[service] += n
		total += n
	}
	var parts []string
	for service, n := range services {
		parts = append(parts, fmt.Sprintf("%s %.1f", service, float64(n)/float64(runs)))
	}
	slices.Sort(parts)
	b.row(what+": "+strings.Join(parts, ", "), fmt.Sprintf("%.1f", float64(total)/float64(runs)), "", true)
}

// ansible does the same job: metadata, tags, template.
func (b *bench) ansible() error {
	path, err := exec.LookPath("ansible-playbook")
	if err != nil {
		fmt.Println("ansible-playbook is not installed: no comparison (Debian: apt-get install ansible-core)")
		return nil
	}
	dest := filepath.Join(b.root, "ansible.node.config")
	imds := ""
	for _, e := range b.env {
		if v, ok := strings.CutPrefix(e, "AWS_EC2_METADATA_SERVICE_ENDPOINT="); ok {
			imds = v
		}
	}
	playbook := func() *exec.Cmd {
		cmd := exec.Command(path, "-i", "localhost,", "-c", "local", "scripts/bench/node.yml", "-e", "imds="+imds, "-e", "dest="+dest)
		cmd.Env = append(b.env, "ANSIBLE_LOCALHOST_WARNING=False", "LC_ALL=C.UTF-8")
		return cmd
	}
	if out, err := playbook().CombinedOutput(); err != nil {
		return fmt.Errorf("ansible-playbook: %w\n%s", err, out)
	}
	if data, err := os.ReadFile(dest); err != nil || !strings.Contains(string(data), `MY_ENVIRONMENT="prod"`) {
		return fmt.Errorf("the playbook did not do the job: %w\n%s", err, data)
	}
	cpu, wall, _, err := cost(ansibles, playbook)
	if err != nil {
		return err
	}
	rate := float64(cpu) / float64(b.applied)
	b.row(fmt.Sprintf("the same by ansible-playbook, CPU (median of %d)", ansibles), ms(cpu), "", true)
	b.row("the same by ansible-playbook, wall", ms(wall), "", true)
	b.row("ansible-playbook's CPU over ecsnode's", fmt.Sprintf("%.0f times", rate), fmt.Sprintf(">= %d", ansibleRate), rate >= ansibleRate)
	return nil
}

// firstFile measures from the start of a daemon to node.config in its place.
func (b *bench) firstFile() error {
	name := filepath.Join(b.root, "etc/container_config/node.config")
	var walls []time.Duration
	for range 10 {
		if err := os.Remove(name); err != nil {
			return err
		}
		cmd := b.command("run")
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return err
		}
		for time.Since(began) < 10*time.Second {
			if _, err := os.Stat(name); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		walls = append(walls, time.Since(began))
		if err := stop(cmd); err != nil {
			return err
		}
	}
	b.row("start of run to node.config written (median of 10)", ms(median(walls)), "", true)
	return nil
}

func stop(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return cmd.Wait()
}

// daemon measures a steady run. Tags come from the EC2 API, so that the daemon
// has TLS and the API client in use.
func (b *bench) daemon() error {
	if err := b.world.EnableMetadataTags(false); err != nil {
		return err
	}
	cmd := b.command("run")
	if err := cmd.Start(); err != nil {
		return err
	}
	var anon, rss []int
	var cpuAt, cpuEnd time.Duration
	began := time.Now()
	for time.Since(began) < steady {
		time.Sleep(time.Second)
		a, r, cpu, err := usage(cmd.Process.Pid)
		if err != nil {
			return err
		}
		if time.Since(began) < 10*time.Second { // settling
			cpuAt = cpu
			b.world.ResetCalls()
			continue
		}
		anon, rss, cpuEnd = append(anon, a), append(rss, r), cpu
	}
	if n := b.world.Count("ec2"); n == 0 {
		return fmt.Errorf("the daemon made no call over TLS: the figures would not be those of TLS")
	}
	if err := stop(cmd); err != nil {
		return err
	}
	mib := func(kib int) string { return fmt.Sprintf("%.1f MiB", float64(kib)/1024) }
	b.row("steady run over TLS, RssAnon (largest)", mib(slices.Max(anon)), mib(maxAnon), slices.Max(anon) <= maxAnon)
	b.row("steady run over TLS, RSS (largest)", mib(slices.Max(rss)), mib(maxRSS), slices.Max(rss) <= maxRSS)
	share := float64(cpuEnd-cpuAt) / float64(steady-10*time.Second) * 100
	b.row("steady run, share of one core", fmt.Sprintf("%.3f %%", share), "", true)
	b.requests("requests of a steady minute, tags from EC2", int(steady/time.Minute)+1)
	return nil
}

// usage returns RssAnon and VmRSS in KiB and the CPU time used so far.
func usage(pid int) (anon, rss int, cpu time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	field := func(name string) int {
		_, rest, _ := strings.Cut(string(data), name+":")
		n := 0
		_, _ = fmt.Sscan(rest, &n)
		return n
	}
	// By thread: the file of the process tells of its first thread only.
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	for _, name := range threads {
		sched, err := os.ReadFile(name)
		if err != nil {
			return 0, 0, 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(sched), &ns); err != nil {
			return 0, 0, 0, fmt.Errorf("cannot read %s: %w", name, err)
		}
		cpu += time.Duration(ns)
	}
	return field("RssAnon"), field("VmRSS"), cpu, nil
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// program is a run of the command.
type program struct {
	ready  map[string]string // URL by part
	env    string            // what was printed before the ready line
	stderr *buffer
	stop   func() (status int)
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs the command until it is ready; it is stopped with the test.
func start(t *testing.T, args ...string) program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, in := io.Pipe()
	p := program{ready: map[string]string{}, stderr: &buffer{}}
	status := make(chan int, 1)
	go func() {
		status <- execute(ctx, args, in, p.stderr)
		in.Close()
	}()
	p.stop = sync.OnceValue(func() int {
		cancel()
		return <-status
	})
	t.Cleanup(func() { p.stop() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		parts, ready := strings.CutPrefix(lines.Text(), "ready")
		if !ready {
			p.env += lines.Text() + "\n"
			continue
		}
		for _, part := range strings.Fields(parts) {
			name, url, _ := strings.Cut(part, "=")
			p.ready[name] = url
		}
		return p
	}
	t.Fatalf("ended with %d before it was ready: %s", p.stop(), p.stderr)
	return p
}

func write(t *testing.T, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// clients are the SDK's, for a program.
func (p program) clients(t *testing.T, caFile string) (*imds.Client, *ec2.Client, *ecs.Client) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if caFile != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(read(t, caFile))) {
			t.Fatalf("no certificate in %s", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{Transport: transport}
	metadata := imds.New(imds.Options{Endpoint: p.ready["imds"], HTTPClient: client, EnableFallback: aws.FalseTernary})
	role := aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadata }))
	endpoint := aws.String(p.ready["aws"])
	return metadata,
		ec2.New(ec2.Options{Region: "eu-west-1", BaseEndpoint: endpoint, HTTPClient: client, Credentials: role}),
		ecs.New(ecs.Options{Region: "eu-west-1", BaseEndpoint: endpoint, HTTPClient: client, Credentials: role})
}

func TestOneAddressServesAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	readyFile, envFile, logFile := filepath.Join(dir, "ready"), filepath.Join(dir, "env"), filepath.Join(dir, "calls")
	p := start(t, "--listen", "127.0.0.1:0", "--ready-file", readyFile, "--env-file", envFile, "--log", logFile,
		"--scenario", write(t, "story.yaml", "state: {registered: web, tags: {env: test}}\n"))

	url := p.ready["imds"]
	if !regexp.MustCompile(`^http://127\.0\.0\.1:[1-9][0-9]*$`).MatchString(url) {
		t.Fatalf("IMDS at %q", url)
	}
	if got, want := read(t, readyFile), "ready imds="+url+" introspection="+url+" aws="+url+" control="+url+"\n"; got != want {
		t.Errorf("ready file %q, want %q", got, want)
	}
	wantEnv := "export AWS_EC2_METADATA_SERVICE_ENDPOINT=" + url + "\nexport AWS_ENDPOINT_URL=" + url + "\n"
	if p.env != wantEnv || read(t, envFile) != wantEnv {
		t.Errorf("environment %q, in the file %q, want %q", p.env, read(t, envFile), wantEnv)
	}
	metadata, ec2Client, ecsClient := p.clients(t, "")
	if _, err := metadata.GetInstanceIdentityDocument(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if out, err := ec2Client.DescribeTags(t.Context(), nil); err != nil || len(out.Tags) != 1 || *out.Tags[0].Value != "test" {
		t.Errorf("%+v, %v", out, err)
	}
	out, err := ecsClient.ListContainerInstances(t.Context(), &ecs.ListContainerInstancesInput{Cluster: aws.String("web")})
	if err != nil || len(out.ContainerInstanceArns) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("status %d after being stopped: %s", status, p.stderr)
	}
	var operations []string
	for line := range strings.Lines(read(t, logFile)) {
		var call struct{ Service, Operation string }
		if err := json.Unmarshal([]byte(line), &call); err != nil {
			t.Fatalf("call log line %q: %v", line, err)
		}
		operations = append(operations, call.Service+"/"+call.Operation)
	}
	log := strings.Join(operations, " ")
	for _, want := range []string{"imds/api/token", "imds/dynamic/instance-identity/document", "ec2/DescribeTags", "ecs/ListContainerInstances"} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not in the call log: %s", want, log)
		}
	}
}

func TestTLSForTheAWSAPIsOnly(t *testing.T) {
	t.Parallel()
	caFile := filepath.Join(t.TempDir(), "ca file.pem")
	p := start(t, "--listen", "", "--imds", "127.0.0.1:0", "--tls", "--tls-ca", caFile)
	if !strings.HasPrefix(p.ready["imds"], "http://") || !strings.HasPrefix(p.ready["aws"], "https://") || len(p.ready) != 2 {
		t.Errorf("ready %v", p.ready)
	}
	if want := "export AWS_CA_BUNDLE='" + caFile + "'\n"; !strings.HasSuffix(p.env, want) {
		t.Errorf("environment %q, want %q at its end", p.env, want)
	}
	_, ec2Client, _ := p.clients(t, caFile)
	if _, err := ec2Client.DescribeTags(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestStepsArePlayed(t *testing.T) {
	t.Parallel()
	p := start(t, "--listen", "127.0.0.1:0", "--scenario", write(t, "story.yaml", "steps: [{at: 50ms, set_tags: {env: later}}]\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, client, _ := p.clients(t, "")
	for {
		out, err := client.DescribeTags(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Tags) == 2 && *out.Tags[1].Value == "later" {
			break
		}
	}
}

func TestAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := start(t, "--listen", "", "--imds", "127.0.0.1:0", "--introspection", "127.0.0.1:0", "--aws", ":0", "--control", "127.0.0.1:0")
	distinct := map[string]bool{}
	for part, url := range p.ready {
		distinct[url] = true
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			t.Errorf("%s at %s", part, url)
		}
	}
	if len(distinct) != 4 {
		t.Errorf("ready %v", p.ready)
	}
	resp, err := (&http.Client{Transport: &http.Transport{}}).Get(p.ready["control"] + "/_sim/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("control answers %s", resp.Status)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing", "file")
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown flag", []string{"--nonsense"}, "error: unknown flag: --nonsense\n"},
		{"an argument", []string{"serve"}, `error: unknown command "serve" for "ecsnode-sim"`},
		{"TLS without a file", []string{"--tls"}, "error: --tls and --tls-ca go together"},
		{"a file without TLS", []string{"--tls-ca", "x"}, "error: --tls and --tls-ca go together"},
		{"no address", []string{"--listen", ""}, "error: no address to listen on\n"},
		{"bad address", []string{"--listen", "127.0.0.1:99999"}, "error: cannot listen on 127.0.0.1:99999: "},
		{"no scenario", []string{"--scenario", missing}, "error: cannot read scenario: open " + missing},
		{"bad scenario", []string{"--scenario", write(t, "s.yaml", "steps:\n  - att: 1s\n")}, `s.yaml: [2:5] unknown field "att"`},
		{"bad state", []string{"--scenario", write(t, "s.yaml", "state: {tags: {a b: c}}\n")}, `key "a b" cannot be served by IMDS`},
		{"bad step", []string{"--listen", "127.0.0.1:0", "--scenario", write(t, "s.yaml", "steps: [{at: 1ms, set_tags: {a b: c}}]\n")}, "error: cannot play the step at 1ms: "},
		{"no call log", []string{"--log", missing}, "error: cannot open call log: open " + missing},
		{"no ready file", []string{"--listen", "127.0.0.1:0", "--ready-file", missing}, "error: cannot write " + missing},
		{"no CA file", []string{"--tls", "--tls-ca", missing}, "error: cannot write CA certificate " + missing},
	} {
		var stdout, stderr buffer
		status := execute(t.Context(), tc.args, &stdout, &stderr)
		if status != 1 || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: status %d, %s, want %s", tc.name, status, stderr.String(), tc.want)
		}
	}
}

func TestCallLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Fatalf("no /dev/full: %v", err)
	}
	p := start(t, "--listen", "127.0.0.1:0", "--log", "/dev/full")
	metadata, _, _ := p.clients(t, "")
	if _, err := metadata.GetInstanceIdentityDocument(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if status := p.stop(); status != 1 || !strings.Contains(p.stderr.String(), "error: cannot write call log: ") {
		t.Errorf("status %d, %s", status, p.stderr)
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"github.com/ecsnode/ecsnode/agent/bundle"
	"github.com/ecsnode/ecsnode/agent/sim"
)

const (
	looks   = 100
	lookCPU = 5 * time.Millisecond
)

// looks measures what it costs a daemon to look at a channel in which nothing is
// new, above what it costs to be idle. It is asked to look, over and over, which
// is more than its schedule does; and every look has a connection of its own,
// with TLS, as one after 15 minutes has.
func (b *bench) looks(ctx context.Context, dir string) error {
	key, err := bundle.NewKey()
	if err != nil {
		return err
	}
	one, err := newBench(ctx, b.binary, filepath.Join(dir, "looks"),
		fmt.Sprintf("bundle: {source: s3://acme-config, keys: [%s], watch: 0s}\n", key.Public()))
	if err != nil {
		return err
	}
	if err := one.publish(key); err != nil {
		return err
	}
	if err := one.serveS3(ctx); err != nil {
		return err
	}
	cmd := one.command("run")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = stop(cmd) }()
	if err := one.look(); err != nil { // which makes the bundle be in effect
		return err
	}
	time.Sleep(10 * time.Second) // settling
	idle, err := share(cmd.Process.Pid, func() error { time.Sleep(20 * time.Second); return nil })
	if err != nil {
		return err
	}
	one.world.ResetCalls()
	began := time.Now()
	busy, err := share(cmd.Process.Pid, func() error {
		for range looks {
			if err := one.look(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	requests := float64(one.world.Count("s3")) / looks
	cpu := time.Duration((busy - idle) * float64(time.Since(began)) / looks)
	b.row("look at an unchanged channel, requests of S3", fmt.Sprintf("%.2f", requests), "1", requests == 1)
	b.row(fmt.Sprintf("the same, CPU above that of an idle daemon (mean of %d)", looks), ms(cpu), ms(lookCPU), cpu <= lookCPU)
	return nil
}

// share is the share of a core that a process takes while something is done.
func share(pid int, do func() error) (float64, error) {
	_, _, before, err := usage(pid)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	_, _, after, err := usage(pid)
	return float64(after-before) / float64(time.Since(began)), err
}

// publish puts a bundle into the channel.
func (b *bench) publish(key bundle.SecretKey) error {
	var archive bytes.Buffer
	if _, err := bundle.Build(fstest.MapFS{"ecsnode.yaml": {Data: []byte("{}\n")}}, &archive); err != nil {
		return err
	}
	d := bundle.Sum(archive.Bytes())
	sealed, err := bundle.Seal(&bundle.Channel{
		Version: bundle.Version, Name: "stable", Serial: 1, Signed: time.Now().UTC().Truncate(time.Second),
		Stable: bundle.Slot{Digest: d, Size: int64(archive.Len()), Key: bundle.ObjectKey(d)},
	}, key)
	if err != nil {
		return err
	}
	b.world.PutObject("acme-config", bundle.ObjectKey(d), archive.Bytes())
	b.world.PutObject("acme-config", bundle.ChannelKey("stable"), sealed)
	return nil
}

// serveS3 serves S3 at an address of its own, one request a connection.
func (b *bench) serveS3(ctx context.Context) error {
	authority, err := b.world.Authority()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	once := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		b.world.AWS().ServeHTTP(w, r)
	})
	go func() { _ = sim.Serve(ctx, tls.NewListener(l, authority.TLSConfig()), once) }()
	b.env = append(b.env, "AWS_ENDPOINT_URL_S3=https://"+l.Addr().String())
	return nil
}

// look asks the daemon to, as ecsnode bundle pull does, and waits until it has.
func (b *bench) look() error {
	const name = "var/lib/ecsnode/requests/bundle-pull.json"
	before, now := b.world.Count("s3"), time.Now()
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	request := fmt.Sprintf(`{"id": "pull %d", "at": %q}`, now.UnixNano(), now.Format(time.RFC3339Nano))
	if err := os.WriteFile(path+".new", []byte(request), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	for b.world.Count("s3") == before {
		if time.Since(now) > 20*time.Second {
			return fmt.Errorf("the daemon does not look at its channel")
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(250 * time.Millisecond) // longer than the gap between two passes
	return nil
}

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/ecsnode/ecsnode/agent/sim"
)

// run serves until ctx is done or something fails.
func run(ctx context.Context, o options, stdout, stderr io.Writer) error {
	scenario, err := readScenario(o.scenario)
	if err != nil {
		return err
	}
	calls, err := openCallLog(o.callLog, stderr)
	if err != nil {
		return err
	}
	world := sim.New(sim.Options{Seed: o.seed, OnCall: calls.write})
	if err := world.Apply(scenario.State); err != nil {
		return errors.Join(fmt.Errorf("cannot set up the state of %s: %w", o.scenario, err), calls.close())
	}
	err = serve(ctx, o, world, scenario, stdout, slog.New(slog.NewTextHandler(stderr, nil)))
	return errors.Join(err, calls.close())
}

// serve listens, says so, plays the scenario and returns when all has ended.
func serve(ctx context.Context, o options, world *sim.World, scenario sim.Scenario, stdout io.Writer, log *slog.Logger) error {
	endpoints, err := listen(o, world)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	failures := make(chan error, len(endpoints)+2)
	start := func(f func() error) {
		running.Go(func() {
			if err := f(); err != nil {
				failures <- err
				stop()
			}
		})
	}
	for _, e := range endpoints {
		start(func() error { return sim.Serve(ctx, e.listener, e.handler) })
	}
	if err := announce(o, endpoints, stdout); err != nil {
		failures <- err
		stop()
	}
	start(func() error {
		err := world.Play(ctx, scenario, func(s sim.Step) { log.Info("step played", "at", s.At) })
		if ctx.Err() != nil {
			return nil // stopped, not failed
		}
		return err
	})
	<-ctx.Done()
	running.Wait()
	close(failures)
	return <-failures
}

// endpoint is one listener and what it serves.
type endpoint struct {
	part     string // imds, introspection, aws, control; "" for all
	listener net.Listener
	handler  http.Handler
	tls      bool
}

// url is where a client finds the endpoint: an address on all interfaces is
// reached by loopback.
func (e endpoint) url() string {
	scheme := "http://"
	if e.tls {
		scheme = "https://"
	}
	addr := e.listener.Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return fmt.Sprintf("%s127.0.0.1:%d", scheme, addr.Port)
	}
	return scheme + addr.String()
}

// listen opens all listeners or none.
func listen(o options, world *sim.World) ([]endpoint, error) {
	secured, err := prepareTLS(o, world)
	if err != nil {
		return nil, err
	}
	var endpoints []endpoint
	for _, at := range []struct {
		part, addr string
		handler    http.Handler
	}{
		{"", o.listen, world.Handler()},
		{"imds", o.imds, world.IMDS()},
		{"introspection", o.introspection, world.Introspection()},
		{"aws", o.aws, world.AWS()},
		{"control", o.control, world.Control()},
	} {
		if at.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", at.addr)
		if err != nil {
			for _, e := range endpoints {
				_ = e.listener.Close()
			}
			return nil, fmt.Errorf("cannot listen on %s: %w", at.addr, err)
		}
		e := endpoint{part: at.part, listener: l, handler: at.handler}
		if at.part == "aws" && secured != nil {
			e.listener, e.tls = tls.NewListener(l, secured), true
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

// prepareTLS writes the authority's certificate; without --tls there is no
// config.
func prepareTLS(o options, world *sim.World) (*tls.Config, error) {
	if !o.tls {
		return nil, nil
	}
	authority, err := world.Authority()
	if err != nil {
		return nil, err
	}
	if err := renameio.WriteFile(o.caFile, authority.PEM(), 0o644); err != nil {
		return nil, fmt.Errorf("cannot write CA certificate %s: %w", o.caFile, err)
	}
	return authority.TLSConfig(), nil
}

func readScenario(file string) (sim.Scenario, error) {
	if file == "" {
		return sim.Scenario{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return sim.Scenario{}, fmt.Errorf("cannot read scenario: %w", err)
	}
	s, err := sim.ParseScenario(data)
	if err != nil {
		return sim.Scenario{}, fmt.Errorf("cannot parse scenario %s: %w", file, err)
	}
	return s, nil
}

// callLog writes calls as lines of JSON.
type callLog struct {
	mu     sync.Mutex
	out    io.Writer // nil for no log
	closer io.Closer
	err    error // the first
}

func openCallLog(file string, stderr io.Writer) (*callLog, error) {
	switch file {
	case "":
		return &callLog{}, nil
	case "-":
		return &callLog{out: stderr}, nil
	}
	f, err := os.Create(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("cannot open call log: %w", err)
	}
	return &callLog{out: f, closer: f}, nil
}

func (l *callLog) write(c sim.Call) {
	if l.out == nil {
		return
	}
	line, err := json.Marshal(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.out.Write(append(line, '\n'))
	}
	if l.err == nil && err != nil {
		l.err = fmt.Errorf("cannot write call log: %w", err)
	}
}

func (l *callLog) close() error {
	if l.closer != nil {
		return errors.Join(l.err, l.closer.Close())
	}
	return l.err
}

package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ecsnode/ecsnode/agent/host/docker"
)

// execEngine runs what is to be run in a container as processes of this host, in
// sessions of their own as runc does, and answers as Docker Engine 25 does:
// https://docs.docker.com/reference/api/engine/version/v1.44/#tag/Exec
type execEngine struct {
	t    *testing.T
	argv []string
	env  []string
	mu   sync.Mutex // of cmd
	cmd  *exec.Cmd
	done chan struct{}
	gone bool // the container is
}

func (e *execEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.44")
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/_ping"):
		fmt.Fprint(w, "OK")
	case strings.HasSuffix(path, "/containers/c1/exec") && e.gone:
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"message":"container c1 is not running"}`)
	case strings.HasSuffix(path, "/containers/c1/exec"):
		var asked struct {
			Cmd, Env                   []string
			AttachStdout, AttachStderr bool
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || !asked.AttachStdout || !asked.AttachStderr {
			e.t.Errorf("%+v, %v", asked, err)
		}
		e.argv, e.env = asked.Cmd, asked.Env
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"Id":"x1"}`)
	case strings.HasSuffix(path, "/exec/x1/start"):
		_, _ = io.Copy(io.Discard, r.Body)
		e.start(w)
	case strings.HasSuffix(path, "/exec/x1/json"):
		e.mu.Lock()
		defer e.mu.Unlock()
		answer := map[string]any{"ID": "x1", "Running": true, "Pid": e.cmd.Process.Pid}
		select {
		case <-e.done:
			answer["Running"], answer["ExitCode"] = false, e.cmd.ProcessState.ExitCode()
			if ws := e.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
				answer["ExitCode"] = 128 + int(ws.Signal())
			}
		default:
		}
		_ = json.NewEncoder(w).Encode(answer)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (e *execEngine) start(w http.ResponseWriter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		e.t.Error(err)
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	e.cmd = exec.Command(e.argv[0], e.argv[1:]...)
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	e.cmd.Env = append(os.Environ(), e.env...)
	// What the command has left does not keep its output open for long:
	// moby/moby:daemon/monitor.go, handling of the exit of an exec.
	e.cmd.WaitDelay = 200 * time.Millisecond
	out := bufio.NewWriterSize(frames{conn}, 1)
	e.cmd.Stdout, e.cmd.Stderr = out, out
	if err := e.cmd.Start(); err != nil {
		e.t.Error(err)
	}
	go func() {
		_ = e.cmd.Wait()
		close(e.done)
		conn.Close()
	}()
}

// frames are those of an attached stream without a terminal.
type frames struct{ to net.Conn }

func (f frames) Write(p []byte) (int, error) {
	head := [8]byte{0: 1}
	binary.BigEndian.PutUint32(head[4:], uint32(len(p)))
	_, err := f.to.Write(append(head[:], p...))
	return len(p), err
}

func TestACommandInAContainer(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		told   bool // to end, once it has begun
		status int
		left   int
		says   string
	}{
		"ends well":              {"echo in there", false, 0, 0, "in there\n"},
		"ends with a status":     {"echo in there; exit 7", false, 7, 0, "in there\n"},
		"ends well, leaving two": {"sleep 60 >/dev/null 2>&1 & sleep 60 >/dev/null 2>&1 & echo begun", false, 0, 2, "begun\n"},
		"ends with a status, leaving one that has its output":           {"sleep 60 & echo begun; exit 7", false, 7, 1, "begun\n"},
		"ends well, leaving one in a session of its own":                {"setsid sleep 60 >/dev/null 2>&1 & sleep 0.1; echo begun", false, 0, 1, "begun\n"},
		"ends well, leaving one without its environment":                {"env -i sleep 60 >/dev/null 2>&1 & sleep 0.2; echo begun", false, 0, 1, "begun\n"},
		"ends well, leaving one that does not heed its end":             {"(trap '' TERM; while :; do sleep 1; done) >/dev/null 2>&1 & sleep 0.1; echo begun", false, 0, 2, "begun\n"},
		"is told to end, and a process that it waits for with it":       {"echo begun; sleep 60; echo never", true, 143, 0, "begun\n"},
		"is told to end, with one in a session of its own":              {"setsid sleep 60 >/dev/null 2>&1 & sleep 0.1; echo begun; wait", true, 143, 0, "begun\n"},
		"is told to end, with one that does not heed that":              {"(trap '' TERM; while :; do sleep 1; done) >/dev/null 2>&1 & sleep 0.1; echo begun; wait", true, 143, 0, "begun\n"},
		"is told to end, ends in good order, and that is read":          {"trap 'echo bye; exit 5' TERM; echo begun; while :; do :; done", true, 5, 0, "begun\nbye\n"},
		"does not heed its end, and is killed with what it has started": {"trap '' TERM; echo begun; while :; do sleep 60; done", true, 137, 0, "begun\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &execEngine{t: t, done: make(chan struct{})}
			client := execClient(t, e)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out writer
			if c.told {
				out.first = cancel
			}
			status, left, err := client.Exec(ctx, "c1", []string{"/bin/sh", "-c", c.script}, &out, time.Second)
			if status != c.status || err != nil || out.String() != c.says || left < min(c.left, 1) || left > c.left {
				t.Errorf("status %d, %d left, %v, %q", status, left, err, out.String())
			}
			for end := time.Now().Add(5 * time.Second); len(e.lives()) > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) { // what is killed takes a moment
					t.Fatalf("left: %q", e.lives())
				}
			}
		})
	}
}

func TestACommandInAContainerThatDoesNotRun(t *testing.T) {
	status, _, err := execClient(t, &execEngine{t: t, gone: true}).Exec(t.Context(), "c1", []string{"true"}, &writer{}, time.Second)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot run true in container c1: ") || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("status %d, %v", status, err)
	}
}

// lives are the processes of the command that have not ended: those of its session,
// and those with an environment like its own. proc_pid_stat(5)
func (e *execEngine) lives() (all []string) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		e.t.Fatal("no processes: ", err)
	}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "environ"))
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		ended := fields[0] == "Z" || fields[0] == "X"
		if !ended && (fields[3] == strconv.Itoa(e.cmd.Process.Pid) || strings.Contains(string(environ), e.env[0])) {
			all = append(all, string(text))
		}
	}
	return all
}

// writer calls first when it is first written to.
type writer struct {
	bytes.Buffer
	first func()
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.first != nil {
		w.first()
		w.first = nil
	}
	return n, err
}

func execClient(t *testing.T, e *execEngine) *docker.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: e}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	c, err := docker.New(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Package child is what runs inside the unit of a job: it runs the job's command,
// keeps the end of what that writes, and ends what it leaves running.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainTime is how long what a command has left running may hold its output,
// which is read no longer then.
const drainTime = 200 * time.Millisecond

// Exit statuses that are not the command's own, as of a shell.
const (
	cannotRun  = 126
	bySignal   = 128 // and the number of the signal
	pollOthers = 20 * time.Millisecond
)

// Run runs a command until it ends, and returns its exit status. When ctx is done
// the service manager has told it to end, with the whole unit: it is killed if it
// still runs after grace.
func Run(ctx context.Context, argv []string, out *Tail, grace time.Duration) (status int, err error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = drainTime
	if err := cmd.Start(); err != nil {
		return cannotRun, fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	stop := context.AfterFunc(ctx, func() {
		time.Sleep(grace)
		_ = cmd.Process.Kill() // one that has ended is waited for, and not another's yet
	})
	defer stop()
	err = cmd.Wait()
	var ended *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		return 0, nil
	case errors.As(err, &ended) || cmd.ProcessState != nil:
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return bySignal + int(ws.Signal()), nil
		}
		return cmd.ProcessState.ExitCode(), nil
	}
	return cannotRun, fmt.Errorf("cannot wait for %s: %w", argv[0], err)
}

// EndOthers ends the other processes of this one's control group: SIGTERM, unless
// they were told to end already, and SIGKILL after grace. It returns how many
// there were.
func EndOthers(grace time.Duration, told bool) (n int, err error) {
	procs, err := groupFile()
	if err != nil {
		return 0, err
	}
	signal := unix.SIGTERM
	if told {
		signal = 0
	}
	for began := time.Now(); ; time.Sleep(pollOthers) {
		others, err := others(procs)
		if err != nil || len(others) == 0 {
			return n, err
		}
		n = max(n, len(others))
		late := time.Since(began) >= grace
		if late {
			signal = unix.SIGKILL
		}
		for _, pid := range others {
			_ = unix.Kill(pid, signal)
		}
		if !late {
			signal = 0 // they were told
		}
	}
}

func others(procs string) (pids []int, err error) {
	data, err := os.ReadFile(procs)
	if err != nil {
		return nil, fmt.Errorf("cannot tell what was left running: %w", err)
	}
	for line := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// groupFile is the list of processes of the unit: cgroups(7). It must be a job's:
// everything in it is ended.
func groupFile() (string, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot tell what was left running: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(path.Base(parts[2]), "ecsnode-job-") {
			continue
		}
		for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
			if file := path.Join(top, parts[2], "cgroup.procs"); exists(file) {
				return file, nil
			}
		}
	}
	return "", errors.New("cannot tell what was left running: this process is in no unit of a job")
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

package docker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// execMark is a variable in the environment of a command in a container, and so of
// what it begins.
const execMark = "ECSNODE_EXEC"

// begun tells the processes of a command in a container from all others there:
// those that have its mark in their environment, and those of its session, which
// runc gives each command (opencontainers/runc:libcontainer/nsenter/nsexec.c,
// setsid). What clears its environment and begins a session too is not found, and
// lives on in the container.
type begun struct {
	mark   string // "NAME=value"
	pid    int    // of the command, which is its session's; 0: not known
	groups []byte // /proc/PID/cgroup of it, in case that the pid is another's now
}

// is notes which process the command is.
func (b *begun) is(pid int) {
	if groups, err := os.ReadFile(procFile(pid, "cgroup")); err == nil && pid > 1 {
		b.pid, b.groups = pid, groups
	}
}

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// end ends what runs: SIGTERM, and SIGKILL after grace. It returns how many there
// were at once.
func (b *begun) end(grace time.Duration) (n int, err error) {
	grace = max(grace, time.Second)
	told := map[int]bool{}
	for since := time.Now(); ; time.Sleep(execPoll) {
		all, err := b.running()
		if err != nil || len(all) == 0 {
			return n, err
		}
		n = max(n, len(all))
		late := time.Since(since)
		if late > grace+execCall {
			return n, errors.New("it does not end")
		}
		for _, pid := range all {
			if told[pid] && late < grace {
				continue
			}
			signal := unix.SIGTERM
			if late >= grace {
				signal = unix.SIGKILL
			}
			if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
				return n, fmt.Errorf("cannot end process %d: %w", pid, err)
			}
			told[pid] = true
		}
	}
}

// running are the processes that have not ended.
func (b *begun) running() (pids []int, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 1 && b.has(pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func (b *begun) has(pid int) bool {
	environ, err := os.ReadFile(procFile(pid, "environ"))
	if err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+b.mark+"\x00")) {
		return true
	}
	if b.pid == 0 {
		return false
	}
	stat, err := os.ReadFile(procFile(pid, "stat")) // proc_pid_stat(5)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if err != nil || len(fields) < 4 || fields[0] == "Z" || fields[0] == "X" || fields[3] != strconv.Itoa(b.pid) {
		return false
	}
	groups, err := os.ReadFile(procFile(pid, "cgroup"))
	return err == nil && bytes.Equal(groups, b.groups)
}

package files

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// stagedDir is where a text is that is being checked.
const stagedDir = "/run/ecsnode/staged"

// check is a check under way, or that has said no.
type check struct {
	hash string
	ran  bool // a job was started for it
	at   time.Time
	err  error // it said no
}

// Bounds of a check.
const (
	checkTime   = 30 * time.Second
	checkGrace  = 2 * time.Second
	checkMemory = 256 << 20
	checkAgain  = time.Minute // before one that said no is asked again
	checkLook   = 100 * time.Millisecond
)

// check asks the item's own command about a new text. It is a job, and so is its
// answer seen by a later pass.
func (p *pass) check(name string, f File, whole []byte) error {
	if len(f.Check) == 0 || p.Dry {
		return nil
	}
	if p.checks == nil {
		p.checks = map[string]*check{}
	}
	sum := hash([]byte(name + "\x00" + string(whole)))
	job := "check-" + sum[:16]
	staged := path.Join(stagedDir, sum[:16]+"-"+path.Base(name))
	c := p.checks[name]
	if c == nil || c.hash != sum || c.err != nil && time.Since(c.at) >= checkAgain {
		c = &check{hash: sum, at: time.Now()}
		p.checks[name] = c
	}
	if c.err != nil {
		return c.err
	}
	if !c.ran {
		if err := p.stage(staged, whole); err != nil {
			return err
		}
		argv := make([]string, len(f.Check))
		for i, word := range f.Check {
			argv[i] = strings.ReplaceAll(word, "{}", staged)
		}
		err := p.Manager.RunJob(p.ctx, facts.Command{
			Name: job, Argv: argv, Env: []string{"LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
			RuntimeMax: checkTime, Grace: checkGrace, MemoryMax: checkMemory,
		})
		if err != nil {
			return err
		}
		c.ran = true
	}
	state, err := p.Manager.Job(p.ctx, job)
	switch {
	case err != nil:
		return err
	case state.State == facts.JobRunning:
		p.soon(checkLook)
		return duty.WaitingFor("%s: its check", name)
	}
	delete(p.checks, name)
	_ = p.Manager.ForgetJob(p.ctx, job)
	_, _ = p.FS.Remove(staged)
	switch {
	case state.State != facts.JobEnded:
		p.soon(checkLook)
		return duty.WaitingFor("%s: its check: nobody knows how it ended", name)
	case state.Result == "success":
		return nil
	}
	c.at = time.Now()
	c.err = duty.Lasting(fmt.Errorf("cannot change %s: its check says no (%s): %s", name, ending(state), lastLines(state.Output)))
	p.checks[name] = c
	return c.err
}

func (p *pass) stage(staged string, whole []byte) error {
	if _, err := p.FS.MkdirAll(stagedDir, 0o700); err != nil {
		return err
	}
	_, err := p.FS.WriteFile(staged, whole, fsx.How{Mode: 0o600, Volatile: true})
	return err
}

func ending(j facts.Job) string {
	if j.Result == "exit-code" {
		return "exit status " + strconv.Itoa(j.ExitStatus)
	}
	return j.Result
}

// lastLines is the end of what a command said, which is where it names the cause.
func lastLines(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return "it said nothing"
	}
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

package files

import (
	"fmt"
	"maps"
	"path"
	"slices"
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
	job  string
	file string // the text, staged
	used bool   // in this pass
	ran  bool   // a job was started for it
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
	sum := hash([]byte(name + "\x00" + strings.Join(f.Check, "\x00") + "\x00" + string(whole)))
	job := "check-" + sum[:16]
	staged := path.Join(stagedDir, sum[:16]+"-"+path.Base(name))
	c := p.checks[name]
	if c == nil || c.hash != sum || c.err != nil && time.Since(c.at) >= checkAgain {
		p.drop(name)
		c = &check{hash: sum, job: job, file: staged, at: time.Now()}
		p.checks[name] = c
	}
	c.used = true
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
		p.soon(checkLook)
		return duty.WaitingFor("%s: its check", name)
	}
	state, err := p.Manager.Job(p.ctx, job)
	switch {
	case err != nil:
		return err
	case state.State == facts.JobRunning:
		p.soon(max(checkLook, time.Since(c.at)/4)) // what takes long is not looked at all the time
		return duty.WaitingFor("%s: its check", name)
	}
	p.drop(name)
	switch {
	case state.State != facts.JobEnded:
		p.soon(checkLook)
		return duty.WaitingFor("%s: its check: nobody knows how it ended", name)
	case state.Result == "success":
		return nil
	}
	c.at, c.ran, c.used = time.Now(), false, true
	why := state.Why()
	if p.secret[name] {
		why = state.Ending() + ": what it says is not shown: the text has a secret"
	}
	c.err = duty.Lasting(fmt.Errorf("cannot change %s: its check says no: %s", name, why))
	p.checks[name] = c
	return c.err
}

// drop forgets a check and what was made for it.
func (p *pass) drop(name string) {
	if c := p.checks[name]; c != nil && c.ran {
		_ = p.Manager.ForgetJob(p.ctx, c.job)
		_, _ = p.FS.Remove(c.file)
	}
	delete(p.checks, name)
}

// sweep drops the checks that nobody asked for in this pass, and at first what a
// process before this one has left.
func (p *pass) sweep() {
	for name, c := range p.checks {
		if !c.used {
			p.drop(name)
			continue
		}
		c.used = false
	}
	if p.swept {
		return
	}
	p.Duty.swept = true
	entries, err := p.FS.ReadDir(stagedDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		file := path.Join(stagedDir, e.Name())
		if slices.ContainsFunc(slices.Collect(maps.Values(p.checks)), func(c *check) bool { return c.file == file }) {
			continue
		}
		sum, _, _ := strings.Cut(e.Name(), "-")
		_ = p.Manager.ForgetJob(p.ctx, "check-"+sum)
		_, _ = p.FS.Remove(file)
	}
}

func (p *pass) stage(staged string, whole []byte) error {
	if _, err := p.FS.MkdirAll(stagedDir, 0o700); err != nil {
		return err
	}
	_, err := p.FS.WriteFile(staged, whole, fsx.How{Mode: 0o600, Volatile: true})
	return err
}

package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Level is how grave a finding is.
type Level string

// The levels. Only a problem fails a check.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// Finding is one line of what a check has found.
type Finding struct {
	Topic string
	Level Level
	Text  string
}

// Question is what a check goes by, beside files.
type Question struct {
	// Machines of ecsnode and of the image's own programs.
	Program, System elf.Machine
	ProgramErr      error
	// Config are the problems of the configuration, a line for each.
	Config []string
	// Settings are those that files of the node set.
	Settings []Setting
	// Cluster is the setting as it is written.
	Cluster string
	// Bundle says which bundle comes with the image, "" for none; BundleErr is what
	// is wrong with that.
	Bundle    string
	BundleErr error
	// Templates are the files that the configuration reads on every node.
	Templates []string
	// Units is what the verification of the units said; nil: all is well.
	Units error
	// UnitsOff says why they were not verified, or "".
	UnitsOff string
	// Sealed: this is the last look, after the seal.
	Sealed bool
	Items  []Item
	Edits  []Edit
}

// Check looks whether everything is there that a first boot needs, and nothing
// that no image may have.
func Check(files fsx.FS, q Question) []Finding {
	c := checker{files: files}
	c.program(q)
	c.units(q)
	c.config(q)
	c.bundle(q)
	c.agent(q)
	c.secrets(q)
	if q.Sealed {
		c.sealed(q)
	}
	return c.found
}

// Failed reports whether one of the findings is a problem.
func Failed(found []Finding) bool {
	for _, f := range found {
		if f.Level == Problem {
			return true
		}
	}
	return false
}

type checker struct {
	files fsx.FS
	found []Finding
	bad   bool // of the topic at hand
}

func (c *checker) say(topic string, level Level, format string, args ...any) {
	c.bad = c.bad || level == Problem
	c.found = append(c.found, Finding{topic, level, fmt.Sprintf(format, args...)})
}

// done says that a topic is well unless there was a problem with it.
func (c *checker) done(topic, text string) {
	if !c.bad {
		c.say(topic, OK, "%s", text)
	}
	c.bad = false
}

func (c *checker) exists(name string) bool {
	_, err := c.files.Stat(name)
	return err == nil
}

func (c *checker) program(q Question) {
	const topic = "program"
	switch {
	case q.ProgramErr != nil:
		c.say(topic, Problem, "%v", q.ProgramErr)
	case q.Program != q.System:
		c.say(topic, Problem, "/usr/bin/ecsnode is for %v and this image for %v: install the package for it", q.Program, q.System)
	}
	c.done(topic, "/usr/bin/ecsnode is for "+q.Program.String())
}

func (c *checker) units(q Question) {
	const topic = "units"
	for _, unit := range ownUnits {
		switch {
		case !c.exists(path.Join(unitDir, unit)):
			c.say(topic, Problem, "there is no %s: install the package", path.Join(unitDir, unit))
		case masked(c.files, path.Join(adminDir, unit)):
			c.say(topic, Problem, "%s is masked: systemctl unmask %s", unit, unit)
		case !c.exists(path.Join(wantedBy, unit)):
			c.say(topic, Problem, "%s is not enabled: systemctl enable %s", unit, unit)
		}
	}
	for _, name := range dropIns {
		if name := path.Join("/usr/lib/systemd", name); !c.exists(name) {
			c.say(topic, Problem, "there is no %s: install the package", name)
		}
	}
	for _, unit := range others {
		switch {
		case !c.exists(path.Join(unitDir, unit)) && !c.exists(path.Join(adminDir, unit)):
			c.say(topic, Problem, "there is no %s: build from an ECS-optimized image", unit)
		case unit != agentUnit && masked(c.files, path.Join(adminDir, unit)):
			c.say(topic, Problem, "%s is masked: systemctl unmask %s", unit, unit)
		}
	}
	if q.Units != nil {
		c.say(topic, Problem, "%v", q.Units)
	}
	text := "there, enabled and valid"
	if q.UnitsOff != "" {
		text = "there and enabled; not verified: " + q.UnitsOff
	}
	c.done(topic, text)
}

func (c *checker) config(q Question) {
	const topic = "config"
	for _, problem := range q.Config {
		c.say(topic, Problem, "%s", problem)
	}
	if q.Cluster != "" && !strings.Contains(q.Cluster, "{{") {
		c.say(topic, Problem, `cluster is %q, and an image is for every cluster: write '{{ tag "cluster" }}', or '{{ tag "cluster" %q }}' for a default`,
			q.Cluster, q.Cluster)
	}
	for _, name := range q.Templates {
		if info, err := c.files.Stat(name); err != nil {
			c.say(topic, Problem, "%v: the configuration needs it", err)
		} else if info.IsDir() {
			c.say(topic, Problem, "%s is a directory, and the configuration needs a file", name)
		}
	}
	c.done(topic, "valid, for any cluster")
}

func (c *checker) bundle(q Question) {
	const topic = "bundle"
	if q.BundleErr != nil {
		c.say(topic, Problem, "%v", q.BundleErr)
	}
	text := q.Bundle
	if text == "" {
		text = "none comes with the image"
	}
	c.done(topic, text)
}

const (
	ecsConfig = "/etc/ecs/ecs.config"
	agentTar  = "/var/cache/ecs/ecs-agent.tar"
	agentData = "/var/lib/ecs/data"
)

func (c *checker) agent(q Question) {
	const topic = "ecs agent"
	text, err := c.files.ReadFile(ecsConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.say(topic, Problem, "%v", err)
	}
	number, ours := 0, false
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		// The block of ecsnode goes with the seal.
		ours = (ours || strings.HasPrefix(line, "# BEGIN ecsnode")) && !strings.HasPrefix(line, "# END ecsnode")
		if value, ok := strings.CutPrefix(line, "ECS_CLUSTER="); ok && value != "" && !ours {
			c.say(topic, Problem, "%s:%d: ECS_CLUSTER is baked in: every instance would join that cluster; remove the line", ecsConfig, number)
		}
	}
	if !c.exists(agentTar) {
		c.say(topic, Warning, "there is no %s: the first boot has to download the agent", agentTar)
	}
	if entries, err := c.files.ReadDir(agentData); err == nil && len(entries) > 0 && !q.Sealed {
		c.say(topic, Warning, "%s has state of an agent that ran here: the seal removes it", agentData)
	}
	c.done(topic, "no cluster in "+ecsConfig)
}

// sealed looks whether the seal has left anything undone.
func (c *checker) sealed(q Question) {
	const topic, most = "seal", 10
	steps, err := Plan(c.files, q.Items, q.Edits)
	if err != nil {
		c.say(topic, Problem, "%v", err)
	}
	left := 0
	for _, s := range steps {
		if s.Live {
			continue
		}
		if left++; left <= most {
			c.say(topic, Problem, "not sealed: %s", s)
		}
	}
	if left > most {
		c.say(topic, Problem, "not sealed: and %d more", left-most)
	}
	c.done(topic, "nothing of this machine is left; the ECS agent starts")
}

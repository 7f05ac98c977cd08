package drain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// HookDir has a directory for each event, with programs that are run in a drain.
const HookDir = "/etc/ecsnode/hooks"

// Events that hooks are run for.
const (
	onNotice    = "notice"    // a drain has begun, and DRAINING was asked for
	onDrained   = "drained"   // nothing is left
	onUndrained = "undrained" // the node stays after all
)

// Jobs runs programs as units of their own. A job that was not run in this boot
// is facts.JobAbsent.
type Jobs interface {
	RunJob(ctx context.Context, c facts.Command) error
	Job(ctx context.Context, name string) (facts.Job, error)
}

// Bounds of a hook beside its time-out.
const (
	hookMemory = 256 << 20
	hookGrace  = 5 * time.Second // after its SIGTERM
)

// How a hook stands.
const (
	hookRuns = "running"
	hookDone = "done"
)

// hook runs the programs of an event, once in a drain, and notes how those end
// that were run before. Whatever becomes of them, the drain goes on.
func (d *Duty) hook(ctx context.Context, c Config, event string, limit time.Duration) {
	d.reap(ctx, limit)
	if event == "" || d.plan.Told["hooks "+event] {
		return
	}
	mark(&d.plan.Told, "hooks "+event, true)
	left, bounded := d.plan.Left(d.Clock.Now())
	env := []string{"ECSNODE_EVENT=" + event, "ECSNODE_NOTICES=" + strings.Join(d.plan.For, " ")}
	if bounded {
		env = append(env, "ECSNODE_DEADLINE="+d.plan.Deadline.Wall.UTC().Format(time.RFC3339),
			fmt.Sprintf("ECSNODE_SECONDS_LEFT=%d", max(0, int(left.Seconds()))))
	}
	var names []string
	var calls []func(context.Context) (func(), error)
	for _, h := range d.programs(c, event) {
		if why := d.unsafe(h.file, fs.FileMode.IsRegular); why != "" {
			d.note("hook %s is refused: %s", h.name, why)
			continue
		}
		names = append(names, h.name)
		command := facts.Command{
			Name: jobOf(h.name), Argv: []string{h.file}, Env: env, Journal: true,
			RuntimeMax: time.Duration(c.HookTimeout), Grace: hookGrace, MemoryMax: hookMemory,
		}
		calls = append(calls, func(ctx context.Context) (func(), error) { return nil, d.Jobs.RunJob(ctx, command) })
	}
	for n, err := range duty.Together(ctx, limit, calls...) {
		if err != nil {
			d.note("hook %s is not run: %v", names[n], err)
			continue
		}
		mark(&d.plan.Hooks, names[n], hookRuns)
		d.note("hook %s is run", names[n])
	}
}

// program is a hook, by the name that the plan has for it.
type program struct{ name, file string }

// programs lists the hooks of an event: those of the image, and then those of the
// bundle in effect, which take the place of the image's of the same name.
func (d *Duty) programs(c Config, event string) (all []program) {
	for _, of := range []string{HookDir, c.Hooks} {
		dir := path.Join(of, event+".d")
		if of == "" {
			continue
		}
		entries, err := d.FS.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			d.note("hooks of %s are not run: %v", event, err)
			continue
		}
		if why := d.unsafe(dir, fs.FileMode.IsDir); why != "" {
			d.note("hooks of %s are refused: %s.d: %s", event, event, why)
			continue
		}
		for _, e := range entries {
			p := program{event + "/" + e.Name(), path.Join(dir, e.Name())}
			all = slices.DeleteFunc(all, func(o program) bool { return o.name == p.name })
			all = append(all, p)
		}
	}
	return all
}

// reap notes how hooks ended.
func (d *Duty) reap(ctx context.Context, limit time.Duration) {
	var names []string
	var calls []func(context.Context) (func(), error)
	for name, how := range d.plan.Hooks {
		if how != hookRuns {
			continue
		}
		names = append(names, name)
		calls = append(calls, func(ctx context.Context) (func(), error) {
			job, err := d.Jobs.Job(ctx, jobOf(name))
			return func() {
				if err != nil || job.State == facts.JobRunning {
					return
				}
				mark(&d.plan.Hooks, name, hookDone)
				switch {
				case job.State != facts.JobEnded:
					d.note("hook %s: nobody knows how it ended", name)
				case job.Result != "success":
					d.note("hook %s failed: %s, exit status %d", name, job.Result, job.ExitStatus)
				}
			}, err
		})
	}
	if len(names) > 0 {
		duty.Together(ctx, limit, calls...)
	}
}

// unsafe says why a file must not be run with the rights of root, or a directory
// not be trusted to have such files; or "".
func (d *Duty) unsafe(file string, is func(fs.FileMode) bool) string {
	info, err := d.FS.Stat(file)
	if err != nil {
		return err.Error()
	}
	root, err := d.FS.Stat("/")
	if err != nil {
		return err.Error()
	}
	owner, known := fsx.OwnerOf(info)
	rootOwner, _ := fsx.OwnerOf(root)
	switch {
	case !is(info.Mode()):
		return "it is no regular file or directory"
	case !known || owner.UID != rootOwner.UID:
		return "it does not belong to root"
	case info.Mode().Perm()&0o022 != 0:
		return "others than root may write it"
	case info.Mode().Perm()&0o100 == 0:
		return "it is not executable"
	}
	return ""
}

// jobOf is the name of the job of a hook, of which a unit's name is made.
func jobOf(hook string) string {
	return "hook-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return '-'
	}, hook)
}

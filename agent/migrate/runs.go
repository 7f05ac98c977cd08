package migrate

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/pattern"
)

// maxScript bounds the scripts that are looked into. An interpreter or a binary
// is larger, and hostile text makes the parser use much memory.
const maxScript = 64 << 10

// verdict is what is known of a command.
type verdict struct {
	runs     bool   // it runs ansible, for certain
	via      string // the script or the unit by which it does
	mentions bool   // its text speaks of ansible
}

// finder tells what runs ansible. It looks into the scripts that a command names,
// into what these call, and so on.
type finder struct {
	files fsx.FS
	units map[string]bool // services that run ansible
	seen  map[script]verdict
}

// script is one that is looked into, and how many led there.
type script struct {
	name  string
	depth int
}

const (
	deepest  = 3   // scripts that call one another
	mostSeen = 500 // scripts in all
)

// scope is where a command of a shell runs.
type scope struct {
	dir  string
	vars map[string]string // whose values are known
}

func (s *scope) copy() *scope { return &scope{s.dir, maps.Clone(s.vars)} }

func (s *scope) set(name, value string) {
	if s.vars == nil {
		s.vars = map[string]string{}
	}
	s.vars[name] = value
}

var (
	programs = []string{"ansible", "ansible-playbook", "ansible-pull", "ansible-runner"}
	shells   = []string{"sh", "bash", "dash", "ash", "ksh", "zsh"}
	// carriers run the command that stands behind their own arguments.
	carriers = []string{
		"sudo", "doas", "env", "nice", "ionice", "timeout", "flock", "chronic", "cronic", "setsid", "nohup", "time", "systemd-run", "systemd-cat",
		"run-one", "xargs", "exec", "command", "su", "runuser", "stdbuf", "unshare", "chrt", "taskset", "cpulimit", "python", "python2", "python3",
	}
	binaries = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"}

	speaks     = pattern.New(`(?i)ansible`)
	shebang    = pattern.New(`^#![ \t]*(\S+)(?:[ \t]+(.*))?`)
	notRunning = []string{"-v", "-V"} // of "command": it only looks
)

// command judges a command of a shell.
func (f *finder) command(text string) verdict { return f.judge(text, &scope{dir: "/"}, 0) }

// judge judges shell text. Scripts are looked into up to a depth.
func (f *finder) judge(text string, in *scope, depth int) verdict {
	v := verdict{mentions: speaks.MatchString(text)}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil || len(text) > maxScript {
		return v
	}
	return v.or(f.node(file, in.copy(), depth))
}

func (v verdict) or(o verdict) verdict {
	if o.runs && !v.runs {
		v.runs, v.via = true, o.via
	}
	v.mentions = v.mentions || o.mentions
	return v
}

// node judges every command below a node of a script, in their order.
func (f *finder) node(n syntax.Node, in *scope, depth int) (v verdict) {
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DeclClause: // export NAME=VALUE
			in.assign(n.Args)
		case *syntax.CallExpr:
			args := in.words(n)
			if len(args) == 0 {
				in.assign(n.Assigns)
				return true
			}
			if args[0] == "cd" && len(args) == 2 {
				in.dir = join(in.dir, args[1])
			}
			v = v.or(f.call(args, in, depth))
		}
		return true
	})
	return v
}

func join(dir, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

func (s *scope) assign(all []*syntax.Assign) {
	for _, a := range all {
		if a.Name != nil && a.Value != nil && !a.Append {
			s.set(a.Name.Value, s.literal(a.Value))
		}
	}
}

// words are those of a command, with its name.
func (s *scope) words(call *syntax.CallExpr) (args []string) {
	for _, w := range call.Args {
		text := s.literal(w)
		if len(w.Parts) == 1 {
			if _, bare := w.Parts[0].(*syntax.ParamExp); bare { // a shell splits it
				args = append(args, strings.Fields(text)...)
				continue
			}
		}
		args = append(args, text)
	}
	return args
}

// literal is a word without its quotes. What a shell would put in, and is not
// known, is a "$", which no name of a program has.
func (s *scope) literal(w *syntax.Word) string {
	var b strings.Builder
	var add func(parts []syntax.WordPart)
	add = func(parts []syntax.WordPart) {
		for _, p := range parts {
			switch p := p.(type) {
			case *syntax.Lit:
				b.WriteString(unescape(p.Value))
			case *syntax.SglQuoted:
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				add(p.Parts)
			case *syntax.ParamExp:
				value, known := s.vars[p.Param.Value]
				if !known || p.Exp != nil || p.Slice != nil || p.Repl != nil || p.Index != nil || p.Length || p.Excl {
					value = "$"
				}
				b.WriteString(value)
			case *syntax.CmdSubst:
				b.WriteString(s.which(p))
			default:
				b.WriteByte('$')
			}
		}
	}
	add(w.Parts)
	return b.String()
}

// which is the program that $(which NAME) or $(command -v NAME) finds.
func (s *scope) which(c *syntax.CmdSubst) string {
	if len(c.Stmts) == 1 {
		if call, ok := c.Stmts[0].Cmd.(*syntax.CallExpr); ok {
			args := s.words(call)
			if len(args) == 2 && args[0] == "which" || len(args) == 3 && args[0] == "command" && args[1] == "-v" {
				return args[len(args)-1]
			}
		}
	}
	return "$"
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOne(name string, of []string) bool { return slices.Contains(of, name) }

// call judges one command by its words.
func (f *finder) call(args []string, in *scope, depth int) verdict {
	name := path.Base(args[0])
	switch {
	case isOne(name, programs):
		return verdict{runs: true}
	case name == "command" && len(args) > 1 && isOne(args[1], notRunning):
		return verdict{}
	case name == "." || name == "source":
		return f.script(args[1:], in, depth)
	case name == "systemctl":
		return f.systemctl(args[1:])
	case isOne(name, shells), name == "su", name == "runuser", name == "flock":
		for i, a := range args[1:] {
			if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.HasSuffix(a, "c") && i+2 < len(args) && depth < 3 {
				if v := f.judge(args[i+2], in, depth); v.runs || isOne(name, shells) {
					return v
				}
				break // it may be an option of the command that is carried
			}
		}
		if isOne(name, shells) {
			return f.script(args[1:], in, depth)
		}
	}
	if !isOne(name, carriers) {
		return f.script(args, in, depth)
	}
	for i, a := range args[1:] {
		base := path.Base(a)
		if isOne(base, programs) && (a == base || isOne(path.Base(path.Dir(a)), []string{"bin", "sbin"})) {
			return verdict{runs: true}
		}
		if a == "-m" && isOne(name, []string{"python", "python3"}) && i+2 < len(args) && strings.HasPrefix(args[i+2], "ansible") {
			return verdict{runs: true}
		}
		if isOne(base, shells) || isOne(base, carriers) || base == "systemctl" {
			return f.call(args[i+1:], in, depth)
		}
	}
	for _, a := range args[1:] {
		if path.IsAbs(a) || strings.HasPrefix(a, "./") {
			if v := f.script([]string{a}, in, depth); v.runs || v.mentions {
				return v
			}
		}
	}
	return verdict{}
}

// systemctl judges what a unit that is started does.
func (f *finder) systemctl(args []string) verdict {
	starts := false
	for _, a := range args {
		unit := a
		if !strings.Contains(unit, ".") {
			unit += ".service"
		}
		switch {
		case isOne(a, []string{"start", "restart", "reload-or-restart", "try-restart"}):
			starts = true
		case starts && f.units[unit]:
			return verdict{runs: true, via: unit}
		}
	}
	return verdict{}
}

// script looks into the script that the first word which is no option names.
func (f *finder) script(args []string, in *scope, depth int) verdict {
	i := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })
	if i < 0 || depth >= deepest || strings.Contains(args[i], "$") || args[i] == "" {
		return verdict{}
	}
	var places []string
	switch name := args[i]; {
	case strings.Contains(name, "/"):
		places = []string{join(in.dir, name)}
	default:
		for _, d := range append(strings.Split(in.vars["PATH"], ":"), binaries...) {
			if path.IsAbs(d) {
				places = append(places, path.Join(d, name))
			}
		}
		if i > 0 || len(args) == 1 { // sh NAME
			places = append(places, path.Join(in.dir, name))
		}
	}
	for _, p := range places {
		if v, known := f.seen[script{p, depth}]; known {
			return v
		}
		if text, ok := f.read(p); ok {
			return f.program(p, text, in, depth)
		}
	}
	return verdict{}
}

// program judges one that is text, once.
func (f *finder) program(name, text string, in *scope, depth int) verdict {
	if len(f.seen) >= mostSeen {
		return verdict{mentions: speaks.MatchString(text)}
	}
	if f.seen == nil {
		f.seen = map[script]verdict{}
	}
	v := f.judgeScript(text, in, depth+1)
	if v.runs {
		v.via = name
	}
	f.seen[script{name, depth}] = v
	return v
}

// judgeScript judges a program that is text.
func (f *finder) judgeScript(text string, in *scope, depth int) verdict {
	switch by := interpreter(text); {
	case isOne(by, programs):
		return verdict{runs: true}
	case by != "" && !isOne(by, shells):
		return verdict{mentions: speaks.MatchString(text)}
	}
	return f.judge(text, &scope{dir: "/", vars: in.vars}, depth)
}

// interpreter is the name of the program that a script asks for, or "".
func interpreter(text string) string {
	m := shebang.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	by := path.Base(m[1])
	if arguments := strings.Fields(m[2]); by == "env" && len(arguments) > 0 {
		by = path.Base(arguments[len(arguments)-1])
	}
	return by
}

// read returns the text of a small regular file.
func (f *finder) read(name string) (text string, ok bool) {
	info, err := f.files.Stat(name)
	if err != nil || info.Size() > maxScript {
		return "", false
	}
	leads, err := leadsTo(f.files, name, info)
	if err != nil {
		return "", false
	}
	data, err := f.files.ReadFile(cmp.Or(leads, name))
	if err != nil || len(data) > maxScript || strings.Contains(string(data), "\x00") {
		return "", false
	}
	return string(data), true
}

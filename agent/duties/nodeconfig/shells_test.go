package nodeconfig_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ecsnode/ecsnode/agent/duties/nodeconfig"
)

// shell is one way in which a container may read the file.
type shell struct {
	argv   []string
	locale string
}

func (s shell) String() string { return strings.Join(s.argv, " ") + ", " + s.locale }

var shells = []shell{
	{[]string{"dash"}, "C"},
	{[]string{"bash"}, "C"},
	{[]string{"bash"}, "C.UTF-8"},
	{[]string{"bash", "--posix"}, "C.UTF-8"},
	{[]string{"busybox", "sh"}, "C.UTF-8"},
}

// needShell skips, or with CI=true fails, where the shell is not installed.
func needShell(t *testing.T, s shell) {
	t.Helper()
	if _, err := exec.LookPath(s.argv[0]); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs %s: %v", s.argv[0], err)
		}
		t.Skipf("needs %s: %v", s.argv[0], err)
	}
}

// source sources body as a script under "set -eu" does and returns what the
// variables of these names then hold. Whatever else happens fails the test:
// output, and a file that was not there.
func (s shell) source(t *testing.T, body []byte, names []string) map[string]string {
	t.Helper()
	script := "set -eu\n. ./0\nprintf '%s\\0' end"
	for _, name := range names {
		script += ` "$` + name + `"`
	}
	out, listing := s.run(t, script, []string{string(body)})
	if len(listing) != 1 {
		t.Fatalf("%s: sourcing the file made another: %v", s, listing)
	}
	got := strings.Split(out, "\x00")
	if len(got) != len(names)+2 || got[0] != "end" || got[len(got)-1] != "" {
		t.Fatalf("%s: %d variables gave %q", s, len(names), got)
	}
	m := map[string]string{}
	for i, name := range names {
		m[name] = got[i+1]
	}
	return m
}

// run runs a script beside files called 0, 1, 2 and so on, and returns its
// output and the names of the files that are there afterwards.
func (s shell) run(t *testing.T, script string, files []string) (out string, listing []string) {
	t.Helper()
	dir := t.TempDir()
	for i, body := range files {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(s.argv[0], slices.Concat(s.argv[1:], []string{"-s"})...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "LC_ALL="+s.locale)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s\nsourcing\n%.4000q", s, err, stderr.String(), files)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		listing = append(listing, e.Name())
	}
	return stdout.String(), listing
}

// hostile are values that mean something to a shell, or to a careless quoter.
// All that could run makes a file called canary.
var hostile = []string{
	"", " ", "'", "''", "'''", `"`, `\`, `\\`, `'\''`, `\'`, `"'"`, "`", "$", "#", "!", "!!", "~", "~root", "*", "?", "[a]", "{a,b}", "-n", "-e", "--", "=", "A=B",
	"$(touch canary)", "`touch canary`", "'$(touch canary)'", "'; touch canary; '", "\"; touch canary; \"", "\ntouch canary\n", "x\n;touch canary", "&touch canary&", "|touch canary",
	">canary", "<(touch canary)", "$((`touch canary`))", "${x:=$(touch canary)}", "${x:-`touch canary`}", "$'\\ntouch canary\\n'", "\\\ntouch canary", "#\ntouch canary", "'\ntouch canary #'",
	"\r", "\r\n", "a\r\nb", "\n", "\n\n", "a\n", "\t", "\v\f\b\a", "\x1b[31m", "\x01", "\x7f", "\x1f",
	`\0`, `\x00`, `\000`, `\u0000`, "%00", "$'\\0'", `\c`, `\n`, "%s%s%n", "%",
	"größe", "日本語", "😀", "👩‍👩‍👧", "\u202e", "\u2028", "\u00a0", "\ufeff", "\uE00D", "\uE080\uE0FF", "\U0010ffff", "\ufffd",
	"\xff", "\xc3", "\xc3'", "\xe2\x82", "\xf0\x9f\x98", "\x80\x81\x82\x83\x84\x85\x86\x87\x88", "\x81'\x82", "\xed\xa0\x80", "\xc0\x80", "\xbf\\", "\x85", "\xa0",
	strings.Repeat("'", 256), strings.Repeat("\\", 256), strings.Repeat("😀", 256), strings.Repeat("\xff", 256), strings.Repeat("a'\n", 85),
}

func TestShellsGiveHostileValuesBack(t *testing.T) {
	t.Parallel()
	tags := map[string]string{}
	for i, v := range hostile {
		tags[fmt.Sprintf("hostile %d/%s", i, "ä$('`\"\n;")] = v
	}
	sourced(t, tags)
}

// sourced checks that every shell gives back every tag's value.
func sourced(t *testing.T, tags map[string]string) {
	t.Helper()
	r := mustRender(t, file(func(f *nodeconfig.File) { f.Tags.Include = []string{"*"} }), inputs(tags))
	want := values(r)
	if wrote := len(r.Variables) - 16; wrote != len(tags) {
		t.Fatalf("%d tags became %d variables", len(tags), wrote)
	}
	for _, s := range shells {
		t.Run(s.String(), func(t *testing.T) {
			needShell(t, s)
			for name, got := range s.source(t, r.Body, names(r)) {
				if got != want[name] {
					t.Errorf("%s = %q, want %q", name, got, want[name])
				}
			}
		})
	}
}

func names(r nodeconfig.Rendered) []string {
	var all []string
	for _, v := range r.Variables {
		all = append(all, v.Name)
	}
	return all
}

// TestAnyFiftyTags is the property that the file is for: whatever fifty tags
// hold, every shell gives it back byte for byte, and runs nothing.
func TestAnyFiftyTags(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			tags := map[string]string{}
			for i := range 50 {
				// The number keeps the variables' names apart.
				tags[fmt.Sprint(anyText(rnd, 100), i)] = anyText(rnd, 256)
			}
			sourced(t, tags)
		})
	}
}

// anyText returns at most so many characters, without a NUL: hostile pieces,
// characters and bytes, in any order.
func anyText(rnd *rand.Rand, atMost int) string {
	var b strings.Builder
	left := rnd.IntN(atMost + 1)
	for left > 0 {
		piece := hostile[rnd.IntN(len(hostile))]
		switch rnd.IntN(4) {
		case 0:
			piece = string([]byte{byte(1 + rnd.IntN(255))})
		case 1:
			piece = string(rune(1 + rnd.IntN(utf8.MaxRune)))
		}
		for piece != "" && left > 0 {
			_, size := utf8.DecodeRuneInString(piece)
			b.WriteString(piece[:size])
			piece = piece[size:]
			left--
		}
	}
	return b.String()
}

// TestNamesThatShellsOwnAreRefused asks the shells which variables they set by
// themselves and whether these can hold a value. Those that cannot must be
// names that no value and no tag may have.
func TestNamesThatShellsOwnAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range shells {
		t.Run(s.String(), func(t *testing.T) {
			needShell(t, s)
			ask := func(script string) (string, error) {
				cmd := exec.Command(s.argv[0], append(s.argv[1:], "-c", script)...)
				cmd.Dir = t.TempDir()
				cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
				out, err := cmd.Output() // bash warns of a bad LC_ALL, but keeps it
				return string(out), err
			}
			script := `set | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'`
			if s.argv[0] == "bash" {
				script = "compgen -v"
			}
			out, err := ask(script)
			if err != nil {
				t.Fatal(err, out)
			}
			own := append(strings.Fields(out), "OPTARG", "OPTIND", "RANDOM", "SECONDS", "LINENO", "PPID", "UID", "EPOCHSECONDS", "EPOCHREALTIME", "FUNCNAME", "HISTSIZE", "TERM", "MAIL")
			for _, name := range own {
				out, err := ask(fmt.Sprintf("%s='a b'\nprintf %%s \"$%s\"", name, name))
				taken := err == nil && out == "a b"
				f := file(func(f *nodeconfig.File) { f.Values[name] = value("a b", nodeconfig.Fail, "") })
				if _, err := nodeconfig.Render(f, "X=1", inputs(nil)); !taken && (err == nil || !strings.Contains(err.Error(), "belongs to the shells")) {
					t.Errorf("%s cannot hold a value (%q), but is no refused name: %v", name, out, err)
				}
			}
		})
	}
}

// TestWhatIsTakenForLiteralIsLiteral builds files as an operator's template
// might yield them. Those that the check takes must mean to every shell what
// the check took them for, and run nothing.
func TestWhatIsTakenForLiteralIsLiteral(t *testing.T) {
	t.Parallel()
	const seed, files = 1, 500
	rnd := rand.New(rand.NewPCG(seed, 0))
	var script strings.Builder
	var bodies, want []string
	for tried := 0; len(bodies) < files; tried++ {
		if tried > 100*files {
			t.Fatalf("seed %d: only %d of %d files are literal", seed, len(bodies), tried)
		}
		body := anyShellFile(rnd)
		vars, ok := nodeconfig.Literal(body)
		if !ok {
			continue
		}
		fmt.Fprintf(&script, "(set -eu; . ./%d; printf '%%s\\0' begin", len(bodies))
		all := "begin\x00"
		for _, v := range vars {
			fmt.Fprintf(&script, ` "$%s"`, v.Name)
			all += v.Value + "\x00"
		}
		script.WriteString(")\n")
		bodies, want = append(bodies, body), append(want, all)
	}
	for _, s := range shells {
		t.Run(s.String(), func(t *testing.T) {
			needShell(t, s)
			out, listing := s.run(t, script.String(), bodies)
			got := strings.SplitAfter(out, "begin\x00")[1:]
			if len(got) != len(want) || len(listing) != len(bodies) {
				t.Fatalf("seed %d: %d files gave %d answers and left %d files", seed, len(bodies), len(got), len(listing))
			}
			for i := range want {
				if got := "begin\x00" + strings.TrimSuffix(got[i], "begin\x00"); got != want[i] {
					t.Errorf("seed %d: %q gave %q, was taken for %q", seed, bodies[i], got, want[i])
				}
			}
		})
	}
}

// anyShellFile returns a file of assignments, and sometimes of nearly that.
func anyShellFile(rnd *rand.Rand) string {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	text := func(n int) string {
		var b strings.Builder
		for range rnd.IntN(n) {
			b.WriteString(pick("a", "B", "1", "_", ".", "/", ":", ",", "+", "@", "%", "=", "-", "\\", "\\\\", "\n", "\r", "\r\n", " ", "\t", "#", "'", `"`, "$", "`", "~",
				"*", "!", "&", ";", "|", "<", ">", "(", ")", "{", "}", "é", "😀", "\xff", "\x81", "\x7f", "\x01", "\\\n", "$(touch canary)", "`touch canary`"))
		}
		return b.String()
	}
	var b strings.Builder
	for i := range 1 + rnd.IntN(4) {
		b.WriteString(pick("", "", "export ", "readonly ", "# "+text(4)+"\n", " ", "\n"))
		fmt.Fprintf(&b, "V%d=", i)
		for range rnd.IntN(4) {
			switch rnd.IntN(8) {
			case 0:
				b.WriteString(text(3))
			case 1, 2:
				b.WriteString("'" + strings.ReplaceAll(text(6), "'", `'\''`) + "'")
			case 3, 4:
				b.WriteString(`"` + strings.NewReplacer(`"`, `\"`, "$", `\$`, "`", "\\`").Replace(text(6)) + `"`)
			case 5:
				b.WriteString(`"` + text(3) + `"`)
			case 6:
				b.WriteString("\\" + pick("a", " ", "'", `"`, "$", "`", "~", "\n", "\r", "\\", "#"))
			case 7:
				b.WriteString(pick("abc", "x-1", "/a/b", "a=b"))
			}
		}
		b.WriteString(pick("\n", "\n", "\n", "; ", ";", " ", " # "+text(4)+"\n", "\r\n"))
	}
	file := b.String()
	if at := rnd.IntN(2 * len(file)); at < len(file) { // spoil one byte
		file = file[:at] + pick("", "\\", "\n", "'", `"`, "#", "=", ";", " ", "\r", "\x7f", "\x81", "$", "&") + file[at+1:]
	}
	return file
}

package ecsconfig

import (
	"fmt"
	"strings"
	"testing"
)

func listed(found []assignment) string {
	var b strings.Builder
	for _, a := range found {
		fmt.Fprintf(&b, "%d-%d %s=%q\n", a.from, a.to, a.key, a.value)
	}
	return b.String()
}

// What systemd takes was seen with systemd 252, whose environment.d generator
// reads with the same function. It gives no line numbers, and no variable
// without a value.
func TestEachReaderTakesItsOwnView(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, ecsInit, systemd string }{
		"plain":              {"A=1\nB=x=y\n", "1-1 A=\"1\"\n2-2 B=\"x=y\"\n", "1-1 A=\"1\"\n2-2 B=\"x=y\"\n"},
		"no final newline":   {"A=1", "1-1 A=\"1\"\n", "1-1 A=\"1\"\n"},
		"no value":           {"A=\n", "1-1 A=\"\"\n", "1-1 A=\"\"\n"},
		"no assignment":      {"A\n\n  \n", "", ""},
		"DOS line ends":      {"A=1\r\nB=2\r\n", "1-1 A=\"1\"\n2-2 B=\"2\"\n", "1-1 A=\"1\"\n2-2 B=\"2\"\n"},
		"a lone CR":          {"A=1\rB=2\n", "1-1 A=\"1\\rB=2\"\n", "1-1 A=\"1\"\n1-1 B=\"2\"\n"},
		"a comment":          {"# A=1\n;B=2\n", "1-1 # A=\"1\"\n2-2 ;B=\"2\"\n", ""},
		"export":             {"export A=1\n", "1-1 export A=\"1\"\n", ""},
		"spaces round it":    {" A = 1 \n", "1-1 A =\" 1\"\n", "1-1 A=\"1\"\n"},
		"spaces within":      {"A=1  2\n", "1-1 A=\"1  2\"\n", "1-1 A=\"1  2\"\n"},
		"a no-break space":   {"A=\u00a0x\u00a0\n", "1-1 A=\"\\u00a0x\"\n", "1-1 A=\"\\u00a0x\\u00a0\"\n"},
		"quotes":             {"A=\"1\"\nB='2'\n", "1-1 A=\"\\\"1\\\"\"\n2-2 B=\"'2'\"\n", "1-1 A=\"1\"\n2-2 B=\"2\"\n"},
		"quotes and more":    {"A=\"x\"y 'z'\n", "1-1 A=\"\\\"x\\\"y 'z'\"\n", "1-1 A=\"xy 'z'\"\n"},
		"quotes within":      {"A={\"a\":\"b c\"}\n", "1-1 A=\"{\\\"a\\\":\\\"b c\\\"}\"\n", "1-1 A=\"{\\\"a\\\":\\\"b c\\\"}\"\n"},
		"an open quote":      {"A=\"x\nB=2\nC=3\"\nD=4\n", "1-1 A=\"\\\"x\"\n2-2 B=\"2\"\n3-3 C=\"3\\\"\"\n4-4 D=\"4\"\n", "1-3 A=\"x\\nB=2\\nC=3\"\n4-4 D=\"4\"\n"},
		"an open quote only": {"A='x\nB=2\n", "1-1 A=\"'x\"\n2-2 B=\"2\"\n", "1-3 A=\"x\\nB=2\\n\"\n"},
		"escapes in quotes":  {"A=\"a\\\"b\\x\\\\\\\nc\"\n", "1-1 A=\"\\\"a\\\\\\\"b\\\\x\\\\\\\\\\\\\"\n", "1-2 A=\"a\\\"b\\\\x\\\\c\"\n"},
		"a backslash":        {"A=a\\b\\ \n", "1-1 A=\"a\\\\b\\\\\"\n", "1-1 A=\"ab \"\n"},
		"a continued line":   {"A=1 \\\nB=2\nC=3\n", "1-1 A=\"1 \\\\\"\n2-2 B=\"2\"\n3-3 C=\"3\"\n", "1-2 A=\"1 B=2\"\n3-3 C=\"3\"\n"},
		"a backslash at EOF": {"A=1\\", "1-1 A=\"1\\\\\"\n", "1-1 A=\"1\"\n"},
		"the last one":       {"A=1\nA=2\n", "1-1 A=\"1\"\n2-2 A=\"2\"\n", "1-1 A=\"1\"\n2-2 A=\"2\"\n"},
		"a bad comment":      {"# \xff\nA=1\n", "2-2 A=\"1\"\n", "2-2 A=\"1\"\n"},
		"a key of digits":    {"1A=1\n=x=2\n", "1-1 1A=\"1\"\n2-2 =\"x=2\"\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range readers() {
				found, err := r.read([]byte(c.in))
				want := c.systemd
				if r.name == "ecs-init" {
					want = c.ecsInit
				}
				if got := listed(found); err != nil || got != want {
					t.Errorf("%s takes\n%s%v, want\n%s", r.name, got, err, want)
				}
			}
		})
	}
}

func TestACommentThatEndsInABackslash(t *testing.T) {
	t.Parallel()
	in := []byte("# it\\\nA=1\nB=2\n")
	for _, c := range []struct {
		joins bool
		want  string
	}{{false, "2-2 A=\"1\"\n3-3 B=\"2\"\n"}, {true, "3-3 B=\"2\"\n"}} {
		found, err := readSystemd(in, c.joins)
		if got := listed(found); err != nil || got != c.want {
			t.Errorf("joinComments %v: %s%v, want %s", c.joins, got, err, c.want)
		}
	}
}

func TestWhatMakesSystemdIgnoreTheFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		line int
	}{
		"NUL":              {"A=1\n#\x00\n", 2},
		"not UTF-8":        {"A=1\nB=2\nC=\xff\n", 3},
		"not UTF-8 key":    {"\xff=1\n", 1},
		"a noncharacter":   {"A=1\nB=\uffff\nC=1\n", 2},
		"another":          {"B=\ufdd0", 1},
		"at the very end":  {"A='\xff", 1},
		"a joined comment": {"#\n\nA=\U0010ffff\n", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readSystemd([]byte(c.in), true)
			if err == nil || err.line != c.line {
				t.Errorf("err = %#v, want line %d", err, c.line)
			}
			if _, err := readECSInit([]byte(c.in)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                              "",
		"web":                           "",
		`{"a":"b c","d":"e"}`:           "",
		"x=y # z ; 'q' \"q\"":           "",
		"größe \u2028 日本":               "",
		"$(reboot) `reboot` ${HOME}":    "",
		" x":                            "white space",
		"x\t":                           "control character U+0009",
		"x\u00a0":                       "white space",
		"\u2003x":                       "white space",
		"\u3000":                        "white space",
		"a\nb":                          "control character U+000A",
		"a\rb":                          "control character U+000D",
		"a\x00b":                        "control character U+0000",
		"a\x7fb":                        "control character U+007F",
		"a\u0085b":                      "control character U+0085",
		"a\\b":                          "backslash",
		`"x"`:                           "quote",
		"'x":                            "quote",
		"\xff":                          "UTF-8",
		"\ufffe":                        "UTF-8",
		strings.Repeat("x", maxValue):   "",
		strings.Repeat("x", maxValue+1): "65537 bytes",
	} {
		err := checkWritable(value)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want one with %q", value, err, want)
		}
	}
}

// Whatever checkWritable lets through comes out of every reader as it is.
func FuzzWritable(f *testing.F) {
	for _, seed := range []string{"web", "", "a b", "#x", "x#", "=", "x=", "\u00a0", "é", "\\", "'", "x'y\"z", "\ufeff", "\u1680", "\u200b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if checkWritable(value) != nil {
			return
		}
		for _, r := range readers() {
			for _, around := range []string{"\n", "\r\n", ""} {
				got, err := r.read([]byte("ECS_A=" + value + around))
				if err != nil || len(got) != 1 || got[0].key != "ECS_A" || got[0].value != value {
					t.Errorf("%s takes %v, %v from %q", r.name, got, err, value)
				}
			}
		}
	})
}

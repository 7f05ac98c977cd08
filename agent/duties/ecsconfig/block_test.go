package ecsconfig

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var ours = []setting{{clusterKey, "web"}, {attributesKey, `{"environment":"prod","lifecycle":"spot"}`}, {"ECS_LOGLEVEL", "debug"}}

func mustParse(t testing.TB, file []byte) contents {
	t.Helper()
	c, err := parse(file)
	if err != nil {
		t.Fatalf("parse of %q: %v", file, err)
	}
	return c
}

// mustRead checks, by nothing but the readers, that each takes our settings
// and what it takes from the outside alone.
func mustRead(t testing.TB, file, outside []byte, settings []setting) {
	t.Helper()
	for _, r := range readers() {
		got, err := r.read(file)
		if err != nil {
			t.Fatalf("%s ignores the file: %v\n%q", r.name, err, file)
		}
		want, err := r.read(outside)
		if err != nil {
			t.Fatalf("%s ignores the outside: %v\n%q", r.name, err, outside)
		}
		last := map[string]string{}
		for _, a := range want {
			last[a.key] = a.value
		}
		for _, s := range settings {
			last[s.key] = s.value
		}
		taken := map[string]string{}
		for _, a := range got {
			taken[a.key] = a.value
		}
		if fmt.Sprint(taken) != fmt.Sprint(last) {
			t.Fatalf("%s takes %q, want %q, from\n%q", r.name, taken, last, file)
		}
	}
}

// checkPlace puts the block into file, twice, takes it out again, and lets
// somebody append to it.
func checkPlace(t testing.TB, file, appended []byte, settings []setting) {
	t.Helper()
	now, err := parse(file)
	if err != nil {
		return // another test's matter
	}
	next, err := now.place(settings)
	if err != nil {
		if !strings.HasPrefix(err.Error(), "line ") {
			t.Fatalf("no line: %v", err)
		}
		return
	}
	mustRead(t, next.bytes(), now.outside(), settings)

	again := mustParse(t, next.bytes())
	if second, err := again.place(settings); err != nil || !bytes.Equal(second.bytes(), next.bytes()) {
		t.Fatalf("a second pass changes\n%q into\n%q, %v", next.bytes(), second.bytes(), err)
	}
	if !bytes.Equal(again.outside(), now.outside()) {
		t.Fatalf("outside was %q and is %q", now.outside(), again.outside())
	}
	if removed, err := again.place(nil); err != nil || !bytes.Equal(removed.bytes(), now.outside()) {
		t.Fatalf("without the block %q, was %q", removed.bytes(), now.outside())
	}

	longer, err := parse(slices.Concat(next.bytes(), appended))
	if err != nil {
		return
	}
	if then, err := longer.place(settings); err == nil {
		mustRead(t, then.bytes(), longer.outside(), settings)
		if !bytes.HasSuffix(longer.outside(), appended) || !bytes.HasPrefix(longer.outside(), now.outside()) {
			t.Fatalf("outside is %q, want %q and %q", longer.outside(), now.outside(), appended)
		}
	}
}

// pieces are what hurts in a file of this kind.
var pieces = []string{
	"A", "ECS_CLUSTER", "ECS_LOGLEVEL", "=", "=", "\n", "\n", "\n", "\r\n", "\r", " ", "\t", "'", "\"", "\\", "\\\n", "#", ";",
	"x", "é", "\u00a0", "\x00", "\xff", "\uffff", "export ", "ECS_CLUSTER=dev\n", "ECS_CLUSTER = dev\n", "ECS_CLUSTER=\"dev\"\n",
	"# a comment\n", "# goes on \\\n", "ECS_ENGINE_AUTH_DATA={\"https://example.com\":{}}\n", "B='open\n", "C=\"open\n", "D=on\\\n", "\n\n",
}

func randomText(r *rand.Rand) []byte {
	var b bytes.Buffer
	for range r.IntN(12) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.Bytes()
}

func TestTheOutsideIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	const seed = 7
	r := rand.New(rand.NewPCG(seed, seed))
	for range 1_500 {
		checkPlace(t, randomText(r), randomText(r), ours[:1+r.IntN(len(ours))])
	}
}

func FuzzBlock(f *testing.F) {
	for _, p := range pieces {
		f.Add([]byte(p), []byte(p), "web")
		f.Add([]byte("A=1\n"+p), []byte(p), p)
	}
	f.Add([]byte(beginLine+endLine+"ECS_CLUSTER=x"), []byte(beginLine), "x")
	f.Add([]byte("A=1\n"+beginLine+breakLine+endLine), []byte(endLine), "x")
	f.Fuzz(func(t *testing.T, file, appended []byte, value string) {
		settings := slices.Clone(ours)
		if checkWritable(value) == nil {
			settings = append(settings, setting{"ECS_VALUE", value})
		}
		checkPlace(t, file, appended, settings)
	})
}

func TestWhereTheBlockGoes(t *testing.T) {
	t.Parallel()
	one := []setting{{clusterKey, "web"}}
	old := beginLine + "ECS_CLUSTER=old\nECS_GONE=1\n" + endLine
	block := beginLine + "ECS_CLUSTER=web\n" + endLine
	broken := beginLine + breakLine + "ECS_CLUSTER=web\n" + endLine
	for name, c := range map[string]struct{ in, want string }{
		"no file":                           {"", block},
		"at the end":                        {"A=1\n", "A=1\n" + block},
		"after a line without an end":       {"A=1", "A=1\n" + broken},
		"after an empty line":               {"A=1\n\n", "A=1\n\n" + block},
		"where it was":                      {"A=1\n" + old + "B=2\n", "A=1\n" + block + "B=2\n"},
		"where it was, with the same bytes": {"A=1\n" + block + "B=2", "A=1\n" + block + "B=2"},
		"behind what would overrule it":     {"A=1\n" + old + "ECS_CLUSTER=dev\n", "A=1\nECS_CLUSTER=dev\n" + block},
		"behind a form one reader takes":    {old + "ECS_CLUSTER = dev", "ECS_CLUSTER = dev\n" + broken},
		"not behind a form none takes":      {old + "export ECS_CLUSTER=dev\n#ECS_CLUSTER=x\n", block + "export ECS_CLUSTER=dev\n#ECS_CLUSTER=x\n"},
		"not behind other keys":             {old + "ECS_GONE=2\n", block + "ECS_GONE=2\n"},
		"in DOS form before":                {"A=1\r\n" + strings.ReplaceAll(old, "\n", "\r\n"), "A=1\r\n" + block},
		"an end line without an end":        {"A=1\n" + strings.TrimSuffix(old, "\n"), "A=1\n" + block},
		"our line break stays ours":         {"A=1\n" + beginLine + breakLine + endLine, "A=1\n" + broken},
		"a line break others build on":      {"A=1\n" + beginLine + breakLine + endLine + "B=2\nECS_CLUSTER=x\n", "A=1\nB=2\nECS_CLUSTER=x\n" + block},
		"other words in the first line":     {beginMark + " of an older version\n" + endMark + ": yes\n", block},
		"a comment before it goes on":       {"#\\\n" + old + "B=2\n", "#\\\nB=2\n" + block},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, err := mustParse(t, []byte(c.in)).place(one)
			if err != nil || string(next.bytes()) != c.want {
				t.Errorf("got\n%s%v\nwant\n%s", next.bytes(), err, c.want)
			}
		})
	}
}

func TestWithoutSettingsThereIsNoBlock(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                    "",
		"A=1":                                 "A=1",
		"A=1\n" + beginLine + endLine + "B=2": "A=1\nB=2",
		"A=1\n" + beginLine + breakLine + endLine: "A=1",
		"B='open\n": "B='open\n",
	} {
		next, err := mustParse(t, []byte(in)).place(nil)
		if err != nil || string(next.bytes()) != want {
			t.Errorf("%q became %q, %v; want %q", in, next.bytes(), err, want)
		}
	}
}

func TestDamagedMarkersNameTheLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"no END":           {"A=1\n" + beginLine + "ECS_CLUSTER=x\n", `line 2: "# BEGIN ecsnode" without "# END ecsnode" after it`},
		"no BEGIN":         {"A=1\n\nB=1\n" + endLine, `line 4: "# END ecsnode" without "# BEGIN ecsnode" before it`},
		"END before BEGIN": {endLine + beginLine, `line 1: "# END ecsnode" without`},
		"two blocks":       {beginLine + endLine + "A=1\n" + beginLine + endLine, `line 4: a second "# BEGIN ecsnode", after that of line 1`},
		"two BEGIN":        {"\n" + beginLine + "A=1\n" + beginLine + endLine, `line 4: a second "# BEGIN ecsnode", after that of line 2`},
		"two END":          {beginLine + endLine + endLine, `line 3: "# END ecsnode" without`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse([]byte(c.in))
			var damaged *markerError
			if !errors.As(err, &damaged) || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("err = %v, want %s", err, c.want)
			}
		})
	}
}

func TestWhatIsNoMarker(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"# BEGIN ecsnodes\n", "# END ecsnode-agent\n", "A=# BEGIN ecsnode\n", "# begin ecsnode\n", "## BEGIN ecsnode\n", "x\r# BEGIN ecsnode\n"} {
		if c := mustParse(t, []byte(in)); c.block != nil {
			t.Errorf("%q is taken for a block", in)
		}
	}
}

func TestABrokenOutsideNamesTheLine(t *testing.T) {
	t.Parallel()
	block := beginLine + "ECS_CLUSTER=old\nECS_MORE=1\n" + endLine // 4 lines
	for name, c := range map[string]struct{ in, want string }{
		"a continued last line":        {"A=1\nFOO=bar\\\n", "line 2: systemd reads the value of FOO on beyond the end of its line"},
		"the same without its end":     {"A=1\nFOO=bar\\", "line 2: systemd reads the value of FOO on"},
		"an open double quote":         {"A=1\nFOO=\"bar\nB=1\n", "line 2: systemd reads the value of FOO on"},
		"an open single quote":         {"FOO='\n\n\n", "line 1: systemd reads the value of FOO on"},
		"behind the block":             {"A=1\n" + block + "B=1\nFOO='x\nECS_CLUSTER=y\n", "line 7: systemd reads the value of FOO on"},
		"a NUL":                        {"A=1\n\x00", "line 2: there is a NUL byte, and systemd ignores a file with that"},
		"behind the block, not UTF-8":  {block + "A=1\n\nB=\xff\n", "line 7: there is text that is not valid UTF-8"},
		"in what only old systemd has": {"# \\\nFOO='x\n", "line 2: systemd reads the value of FOO on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := mustParse(t, []byte(c.in)).place(ours)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("err = %v, want %s", err, c.want)
			}
		})
	}
	// Behind the block an open quote harms nobody as long as the block may stay.
	in := block + "FOO='x\n"
	next, err := mustParse(t, []byte(in)).place(ours)
	if err != nil {
		t.Fatal(err)
	}
	mustRead(t, next.bytes(), []byte("FOO='x\n"), ours)
}

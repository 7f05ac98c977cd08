package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOverlayChanges(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{
		"etc/changed": "old\n", "etc/mode": "same\n", "etc/removed": "gone\n", "etc/undone": "old\n", "etc/dir/": "",
		"etc/sub/kept": "", "run": "->etc",
	})
	before := snapshot(t, root)
	o := NewOverlay(openRoot(t, root))
	steps := []func() (bool, error){
		func() (bool, error) { return o.WriteFile("/etc/changed", []byte("new\n"), How{}) },
		func() (bool, error) { return o.WriteFile("/etc/mode", []byte("same\n"), How{Mode: 0o600}) },
		func() (bool, error) { return o.Remove("/etc/removed") },
		func() (bool, error) { return o.WriteFile("/etc/undone", []byte("new\n"), How{}) },
		func() (bool, error) { return o.WriteFile("/etc/undone", []byte("old\n"), How{}) },
		func() (bool, error) { return o.MkdirAll("/etc/dir/new", 0o700) },
		func() (bool, error) { return o.WriteFile("/etc/dir/new/file", []byte("made\n"), How{Mode: 0o640}) },
		func() (bool, error) { return o.WriteFile("/run/brief", nil, How{}) },
		func() (bool, error) { return o.Remove("/etc/brief") },
		func() (bool, error) { return o.WriteFile("/run/by-link", []byte("made\n"), How{}) },
		func() (bool, error) { return o.Remove("/run") },
	}
	for i, step := range steps {
		if changed, err := step(); !changed || err != nil {
			t.Errorf("step %d = %v, %v; want a change", i, changed, err)
		}
	}
	me := self()
	want := []Change{
		{Name: "/etc/by-link", ModeAfter: 0o600, OwnerAfter: me, After: []byte("made\n")},
		{Name: "/etc/changed", Existed: true, ModeBefore: 0o644, ModeAfter: 0o644, OwnerBefore: me, OwnerAfter: me, Before: []byte("old\n"), After: []byte("new\n")},
		{Name: "/etc/dir/new", ModeAfter: fs.ModeDir | 0o700, OwnerAfter: me},
		{Name: "/etc/dir/new/file", ModeAfter: 0o640, OwnerAfter: me, After: []byte("made\n")},
		{Name: "/etc/mode", Existed: true, ModeBefore: 0o644, ModeAfter: 0o600, OwnerBefore: me, OwnerAfter: me, Before: []byte("same\n"), After: []byte("same\n")},
		{Name: "/etc/removed", Existed: true, Removed: true, ModeBefore: 0o644, OwnerBefore: me, Before: []byte("gone\n")},
		{Name: "/run", Existed: true, Removed: true, ModeBefore: fs.ModeSymlink | 0o777, OwnerBefore: me, Before: []byte("etc")},
	}
	if diff := cmp.Diff(want, o.Changes()); diff != "" {
		t.Errorf("Changes (-want +got):\n%s", diff)
	}
	sameTree(t, before, snapshot(t, root))
}

func TestOverlayKeepsNoGripOnTheCallersBytes(t *testing.T) {
	t.Parallel()
	o := NewOverlay(openRoot(t, t.TempDir()))
	data := []byte("content")
	if _, err := o.WriteFile("/file", data, How{}); err != nil {
		t.Fatal(err)
	}
	copy(data, "XXXXXXX")
	read, err := o.ReadFile("/file")
	if err != nil {
		t.Fatal(err)
	}
	copy(read, "YYYYYYY")
	copy(o.Changes()[0].After, "ZZZZZZZ")
	if read, err := o.ReadFile("/file"); err != nil || string(read) != "content" {
		t.Errorf("ReadFile = %q, %v", read, err)
	}
}

func TestOverlayOfAFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"large": strings.Repeat("x", MaxRead+1)})
	o := NewOverlay(openRoot(t, root))
	if changed, err := o.Chmod("/large", 0o600); !changed || err != nil {
		t.Fatalf("Chmod = %v, %v; want a change", changed, err)
	}
	if _, err := o.ReadFile("/large"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("ReadFile = %v; want ErrTooLarge", err)
	}
	if info, err := o.Stat("/large"); err != nil || info.Size() != MaxRead+1 || info.Mode() != 0o600 {
		t.Errorf("Stat = %v, %v", info, err)
	}
	if _, err := o.WriteFile("/large", nil, How{}); err != nil {
		t.Fatal(err)
	}
	want := []Change{{Name: "/large", Existed: true, ModeBefore: 0o644, ModeAfter: 0o600, OwnerBefore: self(), OwnerAfter: self()}}
	if diff := cmp.Diff(want, o.Changes()); diff != "" {
		t.Errorf("Changes (-want +got):\n%s", diff)
	}
}

func TestOverlayOverAnOverlay(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"file": "disk", "link": "->file", "out": "->/etc"})
	lower := NewOverlay(openRoot(t, root))
	if _, err := lower.WriteFile("/file", []byte("lower"), How{}); err != nil {
		t.Fatal(err)
	}
	upper := NewOverlay(lower)
	if changed, err := upper.WriteFile("/file", []byte("lower"), How{}); changed || err != nil {
		t.Errorf("WriteFile = %v, %v; want no change", changed, err)
	}
	if _, err := upper.WriteFile("/file", []byte("upper"), How{}); err != nil {
		t.Fatal(err)
	}
	for want, fsys := range map[string]FS{"lower": lower, "upper": upper} {
		if data, err := fsys.ReadFile("/link"); err != nil || string(data) != want {
			t.Errorf("ReadFile = %q, %v; want %s", data, err, want)
		}
		_, err := fsys.ReadFile("/out/hostname")
		wantError(t, root, err, "cannot read /out/hostname (under ROOT): a symbolic link leads outside of the root")
	}
}

// twin is one of two equal nodes; names within its root get prefix.
type twin struct {
	FS
	root, prefix string
}

func (w twin) name(name string) string {
	if name == "relative" {
		return name
	}
	return w.prefix + name
}

// text is err without what tells the twins apart.
func (w twin) text(err error) string {
	if err == nil {
		return "no error"
	}
	return strings.ReplaceAll(err.Error(), filepath.Dir(w.root), "TWIN")
}

// twinFiles has every kind of file and link that a name may lead through. Nine
// links are one more than os.Root follows.
func twinFiles(t *testing.T, absolute string) string {
	t.Helper()
	files := map[string]string{
		"d/e/": "", "d/f": "in d", "f": "at the top", "full/x": "", "full/y": "", "pipe": "FIFO",
		"l": "->d", "d/up": "->../f", "lf": "->f", "deep": "->d/e/../up", "slash": "->./d/", "dangling": "->absent",
		"loop": "->loop", "out": "->../outside", "through": "->f/x", "climbs": "->d/../../tree/d",
	}
	for i := range 9 {
		files[fmt.Sprint("chain", i)] = fmt.Sprint("->chain", i+1)
	}
	files["chain9"] = "->d"
	inTree := map[string]string{"outside/": "", "outside/o": "outside"}
	for name, content := range files {
		inTree["tree/"+name] = content
	}
	root := filepath.Join(tree(t, inTree), "tree")
	target := "/d"
	if absolute == "/" {
		target = root + "/d"
	}
	if err := os.Symlink(target, filepath.Join(root, "abs")); err != nil {
		t.Fatal(err)
	}
	return root
}

// twinNames are the names that operations pick from and that are compared.
func twinNames() []string {
	firsts := []string{
		"", "/d", "/f", "/full", "/pipe", "/l", "/lf", "/deep", "/slash", "/dangling", "/loop", "/out", "/through",
		"/climbs", "/abs", "/chain0", "/chain1", "/chain2", "/chain3", "/new", "/absent", "/d/e", "/d/up", "/new/e",
	}
	names := []string{"relative", "/../d/f", "/d/./e"}
	for _, first := range firsts {
		for _, second := range []string{"", "/f", "/x", "/e", "/o", "/new"} {
			names = append(names, first+second)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// operation is one change with its arguments drawn from rnd.
func operation(rnd *rand.Rand, names []string) (what string, do func(twin) (bool, error)) {
	pick := func(of ...fs.FileMode) fs.FileMode { return of[rnd.IntN(len(of))] }
	name := names[rnd.IntN(len(names))]
	switch rnd.IntN(10) {
	case 0, 1, 2, 3:
		data := []string{"", "one", "two", "in d"}[rnd.IntN(4)]
		how := How{Mode: pick(0, 0, 0o600, 0o644, 0o4755), Volatile: rnd.IntN(2) == 0}
		if os.Geteuid() == 0 && rnd.IntN(3) == 0 {
			how.Owner = &Owner{rnd.IntN(3) - 1, rnd.IntN(3) - 1}
		}
		return fmt.Sprintf("WriteFile(%s, %q, %v)", name, data, how),
			func(w twin) (bool, error) { return w.WriteFile(w.name(name), []byte(data), how) }
	case 4, 5:
		perm := pick(0o755, 0o700, fs.ModeSticky|0o777)
		return fmt.Sprintf("MkdirAll(%s, %v)", name, perm),
			func(w twin) (bool, error) { return w.MkdirAll(w.name(name), perm) }
	case 6:
		perm := pick(0o755, 0o711, 0o700)
		return fmt.Sprintf("Chmod(%s, %v)", name, perm),
			func(w twin) (bool, error) { return w.Chmod(w.name(name), perm) }
	default:
		return fmt.Sprintf("Remove(%s)", name),
			func(w twin) (bool, error) { return w.Remove(w.name(name)) }
	}
}

// look is all that can be read of a name, errors included.
func look(w twin, name string) string {
	var b strings.Builder
	name = w.name(name)
	data, err := w.ReadFile(name)
	fmt.Fprintf(&b, "%q %s\n", data, w.text(err))
	info, err := w.Stat(name)
	fmt.Fprintln(&b, w.text(err))
	if err == nil {
		fmt.Fprintln(&b, info.Name() == filepath.Base(name) || name == "/", info.Mode(), attrsOf(info).owner)
		if info.Mode().IsRegular() {
			fmt.Fprintln(&b, info.Size())
		}
	}
	entries, err := w.ReadDir(name)
	fmt.Fprintln(&b, w.text(err))
	for _, e := range entries {
		fmt.Fprintln(&b, e.Name(), e.Type(), e.IsDir())
	}
	return b.String()
}

// TestOverlayIsLikeDisk does the same random operations to a Disk and to an
// Overlay over an equal one and compares every answer, then every read, and in
// the end what Changes says with what the Disk became.
func TestOverlayIsLikeDisk(t *testing.T) {
	t.Parallel()
	const sequences, length = 12, 48
	names := twinNames()
	for _, absolute := range []string{"/", "any directory"} {
		for seed := range uint64(sequences) {
			t.Run(fmt.Sprintf("root %s, seed %d", absolute, seed), func(t *testing.T) {
				t.Parallel()
				done, dry := twin{root: twinFiles(t, absolute)}, twin{root: twinFiles(t, absolute)}
				before := snapshot(t, dry.root)
				var o *Overlay
				if absolute == "/" {
					done.FS, done.prefix = openRoot(t, "/"), done.root
					o, dry.prefix = NewOverlay(openRoot(t, "/")), dry.root
				} else {
					done.FS, o = openRoot(t, done.root), NewOverlay(openRoot(t, dry.root))
				}
				dry.FS = o
				compareTwins(t, rand.New(rand.NewPCG(seed, 0)), length, names, done, dry)
				sameTree(t, before, snapshot(t, dry.root))
				compareChanges(t, before, snapshot(t, done.root), o.Changes(), dry)
			})
		}
	}
}

// lookEvery is how many operations lie between two comparisons of every read.
const lookEvery = 8

func compareTwins(t *testing.T, rnd *rand.Rand, length int, names []string, done, dry twin) {
	t.Helper()
	var history []string
	for i := range length {
		what, do := operation(rnd, names)
		history = append(history, what)
		wantChanged, wantErr := do(done)
		gotChanged, gotErr := do(dry)
		if gotChanged != wantChanged || dry.text(gotErr) != done.text(wantErr) {
			t.Fatalf("Overlay: %v, %s\nDisk: %v, %s\nafter %s", gotChanged, dry.text(gotErr), wantChanged, done.text(wantErr),
				strings.Join(history, "\n"))
		}
		if (i+1)%lookEvery != 0 {
			continue
		}
		for _, name := range names {
			if want, got := look(done, name), look(dry, name); got != want {
				t.Fatalf("%s reads differently (-Disk +Overlay):\n%s\nafter %s", name, cmp.Diff(want, got), strings.Join(history, "\n"))
			}
		}
	}
}

// compareChanges holds changes against the difference between two snapshots.
func compareChanges(t *testing.T, before, after map[string]seen, changes []Change, dry twin) {
	t.Helper()
	var want []string
	for name := range maps.Keys(before) {
		if before[name] != after[name] {
			want = append(want, name)
		}
	}
	for name := range maps.Keys(after) {
		if _, existed := before[name]; !existed {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	var got []string
	for _, c := range changes {
		name, inside := strings.CutPrefix(c.Name, dry.prefix)
		if !inside { // what a link out of the tree led to is in no snapshot
			continue
		}
		got = append(got, name)
		was, existed := before[name]
		is, exists := after[name]
		if c.Existed != existed || c.Removed == exists || c.ModeBefore != was.mode || c.ModeAfter != is.mode ||
			c.OwnerBefore != was.owner || c.OwnerAfter != is.owner ||
			was.mode.IsRegular() && string(c.Before) != was.data || is.mode.IsRegular() && string(c.After) != is.data {
			t.Errorf("change %+v; it was %+v and is %+v", c, was, is)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed names (-Disk +Changes):\n%s", diff)
	}
}

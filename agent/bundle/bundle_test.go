package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/zstd"
)

// example is the tree of a bundle.
func example() fstest.MapFS {
	return fstest.MapFS{
		"ecsnode.yaml":       {Data: []byte("hold: ''\n"), Mode: 0o640, ModTime: time.Unix(1e9, 0)},
		"templates/motd":     {Data: []byte("{{ node \"region\" }}\n"), Mode: 0o600},
		"files/a/b.conf":     {Data: []byte("x = 1\n"), Mode: 0o666},
		"files/tool":         {Data: []byte("#!/bin/sh\n"), Mode: 0o700},
		"hooks/notice.d/10":  {Data: []byte("#!/bin/sh\n"), Mode: fs.ModeSetuid | 0o755},
		"README.md":          {Data: []byte("not part of it")},
		".git/config":        {Data: []byte("nor this")},
		"files/empty/ignore": {Mode: fs.ModeDir | 0o755},
	}
}

func built(t testing.TB, tree fs.FS) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Build(tree, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// shuffled lists directories in another order each time, and every file with
// another time.
type shuffled struct{ fstest.MapFS }

func (s shuffled) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := s.MapFS.ReadDir(name)
	rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	return entries, err
}

func TestABundleIsTheSameBytesWhereverItIsBuilt(t *testing.T) {
	t.Parallel()
	first := built(t, example())
	for i := range 20 {
		tree := example()
		for name, f := range tree {
			f.ModTime = time.Unix(int64(i)*1000, 5)
			if name == "files/a/b.conf" {
				f.Mode = []fs.FileMode{0o600, 0o644, 0o660}[i%3]
			}
		}
		if !bytes.Equal(built(t, shuffled{tree}), first) {
			t.Fatal("other bytes")
		}
	}
	// The digest is what nodes have: a release of a library that packs in another
	// way is to be noticed.
	const want = "1f90f95dfaf7"
	if d := Sum(first); d.Short() != want {
		t.Errorf("the example's digest is %s now", d.Short())
	}
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	leftOut, err := Build(example(), &b)
	if err != nil || !slices.Equal(leftOut, []string{".git", "README.md"}) {
		t.Errorf("left out %q, %v", leftOut, err)
	}
	tree, err := Read(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(slices.Sorted(maps.Keys(tree)))
	if got != "[ecsnode.yaml files/a/b.conf files/tool hooks/notice.d/10 templates/motd]" {
		t.Error(got)
	}
	for name, f := range tree {
		want := fs.FileMode(0o644)
		if name == "files/tool" || strings.HasPrefix(name, "hooks/") {
			want = 0o755
		}
		if f.Mode != want || !bytes.Equal(f.Data, example()[name].Data) {
			t.Errorf("%s: %v %q", name, f.Mode, f.Data)
		}
	}
}

func TestWhatNoNodeWouldUnpackIsNotPacked(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(tree fstest.MapFS)
		says   string
	}{
		"no settings":          {func(tree fstest.MapFS) { delete(tree, ConfigFile) }, "it has no ecsnode.yaml"},
		"a symbolic link":      {func(tree fstest.MapFS) { tree["files/l"] = &fstest.MapFile{Mode: fs.ModeSymlink} }, "files/l: only regular files"},
		"a link for a part":    {func(tree fstest.MapFS) { tree["hooks"] = &fstest.MapFile{Mode: fs.ModeSymlink} }, "hooks: only regular files"},
		"a pipe":               {func(tree fstest.MapFS) { tree["files/p"] = &fstest.MapFile{Mode: fs.ModeNamedPipe} }, "files/p: only regular files"},
		"a large file":         {func(tree fstest.MapFS) { tree["files/l"] = &fstest.MapFile{Data: make([]byte, MaxFile+1)} }, "files/l: expected"},
		"too many":             {func(tree fstest.MapFS) { addFiles(tree, MaxEntries) }, "expected 2000 files at most"},
		"a bomb":               {func(tree fstest.MapFS) { tree["files/z"] = &fstest.MapFile{Data: make([]byte, MaxFile)} }, "it unpacks to more"},
		"names that look same": {func(tree fstest.MapFS) { tree["files/TOOL"] = &fstest.MapFile{} }, `"files/tool" is there twice`},
		"another alphabet":     {func(tree fstest.MapFS) { tree["files/tооl"] = &fstest.MapFile{} }, "printable ASCII"},
		"a file for a folder":  {func(tree fstest.MapFS) { tree = without(tree, "hooks"); tree["hooks"] = &fstest.MapFile{} }, "nothing else"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := example()
			tc.change(tree)
			var b bytes.Buffer
			_, err := Build(tree, &b)
			if err == nil || !strings.HasPrefix(err.Error(), "cannot pack the bundle: ") || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %s", err, tc.says)
			}
			if b.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
}

func without(tree fstest.MapFS, dir string) fstest.MapFS {
	maps.DeleteFunc(tree, func(name string, _ *fstest.MapFile) bool { return strings.HasPrefix(name, dir+"/") })
	return tree
}

func addFiles(tree fstest.MapFS, n int) {
	for i := range n {
		tree[fmt.Sprintf("files/many/%04d", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "file %d", i)}
	}
}

// member is an entry of a hand-made archive.
type member struct {
	tar.Header
	data string
}

func regular(name, data string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, data}
}

func of(kind byte, name, to string) member {
	return member{tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o755}, ""}
}

// archive packs members with gzip.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, m := range members {
		m.Size = int64(len(m.data))
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var settings = regular("ecsnode.yaml", "hold: ''\n")

func TestArchivesThatOthersMadeAreTakenToo(t *testing.T) {
	t.Parallel()
	tree, err := Read(archive(t,
		of(tar.TypeDir, "./", ""), regular("./ecsnode.yaml", "a: 1\n"), of(tar.TypeDir, "./files/", ""), of(tar.TypeDir, "files/x", ""),
		regular("./files/x/y", "text"), of(tar.TypeDir, "hooks", ""),
	))
	if err != nil || len(tree) != 2 || string(tree["files/x/y"].Data) != "text" {
		t.Errorf("%v, %v", tree, err)
	}
}

func TestHostileArchivesAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a/", 20)
	withMode := regular("hooks/x", "")
	withMode.Mode = 0o4755
	for name, tc := range map[string]struct {
		members []member
		says    string
	}{
		"traversal":                   {[]member{settings, regular("files/../../../etc/passwd", "")}, "without . and .."},
		"traversal at the top":        {[]member{settings, regular("../x", "")}, "without . and .."},
		"an absolute name":            {[]member{settings, regular("/etc/passwd", "")}, "without . and .."},
		"twice a dot":                 {[]member{settings, regular("././files/x", "")}, "without . and .."},
		"two slashes":                 {[]member{settings, regular("files//x", "")}, "without . and .."},
		"a symbolic link":             {[]member{settings, of(tar.TypeSymlink, "files/x", "/etc")}, "neither a file nor a directory"},
		"a symbolic link inside":      {[]member{settings, of(tar.TypeSymlink, "files/x", "y")}, "neither a file nor a directory"},
		"a hard link":                 {[]member{settings, of(tar.TypeLink, "files/x", "ecsnode.yaml")}, "neither a file nor a directory"},
		"a character device":          {[]member{settings, of(tar.TypeChar, "files/x", "")}, "neither a file nor a directory"},
		"a block device":              {[]member{settings, of(tar.TypeBlock, "files/x", "")}, "neither a file nor a directory"},
		"a pipe":                      {[]member{settings, of(tar.TypeFifo, "files/x", "")}, "neither a file nor a directory"},
		"setuid":                      {[]member{settings, withMode}, "setuid"},
		"the same twice":              {[]member{settings, settings}, "is there twice"},
		"the same in other case":      {[]member{settings, regular("files/a", ""), regular("files/A", "")}, "is there twice"},
		"a folder in other case":      {[]member{settings, regular("files/a", ""), regular("files/A/b", "")}, "is below a file"},
		"below a file":                {[]member{settings, regular("files/a", ""), regular("files/a/b", "")}, "is below a file"},
		"a file over a folder":        {[]member{settings, regular("files/a/b", ""), regular("files/a", "")}, "is there twice"},
		"something else at the top":   {[]member{settings, regular("keys", "")}, "nothing else"},
		"a top in other case":         {[]member{settings, regular("Files/x", "")}, "nothing else"},
		"a folder of settings":        {[]member{settings, regular("ecsnode.yaml.d/x", "")}, "nothing else"},
		"settings that are a folder":  {[]member{of(tar.TypeDir, "ecsnode.yaml/", "")}, "nothing else"},
		"no settings":                 {[]member{regular("files/x", "")}, "it has no ecsnode.yaml"},
		"nothing":                     {nil, "it has no ecsnode.yaml"},
		"a deep name":                 {[]member{settings, regular("files/"+long+"x", "")}, "too long"},
		"a long name":                 {[]member{settings, regular("files/"+strings.Repeat("x", 201), "")}, "too long"},
		"signs that a terminal obeys": {[]member{settings, regular("files/\x1b[2J", "")}, "printable ASCII"},
		"a large file":                {[]member{settings, regular("files/x", strings.Repeat("x", MaxFile+1))}, "larger than"},
		"a bomb in one file":          {[]member{settings, regular("files/x", strings.Repeat("x", 2<<20))}, "unpacks to more"},
		"a bomb of many files":        {append(many(MaxEntries+1), settings), "it unpacks to more|more than 2000 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packed := archive(t, tc.members...)
			if tree, err := Read(packed); !saysOneOf(err, tc.says) || tree != nil {
				t.Errorf("got %v, %v, want %s", tree, err, tc.says)
			}
			s, dir := store(t)
			if _, err := s.Add(Sum(packed), int64(len(packed)), bytes.NewReader(packed)); !saysOneOf(err, tc.says) {
				t.Errorf("got %v, want %s", err, tc.says)
			}
			if left := list(t, dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func saysOneOf(err error, texts string) bool {
	return err != nil && slices.ContainsFunc(strings.Split(texts, "|"), func(text string) bool { return strings.Contains(err.Error(), text) })
}

func many(n int) (all []member) {
	for i := range n {
		all = append(all, regular(fmt.Sprintf("files/%d", i), ""))
	}
	return all
}

func TestAGigabyteOfNothingIsNotUnpacked(t *testing.T) {
	t.Parallel()
	for name, compress := range map[string]func(w io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) },
		"zstd": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		},
	} {
		packed := func(data []byte) []byte {
			var b bytes.Buffer
			z, err := compress(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		// Both allow that what was packed apart is put together.
		zeros := packed(make([]byte, MaxFile))
		var b bytes.Buffer
		for i := range 256 {
			var header bytes.Buffer
			if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("files/%d", i), Mode: 0o644, Size: MaxFile}); err != nil {
				t.Fatal(err)
			}
			b.Write(packed(header.Bytes()))
			b.Write(zeros)
		}
		var read int64
		err := walkArchive(bytes.NewReader(b.Bytes()), int64(b.Len()), func(_ entry, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			read += n
			return err
		})
		if !saysOneOf(err, "it unpacks to more") || read > MaxUnpacked {
			t.Errorf("%s: %d of %d bytes were unpacked: %v", name, read, b.Len(), err)
		}
	}
}

func TestDamagedArchivesAreRefused(t *testing.T) {
	t.Parallel()
	for name, packed := range map[string][]byte{"zstd": built(t, example()), "gzip": archive(t, settings, regular("files/x", "some text"))} {
		for n := range len(packed) {
			if _, err := Read(packed[:n]); err == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for a bundle", name, n, len(packed))
			}
		}
	}
	if _, err := Read([]byte("PK\x03\x04")); !saysOneOf(err, "neither a tar.zst nor a tar.gz") {
		t.Error(err)
	}
}

// TestNothingStandsBehindTheEnd: what one program reads of an archive another one
// reads too.
func TestNothingStandsBehindTheEnd(t *testing.T) {
	t.Parallel()
	plain := func(members ...member) []byte {
		z, err := gzip.NewReader(bytes.NewReader(archive(t, members...)))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, tc := range map[string]struct {
		behind []byte
		says   string
	}{
		"zeros, as tar writes": {make([]byte, 9<<10), ""},
		"another archive":      {plain(regular("files/x", "y")), "behind its end"},
		"a word":               {append(make([]byte, 700), "x"...), "behind its end"},
	} {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(append(plain(settings), tc.behind...)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(b.Bytes()); (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzUnpack: whatever an archive holds, what comes of it keeps to the rules.
func FuzzUnpack(f *testing.F) {
	f.Add(built(f, example()))
	f.Add(archive(f, settings, of(tar.TypeDir, "files/", ""), regular("files/x", "text")))
	f.Add(archive(f, settings, of(tar.TypeSymlink, "files/x", "/etc"), regular("files/x/y", "")))
	f.Fuzz(func(t *testing.T, packed []byte) {
		tree, err := Read(packed)
		if err != nil {
			return
		}
		total := 0
		for name, file := range tree {
			total += len(file.Data)
			if !fs.ValidPath(name) || badName(name, false) != "" || file.Mode != plainMode(file.Mode) || len(file.Data) > MaxFile {
				t.Errorf("%q %v, %d bytes", name, file.Mode, len(file.Data))
			}
		}
		if total > max(freely, len(packed)*maxRatio) || len(tree) > MaxEntries || tree[ConfigFile].Data == nil {
			t.Errorf("%d bytes in %d files", total, len(tree))
		}
	})
}

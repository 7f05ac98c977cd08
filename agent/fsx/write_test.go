package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		before  string // content of an existing file, with mode 0640
		how     How
		changed bool
		mode    fs.FileMode
	}{
		{name: "new file", how: How{Mode: 0o644}, changed: true, mode: 0o644},
		{name: "new file, no mode asked for", changed: true, mode: 0o600},
		{name: "new file, volatile", how: How{Mode: 0o644, Volatile: true}, changed: true, mode: 0o644},
		{name: "other content", before: "old\n", how: How{Mode: 0o644}, changed: true, mode: 0o644},
		{name: "other content of the same length", before: "NEW\n", how: How{Mode: 0o640}, changed: true, mode: 0o640},
		{name: "other content, mode kept", before: "old\n", changed: true, mode: 0o640},
		{name: "only the mode differs", before: "new\n", how: How{Mode: 0o604}, changed: true, mode: 0o604},
		{name: "same content and mode", before: "new\n", how: How{Mode: 0o640}, mode: 0o640},
		{name: "same content, mode kept", before: "new\n", mode: 0o640},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			at := filepath.Join(root, "file")
			if tt.before != "" {
				if err := os.WriteFile(at, []byte(tt.before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			changed, err := openRoot(t, root).WriteFile("/file", []byte("new\n"), tt.how)
			if err != nil || changed != tt.changed {
				t.Errorf("WriteFile = %v, %v; want %v", changed, err, tt.changed)
			}
			want := map[string]seen{"/file": {mode: tt.mode, owner: self(), data: "new\n"}}
			sameTree(t, want, snapshot(t, root))
		})
	}
}

// touched is everything that changes when a file is written, replaced or given
// other attributes.
func touched(t *testing.T, at string) string {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Lstat(at, &stat); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("inode ", stat.Ino, " modified ", stat.Mtim, " changed ", stat.Ctim)
}

func TestNothingIsTouchedWhenNothingChanges(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"etc/same": "content\n"})
	d := openRoot(t, root)
	file, dir := filepath.Join(root, "etc/same"), filepath.Join(root, "etc")
	fileBefore, dirBefore := touched(t, file), touched(t, dir)
	calls := map[string]func() (bool, error){
		"WriteFile": func() (bool, error) {
			return d.WriteFile("/etc/same", []byte("content\n"), How{Mode: 0o644, Owner: &Owner{os.Geteuid(), -1}})
		},
		"Chmod":    func() (bool, error) { return d.Chmod("/etc/same", 0o644) },
		"MkdirAll": func() (bool, error) { return d.MkdirAll("/etc", 0o700) },
		"Remove":   func() (bool, error) { return d.Remove("/etc/absent") },
	}
	for name, call := range calls {
		if changed, err := call(); changed || err != nil {
			t.Errorf("%s = %v, %v; want no change", name, changed, err)
		}
	}
	if got := touched(t, file); got != fileBefore {
		t.Errorf("file: was %s, is %s", fileBefore, got)
	}
	if got := touched(t, dir); got != dirBefore {
		t.Errorf("directory: was %s, is %s", dirBefore, got)
	}
}

func TestOnlyAttributesAreSetWhenOnlyTheyDiffer(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"file": "content\n"})
	at := filepath.Join(root, "file")
	before, err := os.Stat(at)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := openRoot(t, root).WriteFile("/file", []byte("content\n"), How{Mode: 0o600})
	if !changed || err != nil {
		t.Fatalf("WriteFile = %v, %v; want a change", changed, err)
	}
	after, err := os.Stat(at)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || after.Mode() != 0o600 {
		t.Errorf("the file was replaced, or its mode is not 0600: %v", after.Mode())
	}
}

func TestExactModesWhateverTheUmask(t *testing.T) { // not parallel: the umask is the process's
	root := t.TempDir()
	d := openRoot(t, root)
	umask := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(umask) })
	if _, err := d.MkdirAll("/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteFile("/a/b/open", nil, How{Mode: 0o666}); err != nil {
		t.Fatal(err)
	}
	syscall.Umask(0)
	if _, err := d.MkdirAll("/c", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteFile("/c/shut", nil, How{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]seen{
		"/a":        {mode: fs.ModeDir | 0o755, owner: self()},
		"/a/b":      {mode: fs.ModeDir | 0o755, owner: self()},
		"/a/b/open": {mode: 0o666, owner: self()},
		"/c":        {mode: fs.ModeDir | 0o700, owner: self()},
		"/c/shut":   {mode: 0o600, owner: self()},
	}
	sameTree(t, want, snapshot(t, root))
}

func TestOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		cannotRun(t, "needs root: only root may give files away")
	}
	root := t.TempDir()
	d := openRoot(t, root)
	steps := []struct {
		name    string
		data    string
		owner   *Owner
		changed bool
		want    Owner
	}{
		{"new file of another user", "one", &Owner{1001, 1002}, true, Owner{1001, 1002}},
		{"content changes, owner kept", "two", nil, true, Owner{1001, 1002}},
		{"same owner again", "two", &Owner{1001, 1002}, false, Owner{1001, 1002}},
		{"only the group", "two", &Owner{-1, 0}, true, Owner{1001, 0}},
		{"content and owner", "three", &Owner{0, -1}, true, Owner{0, 0}},
	}
	for _, step := range steps {
		changed, err := d.WriteFile("/file", []byte(step.data), How{Mode: 0o640, Owner: step.owner})
		if err != nil || changed != step.changed {
			t.Errorf("%s: WriteFile = %v, %v; want %v", step.name, changed, err, step.changed)
		}
		want := map[string]seen{"/file": {mode: 0o640, owner: step.want, data: step.data}}
		sameTree(t, want, snapshot(t, root))
	}
}

func TestSpecialBitsAreKeptOrDropped(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"tool": "v1"})
	at := filepath.Join(root, "tool")
	if err := os.Chmod(at, 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	d := openRoot(t, root)
	for _, step := range []struct {
		name string
		how  How
		want fs.FileMode
	}{
		{"no mode asked for keeps setuid", How{}, 0o755 | fs.ModeSetuid},
		{"an exact mode drops it", How{Mode: 0o755}, 0o755},
	} {
		if changed, err := d.WriteFile("/tool", []byte("v2"), step.how); !changed || err != nil {
			t.Errorf("%s: WriteFile = %v, %v; want a change", step.name, changed, err)
		}
		if got := snapshot(t, root)["/tool"].mode; got != step.want {
			t.Errorf("%s: mode %v, want %v", step.name, got, step.want)
		}
	}
}

func TestWriteFileRefuses(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"etc/dir/":    "",
		"etc/dir/in":  "kept",
		"etc/link":    "->real",
		"etc/real":    "kept",
		"etc/loop":    "->loop",
		"etc/pipe":    "FIFO",
		"etc/away":    "->/elsewhere",
		"etc/climbs":  "->../../elsewhere",
		"etc/nowhere": "->absent",
	}
	tests := []struct {
		name string
		file string
		data []byte
		how  How
		is   error
		want string
	}{
		{
			name: "directory in the way", file: "/etc/dir", is: ErrNotRegular,
			want: "cannot write /etc/dir (under ROOT): it is a directory, not a regular file: move it away or use another path",
		},
		{
			name: "symbolic link in the way", file: "/etc/link", is: ErrNotRegular,
			want: "cannot write /etc/link (under ROOT): it is a symbolic link to real: remove the link or use the path it points to",
		},
		{
			name: "symbolic link to nothing in the way", file: "/etc/nowhere", is: ErrNotRegular,
			want: "cannot write /etc/nowhere (under ROOT): it is a symbolic link to absent: remove the link or use the path it points to",
		},
		{
			name: "FIFO in the way", file: "/etc/pipe", is: ErrNotRegular,
			want: "cannot write /etc/pipe (under ROOT): it is a named pipe (FIFO), not a regular file: move it away or use another path",
		},
		{
			name: "the root", file: "/", is: fs.ErrInvalid,
			want: "cannot write / (under ROOT): it is the root directory",
		},
		{
			name: "relative name", file: "etc/real", is: fs.ErrInvalid,
			want: "cannot write etc/real (under ROOT): not an absolute path",
		},
		{
			name: "no directory", file: "/etc/absent/deep/file", is: fs.ErrNotExist,
			want: "cannot write /etc/absent/deep/file (under ROOT): /etc/absent/deep: directory does not exist",
		},
		{
			name: "file for a directory", file: "/etc/real/file", is: syscall.ENOTDIR,
			want: "cannot write /etc/real/file (under ROOT): /etc/real: not a directory",
		},
		{
			name: "FIFO for a directory", file: "/etc/pipe/file", is: syscall.ENOTDIR,
			want: "cannot write /etc/pipe/file (under ROOT): /etc/pipe: not a directory",
		},
		{
			name: "directory by an absolute link", file: "/etc/away/file", is: ErrOutsideRoot,
			want: "cannot write /etc/away/file (under ROOT): /etc/away: a symbolic link leads outside of the root",
		},
		{
			name: "directory by a climbing link", file: "/etc/climbs/file", is: ErrOutsideRoot,
			want: "cannot write /etc/climbs/file (under ROOT): /etc/climbs: a symbolic link leads outside of the root",
		},
		{
			name: "directory by a loop", file: "/etc/loop/file", is: syscall.ELOOP,
			want: "cannot write /etc/loop/file (under ROOT): /etc/loop: too many levels of symbolic links",
		},
		{
			name: "name too long for a temporary file", file: "/etc/" + strings.Repeat("n", 240), is: syscall.ENAMETOOLONG,
			want: "cannot write /etc/" + strings.Repeat("n", 240) + " (under ROOT): file name too long",
		},
		{
			name: "more than permission bits", file: "/etc/real", how: How{Mode: 0o4755}, is: fs.ErrInvalid,
			want: "cannot write /etc/real (under ROOT): mode -rwxr-xr-x is more than permission bits",
		},
		{
			name: "more than can be read back", file: "/etc/real", data: make([]byte, MaxRead+1), is: ErrTooLarge,
			want: "cannot write /etc/real (under ROOT): 4194305 bytes are more than the limit of 4194304",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, files)
			before := snapshot(t, root)
			changed, err := openRoot(t, root).WriteFile(tt.file, tt.data, tt.how)
			if changed || !errors.Is(err, tt.is) {
				t.Errorf("WriteFile = %v, %v; want errors.Is %v", changed, err, tt.is)
			}
			wantError(t, root, err, tt.want)
			sameTree(t, before, snapshot(t, root))
		})
	}
}

func TestReadersAndWritersAtOnce(t *testing.T) {
	t.Parallel()
	const writers, rounds = 4, 50
	root := t.TempDir()
	d := openRoot(t, root)
	content := func(writer int) []byte { return bytes.Repeat([]byte{byte('a' + writer)}, 100_000+writer*50_000) }
	whole := func(data []byte) bool {
		return len(data) > 0 && bytes.Equal(data, content(int(data[0]-'a')))
	}
	if _, err := d.WriteFile("/shared", content(0), How{Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for writer := range writers {
		writing.Go(func() {
			for range rounds {
				if _, err := d.WriteFile("/shared", content(writer), How{Mode: 0o644, Volatile: true}); err != nil {
					t.Errorf("writer %d: %v", writer, err)
				}
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if data, err := d.ReadFile("/shared"); err != nil || !whole(data) {
					t.Errorf("read %d bytes that nobody wrote, error %v", len(data), err)
					return
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if names := snapshot(t, root); len(names) != 1 {
		t.Errorf("temporary files are left: %v", names)
	}
}

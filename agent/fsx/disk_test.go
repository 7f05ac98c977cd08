package fsx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"node/": "", "file": "", "machine": "->/"})
	tests := []struct {
		name, open, want, wantErr string
		is                        error
	}{
		{name: "the machine itself", open: "/", want: "/"},
		{name: "the machine itself by another spelling", open: "//tmp/..", want: "/"},
		{name: "the machine itself by a link", open: filepath.Join(root, "machine"), want: "/"},
		{name: "any directory", open: filepath.Join(root, "node") + "/", want: filepath.Join(root, "node")},
		{name: "nothing there", open: filepath.Join(root, "absent"), wantErr: "cannot open root ROOT/absent: no such file or directory", is: fs.ErrNotExist},
		{name: "a file", open: filepath.Join(root, "file"), wantErr: "cannot open root ROOT/file: not a directory", is: syscall.ENOTDIR},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := Open(tt.open)
			if tt.wantErr != "" {
				wantError(t, root, err, tt.wantErr)
				if !errors.Is(err, tt.is) {
					t.Errorf("want errors.Is %v", tt.is)
				}
				return
			}
			if err != nil || d.Root() != tt.want {
				t.Errorf("Open = %v, %v; want root %s", d, err, tt.want)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"etc/file":      "content\n",
		"etc/empty":     "",
		"etc/largest":   strings.Repeat("x", MaxRead),
		"etc/toolarge":  strings.Repeat("x", MaxRead+1),
		"etc/dir/":      "",
		"etc/pipe":      "FIFO",
		"etc/link":      "->file",
		"etc/up":        "->../etc/file",
		"etc/pipelink":  "->pipe",
		"etc/away":      "->/etc/hostname",
		"etc/climbs":    "->../../../../etc/hostname",
		"elsewhere":     "->etc",
		"dangling/link": "->absent",
	}
	tests := []struct {
		name, file string
		want       string
		wantErr    string
		is         error
	}{
		{name: "a file", file: "/etc/file", want: "content\n"},
		{name: "an empty file", file: "/etc/empty"},
		{name: "the largest", file: "/etc/largest", want: strings.Repeat("x", MaxRead)},
		{name: "name that is not clean", file: "//etc/./dir/../file", want: "content\n"},
		{name: "name that climbs over the root", file: "/../../etc/file", want: "content\n"},
		{name: "symbolic link", file: "/etc/link", want: "content\n"},
		{name: "symbolic link that climbs within the root", file: "/etc/up", want: "content\n"},
		{name: "symbolic link for a directory", file: "/elsewhere/file", want: "content\n"},
		{name: "too large", file: "/etc/toolarge", is: ErrTooLarge, wantErr: "cannot read /etc/toolarge (under ROOT): 4194305 bytes are more than the limit of 4194304"},
		{name: "absent", file: "/etc/absent", is: fs.ErrNotExist, wantErr: "cannot read /etc/absent (under ROOT): no such file or directory"},
		{name: "directory absent", file: "/no/such/file", is: fs.ErrNotExist, wantErr: "cannot read /no/such/file (under ROOT): no such file or directory"},
		{name: "symbolic link to nothing", file: "/dangling/link", is: fs.ErrNotExist, wantErr: "cannot read /dangling/link (under ROOT): no such file or directory"},
		{name: "below a file", file: "/etc/file/x", is: syscall.ENOTDIR, wantErr: "cannot read /etc/file/x (under ROOT): not a directory"},
		{name: "a directory", file: "/etc/dir", is: ErrNotRegular, wantErr: "cannot read /etc/dir (under ROOT): it is a directory, not a regular file"},
		{name: "the root", file: "/", is: ErrNotRegular, wantErr: "cannot read / (under ROOT): it is a directory, not a regular file"},
		{name: "a FIFO that nobody writes", file: "/etc/pipe", is: ErrNotRegular, wantErr: "cannot read /etc/pipe (under ROOT): it is a named pipe (FIFO), not a regular file"},
		{name: "a FIFO by a link", file: "/etc/pipelink", is: ErrNotRegular, wantErr: "cannot read /etc/pipelink (under ROOT): it is a named pipe (FIFO), not a regular file"},
		{name: "absolute link", file: "/etc/away", is: ErrOutsideRoot, wantErr: "cannot read /etc/away (under ROOT): a symbolic link leads outside of the root"},
		{name: "link out of the root", file: "/etc/climbs", is: ErrOutsideRoot, wantErr: "cannot read /etc/climbs (under ROOT): a symbolic link leads outside of the root"},
		{name: "relative name", file: "etc/file", is: fs.ErrInvalid, wantErr: "cannot read etc/file (under ROOT): not an absolute path"},
		{name: "no name", file: "", is: fs.ErrInvalid, wantErr: "cannot read  (under ROOT): not an absolute path"},
	}
	root := tree(t, files)
	d := openRoot(t, root)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data, err := d.ReadFile(tt.file)
			if tt.wantErr == "" {
				tt.wantErr = "no error"
			}
			wantError(t, root, err, tt.wantErr)
			if !errors.Is(err, tt.is) {
				t.Errorf("want errors.Is %v", tt.is)
			}
			if string(data) != tt.want {
				t.Errorf("read %d bytes, want %d", len(data), len(tt.want))
			}
		})
	}
}

func TestReadFileOfTheMachine(t *testing.T) {
	t.Parallel()
	d := openRoot(t, "/")
	bootID, err := ReadTrimmed(d, "/proc/sys/kernel/random/boot_id")
	if err != nil || len(bootID) != len("01234567-89ab-cdef-0123-456789abcdef") {
		t.Errorf("boot id = %q, %v", bootID, err)
	}
	if comm, err := d.ReadFile("/proc/self/status"); err != nil || !strings.HasPrefix(string(comm), "Name:") {
		t.Errorf("/proc/self/status = %q, %v", comm, err)
	}
	if mtu, err := ReadTrimmed(d, "/sys/class/net/lo/mtu"); err != nil || mtu == "" {
		t.Errorf("/sys/class/net/lo/mtu = %q, %v", mtu, err)
	}
	_, err = d.ReadFile("/dev/zero")
	wantError(t, "none", err, "cannot read /dev/zero: it is a character device, not a regular file")
	_, err = d.ReadFile("/no/such/file")
	wantError(t, "none", err, "cannot read /no/such/file: no such file or directory")
	if _, err := ReadTrimmed(d, "/no/such/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadTrimmed = %v; want fs.ErrNotExist", err)
	}
}

// What reports size 0 may be without end, as /dev/zero is, or have nothing to
// read yet, as a pipe that nobody has written to.
func TestReadingIsBoundedWhateverTheSizeReported(t *testing.T) {
	t.Parallel()
	endless, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	if data, err := readNow(int(endless.Fd()), 0); !errors.Is(err, ErrTooLarge) || data != nil {
		t.Errorf("endless: %d bytes, %v; want ErrTooLarge", len(data), err)
	}
	var empty [2]int
	if err := syscall.Pipe(empty[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(empty[0])
	defer syscall.Close(empty[1])
	if err := syscall.SetNonblock(empty[0], true); err != nil {
		t.Fatal(err)
	}
	if data, err := readNow(empty[0], 0); !errors.Is(err, syscall.EAGAIN) || data != nil {
		t.Errorf("nothing yet: %d bytes, %v; want EAGAIN", len(data), err)
	}
}

func TestStatDoesNotFollow(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"file": "content", "link": "->/etc/hostname", "in": "->dir", "dir/": ""})
	d := openRoot(t, root)
	for name, want := range map[string]fs.FileMode{
		"/": fs.ModeDir, "/file": 0, "/link": fs.ModeSymlink, "/in": fs.ModeSymlink, "/in/.": fs.ModeSymlink, "/dir": fs.ModeDir,
	} {
		if info, err := d.Stat(name); err != nil || info.Mode().Type() != want {
			t.Errorf("Stat(%s) = %v, %v; want type %v", name, info, err, want)
		}
	}
	_, err := d.Stat("/absent")
	wantError(t, root, err, "cannot stat /absent (under ROOT): no such file or directory")
}

func TestReadDir(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"d/b": "", "d/a": "", "d/C/": "", "d/.hidden": "", "l": "->d", "out": "->..", "f": "", "p": "FIFO"})
	d := openRoot(t, root)
	for _, name := range []string{"/d", "/l", "/l/../l/"} {
		entries, err := d.ReadDir(name)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); err != nil || got != ".hidden C a b" {
			t.Errorf("ReadDir(%s) = %s, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"/f":      "cannot list /f (under ROOT): not a directory",
		"/p":      "cannot list /p (under ROOT): not a directory",
		"/absent": "cannot list /absent (under ROOT): no such file or directory",
		"/out":    "cannot list /out (under ROOT): a symbolic link leads outside of the root",
	} {
		_, err := d.ReadDir(name)
		wantError(t, root, err, want)
	}
}

func TestMkdirAll(t *testing.T) {
	t.Parallel()
	files := map[string]string{"etc/": "", "file": "", "link": "->etc", "dangling": "->absent", "out": "->/tmp"}
	tests := []struct {
		name, dir string
		perm      fs.FileMode
		changed   bool
		made      []string
		want      string
	}{
		{name: "one missing", dir: "/etc/ecs", perm: 0o750, changed: true, made: []string{"/etc/ecs"}},
		{name: "three missing", dir: "/a/b/c", perm: 0o700, changed: true, made: []string{"/a", "/a/b", "/a/b/c"}},
		{name: "below a link", dir: "/link/ecs", perm: 0o755, changed: true, made: []string{"/etc/ecs"}},
		{name: "there, with another mode, which stays", dir: "/etc", perm: 0o700},
		{name: "there by a link", dir: "/link", perm: 0o700},
		{name: "the root", dir: "/", perm: 0o700},
		{name: "file in the way", dir: "/file", perm: 0o755, want: "cannot make directory /file (under ROOT): it is a regular file"},
		{name: "file on the way", dir: "/file/a/b", perm: 0o755, want: "cannot make directory /file/a/b (under ROOT): /file: it is a regular file"},
		{name: "link to nothing on the way", dir: "/dangling/a", perm: 0o755, want: "cannot make directory /dangling/a (under ROOT): /dangling: it is a symbolic link to what does not exist"},
		{name: "link out of the root", dir: "/out/a", perm: 0o755, want: "cannot make directory /out/a (under ROOT): /out: a symbolic link leads outside of the root"},
		{name: "more than permission bits", dir: "/a", perm: fs.ModeSticky | 0o777, want: "cannot make directory /a (under ROOT): mode trwxrwxrwx is more than permission bits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, files)
			want := snapshot(t, root)
			for _, dir := range tt.made {
				want[dir] = seen{mode: fs.ModeDir | tt.perm, owner: self()}
			}
			changed, err := openRoot(t, root).MkdirAll(tt.dir, tt.perm)
			if changed != tt.changed {
				t.Errorf("MkdirAll = %v, want %v", changed, tt.changed)
			}
			if tt.want == "" {
				tt.want = "no error"
			}
			wantError(t, root, err, tt.want)
			sameTree(t, want, snapshot(t, root))
		})
	}
}

func TestChmod(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"dir/": "", "file": "", "link": "->file", "pipe": "FIFO"})
	d := openRoot(t, root)
	tests := []struct {
		name, file string
		perm       fs.FileMode
		changed    bool
		want       string
	}{
		{name: "directory", file: "/dir", perm: 0o700, changed: true},
		{name: "directory that has it", file: "/dir", perm: 0o700},
		{name: "file", file: "/file", perm: 0o600, changed: true},
		{name: "file, to what shuts everybody out", file: "/file", perm: 0, changed: true},
		{name: "file, back", file: "/file", perm: 0o644, changed: true},
		{name: "absent", file: "/absent", perm: 0o600, want: "cannot set the mode of /absent (under ROOT): no such file or directory"},
		{name: "link", file: "/link", perm: 0o600, want: "cannot set the mode of /link (under ROOT): it is a symbolic link to file: remove the link or use the path it points to"},
		{name: "FIFO", file: "/pipe", perm: 0o600, want: "cannot set the mode of /pipe (under ROOT): it is a named pipe (FIFO), not a regular file: move it away or use another path"},
		{name: "root", file: "/", perm: 0o700, want: "cannot set the mode of / (under ROOT): it is the root directory"},
	}
	for _, tt := range tests {
		before := snapshot(t, root)
		changed, err := d.Chmod(tt.file, tt.perm)
		if changed != tt.changed {
			t.Errorf("%s: Chmod = %v, want %v", tt.name, changed, tt.changed)
		}
		if tt.want == "" {
			tt.want = "no error"
			s := before[tt.file]
			s.mode = s.mode.Type() | tt.perm
			before[tt.file] = s
		}
		wantError(t, root, err, tt.want)
		sameTree(t, before, snapshot(t, root))
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	files := map[string]string{"file": "", "link": "->full", "full/in": "", "empty/": "", "pipe": "FIFO", "out": "->/tmp"}
	tests := []struct {
		name, file string
		changed    bool
		want       string
	}{
		{name: "file", file: "/file", changed: true},
		{name: "link, not what it points to", file: "/link", changed: true},
		{name: "link out of the root", file: "/out", changed: true},
		{name: "empty directory", file: "/empty", changed: true},
		{name: "FIFO", file: "/pipe", changed: true},
		{name: "absent", file: "/absent"},
		{name: "directory absent", file: "/absent/file"},
		{name: "full directory", file: "/full", want: "cannot remove /full (under ROOT): directory not empty"},
		{name: "below a file", file: "/file/x", want: "cannot remove /file/x (under ROOT): /file: not a directory"},
		{name: "beyond the root", file: "/out/x", want: "cannot remove /out/x (under ROOT): /out: a symbolic link leads outside of the root"},
		{name: "root", file: "/..", want: "cannot remove / (under ROOT): it is the root directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := tree(t, files)
			want := snapshot(t, root)
			changed, err := openRoot(t, root).Remove(tt.file)
			if changed != tt.changed {
				t.Errorf("Remove = %v, want %v", changed, tt.changed)
			}
			if tt.want == "" {
				tt.want = "no error"
				delete(want, tt.file)
			}
			wantError(t, root, err, tt.want)
			sameTree(t, want, snapshot(t, root))
		})
	}
}

// With the machine itself as root, links lead wherever they lead.
func TestLinksOfTheMachine(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"data/file": "old"})
	abs := filepath.Join(root, "abs")
	if err := os.Symlink(filepath.Join(root, "data"), abs); err != nil {
		t.Fatal(err)
	}
	d := openRoot(t, "/")
	if changed, err := d.WriteFile(abs+"/file", []byte("new"), How{}); !changed || err != nil {
		t.Errorf("WriteFile = %v, %v; want a change", changed, err)
	}
	if got := snapshot(t, root)["/data/file"].data; got != "new" {
		t.Errorf("the file holds %q", got)
	}
	_, err := d.WriteFile(abs, nil, How{})
	wantError(t, root, err, "cannot write ROOT/abs: it is a symbolic link to ROOT/data: remove the link or use the path it points to")
}

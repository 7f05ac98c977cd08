package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Bounds of a bundle. A file is not larger than what the agent reads, and all of
// it together is small beside the disk of a node.
const (
	MaxSize     = 16 << 20 // packed
	MaxUnpacked = 64 << 20 // with what tar adds
	MaxFile     = 4 << 20
	MaxEntries  = 2000

	maxRatio  = 200     // how many times its size a bundle unpacks to,
	freely    = 1 << 20 // beyond this
	maxPath   = 400
	maxDepth  = 16
	maxWindow = 8 << 20 // what the decompressor keeps in memory
)

// ErrUnsafe is an archive that is not unpacked because of what is in it.
var ErrUnsafe = errors.New("it is no bundle")

func unsafe(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsafe}, args...)...)
}

// entry is a file or directory of an archive that may be unpacked.
type entry struct {
	name string // relative and clean
	mode fs.FileMode
	dir  bool
}

// walk decides which entries may be unpacked, from those before them.
type walk struct {
	seen    map[string]bool // names in lower case; whether it is a directory
	entries int
	left    int64 // bytes
	config  bool
}

func newWalk(limit int64) *walk { return &walk{seen: map[string]bool{}, left: limit} }

// entry takes the next entry. Links are refused, also those within the bundle:
// nothing in one needs any, and what is no link leads nowhere.
func (w *walk) entry(h *tar.Header) (entry, error) {
	e := entry{dir: h.Typeflag == tar.TypeDir, mode: plainMode(fs.FileMode(h.Mode))}
	switch w.entries++; {
	case w.entries > MaxEntries:
		return e, unsafe("it has more than %d entries", MaxEntries)
	case h.Typeflag != tar.TypeReg && !e.dir:
		return e, unsafe("%q is neither a file nor a directory", h.Name)
	case h.Mode&^0o777 != 0:
		return e, unsafe("%q has mode %o: setuid, setgid and sticky are not for bundles", h.Name, h.Mode)
	case h.Size < 0 || h.Size > MaxFile:
		return e, unsafe("%q is larger than %d MiB", h.Name, MaxFile>>20)
	}
	if w.left -= h.Size; w.left < 0 {
		return e, errTooMuch
	}
	// tar of a directory writes ./a/ where ours writes a.
	e.name = strings.TrimPrefix(h.Name, "./")
	if e.dir {
		e.mode, e.name = 0o755, strings.TrimSuffix(e.name, "/")
		if e.name == "" || h.Name == "." {
			e.name = ""
			return e, nil // the bundle itself
		}
	}
	if why := badName(e.name, e.dir); why != "" {
		return e, unsafe("%q: %s", h.Name, why)
	}
	for _, dir := range dirs(e.name) {
		key := strings.ToLower(dir)
		if isDir, seen := w.seen[key]; seen && !isDir {
			return e, unsafe("%q is below a file", h.Name)
		}
		w.seen[key] = true
	}
	// Two names that differ in case only are one on some disks, and a trick here.
	key := strings.ToLower(e.name)
	if isDir, seen := w.seen[key]; seen && (!isDir || !e.dir) {
		return e, unsafe("%q is there twice", h.Name)
	}
	w.seen[key] = e.dir
	w.config = w.config || e.name == ConfigFile
	return e, nil
}

var errTooMuch = unsafe("it unpacks to more than a bundle of its size may")

// end says what is missing after the last entry.
func (w *walk) end() error {
	if !w.config {
		return unsafe("it has no %s", ConfigFile)
	}
	return nil
}

// badName says why a name cannot be one of a bundle. ASCII only: what looks the
// same is the same.
func badName(name string, dir bool) string {
	switch {
	case !fs.ValidPath(name) || name == ".":
		return "a name is relative, without . and .."
	case len(name) > maxPath || strings.Count(name, "/") >= maxDepth:
		return "the name is too long"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }):
		return "the name has other signs than printable ASCII"
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 200 || strings.TrimSpace(part) != part {
			return "a part of the name is too long, or has blanks at its ends"
		}
	}
	top, _, nested := strings.Cut(name, "/")
	switch top {
	case ConfigFile:
		if !nested && !dir {
			return ""
		}
	case TemplateDir, FileDir, HookDir:
		if nested || dir {
			return ""
		}
	}
	return fmt.Sprintf("a bundle has %s, %s/, %s/ and %s/ and nothing else", ConfigFile, TemplateDir, FileDir, HookDir)
}

// walkArchive calls visit for each entry of an archive of this size, which is a
// tar packed by zstd or gzip. It fails at the first that may not be unpacked.
func walkArchive(archive io.Reader, size int64, visit func(entry, io.Reader) error) error {
	limit := min(MaxUnpacked, max(freely, size*maxRatio))
	unpacked, done, err := decompress(archive)
	if err != nil {
		return err
	}
	defer done()
	w := newWalk(limit)
	all := &capped{r: unpacked, left: limit}
	t := tar.NewReader(all)
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			// To the end: a part of a tar can look like a whole one.
			if _, err := io.Copy(zeros{}, all); err != nil {
				return damaged(err)
			}
			return w.end()
		case err != nil:
			return damaged(err)
		}
		e, err := w.entry(h)
		if err != nil {
			return err
		}
		if e.name == "" {
			continue
		}
		if err := visit(e, content{t}); err != nil {
			return err
		}
	}
}

// zeros takes what fills an archive up.
type zeros struct{}

func (zeros) Write(p []byte) (int, error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		return 0, unsafe("something stands behind its end")
	}
	return len(p), nil
}

// content is what an entry holds; an error of it is one of the archive.
type content struct{ r io.Reader }

func (c content) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged(err)
	}
	return n, err
}

func damaged(err error) error {
	if errors.Is(err, ErrUnsafe) {
		return err
	}
	return unsafe("the archive is damaged: %w", err)
}

// capped ends a bomb: it fails after so many bytes.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// decompress tells zstd and gzip apart by how they begin.
func decompress(archive io.Reader) (_ io.Reader, done func(), err error) {
	b := bufio.NewReader(archive)
	magic, _ := b.Peek(4)
	switch {
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(MaxUnpacked))
		if err != nil {
			return nil, nil, damaged(err)
		}
		return z, z.Close, nil
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, damaged(err)
		}
		return z, func() { _ = z.Close() }, nil
	}
	return nil, nil, unsafe("it is neither a tar.zst nor a tar.gz")
}

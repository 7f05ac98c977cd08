package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Build packs the bundle that stands in tree. The bytes depend on the names and
// contents of its files and on which of them may be executed, and on nothing
// else: no times, owners, or order of the file system. What is not part of a
// bundle is left out and returned.
func Build(tree fs.FS, w io.Writer) (leftOut []string, err error) {
	leftOut, err = build(tree, w)
	if err != nil {
		return nil, fmt.Errorf("cannot pack the bundle: %w", err)
	}
	return leftOut, nil
}

func build(tree fs.FS, w io.Writer) (leftOut []string, err error) {
	files, leftOut, err := collect(tree)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	if err := pack(tree, files, &archive); err != nil {
		return nil, err
	}
	// What no node would unpack is not handed out.
	if archive.Len() > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, and %d at most are allowed", archive.Len(), MaxSize)
	}
	if _, err := Read(archive.Bytes()); err != nil {
		return nil, err
	}
	_, err = w.Write(archive.Bytes())
	return leftOut, err
}

// source is a file to pack.
type source struct {
	name string
	mode fs.FileMode
}

// collect lists what is packed, sorted by name.
func collect(tree fs.FS) (files []source, leftOut []string, err error) {
	top, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range top {
		switch e.Name() {
		case ConfigFile, TemplateDir, FileDir, HookDir:
		default:
			leftOut = append(leftOut, e.Name())
			continue
		}
		if !e.IsDir() && !e.Type().IsRegular() {
			return nil, nil, fmt.Errorf("%s: only regular files and directories can be packed", e.Name())
		}
		err := fs.WalkDir(tree, e.Name(), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			switch {
			case err != nil:
				return err
			case d.IsDir():
				return nil // directories follow from their files
			case !info.Mode().IsRegular():
				return fmt.Errorf("%s: only regular files can be packed", name)
			case info.Size() > MaxFile || len(files) == MaxEntries:
				return fmt.Errorf("%s: expected %d files at most, of %d MiB each", name, MaxEntries, MaxFile>>20)
			}
			files = append(files, source{name, plainMode(info.Mode())})
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(files, func(a, b source) int { return strings.Compare(a.name, b.name) })
	slices.Sort(leftOut)
	return files, leftOut, nil
}

// plainMode is one of the two modes that a file of a bundle has.
func plainMode(mode fs.FileMode) fs.FileMode {
	if mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

func pack(tree fs.FS, files []source, w io.Writer) error {
	// One goroutine: with more the bytes may depend on how they are scheduled.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(1<<20))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, f := range files {
		data, err := fs.ReadFile(tree, f.name)
		if err != nil {
			return err
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(data)), Mode: int64(f.mode),
			ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

// Tree is an unpacked bundle in memory.
type Tree map[string]File

// File is a file of a bundle.
type File struct {
	Data []byte
	Mode fs.FileMode // 0644 or 0755
}

// Read unpacks an archive into memory, by the rules of [Store.Add].
func Read(archive []byte) (Tree, error) {
	tree := Tree{}
	err := walkArchive(bytes.NewReader(archive), int64(len(archive)), func(e entry, r io.Reader) error {
		if e.dir {
			return nil
		}
		data, err := io.ReadAll(r)
		tree[e.name] = File{data, e.mode}
		return err
	})
	if err != nil {
		return nil, err
	}
	return tree, nil
}

// dirs are the directories above name, from the top.
func dirs(name string) (all []string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		all = append(all, dir)
	}
	slices.Reverse(all)
	return all
}

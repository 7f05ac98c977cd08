package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Store keeps unpacked bundles in a directory that is its own, each in a
// directory that has its digest for a name. Such a directory is whole, whenever
// the power was cut: what is being made or removed has another name until it is
// complete, or before it is not.
//
// One process at a time may change a store.
type Store struct {
	dir *os.Root
	// step, if not nil, is told what has been done: tests end the process there.
	step func(what, name string)
}

// NewStore returns the store in dir.
func NewStore(dir *os.Root) *Store { return &Store{dir: dir} }

// unfinished is what the names begin with of what is not whole.
const unfinished = ".unfinished-"

// Has reports whether the bundle is there.
func (s *Store) Has(d Digest) bool {
	info, err := s.dir.Lstat(string(d))
	return err == nil && info.IsDir() && digestPattern.MatchString(string(d))
}

// List returns what is there.
func (s *Store) List() ([]Digest, error) {
	names, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("cannot list bundles: %w", err)
	}
	var all []Digest
	for _, name := range names {
		if d := Digest(name); s.Has(d) {
			all = append(all, d)
		}
	}
	return all, nil
}

func (s *Store) names() ([]string, error) {
	f, err := s.dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Add unpacks an archive if it is the bundle: nothing of it is looked at before
// its length and digest are right. A bundle that is there already is not read.
func (s *Store) Add(d Digest, size int64, archive io.Reader) (changed bool, err error) {
	if s.Has(d) {
		return false, nil
	}
	if err := s.add(d, size, archive); err != nil {
		_ = s.Sweep() // what stays behind the next Sweep removes
		return false, fmt.Errorf("cannot unpack bundle %s: %w", d.Short(), err)
	}
	return true, nil
}

// ErrDigest is an archive that is not the one it should be.
var ErrDigest = errors.New("it is another archive than the channel names")

func (s *Store) add(d Digest, size int64, archive io.Reader) error {
	if _, err := ParseDigest(string(d)); err != nil {
		return err
	}
	if size < 1 || size > MaxSize {
		return fmt.Errorf("%w: %d bytes are not the size of one", ErrUnsafe, size)
	}
	if err := s.Sweep(); err != nil {
		return err
	}
	packed := unfinished + string(d) + ".archive"
	f, err := s.dir.OpenFile(packed, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	s.did("create", packed)
	if err := save(f, d, size, archive); err != nil {
		return err
	}
	s.did("save", packed)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	dir := unfinished + string(d)
	if err := s.unpack(dir, f, size); err != nil {
		return err
	}
	if err := s.dir.Remove(packed); err != nil {
		return err
	}
	s.did("remove", packed)
	if err := s.dir.Rename(dir, string(d)); err != nil {
		return err
	}
	s.did("rename", string(d))
	return s.sync(".")
}

// save writes the archive and compares it with its name.
func save(f io.Writer, d Digest, size int64, archive io.Reader) error {
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, hash), io.LimitReader(archive, size+1))
	switch {
	case err != nil:
		return err
	case n != size:
		return fmt.Errorf("%w: it has not the %d bytes that it should have", ErrDigest, size)
	case hex.EncodeToString(hash.Sum(nil)) != string(d):
		return fmt.Errorf("%w: its SHA-256 is %s", ErrDigest, Digest(hex.EncodeToString(hash.Sum(nil))).Short())
	}
	return nil
}

// unpack makes the directory, all of it on disk when it returns.
func (s *Store) unpack(dir string, archive io.Reader, size int64) error {
	if err := s.dir.Mkdir(dir, 0o755); err != nil {
		return err
	}
	s.did("mkdir", dir)
	root, err := s.dir.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Chmod(".", 0o755); err != nil { // whatever the umask
		return err
	}
	made, buffer := map[string]bool{".": true}, make([]byte, 32<<10)
	err = walkArchive(archive, size, func(e entry, r io.Reader) error {
		parents := dirs(e.name)
		if e.dir {
			parents = append(parents, e.name)
		}
		for _, name := range parents {
			if made[name] {
				continue
			}
			if err := errors.Join(root.Mkdir(name, 0o755), root.Chmod(name, 0o755)); err != nil {
				return err
			}
			made[name] = true
			s.did("mkdir", dir+"/"+name)
		}
		if e.dir {
			return nil
		}
		return s.file(root, dir, e, r, buffer)
	})
	if err != nil {
		return err
	}
	for name := range made {
		if err := s.sync(dir + "/" + name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) file(root *os.Root, dir string, e entry, r io.Reader, buffer []byte) error {
	f, err := root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.mode)
	if err != nil {
		return err
	}
	defer f.Close()
	s.did("create", dir+"/"+e.name)
	// A file would bring a buffer of its own for each.
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, r, buffer); err != nil {
		return err
	}
	if err := f.Chmod(e.mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.did("sync", dir+"/"+e.name)
	return f.Close()
}

// sync makes what was made in a directory durable.
func (s *Store) sync(name string) error {
	f, err := s.dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	s.did("sync", name)
	return nil
}

// Remove removes a bundle.
func (s *Store) Remove(d Digest) error {
	if !s.Has(d) {
		return nil
	}
	err := s.dir.Rename(string(d), unfinished+string(d))
	if err == nil {
		s.did("rename", string(d))
		err = errors.Join(s.sync("."), s.Sweep())
	}
	if err != nil {
		return fmt.Errorf("cannot remove bundle %s: %w", d.Short(), err)
	}
	return nil
}

// Sweep removes what a process that was ended has left.
func (s *Store) Sweep() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, unfinished) {
			continue
		}
		if err := s.dir.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove %s: %w", name, err)
		}
		s.did("remove", name)
	}
	return nil
}

func (s *Store) did(what, name string) {
	if s.step != nil {
		s.step(what, name)
	}
}

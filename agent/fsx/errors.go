package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

var (
	// ErrNotRegular means that what was found is not of the kind asked for: a
	// directory, symbolic link, FIFO, socket or device where a regular file
	// (for Chmod: or a directory) should be.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge means more than MaxRead bytes.
	ErrTooLarge = errors.New("too large")
	// ErrOutsideRoot means that a symbolic link leads out of the root.
	ErrOutsideRoot = errors.New("outside of the root")
	// ErrLocked means that another holder has the lock.
	ErrLocked = errors.New("locked")
)

// opError is the error of every method: what could not be done, to which file
// as the node sees it, and why.
type opError struct {
	op, name, root string
	err            error
}

func (e *opError) Error() string {
	under := ""
	if e.root != "/" {
		under = " (under " + e.root + ")"
	}
	return "cannot " + e.op + " " + e.name + under + ": " + e.err.Error()
}

func (e *opError) Unwrap() error { return e.err }

// fail wraps err once, without the paths of the host that it may carry.
func fail(root, op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &opError{op: op, name: name, root: root, err: causeOf(err)}
}

// cause is a reason in an operator's words that stands for a known error.
type cause struct {
	text string
	is   error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.is }

// causeOf returns the reason within an error of package os or of an FS.
func causeOf(err error) error {
	var op *opError
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &op):
		return op.err
	case errors.As(err, &pathErr):
		err = pathErr.Err
	case errors.As(err, &linkErr):
		err = linkErr.Err
	default:
		return err
	}
	// os.Root reports an escape by a value it does not export. Everything else
	// that comes in these two types here is an error number.
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return errOutside()
	}
	return errno
}

func errOutside() error {
	return &cause{text: "a symbolic link leads outside of the root", is: ErrOutsideRoot}
}

// dirCause says that the fault lies with the directory of the file.
func dirCause(dir string, err error) error {
	if err = causeOf(err); errors.Is(err, fs.ErrNotExist) {
		return &cause{text: dir + ": directory does not exist", is: err}
	}
	return &cause{text: dir + ": " + err.Error(), is: err}
}

func tooLarge(size int64) error {
	return &cause{text: fmt.Sprintf("%d bytes are more than the limit of %d", size, MaxRead), is: ErrTooLarge}
}

func notRegular(mode fs.FileMode) error {
	return &cause{text: "it is " + kind(mode) + ", not a regular file", is: ErrNotRegular}
}

// inTheWay says why a file of this kind is left alone, and what to do.
func inTheWay(mode fs.FileMode, link string) error {
	if mode&fs.ModeSymlink != 0 {
		return &cause{
			text: "it is a symbolic link to " + link + ": remove the link or use the path it points to",
			is:   ErrNotRegular,
		}
	}
	return &cause{
		text: "it is " + kind(mode) + ", not a regular file: move it away or use another path",
		is:   ErrNotRegular,
	}
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe (FIFO)"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeDevice | fs.ModeCharDevice:
		return "a character device"
	case fs.ModeDevice:
		return "a block device"
	}
	return "a special file"
}

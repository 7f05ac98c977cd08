package child

import (
	"fmt"
	"os"
)

// Bounds of a [Tail].
const (
	tailMax  = 64 << 10
	tailKeep = 32 << 10
)

// Tail keeps the end of what is written to it in a file, which never grows beyond
// 64 KiB and has at least the last 32 KiB.
type Tail struct {
	file *os.File
	kept []byte
}

// OpenTail makes an empty file, which only its owner may read.
func OpenTail(name string) (*Tail, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &Tail{file: f}, nil
}

// Write implements [io.Writer]. It never fails: a command must not be ended by a
// disk that is full.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(t.kept)+n <= tailMax {
		_, _ = t.file.WriteAt(p, int64(len(t.kept)))
		t.kept = append(t.kept, p...)
		return n, nil
	}
	p = p[max(0, n-tailKeep):]
	t.kept = append(t.kept[:0], append(t.kept[len(t.kept)-min(len(t.kept), tailKeep-len(p)):], p...)...)
	_, _ = t.file.WriteAt(t.kept, 0)
	_ = t.file.Truncate(int64(len(t.kept)))
	return n, nil
}

// Note adds a line of the agent's own.
func (t *Tail) Note(format string, args ...any) {
	if n := len(t.kept); n > 0 && t.kept[n-1] != '\n' {
		format = "\n" + format
	}
	fmt.Fprintf(t, format+"\n", args...)
}

// Close closes the file.
func (t *Tail) Close() error { return t.file.Close() }

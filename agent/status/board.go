package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// Board collects the records of the duties and, being a duty itself, writes
// them: woken at every edge, and otherwise as a heartbeat.
type Board struct {
	FS   fsx.FS
	Path string
	// Head returns a document without its duties.
	Head func() Document

	mu        sync.Mutex
	order     []string
	records   map[string]duty.Record
	attentive bool
	edges     *cell.Cell[int] // a count: every Set is a change
	edge      int
}

// Name of the board as a duty.
const Name = "status"

// NewBoard returns a board that shows the duties of a table, in its order.
func NewBoard(files fsx.FS, path string, head func() Document, table []duty.Entry) *Board {
	b := &Board{
		FS: files, Path: path, Head: head, records: map[string]duty.Record{}, edges: cell.Comparable[int](),
	}
	for _, en := range table {
		name := en.Duty.Name()
		b.order = append(b.order, name)
		b.records[name] = duty.Record{Name: name, State: duty.Starting, Since: time.Now(), Identity: en.Identity}
	}
	return b
}

// Report takes a record; it has the shape of duty.Engine.Report.
func (b *Board) Report(r duty.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, shown := b.records[r.Name]
	if !shown {
		return // the board itself
	}
	b.records[r.Name] = r
	if edge(was, r) || b.attentive && was.Running && !r.Running {
		b.edge++
		b.edges.Set(b.edge)
	}
}

// edge reports whether an operator would want to see r at once.
func edge(was, r duty.Record) bool {
	return was.State != r.State || was.Err != r.Err || was.Summary != r.Summary ||
		was.StreamError != r.StreamError || r.LastChange != was.LastChange || !slices.Equal(was.Warnings, r.Warnings)
}

// Attend makes the board write after every pass while on: somebody waits.
func (b *Board) Attend(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attentive = on
}

// Wake implements cell.Waker: it wakes at edges.
func (b *Board) Wake(ch chan<- struct{}) (stop func()) { return b.edges.Wake(ch) }

// Records returns the records in the order of the table.
func (b *Board) Records() []duty.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]duty.Record, len(b.order))
	for i, n := range b.order {
		out[i] = b.records[n]
	}
	return out
}

// Document returns the status as of now.
func (b *Board) Document() Document {
	doc := b.Head()
	doc.Version = Version
	doc.WrittenAt = time.Now()
	doc.Duties = b.Records()
	return doc
}

// Name implements duty.Duty.
func (b *Board) Name() string { return Name }

// Reconcile implements duty.Duty: it writes the document.
func (b *Board) Reconcile(context.Context) (duty.Outcome, error) {
	return duty.Outcome{}, Write(b.FS, b.Path, b.Document())
}

// Write puts a document in its place. Anybody on the node may read it: it
// holds no secret.
func Write(files fsx.FS, path string, doc Document) error {
	data, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return fmt.Errorf("cannot write the status: %w", err)
	}
	if _, err := files.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	_, err = files.WriteFile(path, append(data, '\n'), fsx.How{Mode: 0o644, Volatile: true})
	return err
}

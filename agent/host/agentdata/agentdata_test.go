package agentdata_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/agentdata"
)

const arn = "arn:aws:ecs:eu-west-1:123456789012:container-instance/prod/0123456789abcdef0123456789abcdef"

// node returns a root with the agent's directory.
func node(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(facts.AgentDB)), 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

// writeDB makes a database as the agent does: five buckets, some of them with
// enough in it to take more than a page.
func writeDB(t *testing.T, root string, metadata map[string]string) {
	t.Helper()
	db := openDB(t, root)
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"images", "containers", "tasks", "eniattachments", "metadata"} {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			if name == "tasks" {
				for i := range 200 {
					if err := b.Put([]byte{byte(i)}, []byte(strings.Repeat("task ", 100))); err != nil {
						return err
					}
				}
			}
			if name != "metadata" {
				continue
			}
			for key, value := range metadata {
				if err := b.Put([]byte(key), []byte(value)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func openDB(t *testing.T, root string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(root, facts.AgentDB), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func write(t *testing.T, root, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func registered() map[string]string {
	return map[string]string{
		"cluster-name": `"prod"`, "container-instance-arn": `"` + arn + `"`, "ec2-instance-id": `"i-0123456789abcdef0"`,
		"agent-version": `"1.108.2"`, "availability-zone": `"eu-west-1a"`, "task-manifest-seq-num": `"7"`,
	}
}

func TestStateOfTheDatabase(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		metadata map[string]string
		want     facts.AgentState
	}{
		"of a registered node": {registered(), facts.AgentState{
			Cluster: "prod", ARN: arn, InstanceID: "i-0123456789abcdef0", AgentVersion: "1.108.2", File: facts.AgentDB,
		}},
		"of an agent that never registered": {nil, facts.AgentState{File: facts.AgentDB}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := node(t)
			writeDB(t, root, tc.metadata)
			before, err := os.ReadFile(filepath.Join(root, facts.AgentDB))
			if err != nil {
				t.Fatal(err)
			}
			got, err := agentdata.New(root).State(facts.AgentDB)
			if err != nil || got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
			after, err := os.ReadFile(filepath.Join(root, facts.AgentDB))
			if err != nil || string(before) != string(after) {
				t.Errorf("the file was changed, or: %v", err)
			}
			// Nothing keeps the agent from its file.
			db, err := bbolt.Open(filepath.Join(root, facts.AgentDB), 0o600, &bbolt.Options{Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
		})
	}
}

func TestADatabaseThatIsEmptyOrWithoutTheBucketSaysNothing(t *testing.T) {
	t.Parallel()
	root := node(t)
	write(t, root, facts.AgentDB, "")
	want := facts.AgentState{File: facts.AgentDB}
	if got, err := agentdata.New(root).State(facts.AgentDB); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := openDB(t, root).Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := agentdata.New(root).State(facts.AgentDB); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestADatabaseOfARunningAgentIsUnavailable(t *testing.T) {
	t.Parallel()
	root := node(t)
	writeDB(t, root, registered())
	db := openDB(t, root)
	defer db.Close()
	start := time.Now()
	_, err := agentdata.New(root).State(facts.AgentDB)
	if !errors.Is(err, facts.ErrUnavailable) || err.Error() != "cannot read "+facts.AgentDB+": unavailable: the ECS agent has it locked" {
		t.Errorf("err = %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestNoFileIsAbsent(t *testing.T) {
	t.Parallel()
	for _, root := range []string{node(t), t.TempDir()} {
		for _, file := range []string{facts.AgentDB, facts.AgentJSON} {
			_, err := agentdata.New(root).State(file)
			if !errors.Is(err, facts.ErrAbsent) || err.Error() != "cannot read "+file+": absent" {
				t.Errorf("err = %v", err)
			}
		}
	}
}

// wantDamaged checks that a file is told from one that cannot be read now.
func wantDamaged(t *testing.T, err error, file string) {
	t.Helper()
	if err == nil || errors.Is(err, facts.ErrAbsent) || errors.Is(err, facts.ErrUnavailable) ||
		!strings.HasPrefix(err.Error(), "cannot read "+file+": it is damaged: ") {
		t.Errorf("err = %v", err)
	}
}

func TestWhatIsNoDatabaseIsDamaged(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a word":         "hello",
		"zeros":          strings.Repeat("\x00", 64<<10),
		"text":           strings.Repeat("# not a database\n", 4096),
		"a single page":  strings.Repeat("\x00", 4096),
		"a lone newline": "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := node(t)
			write(t, root, facts.AgentDB, text)
			_, err := agentdata.New(root).State(facts.AgentDB)
			wantDamaged(t, err, facts.AgentDB)
		})
	}
}

func TestWhatIsNoRegularFileIsDamaged(t *testing.T) {
	t.Parallel()
	root := node(t)
	if err := syscall.Mkfifo(filepath.Join(root, facts.AgentDB), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := agentdata.New(root).State(facts.AgentDB)
	wantDamaged(t, err, facts.AgentDB)
}

func TestAValueThatIsNoTextIsDamaged(t *testing.T) {
	t.Parallel()
	root := node(t)
	metadata := registered()
	metadata["ec2-instance-id"] = "17"
	writeDB(t, root, metadata)
	_, err := agentdata.New(root).State(facts.AgentDB)
	wantDamaged(t, err, facts.AgentDB)
}

// However a database was cut short or overwritten, it is read without a crash,
// without a leftover lock, and never as another node's.
func TestDamagedDatabases(t *testing.T) {
	t.Parallel()
	root := node(t)
	writeDB(t, root, registered())
	file := filepath.Join(root, facts.AgentDB)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data := agentdata.New(root)
	try := func(what string, i int, content []byte) (damaged bool) {
		t.Helper()
		write(t, root, facts.AgentDB, string(content))
		state, err := data.State(facts.AgentDB)
		if err != nil {
			wantDamaged(t, err, facts.AgentDB)
			damaged = true
		} else if state.InstanceID != "" && state.InstanceID != "i-0123456789abcdef0" {
			t.Errorf("%s %d: %+v", what, i, state)
		}
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			t.Errorf("%s %d: the lock is still held: %v", what, i, err)
		}
		return damaged
	}
	var damaged int
	for size := 1; size < len(good); size += 2048 {
		if try("cut at", size, good[:size]) {
			damaged++
		}
	}
	page := os.Getpagesize()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		bad := append([]byte(nil), good...)
		at := random.IntN(len(bad)/page) * page
		for j := range min(page, 64) {
			bad[at+j] = byte(random.IntN(256))
		}
		if try("overwritten", i, bad) {
			damaged++
		}
	}
	if damaged == 0 {
		t.Error("nothing was found to be damaged")
	}
}

func TestStateOfTheOldFile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want facts.AgentState
	}{
		"of a registered node": {
			`{"Data":{"AvailabilityZone":"eu-west-1a","Cluster":"prod","ContainerInstanceArn":"` + arn + `","EC2InstanceID":"i-0123456789abcdef0",` +
				`"TaskEngine":{"Tasks":[{"Arn":"x"}]},"seqNum":3},"Version":11}`,
			facts.AgentState{Cluster: "prod", ARN: arn, InstanceID: "i-0123456789abcdef0", File: facts.AgentJSON},
		},
		"of an agent that never registered": {`{"Data":{},"Version":11}`, facts.AgentState{File: facts.AgentJSON}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := node(t)
			write(t, root, facts.AgentJSON, tc.text)
			if got, err := agentdata.New(root).State(facts.AgentJSON); err != nil || got != tc.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestAnOldFileThatIsDamaged(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "cut short": `{"Data":{"Cluster":"pr`, "a number": `{"Data":{"Cluster":1}}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := node(t)
			write(t, root, facts.AgentJSON, text)
			_, err := agentdata.New(root).State(facts.AgentJSON)
			wantDamaged(t, err, facts.AgentJSON)
		})
	}
}

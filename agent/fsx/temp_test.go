package fsx

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The two contents that a killed writer alternates between.
var killedContents = []string{strings.Repeat("first\n", 10_000), strings.Repeat("second!\n", 20_000)}

func childWrites(how How) error {
	d, err := Open(os.Getenv(childRoot))
	if err != nil {
		return err
	}
	go untilOrphaned()
	for i := 0; ; i++ {
		if _, err := d.WriteFile("/etc/data", []byte(killedContents[i%2]), how); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("ready")
		}
	}
}

func TestKilledWriter(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"write", "write volatile"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			root := tree(t, map[string]string{"etc/": ""})
			d := openRoot(t, root)
			leftovers := 0
			for range 30 {
				c := startChild(t, what, root)
				time.Sleep(rand.N(10 * time.Millisecond)) // to kill it anywhere
				c.kill()
				for name, s := range snapshot(t, root) {
					switch base := filepath.Base(name); {
					case name == "/etc":
					case name == "/etc/data":
						if !slices.Contains(killedContents, s.data) || s.mode != 0o644 {
							t.Fatalf("%s has mode %v and %d bytes that were never written", name, s.mode, len(s.data))
						}
					case isTempOf(base, "data"):
						leftovers++
					default:
						t.Fatalf("unexpected %s", name)
					}
				}
			}
			t.Logf("%d temporary files were left by 30 killed writers", leftovers)
			if _, err := d.WriteFile("/etc/data", []byte("healed\n"), How{Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
			if got := snapshot(t, root); len(got) != 2 || got["/etc/data"].data != "healed\n" {
				t.Errorf("after the next write: %v", got)
			}
		})
	}
}

func TestLeftoversAreRemovedAndNothingElse(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"data":                          "content",
		".data.ecsnode-1":               "left over",
		".data.ecsnode-123456789012345": "left over",
		".data.ecsnode-":                "no digits",
		".data.ecsnode-12a":             "not only digits",
		".data.ecsnode-3/":              "",
		".data.ecsnode-4":               "->data",
		".data.ecsnode-5":               "FIFO",
		".data.ecsnode-6":               "being written",
		".data.bak":                     "another program's",
		".data123":                      "another program's",
		"data.ecsnode-7":                "not hidden",
		".data2.ecsnode-8":              "for another file",
		".other.data.ecsnode-9":         "for another file",
	}
	root := tree(t, files)
	busy, err := os.Open(filepath.Join(root, ".data.ecsnode-6"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := tryFlock(busy); err != nil {
		t.Fatal(err)
	}
	want := snapshot(t, root)
	delete(want, "/.data.ecsnode-1")
	delete(want, "/.data.ecsnode-123456789012345")
	if os.Geteuid() == 0 {
		foreign := filepath.Join(root, ".data.ecsnode-10")
		if err := os.WriteFile(foreign, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 1001, 1001); err != nil {
			t.Fatal(err)
		}
		want["/.data.ecsnode-10"] = seen{mode: 0o600, owner: Owner{1001, 1001}}
	}
	if changed, err := openRoot(t, root).WriteFile("/data", []byte("content"), How{}); changed || err != nil {
		t.Errorf("WriteFile = %v, %v; want no change", changed, err)
	}
	sameTree(t, want, snapshot(t, root))
}

func TestLeftoversGoWithTheFile(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"secret": "new", ".secret.ecsnode-77": "old"})
	if changed, err := openRoot(t, root).Remove("/secret"); !changed || err != nil {
		t.Errorf("Remove = %v, %v; want a change", changed, err)
	}
	sameTree(t, map[string]seen{}, snapshot(t, root))
}

func TestLeftoverOfAFileForAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		cannotRun(t, "needs root: only root may give files away")
	}
	root := tree(t, map[string]string{".data.ecsnode-1": "killed after its chown"})
	if err := os.Chown(filepath.Join(root, ".data.ecsnode-1"), 1001, 1001); err != nil {
		t.Fatal(err)
	}
	_, err := openRoot(t, root).WriteFile("/data", nil, How{Mode: 0o644, Owner: &Owner{1001, 1001}})
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, map[string]seen{"/data": {mode: 0o644, owner: Owner{1001, 1001}}}, snapshot(t, root))
}

func TestATemporaryFileTakenForALeftoverIsGivenUp(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), ".data.ecsnode-1")
	mine, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	other, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := tryFlock(other); err != nil {
		t.Fatal(err)
	}
	if claim(mine) {
		t.Error("claimed while another process is about to remove it")
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if claim(mine) {
		t.Error("claimed after another process removed it")
	}
}

func isTempOf(name, base string) bool {
	of, temporary := baseOf(name)
	return temporary && of == base
}

func TestWhatATemporaryFileIsFor(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		".data.ecsnode-12": "data", ".a-1.ecsnode-12": "a-1", "..x.ecsnode-0": ".x", ".data.ecsnode-": "", ".data.ecsnode-1x": "",
		"data.ecsnode-12": "", ".data.other-12": "", "12": "", "-": "", ".ecsnode-12": "",
	} {
		if got, temporary := baseOf(name); temporary != (want != "") || temporary && got != want {
			t.Errorf("%s is for %q, %v", name, got, temporary)
		}
	}
}

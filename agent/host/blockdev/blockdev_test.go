package blockdev_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/blockdev"
)

// node runs jobs, each as long as it takes, with the answers of its tools.
type node struct {
	answers map[string]answer // by tool
	jobs    map[string]facts.Job
	ran     []facts.Command
	busErr  error
	takes   time.Duration
	hasty   bool // a command that fails at once is said not to have started
}

type answer struct {
	status int
	output string
	result string
}

func (n *node) RunJob(_ context.Context, c facts.Command) error {
	if n.busErr != nil {
		return n.busErr
	}
	if n.now(c.Name).State == facts.JobRunning {
		return fmt.Errorf("job %s is running already", c.Name)
	}
	tool := c.Argv[0][strings.LastIndexByte(c.Argv[0], '/')+1:]
	a, ok := n.answers[tool]
	if !ok {
		return fmt.Errorf("no such tool: %s", tool)
	}
	if a.result == "" {
		a.result = map[bool]string{true: "success", false: "exit-code"}[a.status == 0]
	}
	n.ran = append(n.ran, c)
	n.jobs[c.Name] = facts.Job{ExitStatus: a.status, Result: a.result, Output: a.output, Started: time.Now(), Ended: time.Now().Add(n.takes)}
	if n.hasty && a.status != 0 {
		return errors.New(`the job ended with "failed"`)
	}
	return nil
}

// now is a job as it stands: what it ends with is not told before it has.
func (n *node) now(name string) facts.Job {
	job, ok := n.jobs[name]
	switch {
	case !ok:
		return facts.Job{}
	case job.Ended.After(time.Now()):
		return facts.Job{State: facts.JobRunning, Started: job.Started}
	}
	job.State = facts.JobEnded
	return job
}

func (n *node) Job(_ context.Context, name string) (facts.Job, error) { return n.now(name), n.busErr }

func (n *node) ForgetJob(_ context.Context, name string) error {
	delete(n.jobs, name)
	return n.busErr
}

func newNode() *node { return &node{jobs: map[string]facts.Job{}, answers: map[string]answer{}} }

// What util-linux 2.38 says, as these tests were written.
const (
	disk = `{
   "blockdevices": [
      {
         "path": "/dev/nvme1n1",
         "type": "disk",
         "size": 107374182400,
         "ro": false,
         "maj:min": "259:1"
      }
   ]
}`
	partitioned = `{
   "blockdevices": [
      {
         "path": "/dev/nvme1n1",
         "type": "disk",
         "size": 107374182400,
         "ro": true,
         "maj:min": "259:1",
         "children": [
            {
               "path": "/dev/nvme1n1p1",
               "type": "part",
               "size": 1048576,
               "ro": false,
               "maj:min": "259:2"
            }
         ]
      }
   ]
}`
	noDisk       = "lsblk: /dev/xvdcz: not a block device\n{\n   \"blockdevices\": [\n\n   ]\n}\n"
	noSignature  = "{\n   \"signatures\": [\n\n   ]\n}\n"
	ext4         = "DEVNAME=/dev/nvme1n1\nLABEL=docker\nUUID=2c76ec54-ae79-436d-b1f9-6f811d29f83d\nVERSION=1.0\nBLOCK_SIZE=1024\nTYPE=ext4\nUSAGE=filesystem\n"
	ext4Signed   = `{"signatures": [ {"device": "nvme1n1", "offset": "0x438", "type": "ext4", "uuid": "2c76ec54", "label": "docker"} ] }`
	gptSigned    = `{"signatures": [ {"type": "gpt"}, {"type": "gpt"}, {"type": "PMBR"} ] }`
	noSuchDevice = "wipefs: error: /dev/xvdcz: probing initialization failed: No such file or directory\n"
)

// look asks until there is an answer.
func look(t *testing.T, c *blockdev.Client) (facts.BlockDevice, error) {
	t.Helper()
	for range 100 {
		d, done, err := c.Look(t.Context(), "docker", "/dev/xvdcz")
		if done || err != nil {
			return d, err
		}
		time.Sleep(time.Second)
	}
	t.Fatal("there is no answer")
	return facts.BlockDevice{}, nil
}

func TestLook(t *testing.T) {
	t.Parallel()
	plain := facts.BlockDevice{Path: "/dev/nvme1n1", Number: "259:1", Size: 107374182400}
	with := func(change func(*facts.BlockDevice)) facts.BlockDevice {
		d := plain
		change(&d)
		return d
	}
	for name, tc := range map[string]struct {
		lsblk, blkid, wipefs answer
		want                 facts.BlockDevice
		is                   error
		says                 string
	}{
		"a blank disk":                           {answer{0, disk, ""}, answer{2, "", ""}, answer{0, noSignature, ""}, plain, nil, ""},
		"a blank disk, to a tool that is silent": {answer{0, disk, ""}, answer{2, "", ""}, answer{0, "", ""}, plain, nil, ""},
		"a blank partition": {
			answer{0, disk, ""}, answer{0, "DEVNAME=/dev/nvme1n1p1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NUMBER=1\n", ""}, answer{0, noSignature, ""}, plain, nil, "",
		},
		"a file system": {
			answer{0, disk, ""}, answer{0, ext4, ""}, answer{0, ext4Signed, ""}, with(func(d *facts.BlockDevice) {
				d.FileSystem, d.Signatures, d.Label, d.UUID = "ext4", []string{"ext4"}, "docker", "2c76ec54-ae79-436d-b1f9-6f811d29f83d"
			}), nil, "",
		},
		"partitions": {
			answer{0, partitioned, ""}, answer{0, "DEVNAME=/dev/nvme1n1\nPTUUID=x\nPTTYPE=gpt\n", ""}, answer{0, gptSigned, ""}, with(func(d *facts.BlockDevice) {
				d.ReadOnly, d.Signatures, d.Parts = true, []string{"PMBR", "gpt"}, []string{"/dev/nvme1n1p1"}
			}), nil, "",
		},
		"something that wipefs alone finds": {
			answer{0, disk, ""},
			answer{2, "", ""},
			answer{0, `{"signatures": [{"type": "zfs_member"}]}`, ""},
			with(func(d *facts.BlockDevice) { d.Signatures = []string{"zfs_member"} }), nil, "",
		},
		"several file systems": {
			answer{0, disk, ""},
			answer{8, "", ""},
			answer{0, ext4Signed, ""},
			with(func(d *facts.BlockDevice) { d.Signatures = []string{"ext4", "more than one file system"} }), nil, "",
		},
		"no such device": {answer{32, noDisk, ""}, answer{2, "", ""}, answer{1, noSuchDevice, ""}, plain, facts.ErrAbsent, "cannot look at /dev/xvdcz: absent"},
		"a device that goes away meanwhile": {
			answer{0, disk, ""},
			answer{2, "", ""},
			answer{1, noSuchDevice, ""},
			plain, nil,
			"cannot look at /dev/xvdcz: wipefs ended with exit status 1: wipefs: error: /dev/xvdcz: probing initialization failed: No such file or directory",
		},
		"a probe that never ends": {
			answer{0, disk, ""}, answer{0, "", "timeout"}, answer{0, noSignature, ""}, plain, nil, "cannot look at /dev/xvdcz: blkid ended with timeout",
		},
		"a probe that fails otherwise": {answer{0, disk, ""}, answer{4, "usage", ""}, answer{0, noSignature, ""}, plain, nil, "cannot look at /dev/xvdcz: blkid ended with exit status 4: usage"},
		"a probe that says nothing":    {answer{0, disk, ""}, answer{0, "", ""}, answer{0, noSignature, ""}, plain, nil, "cannot look at /dev/xvdcz: blkid ended with exit status 0"},
		"an output that is cut":        {answer{0, disk[20:], ""}, answer{2, "", ""}, answer{0, noSignature, ""}, plain, nil, "lsblk ended with exit status 0"},
		"signatures that are cut":      {answer{0, disk, ""}, answer{2, "", ""}, answer{0, `"type": "gpt"}, {"type": "PMBR"} ] }`, ""}, plain, nil, "wipefs ended with exit status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode()
				n.takes = 3 * time.Second
				n.answers = map[string]answer{"lsblk": tc.lsblk, "blkid": tc.blkid, "wipefs": tc.wipefs}
				d, err := look(t, blockdev.New(n))
				if tc.is != nil || tc.says != "" {
					if err == nil || !strings.Contains(err.Error(), tc.says) || tc.is != nil && !errors.Is(err, tc.is) {
						t.Fatalf("err = %v; %+v", err, d)
					}
					if d.Path != "" {
						t.Errorf("a device beside an error: %+v", d)
					}
				} else if diff := cmp.Diff(tc.want, d); err != nil || diff != "" {
					t.Errorf("%v\n%s", err, diff)
				}
			})
		})
	}
}

func TestOnlyAFreshLookCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.answers = map[string]answer{"lsblk": {0, disk, ""}, "blkid": {2, "", ""}, "wipefs": {0, noSignature, ""}}
		c := blockdev.New(n)
		n.takes = time.Second
		if _, done, err := c.Look(t.Context(), "docker", "/dev/xvdcz"); done || err != nil {
			t.Fatal(done, err)
		}
		time.Sleep(time.Hour) // nobody came for the answer
		n.answers["lsblk"], n.answers["blkid"], n.answers["wipefs"] = answer{0, disk, ""}, answer{0, ext4, ""}, answer{0, ext4Signed, ""}
		if d, err := look(t, c); err != nil || d.Blank() || d.FileSystem != "ext4" {
			t.Errorf("%+v, %v", d, err)
		}
		n.answers["blkid"], n.answers["wipefs"] = answer{2, "", ""}, answer{0, noSignature, ""}
		if d, err := look(t, c); err != nil || !d.Blank() {
			t.Errorf("the look before was told again: %+v, %v", d, err)
		}
		if len(n.jobs) != 0 {
			t.Errorf("left behind: %v", n.jobs)
		}
	})
}

func TestACommandThatFailsBeforeItCountsAsStartedHasAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.hasty = true
		n.answers = map[string]answer{"lsblk": {0, disk, ""}, "blkid": {2, "", ""}, "wipefs": {0, noSignature, ""}, "mkfs.ext4": {203, "", ""}}
		c := blockdev.New(n)
		if d, err := look(t, c); err != nil || !d.Blank() {
			t.Errorf("%+v, %v", d, err)
		}
		n.answers["lsblk"] = answer{32, noDisk, ""}
		if _, err := look(t, c); !errors.Is(err, facts.ErrAbsent) {
			t.Errorf("err = %v", err)
		}
		_, err := c.Format(t.Context(), "docker", "/dev/nvme1n1", "ext4", "docker")
		if err == nil || err.Error() != "cannot format volume docker: it ended with exit status 203" {
			t.Errorf("err = %v", err)
		}
		delete(n.answers, "lsblk")
		if _, err := look(t, c); err == nil || !strings.Contains(err.Error(), "no such tool") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		n := newNode()
		for _, tool := range []string{"mkfs.ext4", "mkfs.xfs", "mount", "resize2fs", "xfs_growfs"} {
			n.answers[tool] = answer{}
		}
		c := blockdev.New(n)
		for _, tc := range []struct {
			name   string
			do     func() (bool, error)
			argv   string
			noKill bool
		}{
			{"format ext4", func() (bool, error) { return c.Format(ctx, "docker", "/dev/nvme1n1", "ext4", "images") }, "/usr/sbin/mkfs.ext4 -q -L images /dev/nvme1n1", true},
			{"format xfs", func() (bool, error) { return c.Format(ctx, "docker", "/dev/nvme1n1", "xfs", "images") }, "/usr/sbin/mkfs.xfs -q -L images /dev/nvme1n1", true},
			{
				"mount", func() (bool, error) {
					return c.Mount(ctx, "docker", "/dev/nvme1n1", "xfs", "/var/lib/docker", []string{"noatime", "pquota"})
				},
				"/usr/bin/mount -t xfs -o X-mount.mkdir=0755,noatime,pquota /dev/nvme1n1 /var/lib/docker", false,
			},
			{"grow ext4", func() (bool, error) { return c.Grow(ctx, "docker", "/dev/nvme1n1", "ext4", "/var/lib/docker", 1<<30) }, "/usr/sbin/resize2fs /dev/nvme1n1", true},
			{"grow xfs", func() (bool, error) { return c.Grow(ctx, "docker", "/dev/nvme1n1", "xfs", "/var/lib/docker", 1<<30) }, "/usr/sbin/xfs_growfs -d /var/lib/docker", true},
		} {
			n.takes, n.ran = time.Second, nil
			for i, want := range []bool{false, false, true} {
				if done, err := tc.do(); done != want || err != nil {
					t.Errorf("%s, call %d: %v, %v", tc.name, i, done, err)
				}
				time.Sleep(600 * time.Millisecond)
			}
			if len(n.ran) != 1 || strings.Join(n.ran[0].Argv, " ") != tc.argv || n.ran[0].NoKill != tc.noKill || n.ran[0].RuntimeMax <= 0 {
				t.Errorf("%s: ran %+v", tc.name, n.ran)
			}
			if slices.ContainsFunc(n.ran[0].Argv, func(s string) bool { return strings.Contains(s, "$") }) {
				t.Errorf("%s: the service manager would expand %q", tc.name, n.ran[0].Argv)
			}
		}
	})
}

func TestTheEndOfAGrowthSaysNothingOfADeviceThatWasEnlargedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		n.answers["resize2fs"] = answer{}
		n.takes = time.Second
		c := blockdev.New(n)
		grow := func(size uint64) bool {
			done, err := c.Grow(t.Context(), "docker", "/dev/nvme1n1", "ext4", "/var/lib/docker", size)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		grow(1 << 30)
		time.Sleep(2 * time.Second) // it has ended, and nobody has asked
		if grow(2<<30) || len(n.ran) != 2 {
			t.Errorf("it is taken for done: %+v", n.ran)
		}
		time.Sleep(2 * time.Second)
		if !grow(2 << 30) {
			t.Error("it does not end")
		}
		n.answers["resize2fs"] = answer{1, "resize2fs: Permission denied to resize filesystem\n", ""}
		grow(3 << 30)
		time.Sleep(2 * time.Second)
		if _, err := c.Grow(t.Context(), "docker", "/dev/nvme1n1", "ext4", "/var/lib/docker", 3<<30); err == nil ||
			!strings.HasPrefix(err.Error(), "cannot grow volume docker: it ended with exit status 1: resize2fs: Permission denied") {
			t.Error(err)
		}
	})
}

func TestUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		n := newNode()
		n.takes = time.Minute
		n.answers = map[string]answer{"mkfs.ext4": {}, "mount": {32, "mount: /var/lib/docker: wrong fs type\n", ""}}
		c := blockdev.New(n)
		want := func(verb, says string) {
			t.Helper()
			got, err := c.UnderWay(ctx, "docker")
			if got != verb || (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%q, %v", got, err)
			}
		}
		want("", "")
		if _, err := c.Format(ctx, "docker", "/dev/nvme1n1", "ext4", "docker"); err != nil {
			t.Fatal(err)
		}
		want("format", "")
		time.Sleep(2 * time.Minute)
		want("", "")
		if _, err := c.Mount(ctx, "docker", "/dev/nvme1n1", "ext4", "/var/lib/docker", nil); err != nil {
			t.Fatal(err)
		}
		want("mount", "")
		time.Sleep(2 * time.Minute)
		want("", "cannot mount volume docker: it ended with exit status 32: mount: /var/lib/docker: wrong fs type")
		want("", "")
		n.busErr = facts.ErrUnavailable
		want("", "unavailable")
		if _, _, err := c.Look(ctx, "docker", "/dev/xvdcz"); !errors.Is(err, facts.ErrUnavailable) {
			t.Errorf("err = %v", err)
		}
	})
}

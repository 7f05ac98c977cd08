package volumes_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecsnode/ecsnode/agent/cell"
	"github.com/ecsnode/ecsnode/agent/duties/volumes"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/when"
)

// machine is a node's block devices and what is mounted. A command takes until
// the next call that asks about it, and a look one call more than its answer.
type machine struct {
	t       *testing.T
	files   fsx.FS
	devices map[string]*device
	mounts  []string
	looks   map[string]int
	running map[string]func() error // by volume
	verbs   map[string]string
	failed  map[string]error
	did     []string
	busErr  error
}

type device struct {
	facts.BlockDevice
	fsSize    uint64 // of its file system
	mountFail error
}

func (m *machine) Look(_ context.Context, volume, name string) (facts.BlockDevice, bool, error) {
	if m.busErr != nil {
		return facts.BlockDevice{}, false, m.busErr
	}
	if m.looks[volume]++; m.looks[volume]%2 == 1 {
		return facts.BlockDevice{}, false, nil
	}
	d := m.devices[name]
	if d == nil {
		return facts.BlockDevice{}, false, fmt.Errorf("cannot look at %s: %w", name, facts.ErrAbsent)
	}
	return d.BlockDevice, true, nil
}

func (m *machine) UnderWay(_ context.Context, volume string) (string, error) {
	if m.busErr != nil {
		return "", m.busErr
	}
	end, verb := m.running[volume], m.verbs[volume]
	if end == nil {
		err := m.failed[volume]
		delete(m.failed, volume)
		return "", err
	}
	delete(m.running, volume)
	m.failed[volume] = end()
	return verb, nil
}

func (m *machine) byPath(p string) *device {
	for _, d := range m.devices {
		if d.Path == p {
			return d
		}
	}
	m.t.Fatalf("there is no device %s", p)
	return nil
}

func (m *machine) start(volume, verb string, end func() error, words ...string) {
	m.t.Helper()
	if m.running[volume] != nil {
		m.t.Errorf("%s of %s while %s is under way", verb, volume, m.verbs[volume])
	}
	m.did = append(m.did, strings.Join(append([]string{verb}, words...), " "))
	m.running[volume], m.verbs[volume] = end, verb
}

func (m *machine) Format(_ context.Context, volume, path, fileSystem, label string) (bool, error) {
	d := m.byPath(path)
	if !d.Blank() {
		m.t.Errorf("%s is formatted, which holds %+v", path, d.BlockDevice)
	}
	m.start(volume, "format", func() error {
		d.FileSystem, d.Signatures, d.Label, d.fsSize = fileSystem, []string{fileSystem}, label, d.Size
		return nil
	}, path, fileSystem, label)
	return false, nil
}

func (m *machine) Mount(_ context.Context, volume, path, fileSystem, dir string, options []string) (bool, error) {
	d := m.byPath(path)
	m.start(volume, "mount", func() error {
		if d.mountFail != nil {
			return d.mountFail
		}
		m.mount(d, dir)
		return nil
	}, path, fileSystem, dir, strings.Join(options, ","))
	return false, nil
}

func (m *machine) mount(d *device, dir string) {
	m.mkdir(dir)
	m.mounts = append(m.mounts, fmt.Sprintf("99 1 %s / %s rw shared:1 - %s %s rw", d.Number, strings.ReplaceAll(dir, " ", `\040`), d.FileSystem, d.Path))
	m.write("/proc/self/mountinfo", strings.Join(m.mounts, "\n")+"\n")
	m.write("/sys/dev/block/"+d.Number+"/size", fmt.Sprint(d.Size/512))
}

func (m *machine) Grow(_ context.Context, volume, path, fileSystem, dir string, size uint64) (bool, error) {
	d := m.byPath(path)
	m.did = append(m.did, "grow "+path)
	d.fsSize = d.Size
	return true, nil
}

func (m *machine) mkdir(name string) {
	m.t.Helper()
	if _, err := m.files.MkdirAll(name, 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	m.mkdir(path.Dir(name))
	if _, err := m.files.WriteFile(name, []byte(text), fsx.How{Volatile: true}); err != nil {
		m.t.Fatal(err)
	}
}

// attach adds a device with what it holds: "", a file system, or more.
func (m *machine) attach(name string, signatures ...string) *device {
	n := len(m.devices) + 1
	d := &device{BlockDevice: facts.BlockDevice{
		Path: fmt.Sprintf("/dev/nvme%dn1", n), Number: fmt.Sprintf("259:%d", n), Size: 100 << 30, Signatures: signatures,
	}}
	if len(signatures) > 0 {
		d.FileSystem, d.fsSize = signatures[0], d.Size
	}
	m.devices[name] = d
	return d
}

type rig struct {
	*machine
	config  *cell.Cell[volumes.Config]
	volumes *cell.Cell[facts.Volumes]
	duty    *volumes.Duty
}

const xvdcz = "/dev/xvdcz"

func docker() volumes.Volume {
	return volumes.Volume{Device: xvdcz, FileSystem: volumes.Ext4, MountPoint: volumes.DockerDir, Options: []string{"noatime"}}
}

func inNode(t *testing.T, cfg volumes.Config, test func(t *testing.T, r *rig)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		disk, err := fsx.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		m := &machine{
			t: t, files: disk, devices: map[string]*device{}, looks: map[string]int{},
			running: map[string]func() error{}, verbs: map[string]string{}, failed: map[string]error{},
		}
		m.mounts = []string{"22 1 254:0 / / rw,relatime - ext4 /dev/nvme0n1p1 rw"}
		m.write("/proc/self/mountinfo", m.mounts[0]+"\n")
		r := &rig{machine: m, config: cell.New(func(a, b volumes.Config) bool { return false }), volumes: cell.Comparable[facts.Volumes]()}
		r.config.Set(cfg)
		r.restart()
		test(t, r)
	})
}

// restart is a new process of the agent.
func (r *rig) restart() {
	r.duty = &volumes.Duty{FS: r.files, Config: r.config, Devices: r.machine, Maker: r.machine, Volumes: r.volumes}
}

// reboot is one, with all that was mounted gone.
func (r *rig) reboot() {
	r.t.Helper()
	r.mounts = r.mounts[:1]
	r.write("/proc/self/mountinfo", r.mounts[0]+"\n")
	if _, err := r.files.Remove("/run/ecsnode/volumes.json"); err != nil {
		r.t.Fatal(err)
	}
	r.restart()
}

// passes makes passes as the engine does, until one is good or the time is over.
func (r *rig) passes(limit time.Duration) (duty.Outcome, error) {
	r.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		out, err := r.duty.Reconcile(r.t.Context())
		if err == nil && out.Again == 0 || time.Now().After(deadline) {
			return out, err
		}
		if err != nil && out.Again == 0 {
			r.t.Errorf("nothing asks for another pass after %v", err)
			return out, err
		}
		time.Sleep(out.Again)
	}
}

func (r *rig) wantDid(did ...string) {
	r.t.Helper()
	if !slices.Equal(r.did, did) {
		r.t.Errorf("did %q, want %q", r.did, did)
	}
	r.did = nil
}

func (r *rig) wantHeld(held bool, words ...string) {
	r.t.Helper()
	v, ok := r.volumes.Get()
	if !ok || v.Held != held || held == (v.Why == "") {
		r.t.Errorf("volumes: %+v, %v", v, ok)
	}
	for _, w := range words {
		if !strings.Contains(v.Why, w) {
			r.t.Errorf("%q does not say %q", v.Why, w)
		}
	}
}

func (r *rig) wantError(err error, waiting bool, words ...string) {
	r.t.Helper()
	if err == nil || errors.Is(err, duty.ErrNotReady) != waiting {
		r.t.Fatalf("err = %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			r.t.Errorf("%q does not say %q", err, w)
		}
	}
}

func (r *rig) wantMounted(limit time.Duration) {
	r.t.Helper()
	out, err := r.passes(limit)
	if err != nil || out.Summary != fmt.Sprintf("%[1]d of %[1]d mounted", len(r.mounts)-1) {
		r.t.Fatalf("%+v, %v", out, err)
	}
	r.wantHeld(false)
}

const mountDocker = "mount /dev/nvme1n1 ext4 /var/lib/docker noatime"

func TestABlankVolumeIsFormattedOnceAndMounted(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		r.attach(xvdcz)
		out, err := r.duty.Reconcile(t.Context())
		r.wantError(err, true, "volume docker: /dev/xvdcz is looked at")
		if out.Again <= 0 || out.Again > time.Second {
			t.Errorf("the next pass is after %v", out.Again)
		}
		r.wantHeld(true, "volume docker")
		start := time.Now()
		r.wantMounted(time.Minute)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		r.wantDid("format /dev/nvme1n1 ext4 docker", mountDocker, "grow /dev/nvme1n1")
		for range 3 {
			r.restart()
			r.wantMounted(time.Second)
		}
		r.wantDid()
		r.reboot()
		r.wantMounted(time.Minute)
		r.wantDid(mountDocker, "grow /dev/nvme1n1")
	})
}

func TestAVolumeFromASnapshotIsMountedAndGrownAndNeverFormatted(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		d := r.attach(xvdcz, "ext4")
		d.fsSize = 50 << 30
		r.mkdir(volumes.DockerDir + "/lost+found")
		r.wantMounted(time.Minute)
		r.wantDid(mountDocker, "grow /dev/nvme1n1")
		if d.fsSize != d.Size {
			t.Errorf("the file system has %d bytes of %d", d.fsSize, d.Size)
		}
	})
}

func TestAVolumeThatGrowsInServiceIsGrown(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		d := r.attach(xvdcz, "ext4")
		r.wantMounted(time.Minute)
		r.did = nil
		d.Size = 200 << 30
		r.write("/sys/dev/block/259:1/size", fmt.Sprint(d.Size/512))
		r.wantMounted(time.Minute)
		r.wantMounted(time.Minute)
		r.wantDid("grow /dev/nvme1n1")
	})
}

func TestADeviceWithAnythingElseIsNeverTouched(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(d *device)
		says   []string
	}{
		"another file system": {
			func(d *device) { d.FileSystem, d.Signatures, d.Label = "xfs", []string{"xfs"}, "data" },
			[]string{"/dev/xvdcz (/dev/nvme1n1, 100 GiB) is left alone", "found xfs", `the label "data"`, "wipefs --all /dev/nvme1n1"},
		},
		"partitions": {
			func(d *device) {
				d.Signatures, d.Parts = []string{"gpt"}, []string{"/dev/nvme1n1p1", "/dev/nvme1n1p128"}
			},
			[]string{"found gpt, in use as /dev/nvme1n1p1, /dev/nvme1n1p128"},
		},
		"partitions that no tool finds a table of": {
			func(d *device) { d.Parts = []string{"/dev/nvme1n1p1"} },
			[]string{"found in use as /dev/nvme1n1p1"},
		},
		"LVM":                         {func(d *device) { d.FileSystem, d.Signatures = "LVM2_member", []string{"LVM2_member"} }, []string{"found LVM2_member"}},
		"something only wipefs finds": {func(d *device) { d.Signatures = []string{"zfs_member"} }, []string{"found zfs_member"}},
		"something only blkid finds":  {func(d *device) { d.FileSystem = "swap"; d.Label = "s" }, []string{"left alone"}},
		"its file system and a partition table": {
			func(d *device) { d.FileSystem, d.Signatures = "ext4", []string{"ext4", "gpt"} }, []string{"found ext4, gpt"},
		},
		"nothing, but it cannot be written": {func(d *device) { d.ReadOnly = true }, []string{"blank, and read-only"}},
	} {
		t.Run(name, func(t *testing.T) {
			inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
				tc.change(r.attach(xvdcz))
				_, err := r.passes(time.Minute)
				r.wantError(err, false, append(tc.says, "volume docker", "Docker is held back")...)
				r.wantHeld(true, tc.says[0])
				r.wantDid()
			})
		})
	}
}

func TestAFilledDirectoryIsNeverMountedOver(t *testing.T) {
	for name, signatures := range map[string][]string{"a blank device": nil, "a device with its file system": {"ext4"}} {
		t.Run(name, func(t *testing.T) {
			inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
				r.attach(xvdcz, signatures...)
				r.write(volumes.DockerDir+"/overlay2/x", "")
				_, err := r.passes(time.Minute)
				r.wantError(err, false, "/var/lib/docker has content already (overlay2)", "/dev/xvdcz is not mounted over it")
				r.wantHeld(true)
				r.wantDid()
			})
		})
	}
}

func TestADirectoryThatIsNoneIsRefused(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		r.attach(xvdcz, "ext4")
		r.write(volumes.DockerDir, "a file")
		_, err := r.passes(time.Minute)
		r.wantError(err, false, "/var/lib/docker is no directory")
		r.wantDid()
	})
}

func TestARequiredDeviceThatIsAbsentIsWaitedForAndThenHoldsDocker(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		_, err := r.passes(time.Minute)
		r.wantError(err, true, "there is no /dev/xvdcz", "waited for until")
		r.wantHeld(true, "there is no /dev/xvdcz")
		_, err = r.passes(2 * time.Minute)
		r.wantError(err, false, "there is no /dev/xvdcz", "Docker is held back")
		r.wantHeld(true)
		r.attach(xvdcz)
		r.wantMounted(time.Minute)
	})
}

func TestARequiredVolumeThatIsLateCanLetDockerStartAndIsThenLeftAlone(t *testing.T) {
	wait, v := when.Duration(30*time.Second), docker()
	v.Wait, v.Otherwise = &wait, volumes.Start
	inNode(t, volumes.Config{"docker": v}, func(t *testing.T, r *rig) {
		_, err := r.passes(27 * time.Second)
		r.wantHeld(true)
		r.wantError(err, true)
		_, err = r.passes(10 * time.Second)
		r.wantError(err, false, "there is no /dev/xvdcz; Docker is let start without it")
		r.wantHeld(false)
		r.attach(xvdcz, "ext4")
		for range 2 { // also by a new process, before Docker has written anything
			_, err = r.passes(time.Minute)
			r.wantError(err, false, "/dev/xvdcz is there, but too late for this boot", "reboot")
			r.wantHeld(false)
			r.restart()
		}
		r.wantDid()
		r.reboot()
		r.wantMounted(time.Minute)
	})
}

func TestAForeignRequiredVolumeCanLetDockerStartAtOnce(t *testing.T) {
	v := docker()
	v.Otherwise = volumes.Start
	inNode(t, volumes.Config{"docker": v}, func(t *testing.T, r *rig) {
		r.attach(xvdcz, "xfs")
		_, err := r.passes(time.Second)
		r.wantError(err, false, "found xfs", "Docker is let start without it")
		r.wantHeld(false)
	})
}

func TestAnOptionalDeviceThatIsAbsentIsReported(t *testing.T) {
	logs := volumes.Volume{Device: "/dev/xvdl", FileSystem: volumes.XFS, MountPoint: "/var/log/containers"}
	inNode(t, volumes.Config{"logs": logs, "docker": docker()}, func(t *testing.T, r *rig) {
		r.attach(xvdcz)
		out, err := r.passes(10 * time.Second)
		if err != nil || out.Again == 0 || !slices.Equal(out.Warnings, []string{"volume logs is not mounted: there is no /dev/xvdl"}) {
			t.Errorf("%+v, %v", out, err)
		}
		r.wantHeld(false)
		r.attach("/dev/xvdl")
		r.wantMounted(time.Minute)
	})
}

func TestAVolumeWithinAnotherComesAfterIt(t *testing.T) {
	inner := volumes.Volume{Device: "/dev/xvdv", FileSystem: volumes.Ext4, MountPoint: volumes.DockerDir + "/volumes"}
	inNode(t, volumes.Config{"a-inner": inner, "docker": docker()}, func(t *testing.T, r *rig) {
		r.attach("/dev/xvdv", "ext4")
		_, err := r.passes(10 * time.Second)
		r.wantError(err, true, "/var/lib/docker/volumes is within volume docker, which is not mounted")
		r.wantDid()
		r.attach(xvdcz, "ext4")
		r.wantMounted(time.Minute)
		r.wantDid("mount /dev/nvme2n1 ext4 /var/lib/docker noatime", "grow /dev/nvme2n1", "mount /dev/nvme1n1 ext4 /var/lib/docker/volumes ", "grow /dev/nvme1n1")
	})
}

func TestWhatIsMountedThereAlready(t *testing.T) {
	t.Run("is the volume", func(t *testing.T) {
		inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
			r.mount(r.attach(xvdcz, "ext4"), volumes.DockerDir)
			r.write(volumes.DockerDir+"/overlay2/x", "")
			r.wantMounted(time.Minute)
			r.wantDid("grow /dev/nvme1n1")
		})
	})
	t.Run("is the volume, with another file system", func(t *testing.T) {
		inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
			r.mount(r.attach(xvdcz, "xfs"), volumes.DockerDir)
			r.wantMounted(time.Minute)
			r.wantDid()
		})
	})
	t.Run("is something else", func(t *testing.T) {
		inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
			r.attach(xvdcz, "ext4")
			r.mount(r.attach("/dev/xvdo", "ext4"), volumes.DockerDir)
			_, err := r.passes(time.Second)
			r.wantError(err, false, "/var/lib/docker is a mount of /dev/nvme2n1 (ext4) already: /dev/xvdcz is not mounted over it")
			r.wantHeld(true)
			r.wantDid()
		})
	})
	t.Run("is something else, and the device is absent", func(t *testing.T) {
		inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
			r.mount(r.attach("/dev/xvdo", "ext4"), volumes.DockerDir)
			_, err := r.passes(time.Second)
			r.wantError(err, false, "is a mount of /dev/nvme1n1")
		})
	})
	t.Run("and the device elsewhere", func(t *testing.T) {
		inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
			r.mount(r.attach(xvdcz, "ext4"), "/mnt/a b")
			_, err := r.passes(time.Second)
			r.wantError(err, false, "/dev/xvdcz (/dev/nvme1n1) is mounted on /mnt/a b already")
			r.wantDid()
		})
	})
}

func TestAMountThatFailsIsToldAndTriedAgain(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		d := r.attach(xvdcz, "ext4")
		d.mountFail = errors.New("cannot mount volume docker: it ended with exit status 32: structure needs cleaning")
		for {
			_, err := r.duty.Reconcile(t.Context())
			if !errors.Is(err, duty.ErrNotReady) {
				r.wantError(err, false, "structure needs cleaning")
				break
			}
		}
		r.wantHeld(true, "structure needs cleaning")
		d.mountFail = nil
		r.wantMounted(time.Minute)
	})
}

// A mount may be under way when nobody can be asked: Docker must not start on
// a directory that is about to be covered.
func TestWhileNobodyCanTellDockerIsHeld(t *testing.T) {
	v := docker()
	v.Otherwise = volumes.Start
	inNode(t, volumes.Config{"docker": v}, func(t *testing.T, r *rig) {
		r.busErr = fmt.Errorf("cannot ask systemd: %w", facts.ErrUnavailable)
		_, err := r.passes(10 * time.Minute)
		r.wantError(err, false, "cannot ask systemd")
		r.wantHeld(true, "cannot ask systemd")
	})
	inNode(t, volumes.Config{"docker": v}, func(t *testing.T, r *rig) {
		r.write("/proc/self/mountinfo", "garbage\n")
		_, err := r.duty.Reconcile(t.Context())
		r.wantError(err, false, "cannot use /proc/self/mountinfo")
		r.wantHeld(true, "nobody can tell what is mounted")
	})
}

// Else a later pass would not know that Docker may run, and mount under it.
func TestDockerIsNotLetStartUnlessThatCanBeNoted(t *testing.T) {
	v := docker()
	v.Otherwise = volumes.Start
	inNode(t, volumes.Config{"docker": v}, func(t *testing.T, r *rig) {
		r.write("/run/ecsnode", "a file in the way")
		_, err := r.passes(5 * time.Minute)
		r.wantError(err, false, "/run/ecsnode")
		r.wantHeld(true, "/run/ecsnode")
	})
}

func TestWithoutVolumesNothingIsAskedAndNothingHeld(t *testing.T) {
	inNode(t, nil, func(t *testing.T, r *rig) {
		r.busErr = facts.ErrUnavailable
		if out, err := r.duty.Reconcile(t.Context()); err != nil || out.Summary != "none configured" || out.Changed {
			t.Errorf("%+v, %v", out, err)
		}
		r.wantHeld(false)
		r.duty.Config = cell.New(func(a, b volumes.Config) bool { return false })
		_, err := r.duty.Reconcile(t.Context())
		r.wantError(err, true, "configuration")
	})
}

func TestADamagedLedgerIsToldAndReplaced(t *testing.T) {
	inNode(t, volumes.Config{"docker": docker()}, func(t *testing.T, r *rig) {
		r.attach(xvdcz, "ext4")
		r.write("/run/ecsnode/volumes.json", "{")
		out, _ := r.duty.Reconcile(t.Context())
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "/run/ecsnode/volumes.json: it is damaged") {
			t.Errorf("%+v", out)
		}
		r.wantMounted(time.Minute)
	})
}

package instance_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/sim"
)

func TestABootWithASickIMDSUsesTheDisk(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		before := m.now()
		m.fault("imds", sick())
		time.Sleep(5*time.Minute + 20*time.Second)
		m.boot("boot-2")
		for range 2 {
			_, err := m.pass()
			const want = "cannot read the identity of the instance: cannot read dynamic/instance-identity/document: unavailable: " +
				"HTTP status 503 for a session token; " + id + " from the disk cache, saved 2000-01-01 00:00Z, is in force"
			if err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
		if diff := cmp.Diff(before, m.now()); diff != "" {
			t.Error(diff)
		}
		m.ClearFaults()
		m.woken()
		if m.good(); m.woken() {
			t.Error("readers were woken although the disk was right")
		}
	})
}

func TestTheDiskIsOnlyEverServedToItsOwnInstance(t *testing.T) {
	const another = storeFile + " is of another boot, and " + assetTag + " does not say which instance this is"
	for name, tc := range map[string]struct {
		tag, boot string
		whyNot    string // "": the disk is used
	}{
		"Nitro, after a reboot":                {id, "boot-2", ""},
		"Nitro, another instance":              {otherID, "boot-1", storeFile + " is of " + id + ", and this is " + otherID},
		"no tag, in the same boot":             {"", "boot-1", ""},
		"no tag, after a reboot":               {"", "boot-2", another},
		"a tag of another maker, same boot":    {"Not Specified", "boot-1", ""},
		"a tag of another maker, other boot":   {"Not Specified", "boot-2", another},
		"a tag that only begins like an id":    {id + "0", "boot-2", another},
		"no tag, and the boot cannot be known": {"", "", another},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
				m.good()
				m.fault("imds", sick())
				m.write(assetTag, tc.tag+"\n")
				m.boot(tc.boot)
				_, err := m.pass()
				if err == nil {
					t.Fatal("no error")
				}
				i, published := m.published.Get()
				switch {
				case tc.whyNot == "" && i.ID != id:
					t.Errorf("the disk was not used: %v", err)
				case tc.whyNot != "" && (published || !strings.HasSuffix(err.Error(), "nothing is known of this instance: "+tc.whyNot)):
					t.Errorf("published %v, %v", i, err)
				}
			})
		})
	}
}

func TestADiskWithoutBootIDIsOfNoMachine(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.write(assetTag, "")
		m.boot("")
		m.good()
		m.fault("imds", sick())
		m.boot("")
		if _, err := m.pass(); err == nil || !strings.Contains(err.Error(), "nothing is known of this instance") {
			t.Errorf("got %v", err)
		}
	})
}

// As an image does that was made from a node that had run.
func TestAnotherInstanceInheritsNothing(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		m.SetInstance(sim.Instance{ID: otherID})
		m.write(assetTag, otherID+"\n")
		m.fault("imds/meta-data/tags", sick())
		m.boot("boot-2")
		if _, err := m.pass(); err == nil {
			t.Error("no error although no tags could be read")
		}
		if i := m.now(); i.ID != otherID || i.Tags.Source != "" || i.Tags.Values != nil || i.Tags.Why == "" {
			t.Errorf("got %+v", i)
		}
		if !strings.Contains(m.read(storeFile), otherID) || strings.Contains(m.read(storeFile), id) {
			t.Errorf("on disk is %s", m.read(storeFile))
		}
	})
}

// Whoever answers at its address, such as a proxy or an emulator that was left
// on.
func TestMetadataThatContradictsTheFirmwareIsNotBelieved(t *testing.T) {
	const contradiction = "cannot believe instance metadata: it says that this is " + otherID + ", and " + assetTag + " says " + id
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.SetInstance(sim.Instance{ID: otherID})
		_, err := m.pass()
		if want := contradiction + "; nothing is known of this instance: there is no " + storeFile; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if i, published := m.published.Get(); published {
			t.Errorf("published %+v", i)
		}
		if _, err := os.Stat(m.path(storeFile)); !os.IsNotExist(err) {
			t.Errorf("it is on disk: %v", err)
		}
	})
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		before, disk := m.now(), m.read(storeFile)
		m.SetInstance(sim.Instance{ID: otherID})
		for _, stays := range []string{
			"; that of " + id + ", read 2000-01-01 00:00Z, is in force",
			"; " + id + " from the disk cache, saved 2000-01-01 00:00Z, is in force",
		} {
			if _, err := m.pass(); err == nil || err.Error() != contradiction+stays {
				t.Errorf("got  %v\nwant %s", err, contradiction+stays)
			}
			if diff := cmp.Diff(before, m.now()); diff != "" || m.read(storeFile) != disk {
				t.Errorf("on disk is %s, published: %s", m.read(storeFile), diff)
			}
			m.boot("boot-2")
		}
		m.SetInstance(sim.Instance{})
		m.good()
	})
}

func TestOnlyAnInstanceIDInTheFirmwareContradictsMetadata(t *testing.T) {
	for tag, contradicts := range map[string]bool{
		"i-01234567": true, id: false, otherID: true,
		"": false, "Not Specified": false, otherID + "0": false, "i-012345678": false, "x" + otherID: false,
	} {
		t.Run(tag, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
				m.write(assetTag, tag+"\n")
				m.boot("boot-1")
				if _, err := m.pass(); (err != nil) != contradicts {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// Where the firmware does not say, IMDS is believed before the boot id.
func TestIMDSDecidesWhoseTheDiskIs(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		m.write(assetTag, "")
		m.fault("imds/meta-data/tags", sick())
		m.boot("boot-2")
		_, err := m.pass()
		const want = "the 2 tags from imds, read 2000-01-01 00:00Z, stay"
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got  %v\nwant … %s", err, want)
		}
		if v, p := m.now().Tags.Lookup("env"); v != "prod" || p != facts.Present {
			t.Errorf("env is %q, %v", v, p)
		}
	})
}

func TestADamagedDiskIsIgnoredWithAWarningAndReplaced(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		whole := m.read(storeFile)
		for name, content := range map[string]string{
			"truncated":      whole[:len(whole)/2],
			"empty":          "",
			"no JSON":        "\x00\x01\x02",
			"another shape":  "[]",
			"nothing in it":  "{}",
			"no time":        strings.Replace(whole, "saved_at", "saved", 1),
			"no instance id": strings.Replace(whole, id, "../../etc", 1),
		} {
			m.write(storeFile, content)
			m.fault("imds", sick())
			m.boot("boot-1")
			out, err := m.pass()
			if _, published := m.published.Get(); err == nil || published {
				t.Errorf("%s: it was used: %v", name, err)
			}
			damaged := func(w string) bool { return strings.HasPrefix(w, "cannot use "+storeFile+": it is damaged: ") }
			if len(out.Warnings) != 1 || !damaged(out.Warnings[0]) {
				t.Errorf("%s: warnings %q", name, out.Warnings)
			}
			m.ClearFaults()
			if out := m.good(); len(out.Warnings) != 1 {
				t.Errorf("%s: warnings %q", name, out.Warnings)
			}
			if out := m.good(); len(out.Warnings) != 0 {
				t.Errorf("%s: still warns: %q", name, out.Warnings)
			}
			if got := m.read(storeFile); !strings.Contains(got, `"instance_id": "`+id+`"`) || len(got) < len(whole)/2 {
				t.Errorf("%s: on disk is %s", name, got)
			}
		}
	})
}

func TestTheDiskIsWrittenOnNewsAndOnceAnHour(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		var contents []string
		for range 3 * 12 {
			time.Sleep(5 * time.Minute)
			m.good()
			contents = append(contents, m.read(storeFile))
		}
		if n := len(slices.Compact(contents)); n < 3 || n > 4 {
			t.Errorf("%d different files in 3 hours without news", n)
		}
		if err := m.SetTag("env", "staging"); err != nil {
			t.Fatal(err)
		}
		if m.good(); !strings.Contains(m.read(storeFile), "staging") {
			t.Error("news is not on disk")
		}
	})
}

func TestTheDiskIsWrittenWithoutNews(t *testing.T) {
	for name, arrange := range map[string]func(m *machine){
		"in another boot":       func(m *machine) { m.boot("boot-2") },
		"dated from the future": func(m *machine) { m.redate("2000-01-01T00:10:00Z") },
		"an hour old":           func(m *machine) { m.redate("1999-12-31T23:05:00Z") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
				m.good()
				time.Sleep(5*time.Minute + 30*time.Second)
				if m.good(); !strings.Contains(m.read(storeFile), `"saved_at": "2000-01-01T00:00:00Z"`) {
					t.Fatalf("it was written for nothing: %s", m.read(storeFile))
				}
				arrange(m)
				m.good()
				boot := strings.TrimSpace(m.read(bootID))
				for _, want := range []string{`"saved_at": "2000-01-01T00:05:30Z"`, `"boot_id": "` + boot + `"`} {
					if got := m.read(storeFile); !strings.Contains(got, want) {
						t.Errorf("it lacks %s: %s", want, got)
					}
				}
			})
		})
	}
}

// redate makes the file on disk one that was saved then, and starts the agent
// again in the same boot.
func (m *machine) redate(at string) {
	m.write(storeFile, strings.Replace(m.read(storeFile), "2000-01-01T00:00:00Z", at, 1))
	m.boot("boot-1")
}

func TestWhatIsOnDiskIsForRootOnly(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.good()
		if info, err := os.Stat(filepath.Dir(m.path(storeFile))); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if err := os.Chmod(m.path(storeFile), 0o644); err != nil {
			t.Fatal(err)
		}
		m.boot("boot-2")
		m.good()
		if info, err := os.Stat(m.path(storeFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
}

func TestADiskThatCannotBeWrittenIsAWarning(t *testing.T) {
	bubble(t, sim.Options{}, func(t *testing.T, m *machine) {
		m.write("/var/lib/ecsnode", "a file in the way")
		out := m.good()
		if len(out.Warnings) == 0 || !strings.HasPrefix(out.Warnings[len(out.Warnings)-1], "cannot save the facts for a boot without instance metadata: ") {
			t.Errorf("warnings %q", out.Warnings)
		}
		if m.now().ID != id {
			t.Error("nothing was published")
		}
		if err := os.Remove(m.path("/var/lib/ecsnode")); err != nil {
			t.Fatal(err)
		}
		m.good()
		if out := m.good(); len(out.Warnings) != 0 {
			t.Errorf("still warns: %q", out.Warnings)
		}
	})
}

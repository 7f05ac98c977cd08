package packages_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duties/packages"
	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

var latest = map[string]packages.Wanted{"ecs-init": packages.Latest}

func TestAnUpgradeIsMadeOnceInABoot(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		m.good("ecs-init 1.1-1")
		m.restart() // the daemon after boot
		m.good("ecs-init 1.1-1")
		m.wantRan("@ install ecs-init")
		in, _ := m.inputs.Get()
		if got := in["ecs.service"]["ecs-init"]; got.Value != "1.1-1" || got.At.Before(time.Now().Add(-time.Minute)) {
			t.Errorf("ecs.service should run with %+v", got)
		}
		if got := in["docker.service"]; len(got) != 3 || got["docker"].Value != "25.0.3-1" || got["runc"].Value != "1.1.0-1" {
			t.Errorf("docker.service should run with %+v", got)
		}
		m.reboot()
		m.good("ecs-init 1.1-1 (nothing newer)")
		m.wantRan("@ install ecs-init", "@ install ecs-init")
	})
}

func TestNothingNewerIsSuccess(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) { m.good("ecs-init 1.0-1 (nothing newer)") })
}

func TestNothingIsDoneWhereAllIsAsItShouldBe(t *testing.T) {
	for name, c := range map[string]struct {
		ensure  map[string]packages.Wanted
		summary string
	}{
		"no package":           {nil, "no package is listed under packages.ensure"},
		"the version is there": {map[string]packages.Wanted{"ecs-init": "1.0-1"}, "ecs-init 1.0-1"},
		"it is there":          {map[string]packages.Wanted{"ecs-init": packages.Present}, "ecs-init 1.0-1"},
		"it is absent":         {map[string]packages.Wanted{"telnet": packages.Absent}, "telnet is absent"},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, c.ensure, func(t *testing.T, m *machine) {
				m.available["ecs-init"] = "1.1-1"
				m.good(c.summary)
				m.wantRan()
			})
		})
	}
}

func TestAnExactVersion(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"ecs-init": "1.1-1", "docker": packages.Latest}, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		m.config.Set(packages.Config{Ensure: map[string]packages.Wanted{"ecs-init": "1.1-1", "docker": packages.Latest}, Releasever: "2023.9.20251117"})
		m.good("docker 25.0.3-1, ecs-init 1.1-1")
		m.good("docker 25.0.3-1, ecs-init 1.1-1")
		m.wantRan("@ --releasever=2023.9.20251117 install docker ecs-init-1.1-1")
	})
}

func TestAVersionThatIsNotThereIsReportedAndTriedAgain(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"ecs-init": "1.9-1"}, func(t *testing.T, m *machine) {
		for range 2 {
			m.bad("ecs-init stays at 1.0-1: dnf: No match for argument: ecs-init-1.9-1 (in the repositories of this image's release (set packages.releasever for another))")
		}
		m.wantRan("@ install ecs-init-1.9-1")
		m.available["ecs-init"] = "1.9-1"
		time.Sleep(5 * time.Minute)
		m.good("ecs-init 1.9-1")
	})
}

func TestNothingIsEverDowngraded(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"ecs-init": "0.9-1", "docker": "25.0.3-0"}, func(t *testing.T, m *machine) {
		m.available["ecs-init"], m.available["docker"] = "0.9-1", "25.0.3-0"
		for range 2 {
			m.bad("ecs-init 1.0-1 is installed, which is newer than 0.9-1: packages are never downgraded", "docker 25.0.3-1 is installed")
		}
		m.wantRan()
	})
}

func TestADnfThatFailsIsRunAgain(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		exit int
		want string
	}{
		"the repository refuses": {"Error: Failed to download metadata for repo 'amazonlinux'", 1, "Failed to download metadata for repo 'amazonlinux'"},
		"another dnf is at work": {"Failed to obtain the transaction lock", 200, "another dnf is at work (exit status 200)"},
		"rpm is at work":         {"error: can't create transaction lock on /var/lib/rpm/.rpm.lock", 1, "can't create transaction lock"},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, latest, func(t *testing.T, m *machine) {
				m.broken, m.exit, m.available["ecs-init"] = c.says, c.exit, "1.1-1"
				m.bad("cannot install or upgrade ecs-init: dnf: ", c.want)
				m.bad(c.want)
				m.broken = ""
				m.good("ecs-init 1.1-1")
				m.good("ecs-init 1.1-1")
				if len(m.ran) != 3 {
					t.Errorf("ran %q", m.ran)
				}
			})
		})
	}
}

func TestARepositoryThatHangs(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.hangs = true
		began := time.Now()
		m.bad("no end within the time it is given", "Extra Packages")
		if took := time.Since(began); took > 16*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestATransactionThatWasCutShortIsMendedFirst(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.cut, m.available["ecs-init"] = true, "1.1-1"
		if _, err := m.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		m.settle()
		m.reboot() // the power went
		m.good("ecs-init 1.1-1 (nothing newer)")
		m.wantRan("@ install ecs-init", "remove --duplicates", "@ install ecs-init")
	})
}

func TestATransactionThatWasToldToEndAndHasChangedSomething(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		if _, err := m.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		m.settle()
		m.job.Result, m.job.ExitStatus, m.job.Output = "exit-code", 143, "Upgraded: ecs-init-1.1-1\n"
		m.good("ecs-init 1.1-1", "dnf ended with an error, and packages have changed: exit status 143: Upgraded: ecs-init-1.1-1")
		m.good("ecs-init 1.1-1")
		m.wantRan("@ install ecs-init")
	})
}

func TestWhatWouldRestartDockerUnderTasksIsLeftOut(t *testing.T) {
	all := map[string]packages.Wanted{"ecs-init": packages.Latest, "docker": packages.Latest}
	const owed = "containerd, docker, runc are left out of the upgrade, which is owed: "
	const excluded = "@ --exclude=containerd --exclude=docker --exclude=runc install ecs-init"
	for name, c := range map[string]struct {
		arrange func(m *machine)
		ran     string
		docker  string
		warning string
	}{
		"tasks run":              {func(m *machine) { m.tasks = 2 }, excluded, "25.0.3-1", owed + "task containers run and live-restore is off"},
		"nobody can tell":        {func(m *machine) { m.engineErr = fmt.Errorf("no answer: %w", facts.ErrUnavailable) }, excluded, "25.0.3-1", owed + "nobody can tell whether tasks run: no answer: unavailable"},
		"they outlive a restart": {func(m *machine) { m.tasks, m.live = 2, true }, "@ install docker ecs-init", "25.0.8-1", ""},
		"no tasks run":           {func(m *machine) {}, "@ install docker ecs-init", "25.0.8-1", ""},
		"Docker is down":         {func(m *machine) { m.docker, m.engineErr = "failed", facts.ErrUnavailable }, "@ install docker ecs-init", "25.0.8-1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, all, func(t *testing.T, m *machine) {
				m.available["docker"], m.available["ecs-init"] = "25.0.8-1", "1.1-1"
				c.arrange(m)
				var warnings []string
				if c.warning != "" {
					warnings = []string{c.warning}
				}
				m.finish()
				m.good("docker "+c.docker+", ecs-init 1.1-1", warnings...)
				m.wantRan(c.ran)
			})
		})
	}
}

func TestWhatIsOwedIsDoneOnceTasksHaveLeft(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"docker": "25.0.8-1"}, func(t *testing.T, m *machine) {
		m.available["docker"], m.tasks = "25.0.8-1", 1
		m.finish()
		time.Sleep(time.Hour)
		m.good("docker 25.0.3-1", "containerd, docker, runc are left out of the upgrade, which is owed: task containers run and live-restore is off")
		m.tasks = 0
		m.good("docker 25.0.8-1")
		m.tasks = 1 // comes and goes: nothing is done again
		m.good("docker 25.0.8-1")
		m.tasks = 0
		m.good("docker 25.0.8-1")
		m.wantRan("@ install docker-25.0.8-1") // nothing was left to do before
	})
}

func TestANewestThatIsOwedIsLookedForOnceTasksHaveLeft(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"docker": packages.Latest, "ecs-init": packages.Latest}, func(t *testing.T, m *machine) {
		m.available["docker"], m.available["ecs-init"], m.tasks = "25.0.8-1", "1.1-1", 1
		for range 2 {
			m.good("docker 25.0.3-1, ecs-init 1.1-1", "containerd, docker, runc are left out of the upgrade, which is owed: task containers run and live-restore is off")
		}
		m.tasks = 0
		m.good("docker 25.0.8-1, ecs-init 1.1-1")
		m.tasks = 1
		m.good("docker 25.0.8-1, ecs-init 1.1-1")
		m.wantRan("@ --exclude=containerd --exclude=docker --exclude=runc install ecs-init", "@ install docker ecs-init")
	})
}

func TestANewConfigurationIsANewTransaction(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.good("ecs-init 1.0-1 (nothing newer)")
		m.config.Set(packages.Config{Ensure: latest, Releasever: "latest"})
		m.available["ecs-init"] = "1.2-1"
		m.good("ecs-init 1.2-1")
		m.wantRan("@ install ecs-init", "@ --releasever=latest install ecs-init")
	})
}

func TestAllInOnePass(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{
		"ecs-init": packages.Latest, "rsyslog": packages.Present, "telnet": packages.Absent, "chrony": "4.3-1", "docker": packages.Present,
	}, func(t *testing.T, m *machine) {
		m.install("telnet")
		m.available = map[string]string{"ecs-init": "1.1-1", "rsyslog": "8.1-1", "chrony": "4.3-1", "docker": "26.0-1"}
		want := "chrony 4.3-1, docker 25.0.3-1, ecs-init 1.1-1, rsyslog 8.1-1, telnet is absent"
		m.good(want)
		m.good(want)
		m.wantRan("--disablerepo=* history replay /run/ecsnode/packages-remove.json", "@ install chrony-4.3-1 ecs-init rsyslog")
		if diff := cmp.Diff("remove telnet; install chrony 4.3-1; upgrade ecs-init 1.0-1 -> latest; install rsyslog", m.does[0]); diff != "" {
			t.Error(diff)
		}
		m.uninstall("rsyslog")
		m.install("telnet")
		m.good(want)
		m.wantRan(append(m.ran[:2:2], m.ran[0], "@ --exclude=chrony install rsyslog")...)
	})
}

func TestWhatIsNotInTheRepositoriesKeepsNothingElse(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"nosuch": packages.Present, "rsyslog": packages.Present, "shaky": packages.Latest, "chrony": "4.3-1"}, func(t *testing.T, m *machine) {
		m.available = map[string]string{"rsyslog": "8.1-1", "shaky": "2.0-1"}
		m.problem = map[string]string{"shaky": "libnosuch.so"}
		m.install("shaky")
		for range 3 {
			m.bad("cannot install nosuch: dnf: No match for argument: nosuch (in the repositories",
				"cannot install chrony: dnf: No match for argument: chrony-4.3-1",
				"shaky stays at 1.0-1: dnf: Problem 1: cannot install the best candidate for the job; - nothing provides libnosuch.so needed by shaky-2.0-1.noarch")
		}
		if !m.has("rsyslog") {
			t.Error("rsyslog was not installed")
		}
		m.wantRan("@ install chrony-4.3-1 nosuch rsyslog shaky")
		states, _ := m.states.Get()
		if s := states["nosuch"]; s.Installed || !strings.Contains(s.Failed, "No match for argument: nosuch") {
			t.Errorf("nosuch is %+v", s)
		}
		if s := states["rsyslog"]; !s.Installed || s.Failed != "" {
			t.Errorf("rsyslog is %+v", s)
		}
		m.uninstall("rsyslog") // another one is not kept by what failed
		m.bad("nosuch")
		if !m.has("rsyslog") {
			t.Error("rsyslog was not put back")
		}
		m.available["nosuch"], m.available["chrony"] = "1.0-1", "4.3-1"
		time.Sleep(5 * time.Minute)
		m.bad("shaky stays at 1.0-1")
		if !m.has("nosuch") || !m.has("chrony") {
			t.Error("what came to be there was not installed")
		}
	})
}

func TestPackagesArePendingUntilTheyAreThere(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"rsyslog": packages.Present, "telnet": packages.Absent, "ecs-init": packages.Latest}, func(t *testing.T, m *machine) {
		m.available["rsyslog"] = "8.1-1"
		pending := func(want facts.Packages) {
			t.Helper()
			got, _ := m.states.Get()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		for range 2 {
			if _, err := m.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
				t.Fatal(err)
			}
			pending(facts.Packages{"rsyslog": {}, "ecs-init": {Installed: true}})
		}
		m.good("ecs-init 1.0-1, rsyslog 8.1-1, telnet is absent")
		pending(facts.Packages{"rsyslog": {Installed: true}, "ecs-init": {Installed: true}})
	})
}

func TestWhatOthersNeedIsNotRemoved(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"library": packages.Absent, "telnet": packages.Absent}, func(t *testing.T, m *machine) {
		m.install("library", "program", "telnet")
		m.needs["library"] = []string{"program"}
		for range 2 {
			m.bad("cannot remove library: program needs it (library): let that be absent too, or keep both")
		}
		if !m.has("library") || !m.has("program") || m.has("telnet") {
			t.Errorf("there is %v", m.db)
		}
		m.config.Set(packages.Config{Ensure: map[string]packages.Wanted{"library": packages.Absent, "program": packages.Absent}})
		m.good("library is absent, program is absent")
	})
}

func TestEachCanGoAndNotAllOfThem(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"postfix": packages.Absent, "exim": packages.Absent}, func(t *testing.T, m *machine) {
		m.install("postfix", "exim")
		m.either = []string{"postfix", "exim"}
		m.bad("cannot remove exim: cron needs one of those that are to be absent (smtpd)", "cannot remove postfix: cron needs")
		m.wantRan()
	})
}

func TestAFailureIsOverOnceThePackageStandsOtherwise(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.available["ecs-init"], m.problem = "1.1-1", map[string]string{"ecs-init": "libnosuch.so"}
		m.bad("ecs-init stays at 1.0-1")
		m.uninstall("ecs-init")
		m.install("ecs-init")
		m.db[len(m.db)-1].Version = "1.1-1"
		m.good("ecs-init 1.1-1")
	})
}

func TestWhatDnfDoesNotRemoveKeepsNothingElse(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"sudo": packages.Absent, "rsyslog": packages.Present}, func(t *testing.T, m *machine) {
		m.install("sudo")
		m.protected, m.available["rsyslog"] = "sudo", "8.1-1"
		for range 2 {
			m.bad("cannot remove sudo: dnf: exit status 1: Error:; Problem: The operation would result in removing the following protected packages: sudo")
		}
		if !m.has("sudo") || !m.has("rsyslog") || len(m.ran) != 2 {
			t.Errorf("there is %v after %q", m.db, m.ran)
		}
	})
}

func TestAnotherConfigurationWhileDnfIsAtWork(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"rsyslog": packages.Present, "telnet": packages.Absent}, func(t *testing.T, m *machine) {
		m.available["rsyslog"], m.available["telnet"] = "8.1-1", "1.0-1"
		if _, err := m.duty.Reconcile(t.Context()); !errors.Is(err, duty.ErrNotReady) {
			t.Fatal(err)
		}
		m.config.Set(packages.Config{Ensure: map[string]packages.Wanted{"rsyslog": packages.Absent, "telnet": packages.Present}})
		m.good("rsyslog is absent, telnet 1.0-1")
	})
}

func TestWhatIsNoLongerConfiguredStaysAndIsReported(t *testing.T) {
	inMachine(t, map[string]packages.Wanted{"rsyslog": packages.Present, "ecs-init": packages.Present}, func(t *testing.T, m *machine) {
		m.available["rsyslog"] = "8.1-1"
		m.finish()
		m.reboot()
		m.config.Set(packages.Config{Ensure: map[string]packages.Wanted{"ecs-init": packages.Present}})
		m.good("ecs-init 1.0-1; no longer configured, and left as they are: rsyslog")
		m.config.Set(packages.Config{})
		m.good("no longer configured, and left as they are: rsyslog")
		if !m.has("rsyslog") || len(m.ran) != 1 {
			t.Errorf("there is %v after %q", m.db, m.ran)
		}
	})
}

// A job of before the record was written is not taken for the one it is about.
func TestATransactionThatWasNeverStarted(t *testing.T) {
	inMachine(t, latest, func(t *testing.T, m *machine) {
		m.available["ecs-init"] = "1.1-1"
		m.good("ecs-init 1.1-1")
		time.Sleep(time.Minute)
		m.uninstall("ecs-init")
		m.refuses = errors.New("no D-Bus")
		m.bad("no D-Bus")
		m.refuses = nil
		m.good("ecs-init 1.1-1")
		m.wantRan("@ install ecs-init", "@ install ecs-init")
	})
}

func TestValidate(t *testing.T) {
	var got []string
	packages.Config{
		Ensure: map[string]packages.Wanted{
			"--best": "latest", "docker": "latest", "runc": "absent", "ecs-init": "absent", "systemd": "absent",
			"kernel": "absent", "kernel6.12": "absent", "kernel-headers": "absent", "ecsnode": "absent", "kerneloops": "absent",
		},
		Releasever: "2024",
	}.Validate(func(path, message string) { got = append(got, path+": "+message) })
	want := []string{
		`ensure."--best": this is no name of a package`,
		`ensure."ecs-init": ecs-init cannot be absent: it is the ECS agent`,
		`ensure."ecsnode": ecsnode cannot be absent: it would remove itself`,
		`ensure."kernel": kernel cannot be absent: the node does not boot without it`,
		`ensure."kernel6.12": kernel6.12 cannot be absent: the node does not boot without it`,
		`ensure."runc": runc cannot be absent: containers run with it`,
		`ensure."systemd": systemd cannot be absent: nothing starts without it`,
		`releasever: "2024" is no release: expected one such as "2023.9.20251117", or "latest"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var v packages.Wanted
	for text, ok := range map[string]bool{
		"latest": true, "present": true, "absent": true, "1.98.0-1.amzn2023": true, "2:1.0-1": true,
		"1.98.0": false, "": false, "-1": false, "1-1 --best": false, ":1-1": false,
	} {
		if err := v.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestWhoseFaultItIs: a repository that gives nothing is the outside's, and a
// package that no repository has is whose who asked for it.
func TestWhoseFaultItIs(t *testing.T) {
	for name, c := range map[string]struct {
		ensure  map[string]packages.Wanted
		broken  string
		exit    int
		outside bool
	}{
		"a repository that refuses":    {latest, "Error: Failed to download metadata for repo 'amazonlinux'", 1, true},
		"another dnf at work":          {latest, "Failed to obtain the transaction lock", 200, true},
		"a package that is nowhere":    {map[string]packages.Wanted{"nosuch": packages.Present}, "", 0, false},
		"a version that is nowhere":    {map[string]packages.Wanted{"ecs-init": "1.9-1"}, "", 0, false},
		"what would be a downgrade":    {map[string]packages.Wanted{"ecs-init": "0.9-1"}, "", 0, false},
		"one that is nowhere, offline": {map[string]packages.Wanted{"nosuch": packages.Present}, "Curl error (6): Couldn't resolve host name", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			inMachine(t, c.ensure, func(t *testing.T, m *machine) {
				m.broken, m.exit, m.available["ecs-init"] = c.broken, c.exit, "1.1-1"
				for range 2 {
					_, err := m.finish()
					if err == nil || errors.Is(err, facts.ErrUnavailable) != c.outside {
						t.Errorf("outside %v, want %v: %v", !c.outside, c.outside, err)
					}
				}
				states, _ := m.states.Get()
				if s, is := states["nosuch"]; is && s.Outside != c.outside {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

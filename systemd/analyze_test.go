package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// install makes a root in which our units are enabled among those of Amazon
// Linux 2023, with a program at each path that they start.
func install(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range files {
		write("usr/lib/systemd/system/"+path, text, 0o644)
	}
	for name, u := range load(t, files) {
		for _, by := range u.words("Install.WantedBy") {
			write("etc/systemd/system/"+by+".wants/.keep", "", 0o644)
			link := filepath.Join(root, "etc/systemd/system", by+".wants", name)
			if err := os.Symlink("/usr/lib/systemd/system/"+name, link); err != nil {
				t.Fatal(err)
			}
		}
		for key, commands := range u.values {
			if !strings.HasPrefix(key, "Service.Exec") {
				continue
			}
			for _, command := range commands {
				program, _, _ := strings.Cut(command, " ")
				write(strings.TrimLeft(program, "-@:+!/"), "#!/bin/sh\n", 0o755)
			}
		}
	}
	return root
}

// analyze runs systemd-analyze and returns what it says; ok if it exits 0.
func analyze(t *testing.T, args ...string) (said string, ok bool) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs systemd-analyze (Debian: apt-get install systemd)")
		}
		t.Skip("needs systemd-analyze (Debian: apt-get install systemd)")
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err == nil
}

func TestVerify(t *testing.T) {
	t.Parallel()
	verify := func(files map[string]string) (string, bool) {
		t.Helper()
		return analyze(t, "verify", "--man=no", "--root="+install(t, files), "multi-user.target",
			"ecsnode.service", "ecsnode-early.service", "ecsnode-boot.service", "ecsnode-shutdown.service", "ecs.service", "docker.service")
	}
	files := node(t)
	if said, ok := verify(files); !ok || said != "" {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
	files["ecsnode.service"] += "[Service]\nWatchdog=30\n"
	if said, _ := verify(files); !strings.Contains(said, "Watchdog") {
		t.Errorf("a wrong key of ours was not found:\n%s", said)
	}
}

func TestExposure(t *testing.T) {
	t.Parallel()
	for _, name := range ours(t) {
		if said, ok := analyze(t, "security", "--no-pager", "--offline=true", "--threshold=50", "./"+name); !ok {
			t.Errorf("%s is exposed by more than 5.0:\n%s", name, said)
		}
	}
}

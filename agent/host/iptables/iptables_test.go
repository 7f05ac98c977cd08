package iptables_test

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/host/iptables"
)

// inside says that the test runs in a network namespace of its own.
const inside = "ECSNODE_TEST_NETNS"

// ownNetwork runs the test again in a network namespace of its own, and reports
// whether this is that one.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	need := ""
	if os.Geteuid() != 0 {
		need = "root"
	}
	for _, program := range []string{"unshare", "iptables", "ip6tables"} {
		if _, err := exec.LookPath(program); err != nil {
			need = program + " (Debian: apt-get install iptables)"
		}
	}
	if need != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs " + need)
		}
		t.Skip("needs " + need)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

func run(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestRules(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	f := &iptables.Filter{}
	if _, _, err := f.Rules(facts.IPv4); !errors.Is(err, facts.ErrAbsent) || !strings.Contains(err.Error(), "Docker has made no chain DOCKER-USER") {
		t.Errorf("before Docker: %v", err)
	}
	run(t, "iptables -N DOCKER-USER && iptables -A DOCKER-USER -s 10.0.0.0/8 -j ACCEPT && iptables -A DOCKER-USER -j RETURN")
	others := run(t, "iptables -S DOCKER-USER")

	for _, c := range []struct {
		v       facts.IPVersion
		chain   string
		allowed string
		want    string // in the end
	}{
		{facts.IPv4, "iptables -S DOCKER-USER", "172.17.0.2", `-A DOCKER-USER -d 169.254.169.254/32 -m comment --comment "ecsnode guard" -j REJECT --reject-with icmp-port-unreachable`},
		{facts.IPv6, "ip6tables -S FORWARD", "fd00::2", `-A FORWARD -d fd00:ec2::254/128 -m comment --comment "ecsnode guard" -j REJECT --reject-with icmp6-port-unreachable`},
	} {
		refuse := facts.MetadataRule{}
		allow := facts.MetadataRule{From: netip.MustParseAddr(c.allowed), Allow: true}
		for _, want := range [][]facts.MetadataRule{{refuse}, {allow, refuse}, {refuse}} {
			if err := f.Replace(c.v, want); err != nil {
				t.Fatal(err)
			}
			got, inPlace, err := f.Rules(c.v)
			if err != nil || !inPlace {
				t.Fatal(inPlace, err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		}
		lines := strings.Split(run(t, c.chain), "\n")
		if len(lines) < 2 || lines[1] != c.want {
			t.Errorf("IPv%d: %q", c.v, lines)
		}
		if err := f.Replace(c.v, nil); err != nil {
			t.Fatal(err)
		}
		if got, _, err := f.Rules(c.v); err != nil || len(got) > 0 {
			t.Errorf("IPv%d: %v, %v are left", c.v, got, err)
		}
	}
	if now := run(t, "iptables -S DOCKER-USER"); now != others {
		t.Errorf("of others was %q, is %q", others, now)
	}
}

func TestRulesThatAreNotFirstAreNotInPlace(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	f := &iptables.Filter{}
	refuse := []facts.MetadataRule{{}}
	replace := func() {
		t.Helper()
		if err := f.Replace(facts.IPv6, refuse); err != nil {
			t.Fatal(err)
		}
		if got, inPlace, err := f.Rules(facts.IPv6); err != nil || !inPlace || len(got) != 1 {
			t.Errorf("%v, %v, %v", got, inPlace, err)
		}
	}
	lost := func() {
		t.Helper()
		if got, inPlace, err := f.Rules(facts.IPv6); err != nil || inPlace && len(got) == 1 {
			t.Errorf("%v, %v, %v", got, inPlace, err)
		}
	}
	replace()
	run(t, "ip6tables -I FORWARD -i br-1 -j ACCEPT") // as Docker 20.10 does for each of its networks
	lost()
	replace()
	run(t, "ip6tables -N DOCKER-USER && ip6tables -I FORWARD -j DOCKER-USER") // as later ones do
	lost()
	replace()
	if n := run(t, `ip6tables -S | grep -c "ecsnode guard"`); n != "1" {
		t.Errorf("%s rules are there", n)
	}
}

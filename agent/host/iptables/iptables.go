// Package iptables keeps containers from instance metadata by rules of the
// host's packet filter.
package iptables

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// Addresses of instance metadata.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
const (
	metadata4 = "169.254.169.254"
	metadata6 = "fd00:ec2::254"
)

const (
	table = "filter"
	// dockerUser is the chain that Docker leaves to others: it sends all that is
	// forwarded through it first, and keeps its rules when it restarts. It has
	// one for IPv6 only where it filters that.
	// https://docs.docker.com/engine/network/packet-filtering-firewalls/
	dockerUser = "DOCKER-USER"
	forward    = "FORWARD"
	// comment tells our rules from those of others.
	comment = "ecsnode guard"
	// lockWait is how long the lock of the tables is waited for, in seconds.
	lockWait = 5
)

// Filter is the packet filter of this host's network namespace. The zero value
// is ready; it is for one goroutine.
type Filter struct{ v4, v6 *iptables.IPTables }

// Rules returns ours, in order, and whether they are in place: before all those
// of others, and nowhere else. The error is facts.ErrAbsent if there is no
// iptables, or if Docker has not made its chain.
func (f *Filter) Rules(v facts.IPVersion) (rules []facts.MetadataRule, inPlace bool, err error) {
	t, err := f.open(v)
	if err != nil {
		return nil, false, err
	}
	rules, numbers, err := t.list(t.chain)
	if err != nil {
		return nil, false, err
	}
	inPlace = len(numbers) == 0 || numbers[len(numbers)-1] == len(numbers)
	if t.former != "" {
		elsewhere, _, err := t.list(t.former)
		if err != nil {
			return nil, false, err
		}
		inPlace = inPlace && len(elsewhere) == 0
	}
	return rules, inPlace, nil
}

// Replace makes ours exactly these, before those of others. The new rules are
// in place before the former ones go.
func (f *Filter) Replace(v facts.IPVersion, rules []facts.MetadataRule) error {
	t, err := f.open(v)
	if err != nil {
		return err
	}
	_, numbers, err := t.list(t.chain)
	if err != nil {
		return err
	}
	for i, r := range rules {
		if err := t.ipt.Insert(table, t.chain, i+1, t.spec(r)...); err != nil {
			return t.fail("insert a rule into", t.chain, err)
		}
	}
	if err := t.remove(t.chain, numbers, len(rules)); err != nil || t.former == "" {
		return err
	}
	_, numbers, err = t.list(t.former)
	if err != nil {
		return err
	}
	return t.remove(t.former, numbers, 0)
}

// remove deletes rules that have moved down since they were numbered.
func (t tables) remove(chain string, numbers []int, down int) error {
	for _, n := range slices.Backward(numbers) {
		if err := t.ipt.DeleteById(table, chain, n+down); err != nil {
			return t.fail("delete a rule from", chain, err)
		}
	}
	return nil
}

// tables is the filter of one version of IP.
type tables struct {
	ipt  *iptables.IPTables
	v    facts.IPVersion
	dest string
	// chain has our rules, and former may have had them before Docker made chain.
	chain, former string
}

func (f *Filter) open(v facts.IPVersion) (tables, error) {
	ipt, dest, protocol := &f.v4, metadata4, iptables.ProtocolIPv4
	if v == facts.IPv6 {
		ipt, dest, protocol = &f.v6, metadata6, iptables.ProtocolIPv6
		if _, err := os.Stat(inet6); errors.Is(err, fs.ErrNotExist) {
			return tables{}, fmt.Errorf("cannot filter IPv6: %w: this host has none", facts.ErrAbsent)
		}
	}
	if *ipt == nil {
		found, err := iptables.New(iptables.IPFamily(protocol), iptables.Timeout(lockWait))
		if errors.Is(err, exec.ErrNotFound) {
			return tables{}, fmt.Errorf("cannot filter IPv%d: %w: install iptables", v, facts.ErrAbsent)
		}
		if err != nil {
			return tables{}, fmt.Errorf("cannot filter IPv%d: %w", v, err)
		}
		*ipt = found
	}
	t := tables{ipt: *ipt, v: v, dest: dest, chain: dockerUser}
	there, err := t.ipt.ChainExists(table, dockerUser)
	switch {
	case err != nil:
		return tables{}, t.fail("look for", dockerUser, err)
	case there && v == facts.IPv6:
		t.former = forward
		return t, nil
	case there:
		return t, nil
	case v == facts.IPv6:
		t.chain = forward
		return t, nil
	}
	return tables{}, fmt.Errorf("cannot filter IPv4: %w: Docker has made no chain %s", facts.ErrAbsent, dockerUser)
}

// inet6 is there where the kernel has IPv6: proc(5).
const inet6 = "/proc/net/if_inet6"

// list returns our rules and their numbers, from 1.
func (t tables) list(chain string) (ours []facts.MetadataRule, numbers []int, err error) {
	lines, err := t.ipt.List(table, chain)
	if err != nil {
		return nil, nil, t.fail("list", chain, err)
	}
	number := 0
	for _, line := range lines {
		if !strings.HasPrefix(line, "-A ") {
			continue // the chain itself
		}
		number++
		if strings.Contains(line, `--comment "`+comment+`"`) {
			ours, numbers = append(ours, parse(line)), append(numbers, number)
		}
	}
	return ours, numbers, nil
}

// parse reads a rule of ours as iptables -S writes it.
func parse(line string) facts.MetadataRule {
	var r facts.MetadataRule
	words := strings.Fields(line)
	for i, w := range words[:len(words)-1] {
		switch w {
		case "-s":
			if p, err := netip.ParsePrefix(words[i+1]); err == nil {
				r.From = p.Addr()
			}
		case "-j":
			r.Allow = words[i+1] == "RETURN"
		}
	}
	return r
}

// spec is a rule. A refused packet is answered, so that a client fails at once
// and does not wait for its time-out.
func (t tables) spec(r facts.MetadataRule) []string {
	spec := []string{"-d", t.dest, "-m", "comment", "--comment", comment}
	if r.From.IsValid() {
		spec = append([]string{"-s", r.From.String()}, spec...)
	}
	if r.Allow {
		return append(spec, "-j", "RETURN")
	}
	return append(spec, "-j", "REJECT")
}

func (t tables) fail(verb, what string, err error) error {
	return fmt.Errorf("cannot %s %s (IPv%d): %w: %s", verb, what, t.v, facts.ErrUnavailable, strings.Join(strings.Fields(err.Error()), " "))
}

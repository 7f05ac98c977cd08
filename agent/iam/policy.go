// Package iam says what the instance role must allow ecsnode: the least policy
// for a configuration. What ecsnode calls, when, and on what, stands in one table,
// [Needs].
package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/config"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
)

// Role is what a policy is made for. Where nothing is said, * stands.
type Role struct {
	Config config.Config
	Asks   render.Asks // of the settings and templates

	Partition string   // "": aws
	Region    string   // of the nodes
	Account   string   // of the nodes
	Clusters  []string // names of the clusters that the nodes join; none: that of the configuration
	Groups    []string // names of their Auto Scaling groups
	TaskRoles []string // ARNs of the roles of the tasks that ecsnode starts; none: no role is passed
	Keys      []string // ARNs of keys of KMS that things are encrypted with; none: no key of your own is used
}

// form is what an argument may be: a name, an ARN, a pattern of one, or a reference
// of CloudFormation.
var form = pattern.New(`^[A-Za-z0-9*?${}:/_.@+=,-]+$`)

// Check returns what is wrong with the arguments.
func (r Role) Check() error {
	arn := func(s string) bool { return strings.HasPrefix(s, "arn:") || strings.HasPrefix(s, "${") }
	for _, s := range slices.Concat([]string{r.Partition, r.Region, r.Account}, r.Clusters, r.Groups, r.TaskRoles, r.Keys) {
		if s != "" && !form.MatchString(s) {
			return fmt.Errorf("%q is neither a name nor an ARN", s)
		}
	}
	for _, s := range slices.Concat(r.TaskRoles, r.Keys) {
		if !arn(s) {
			return fmt.Errorf("%q is no ARN", s)
		}
	}
	for _, s := range slices.Concat(r.Clusters, r.Groups) {
		if arn(s) && strings.HasPrefix(s, "arn:") {
			return fmt.Errorf("%q is an ARN: expected a name", s)
		}
	}
	return nil
}

// Policy is a policy of IAM.
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// Least returns the least policy: for a role, the same each time, in order.
func Least(r Role) Policy {
	p := Policy{Version: "2012-10-17"}
	for _, need := range Needs() {
		if !need.When.holds(r) {
			continue
		}
		resources := slices.Compact(slices.Sorted(slices.Values(need.on.resources(r))))
		if len(resources) == 0 {
			continue
		}
		i := slices.IndexFunc(p.Statement, func(s Statement) bool { return s.Sid == need.on.sid })
		if i < 0 {
			s := Statement{Sid: need.on.sid, Effect: "Allow", Resource: resources}
			if need.on.condition != nil {
				s.Condition = need.on.condition(r)
			}
			p.Statement = append(p.Statement, s)
			i = len(p.Statement) - 1
		}
		p.Statement[i].Action = append(p.Statement[i].Action, need.Action)
	}
	for i, s := range p.Statement {
		p.Statement[i].Action = slices.Compact(slices.Sorted(slices.Values(s.Action)))
	}
	slices.SortFunc(p.Statement, func(a, b Statement) int { return strings.Compare(a.Sid, b.Sid) })
	return p
}

// JSON is the policy as IAM takes it.
func (p Policy) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(p)
	return out.Bytes(), err
}

// Warnings are what the policy allows that a better answer would narrow, or does
// not allow that may be needed.
func Warnings(r Role) (warnings []string) {
	if len(r.TaskRoles) == 0 && (startsTasks(r) || runsTasks(r)) {
		warnings = append(warnings, "no role may be passed to the tasks that ecsnode starts: name theirs by --task-role, if they have any")
	}
	for _, function := range r.Asks.Unsaid {
		warnings = append(warnings, fmt.Sprintf("a template makes a name for %s when it is rendered: every one is allowed", function))
	}
	return warnings
}

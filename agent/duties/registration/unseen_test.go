package registration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecsnode/ecsnode/agent/duty"
	"github.com/ecsnode/ecsnode/agent/facts"
)

const scope = "arn:aws:ecs:eu-west-1:123456789012:"

// says is whatever answers at the agent's port.
type says facts.ContainerInstance

func (s says) ContainerInstance(context.Context) (facts.ContainerInstance, error) {
	return facts.ContainerInstance(s), nil
}

func TestOnlyAnAnswerThatFitsTheInstanceIsBelieved(t *testing.T) {
	for name, tc := range map[string]struct {
		arn, cluster string
		shows        string // "": not believed
	}{
		"long ARN":                              {scope + "container-instance/web/0123abcd", "web", "web"},
		"long ARN, cluster spelled as ARN":      {scope + "container-instance/web/0123abcd", scope + "cluster/web", "web"},
		"ARN of the old format":                 {scope + "container-instance/0123abcd", "web", "web"},
		"another partition":                     {strings.Replace(scope, "aws", "aws-cn", 1) + "container-instance/web/0123abcd", "web", "web"},
		"another region":                        {"arn:aws:ecs:us-east-1:123456789012:container-instance/web/0123abcd", "web", ""},
		"another account":                       {"arn:aws:ecs:eu-west-1:999999999999:container-instance/web/0123abcd", "web", ""},
		"another cluster":                       {scope + "container-instance/web/0123abcd", "evil", ""},
		"another cluster, spelled as ARN":       {scope + "container-instance/web/0123abcd", scope + "cluster/evil", ""},
		"cluster of another account":            {scope + "container-instance/web/0123abcd", "arn:aws:ecs:eu-west-1:999999999999:cluster/web", ""},
		"old format, cluster of another region": {scope + "container-instance/0123abcd", "arn:aws:ecs:us-east-1:123456789012:cluster/web", ""},
		"a longer ARN":                          {scope + "container-instance/web/evil/0123abcd", "web", ""},
		"no ARN":                                {"container-instance/web/0123abcd", "web", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *machine) {
				answer := says{ARN: tc.arn, Cluster: tc.cluster}
				const mine = "and this is " + id + " in eu-west-1 of account 123456789012"
				disbelieved := fmt.Sprintf("cannot believe what answers as the ECS agent: it says that it is %s in cluster %s, %s", tc.arn, tc.cluster, mine)

				m.duty.Agent = answer
				if tc.shows != "" {
					m.good("registered in " + tc.shows)
					m.wantCluster(tc.cluster)
					return
				}
				m.good("not registered: "+disbelieved, disbelieved)
				m.wantCluster("")

				m.start(id)
				m.register()
				before, record := m.now(), m.saved()
				for range 2 {
					m.duty.Agent = answer
					m.good("last registered in web", stays+disbelieved)
					if diff := cmp.Diff(before, m.now()); diff != "" {
						t.Error(diff)
					}
					if m.saved() != record {
						t.Errorf("saved %s", m.saved())
					}
					m.start(id)
				}
			})
		})
	}
}

func (m *machine) now() facts.ContainerInstance {
	m.t.Helper()
	ci, ok := m.published.Get()
	if !ok {
		m.t.Fatal("nothing is published")
	}
	return ci
}

// As an agent may answer that is starting, or what has taken its port.
func TestAnAgentThatHasStateAndSaysItIsNotRegisteredIsNotBelieved(t *testing.T) {
	for _, state := range []string{agentDB, "/var/lib/ecs/data/ecs_agent_data.json"} {
		bubble(t, func(t *testing.T, m *machine) {
			m.register()
			m.remove(agentDB)
			m.write(state, "state")
			m.Deregister()
			const absent = "cannot ask the ECS agent at http://localhost:51678/v1/metadata: absent: it is not registered"
			m.good("last registered in web", stays+absent)
			m.start(id)
			m.good("last registered in web", stays+absent)
			m.wantCluster("web")
			m.start(otherID)
			m.good("not registered: " + id + " was, and this is " + otherID)
			m.wantCluster("")
		})
	}
}

func TestAgentStateWithoutAUsableRecord(t *testing.T) {
	const waits = "the ECS agent, which has state of a registration that ecsnode has not seen (" + reset + ")"
	const whole = `{"instance_id": "` + id + `", "container_instance": {"arn": "` + scope + `container-instance/web/0123", "cluster": "web"}}`
	for name, content := range map[string]string{
		"none": "", "empty": "\n", "half of it": `{"instance_id": "i-0123`, "another shape": "[]", "nothing in it": "{}",
		"no instance": strings.Replace(whole, id, "", 1),
		"no cluster":  strings.Replace(whole, `"cluster": "web"`, `"cluster": ""`, 1),
		"no ARN":      strings.Replace(whole, `"arn"`, `"a"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *machine) {
				warnings := 0
				if content != "" {
					m.write(file, content)
					warnings = 1
				}
				m.write(agentDB, "state")
				var waited time.Duration
				for began := time.Now(); ; {
					waited = time.Since(began)
					if waited >= 30*time.Second {
						break
					}
					out := m.waits(waits)
					if len(out.Warnings) != warnings || warnings > 0 && !strings.HasPrefix(out.Warnings[0], "cannot use "+file+": it is damaged: ") {
						t.Errorf("warnings %q", out.Warnings)
					}
					if out.Again <= 0 || out.Again > 5*time.Second {
						t.Fatalf("the next pass is wanted after %v", out.Again)
					}
					time.Sleep(out.Again)
				}
				if waited != 30*time.Second {
					t.Errorf("waited %v", waited)
				}
				out, err := m.pass()
				if err != nil || out.Summary != "not registered, as far as is known: "+reset || len(out.Warnings) != warnings+1 || out.Warnings[warnings] != unseen {
					t.Errorf("%+v, %v", out, err)
				}
				m.wantCluster("")

				m.register() // mends it
				m.SetAgentRunning(false)
				m.start(id)
				m.good("last registered in web", stays+reset)
			})
		})
	}
}

func TestTheAgentIsHeardWhileItIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.write(agentDB, "state")
		if _, err := m.pass(); err == nil {
			t.Fatal("it did not wait")
		}
		m.register()
		m.wantCluster("web")
	})
}

// The wait is counted from the first pass, also of one that had to wait for
// something else.
func TestTheWaitForTheAgentIsNotAddedToThatForTheInstance(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.start("")
		m.write(agentDB, "state")
		m.waits("the identity of the instance, which a registration must fit")
		time.Sleep(28 * time.Second)
		m.know(id)
		if out, err := m.pass(); err == nil || out.Again != 2*time.Second {
			t.Errorf("%+v, %v", out, err)
		}
		time.Sleep(2 * time.Second)
		m.good("not registered, as far as is known: "+reset, unseen)
	})
}

func TestARecordThatIsDamagedUnderTheRunningNode(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.register()
		record := m.saved()
		m.write(file, "{")
		m.SetAgentRunning(false)
		m.good("last registered in web", stays+reset)
		m.wantCluster("web")

		m.write(file, record)
		m.start(id)
		m.good("last registered in web", stays+reset)
		m.write(file, "{")
		m.good("last registered in web", stays+reset)
		m.wantCluster("web")
	})
}

func TestADamagedRecordWithoutAgentStateIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.write(file, "{")
		m.good("not registered: " + reset)
		m.wantCluster("")
		if _, err := os.Stat(filepath.Join(m.root, file)); !os.IsNotExist(err) {
			t.Errorf("it is still there: %v", err)
		}
	})
}

// An agent makes its state before it registers, and answers after.
func TestAFirstRegistrationUnderWayIsNoWarning(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.good("not registered: " + reset)
		m.write(agentDB, "state")
		m.good("not registered: " + reset)
		m.wantCluster("")
		m.register()
		m.SetAgentRunning(false)
		m.good("last registered in web", stays+reset)
	})
}

// saved is what the agent keeps, by file.
type saved map[string]facts.AgentState

func (s saved) State(file string) (facts.AgentState, error) {
	state, ok := s[file]
	switch {
	case !ok:
		return facts.AgentState{}, facts.ErrAbsent
	case state == locked:
		return facts.AgentState{}, facts.ErrUnavailable
	}
	return state, nil
}

var locked = facts.AgentState{File: "locked"}

// As after a power cut right behind the first registration.
func TestARegistrationThatNobodySawIsReadFromTheAgentsOwnState(t *testing.T) {
	const arn = scope + "container-instance/web/0123"
	good := facts.AgentState{Cluster: "web", ARN: arn, InstanceID: id}
	for name, c := range map[string]struct {
		state facts.AgentState
		says  string // "": it is waited for the agent
	}{
		"whole":               {good, "last registered in web"},
		"of another instance": {facts.AgentState{Cluster: "web", ARN: arn, InstanceID: otherID}, ""},
		"not registered yet":  {facts.AgentState{Cluster: "web", InstanceID: id}, "not registered: its agent gives no answer, and has saved that it is not"},
		"locked by the agent": {locked, ""},
	} {
		for _, file := range []string{facts.AgentDB, facts.AgentJSON} {
			t.Run(name+" in "+file, func(t *testing.T) {
				bubble(t, func(t *testing.T, m *machine) {
					m.write(agentDB, "state")
					m.duty.Saved = saved{file: c.state}
					out, err := m.pass()
					if c.says == "" {
						if _, published := m.published.Get(); published || !errors.Is(err, duty.ErrNotReady) {
							t.Errorf("%+v, %v", out, err)
						}
						return
					}
					if err != nil || out.Summary != c.says {
						t.Errorf("%+v, %v", out, err)
					}
					if c.state != good {
						m.wantCluster("")
						return
					}
					m.wantCluster("web")
					m.duty.Saved = nil
					m.start(id)
					m.good("last registered in web", stays+reset)
				})
			})
		}
	}
}

func TestADamagedRecordIsToldOfAlsoWhereTheAgentsStateIsGoneBy(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.write(agentDB, "state")
		m.write(file, "{")
		m.duty.Saved = saved{facts.AgentDB: {Cluster: "web", InstanceID: id}}
		out, err := m.pass()
		if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], file) {
			t.Errorf("%+v, %v", out, err)
		}
		m.wantCluster("")
	})
}

package sim

import (
	"fmt"
	"time"
)

// Answers of the Engine API, with what clients look at.

type dockerVersionAnswer struct {
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string
	OS            string `json:"Os"`
	Arch          string
}

func (n *Node) dockerVersion() dockerVersionAnswer {
	return dockerVersionAnswer{
		Version: dockerVersion, APIVersion: fmt.Sprintf("1.%d", newestDockerAPI), MinAPIVersion: fmt.Sprintf("1.%d", oldestDockerAPI),
		OS: "linux", Arch: n.Instance().goArchitecture(),
	}
}

func (i Instance) goArchitecture() string {
	if i.Architecture == "x86_64" {
		return "amd64"
	}
	return i.Architecture
}

type dockerInfoAnswer struct {
	Containers         int
	ContainersRunning  int
	ContainersPaused   int
	ContainersStopped  int
	Name               string
	ServerVersion      string
	OSType             string
	Architecture       string
	Driver             string
	LiveRestoreEnabled bool
}

func (n *Node) dockerInfo() dockerInfoAnswer {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	now := n.world.settle()
	info := dockerInfoAnswer{
		Name: n.instance.Hostname, ServerVersion: dockerVersion, OSType: "linux", Architecture: n.instance.Architecture, Driver: "overlay2",
	}
	for _, c := range n.docker.containers {
		switch {
		case c.runs(now):
			info.ContainersRunning++
		case c.exists(now):
			info.ContainersStopped++
		}
	}
	info.Containers = info.ContainersRunning + info.ContainersStopped
	return info
}

type dockerSummary struct {
	ID              string `json:"Id"`
	Names           []string
	Image           string
	ImageID         string
	Command         string
	Created         int64
	Labels          map[string]string
	State           string
	Status          string
	HostConfig      dockerHostConfig
	NetworkSettings dockerNetworks
}

type dockerHostConfig struct {
	NetworkMode string
}

type dockerNetworks struct {
	Networks map[string]dockerNetwork
}

type dockerNetwork struct {
	IPAddress string
}

func (c *container) summary(now time.Time) dockerSummary {
	s := dockerSummary{
		ID: c.id, Names: []string{"/" + c.dockerName}, Image: c.image, ImageID: c.imageID(), Created: c.created().Unix(), Labels: c.labels,
		State: "running", Status: "Up", HostConfig: dockerHostConfig{"default"}, NetworkSettings: c.networks(now),
	}
	if !c.runs(now) {
		s.State, s.Status = "exited", fmt.Sprintf("Exited (%d)", c.last(now).exitCode())
	}
	return s
}

func (c *container) imageID() string { return "sha256:" + c.id }

func (c *container) networks(now time.Time) dockerNetworks {
	bridge := dockerNetwork{}
	if c.runs(now) {
		address := c.number + 2 // the first one is the bridge's
		bridge.IPAddress = fmt.Sprintf("172.17.%d.%d", address>>8&0xff, address&0xff)
	}
	return dockerNetworks{map[string]dockerNetwork{"bridge": bridge}}
}

type dockerInspection struct {
	ID              string `json:"Id"`
	Created         time.Time
	Name            string
	Image           string
	RestartCount    int
	State           dockerContainerState
	Config          dockerConfig
	HostConfig      dockerInspectedHost
	NetworkSettings dockerNetworks
}

type dockerContainerState struct {
	Status                            string
	Running, Paused, Restarting, Dead bool
	OOMKilled                         bool
	Pid                               int
	ExitCode                          int
	StartedAt                         time.Time
	FinishedAt                        time.Time
}

type dockerConfig struct {
	Image  string
	Labels map[string]string
}

type dockerInspectedHost struct {
	dockerHostConfig
	RestartPolicy struct{ Name string }
}

func (c *container) inspect(now time.Time) dockerInspection {
	last := c.last(now)
	i := dockerInspection{
		ID: c.id, Created: c.created().UTC(), Name: "/" + c.dockerName, Image: c.imageID(),
		State:           dockerContainerState{Status: "running", Running: true, Pid: 1000 + c.number, StartedAt: last.started.UTC()},
		Config:          dockerConfig{c.image, c.labels},
		HostConfig:      dockerInspectedHost{dockerHostConfig: dockerHostConfig{"default"}},
		NetworkSettings: c.networks(now),
	}
	i.HostConfig.RestartPolicy.Name = "no"
	if !c.runs(now) {
		i.State = dockerContainerState{Status: "exited", ExitCode: last.exitCode(), StartedAt: last.started.UTC(), FinishedAt: last.ended.UTC()}
	}
	return i
}

// exitCode: one that ends upon SIGTERM does it in good order.
func (s span) exitCode() int {
	if s.killed {
		return 128 + 9
	}
	return s.code
}

package sim

import "time"

// TasksChange is the part of a Change that is about tasks. It comes after the
// registration and before the status of the container instance:
//
//	registered: web
//	services: [{name: web, desired: 2, elsewhere: 1, deregistration_delay: 30s, task: {stop_takes: 5s}}]
//	add_tasks: [{family: batch, stop_takes: 1h, started_by: me}]
//	task_definitions: [{family: shipper, revision: 2, runs_for: 5s, exit_code: 1}]
//	capacity_provider: {name: spot, managed_scaling: true}
//	container_instance_status: DRAINING
type TasksChange struct {
	MemoryMiB       *int             `yaml:"memory_mib"` // of the container instance, for tasks
	TaskDefinitions []TaskDefinition `yaml:"task_definitions"`
	// DeregisterTaskDefinitions are family:revision.
	DeregisterTaskDefinitions []string          `yaml:"deregister_task_definitions"`
	CapacityProvider          *CapacityProvider `yaml:"capacity_provider"`

	Services []Service      `yaml:"services"`  // made or changed
	AddTasks []AddedTask    `yaml:"add_tasks"` // standalone ones
	EndTasks []string       `yaml:"end_tasks"` // by ARN, id or family
	ListLag  *time.Duration `yaml:"list_lag"`
}

// AddedTask is a standalone task on the world's own node.
type AddedTask struct {
	TaskDefinition `yaml:",inline"`
	StartedBy      string `yaml:"started_by"`
}

// DockerChange is the part of a Change that is about the Docker Engine:
//
//	run_containers: [{name: monitor, image: "monitor:1", stop_takes: 2s}]
//	remove_containers: [monitor]
//	docker_running: false
type DockerChange struct {
	RunContainers []ContainerSpec `yaml:"run_containers"` // by others than ECS
	// RemoveContainers are ids or names, as of docker rm -f.
	RemoveContainers []string `yaml:"remove_containers"`
	DockerRunning    *bool    `yaml:"docker_running"`
}

func (w *World) applyDocker(c DockerChange) error {
	for _, s := range c.RunContainers {
		w.RunContainer(s)
	}
	for _, id := range c.RemoveContainers {
		if err := w.RemoveContainer(id); err != nil {
			return err
		}
	}
	set(c.DockerRunning, w.SetDockerRunning)
	return nil
}

func (w *World) applyTasks(c TasksChange) error {
	set(c.MemoryMiB, w.SetMemory)
	set(c.ListLag, w.SetListLag)
	for _, d := range c.TaskDefinitions {
		w.AddTaskDefinition(d)
	}
	for _, name := range c.DeregisterTaskDefinitions {
		w.mu.Lock()
		err := w.deregisterDefinition(name)
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	set(c.CapacityProvider, w.SetCapacityProvider)
	for _, s := range c.Services {
		if err := w.SetService(s); err != nil {
			return err
		}
	}
	for _, t := range c.AddTasks {
		if _, err := w.AddTask(t.TaskDefinition, t.StartedBy); err != nil {
			return err
		}
	}
	for _, name := range c.EndTasks {
		w.EndTasks(name)
	}
	return nil
}

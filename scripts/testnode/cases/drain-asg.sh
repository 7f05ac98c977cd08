# shellcheck shell=bash
# Name:     the Auto Scaling group terminates the node
# Node:     one in a group with a termination hook of 30 s, that runs a task for 15 s more
# Happens:  the group terminates it
# Must be:  the hook is kept waiting while the task runs, and completed with CONTINUE once the node is drained

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
interruption: {autoscaling: {interval: 1s}}
YAML
sim POST apply '{group: web, target_lifecycle_state: InService, lifecycle_hooks: [{name: ecsnode-drain, heartbeat_timeout: 30s}]}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: batch}]}'
within 10 run_all batch
sim POST apply '{terminate: true}'
within 3 ecs_says DRAINING
within 15 was_asked autoscaling/RecordLifecycleActionHeartbeat
not was_asked autoscaling/CompleteLifecycleAction
run_all batch
sim POST apply '{end_tasks: [batch]}'
within 10 was_asked autoscaling/CompleteLifecycleAction
drain_says "the node is drained" "lifecycle hook ecsnode-drain is completed"

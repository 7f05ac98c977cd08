# shellcheck shell=bash
# Name:     a task with a restart policy while ECS refuses
# Node:     one on Spot that runs a task; its agent starts the container again when it has ended
# Happens:  every call of ECS is refused; a Spot notice for in 17 s
# Must be:  the container is told to stop, and told again once it was started again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {stop_before: 16s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: restarts-web}]}'
within 10 run_all restarts-web
ail ecs '{kind: status, status: 403}'
spot_notice 17
told_twice() { (($(task_log restarts-web | grep -c TERM) >= 2)); }
within 15 told_twice
drain_says "DRAINING is not set" "told to stop: restarts-web"

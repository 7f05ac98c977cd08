# shellcheck shell=bash
# Name:     tags come late
# Node:     a new instance without the tag cluster; boot may take 3 s
# Happens:  it boots, gives boot up, and is tagged only TAGS_LATE seconds after it was switched on (20)
# Must be:  ECS is held back, with the reason, and tried again; then it joins the right cluster, never "default"
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 3s}
YAML
untag cluster
boot
within 20 boot_has failed
within 5 status_is 1 "1 FAILING" 'tag "cluster" is absent' "its ECS agent must not start"
at "${TAGS_LATE:-20}"
not is_ready
not ecs_is_active
ecs_has_started 0
(($(on systemctl show ecs.service --property NRestarts --value) >= 1)) || fail "ECS was not tried again"
log_says ecs.service 'tag "cluster"'

tag cluster web
within 30 joined web
ecs_has_started 1

# shellcheck shell=bash
# Name:     cloud-init has failed silently
# Node:     a new instance with user data
# Happens:  cloud-init finds no data source when it runs
# Must be:  ECS is held back, with the reason

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 3s}
YAML
echo DataSourceNone | put /var/lib/cloud/datasource
sim POST apply '{instance: {user_data: "#!/bin/sh"}}'
boot
within 20 boot_has failed
within 5 status_is 1 "cloud-init found no data source" "user data of this instance was never run" "replace the instance"
not ecs_is_active
ecs_has_started 0

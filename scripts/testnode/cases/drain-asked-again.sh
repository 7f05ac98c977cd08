# shellcheck shell=bash
# Name:     an operator gives a drain more time
# Node:     one that runs a task of its own
# Happens:  ecsnode drain --deadline 2s, which it misses; then with --deadline 60s; then the task ends
# Must be:  the new deadline counts: --wait waits for it and exits 0

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: batch}]}'
within 10 run_all batch
not on ecsnode drain --wait --deadline 2s
within 2 status_is 0 "NOT DRAINED"
on ecsnode drain --deadline 60s
within 3 status_is 0 "DRAINING  for operator"
(sleep 2 && sim POST apply '{end_tasks: [batch]}') &
on ecsnode drain --wait --deadline 60s

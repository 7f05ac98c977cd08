# shellcheck shell=bash
# Name:     the daemon hangs
# Node:     one that runs well
# Happens:  SIGSTOP: it lives and does nothing
# Must be:  status tells it; the watchdog replaces it, all is well, ECS was not disturbed
# Waits:    mostly

running_node
pid=$(daemon MainPID)
on kill -STOP "$pid"
within 29 status_is 3
within 70 daemon_is_another_than "$pid"
log_says ecsnode.service "Watchdog timeout"
within 10 joined web
ecs_has_started 0

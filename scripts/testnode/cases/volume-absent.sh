# shellcheck shell=bash
# Name:     a volume that is not required is absent
# Node:     a new instance without the volume that it is configured for
# Happens:  it boots
# Must be:  reported, and nothing is held back

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
volumes:
  logs: {device: /dev/xvdcy, mount_point: /logs, required: false}
YAML
boot
within 30 is_registered_in web
within 10 status_is 0 "/dev/xvdcy" "registered in web"

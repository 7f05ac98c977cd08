# shellcheck shell=bash
# Name:     the example of a nightly docker image prune
# Node:     one with the example's schedule, a dangling image, one that no container uses, and one with a tag that a container uses
# Happens:  it is run
# Must be:  the dangling image is gone, and no other: that of the agent's pause container would not come back

running_node
example=$testnode/../../templates/examples/conf.d/image-prune.yaml
write /etc/ecsnode/conf.d/50-image-prune.yaml <"$example"
known() { on ecsnode schedules | grep -q image-prune; }
within 40 known
on sh -c 'docker import - busybox </usr/share/testnode/busybox.tar' >/dev/null
on docker tag busybox amazon/amazon-ecs-pause:0.1.0
dangling=$(on sh -c 'echo "FROM busybox
RUN [\"/bin/touch\", \"/dangling\"]" | docker build --quiet --network none -')
dangling=${dangling#sha256:}
on docker image inspect "$dangling" >/dev/null
on ecsnode schedules run --wait image-prune
not on docker image inspect "$dangling" 2>/dev/null
on docker image inspect busybox amazon/amazon-ecs-pause:0.1.0 >/dev/null
on docker image rm amazon/amazon-ecs-pause:0.1.0 >/dev/null
on rm /etc/ecsnode/conf.d/50-image-prune.yaml

# shellcheck shell=bash
# Name:     the image: what must not become one
# Node:     an instance of the ECS AMI, where packer's scripts run
# Happens:  the wrong architecture, an installation that is cut off, a secret, a cluster, an agent that runs; a seal again
# Must be:  each ends the build with its reason before anything is sealed; what was cut off is done again

bare_node
boot
refused() { # WORDS SCRIPT
	local text
	if text=$(provision "$2" 2>&1); then
		fail "not refused: $text"
	else
		[[ $text == *"$1"* ]] || fail "not refused for \"$1\": $text"
	fi
}
upload v1.0.0 <<<"cluster: web"
IMAGE_ARCH=riscv refused "the image is to be riscv" 10-prepare.sh
provision 10-prepare.sh
on timeout --signal KILL 0.3 bash /tmp/script.sh || true
provision 20-install.sh
provision 20-install.sh
provision 30-configure.sh
provision 30-configure.sh
refused 'cluster is "web", and an image is for every cluster' 80-check.sh
write /etc/ecsnode/ecsnode.yaml <<<"node_config: {files: {node.config: {values: {DB_PASSWORD: {value: hunter2}}}}}"
refused 'DB_PASSWORD.value: take it out' 80-check.sh
not grep -q hunter2 <<<"$(provision 80-check.sh 2>&1)"
write /etc/ecsnode/ecsnode.yaml <<<"{cluster: '{{ tag \"cluster\" }}'"
refused "/etc/ecsnode/ecsnode.yaml:1:" 80-check.sh
write /etc/ecsnode/ecsnode.yaml <<<"cluster: '{{ tag \"cluster\" }}'"
provision 80-check.sh

# An agent that joins a cluster all the same, as without ecsnode.
dropin=/usr/lib/systemd/system/ecs.service.d/50-ecsnode.conf
on systemctl unmask --runtime ecs.service
on sh -c "mv $dropin /root && systemctl daemon-reload && systemctl start ecs.service"
within 10 is_registered_in default
refused "cannot seal: this is arn:aws:ecs:" 90-seal.sh
on systemctl stop ecs.service
refused "says that this instance is registered as arn:aws:ecs:" 90-seal.sh
on test -s /etc/machine-id
on rm /var/lib/ecs/data/ecs_agent_data.json
refused "there is no $dropin" 90-seal.sh
on mv /root/50-ecsnode.conf "$dropin"
on sh -c 'cd /var/log && touch $(seq 300)'
for after in 0.02 0.04 0.08; do on timeout --signal KILL "$after" ecsnode image seal >/dev/null || true; done
provision 90-seal.sh
provision 90-seal.sh

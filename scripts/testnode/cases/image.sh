# shellcheck shell=bash
# Name:     the image: made, sealed, booted as three instances, and built upon
# Node:     an instance of the ECS AMI, where packer's scripts run, with state of an agent that ran
# Happens:  it is sealed; three instances boot, two clusters, one on Spot with the user data of a Spot Fleet; S3 does not answer; an image is made of the image
# Must be:  each has its own identity, registers afresh, and has its node.config before ECS starts, with what the image's bundle sets
# Takes:    long

bare_node
builder=$node
boot
trusts=$(bake_bundle <<<"node_config: {files: {node.config: {values: {FROM: {value: the bundle of the image}}}}}")
upload v1.0.0 <<<"cluster: '{{ tag \"cluster\" }}'
$trusts"
for left in /var/lib/ecs/data/ecs_agent_data.json /etc/ssh/ssh_host_rsa_key /root/.ssh/authorized_keys /root/.bash_history; do
	write "$left" <<<'{"Data":{"ContainerInstanceArn":"arn:old","EC2InstanceID":"i-0fedcba9876543210"},"Version":32}'
done
write /var/cache/ecs/ecs-agent.tar </dev/null
make_image
on_disk test ! -s etc/machine-id

machines=''
# comes_up CLUSTER LIFECYCLE [FLEET]: the instance boots and is right.
comes_up() {
	tag cluster "$1"
	sim POST apply "{lifecycle: $2}"
	if [[ ${3:-} ]]; then
		attach xvdcz 400M
		"$testnode/../../bin/ecsnode" userdata "$3" --settings /dev/stdin <<<'ecs_config: {reserved_memory: 77}
volumes: {docker: {mount_point: /data}}' | user_data # the node has a mount for Docker already
	else
		user_data <<<"echo 'ecs_config: {reserved_memory: 77}' >/etc/ecsnode/conf.d/50-user-data.yaml"
	fi
	ail s3 '{kind: status, status: 503}'
	local off=${EPOCHREALTIME/[.,]/} rendered up
	boot
	within 20 is_registered_in "$1"
	within 5 status_is 1 "from the image" "cannot read s3://acme-config/nodes/channels/stable" # and nothing else
	ecs_has_started 1
	ecs_always_had ECS_RESERVED_MEMORY=77 "node.config:NODE_LIFECYCLE='$2'" "node.config:NODE_INSTANCE_ID='${node%-*}'" "node.config:MY_ENVIRONMENT='prod'" "node.config:FROM='the bundle of the image'"
	not log_says ecsnode-boot.service "came with the image"
	not on test -e /etc/ssh/ssh_host_rsa_key
	on test -e /var/cache/ecs/ecs-agent.tar
	[[ $machines != *$(on cat /etc/machine-id)* && -n $(on cat /etc/machine-id) ]]
	machines+=$(on cat /etc/machine-id)
	if [[ ${3:-} ]]; then
		on findmnt --noheadings --types xfs /data
	fi
	rendered=$(on date -r /etc/container_config/node.config +%s%6N)
	up=$(date -d "$(on systemctl show ecs.service --property ActiveEnterTimestamp --value --timestamp=us+utc)" +%s%6N)
	echo "figure: first boot: node.config after $(((rendered - off) / 1000)) ms, ecs active after $(((up - off) / 1000)) ms"
}
instance_of "$builder" i-0000000000000000a && comes_up web on-demand
instance_of "$builder" i-0000000000000000b && comes_up web spot spot-fleet
instance_of "$builder" i-0000000000000000c && comes_up batch on-demand

# An image made on an instance of the first one.
instance_of "$builder" i-0000000000000000d
user_data <"$testnode/../../packer/user-data"
boot
within 20 on true
[[ $(ecs_starts) == 0 ]]
upload v1.1.0 <<<"cluster: '{{ tag \"cluster\" }}'
readiness: {publish: false}
$trusts"
make_image
upon=$node
instance_of "$upon" i-0000000000000000e && comes_up web spot
[[ $(on ecsnode version) == "ecsnode v1.1.0 "* ]]

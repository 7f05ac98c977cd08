# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # node, own_node, shared_node, testnode and work are set where this is read
# The words that cases are written in. A step that does not hold ends its case.
# $node is the case's node.

fail() {
	echo "$*" >&2
	return 1
}

# not COMMAND... where "!" would end nothing.
not() {
	if "$@"; then
		fail "must not hold: $*"
	fi
}

# within SECONDS COMMAND... the command succeeds. What it said last is shown if
# it does not.
within() {
	local began=${EPOCHREALTIME/[.,]/} tenths
	if await "$@"; then
		tenths=$(((${EPOCHREALTIME/[.,]/} - began) / 100000))
		echo "after $((tenths / 10)).$((tenths % 10)) s: ${*:2}"
	else
		"${@:2}" || fail "not within $1 s: ${*:2}"
	fi
}

# at SECONDS sleeps until that long after the node was switched on.
at() {
	local left=$((switched_on + $1 - SECONDS))
	if ((left > 0)); then
		sleep "$left"
	fi
}

# ---- the node -----------------------------------------------------------

# new_node makes a node that is off, a new instance tagged cluster=web and
# env=prod. Standard input is its ecsnode.yaml.
new_node() {
	use "$own_node"
	before=0
	"$testnode/node.sh" create "$node"
	put /etc/ecsnode/ecsnode.yaml
}

# bare_node makes a node that is off, a new instance of an image without ecsnode,
# whose user data keeps the ECS agent from starting, as in the making of an image.
bare_node() {
	use "$own_node"
	before=0
	"$testnode/node.sh" create "$node" bare
	user_data <"$testnode/../../packer/user-data"
}

# running_node is for cases that neither reboot the node nor leave anything
# behind: one in the cluster web that runs well, and that other cases have used.
running_node() {
	use "$shared_node"
	before=0
	if [[ -d $work/$node ]] && ! runs_as_new; then
		"$testnode/node.sh" rm "$node"
	fi
	if [[ ! -d $work/$node ]]; then
		"$testnode/node.sh" create "$node"
		echo "cluster: '{{ tag \"cluster\" }}'" | put /etc/ecsnode/ecsnode.yaml
		boot
		within 30 joined web
	fi
	before=$(ecs_starts)
}

# runs_as_new tells whether cases left nothing behind that matters to the next.
runs_as_new() {
	[[ $(sim GET tags) == '{"cluster":"web","env":"prod"}' && $(sim GET faults) == '{}' ]] &&
		[[ $(on systemctl is-system-running) == running && $(on rpm -q ecs-init) == ecs-init-1.0-1.noarch ]] &&
		[[ -z $(on docker ps --all --quiet) ]] &&
		joined web
}

use() {
	node=$1
	echo "$node" >"$result.node"
}

put() { "$testnode/node.sh" put "$node" "$1"; }   # before its first boot: standard input becomes that file
user_data() { "$testnode/node.sh" user-data "$node"; } # standard input is the script that cloud-init runs
example() { "${2:-put}" "/etc/ecsnode/conf.d/30-$1.yaml" <"$testnode/../../templates/examples/$1.yaml"; } # example chrony [write]
write() { on install -D -m 644 /dev/stdin "$1"; } # standard input becomes that file of a node that is on
on() { "$testnode/node.sh" exec "$node" "$@"; }   # run a command on it, in its directory /
attach() { "$testnode/node.sh" attach "$node" "$@"; } # attach xvdcz 64M
detach() { "$testnode/node.sh" detach "$node" "$@"; }
poweroff() { "$testnode/node.sh" poweroff "$node"; }
cut_power() { "$testnode/node.sh" cut "$node"; }

boot() {
	switched_on=$SECONDS
	"$testnode/node.sh" start "$node"
}

reboot() {
	switched_on=$SECONDS
	"$testnode/node.sh" reboot "$node"
}

# become_instance ID makes the node, which is off, another instance with the
# same disk, as an image of it would be.
become_instance() {
	echo "$1" >"$work/$node/board_asset_tag"
	sim POST apply "{instance: {id: $1}, registered: ''}"
}

# on_disk runs a command in the root of the disk of a node that is off, where
# etc, ecsnode and ecs are.
on_disk() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --mount --propagation private bash -euc \
		'mount -o loop "$1/disk.img" "$1/root" && cd "$1/root" && "${@:2}"' bash "$work/$node" "$@"
}

# publish_rpm NAME VERSION puts that version into the repository that dnf asks.
publish_rpm() { on /usr/libexec/testnode/publish-rpm "$@"; }

# package VERSION prints the path of ecsnode's RPM in that version. It is built
# once for what it is made of.
package() {
	local top=$testnode/../.. key dir
	key=$(cd "$top" && find bin/ecsnode scripts/package scripts/packages.sh systemd templates -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
	dir=$top/.cache/packages/$1-${key:0:16}
	mkdir -p "${dir%/*}"
	(
		flock 8
		if [[ ! -d $dir ]]; then
			rm -rf "$top/.cache/packages/$1-"*
			VERSION=$1 DIST=$dir.new "$testnode/../packages.sh" "$(go env GOHOSTARCH)" >&2
			mv "$dir.new" "$dir"
		fi
	) 8>"$top/.cache/packages/$1.lock"
	find "$dir" -name '*.rpm'
}

# install_package VERSION installs or upgrades ecsnode, by dnf.
install_package() {
	write /root/ecsnode.rpm <"$(package "$1")"
	on dnf -y install /root/ecsnode.rpm
}

# provision SCRIPT runs one script of packer/ on the node, as Packer does it.
provision() {
	local arch
	arch=$(uname -m)
	write /tmp/script.sh <"$testnode/../../packer/scripts/$1"
	on env IMAGE_ARCH="${IMAGE_ARCH:-${arch/aarch64/arm64}}" IMAGE_AGENT_VERSION=1.0 IMAGE_DOCKER_VERSION=25.0 \
		bash -c 'chmod +x /tmp/script.sh; /tmp/script.sh'
}

# upload puts what Packer uploads onto the node: the package in that version, and
# as the settings of the team standard input.
upload() {
	publish_rpm docker 25.0
	on dnf -y install docker
	write /tmp/ecsnode-image/ecsnode.rpm <"$(package "$1")"
	write /tmp/ecsnode-image/files/etc/ecsnode/ecsnode.yaml
}

# bake_bundle puts a bundle, whose settings are standard input, and its channel among
# what Packer uploads, and prints the settings that trust it.
bake_bundle() {
	local dir=$work/$node/baked tool=$testnode/../../bin/ecsnode first=/tmp/ecsnode-image/files/usr/share/ecsnode/first digest
	install -D -m 644 /dev/stdin "$dir/bundle/ecsnode.yaml"
	"$tool" bundle keygen --no-password "$dir/key" >/dev/null
	digest=$("$tool" bundle build "$dir/bundle" -o "$dir/archive")
	digest=${digest%% *}
	printf '{"version": 1, "channel": "stable", "serial": 1, "stable": {"digest": "%s", "size": %d, "key": "bundles/%s.tar.zst"}}\n' \
		"$digest" "$(stat -c %s "$dir/archive")" "$digest" >"$dir/channel.json"
	"$tool" bundle sign "$dir/channel.json" --key "$dir/key" | write "$first/channels/stable"
	write "$first/bundles/$digest.tar.zst" <"$dir/archive"
	echo "bundle: {source: 's3://acme-config/nodes', splay: 0s, keys: [$(tail -n 1 "$dir/key.pub")]}"
}

# make_image runs all that makes an image of the node, and switches it off.
make_image() {
	local script
	for script in "$testnode"/../../packer/scripts/[0-9]*.sh; do
		provision "${script##*/}"
	done
	poweroff
}

# instance_of IMAGE ID makes a node that is off, a new instance of the image that
# was made of the node IMAGE.
instance_of() {
	use "$2-${own_node##*-}"
	before=0
	"$testnode/node.sh" create "$node" of "$1"
	become_instance "$2"
}

# docker_run DOCKER-ARGUMENT... runs a container of the image "busybox", whose
# command follows: docker_run -d --name a busybox sleep 1000. It has no DNS,
# and its wget does not work without.
docker_run() {
	on docker image inspect busybox >/dev/null 2>&1 || on sh -c 'docker import - busybox </usr/share/testnode/busybox.tar' >/dev/null
	on docker run --pull never "$@"
}

# a_task FAMILY starts a container labelled as one of a task, and prints its id.
a_task() {
	docker_run -d --name "ecs-$1-1" --label "com.amazonaws.ecs.task-definition-family=$1" \
		--label "com.amazonaws.ecs.task-arn=arn:aws:ecs:eu-west-1:123456789012:task/web/$1" \
		--label com.amazonaws.ecs.container-name=main --label com.amazonaws.ecs.cluster=web busybox sleep 100000
}

# ---- its AWS ------------------------------------------------------------

sim() { "$testnode/node.sh" sim "$node" "$@"; }
tag() { sim PUT "tags/$1" "$2"; }
untag() { sim DELETE "tags/$1"; }
ail() { sim PUT "faults/$1" "$2"; } # ail imds '{kind: status, status: 503}'
heal() { sim DELETE faults; }
in_aws() { nsenter --net="/run/netns/testnode-$node-aws" "$@"; } # in the network of its AWS
was_asked() { [[ $(sim GET "counts?match=$1") != '{}' ]]; } # was_asked ecs/StopTask

# imds_hop_limit N: how many hops an answer of instance metadata lives.
imds_hop_limit() {
	in_aws sh -c "echo $1 >/proc/sys/net/ipv4/ip_default_ttl"
}

# ---- its bundles ----------------------------------------------------------

# follows_channel makes the node, before its first boot, follow the channel stable;
# standard input is more of the section bundle, in lines.
follows_channel() {
	"$testnode/../../bin/ecsnode" bundle keygen --no-password "$work/$node/release.key" >/dev/null
	{
		printf 'bundle:\n  source: s3://acme-config/nodes\n  keys: [%s]\n  splay: 0s\n' "$(tail -n 1 "$work/$node/release.key.pub")"
		sed 's/^/  /'
	} | put /etc/ecsnode/conf.d/10-bundle.yaml
	sim POST apply '{buckets: [{name: acme-config}]}'
}

# bundle_file NAME: standard input becomes that file of the bundle that is pushed next.
bundle_file() { install -D -m 644 /dev/stdin "$work/$node/bundle/$1"; }

# of_channel COMMAND ARGUMENT... is ecsnode bundle COMMAND for the channel, from within
# its AWS and with the rights of its instance role.
of_channel() {
	in_aws env AWS_ENDPOINT_URL=http://10.0.0.1:8080 ${s3_at:+AWS_ENDPOINT_URL_S3=http://$s3_at} \
		"$testnode/../../bin/ecsnode" bundle "$1" s3://acme-config/nodes --key "$work/$node/release.key" "${@:2}"
}

# push ARGUMENT... makes the bundle that of all nodes. It prints the beginning of the
# digest.
push() { of_channel push "$work/$node/bundle" --percent 100 "$@" | grep -o '[0-9a-f]\{12\}' | head -n 1; }

# s3_server starts a real S3 server in its AWS, which knows the keys of its role and
# has the bucket. Called before the first boot it is the one that ecsnode asks; what it
# has it keeps until it is started again.
s3_server() {
	local program unit dir=$work/$node/s3 metadata=http://169.254.169.254/latest token role keys
	program=$("$testnode/../s3server.sh" --where)
	[[ -d $dir ]] || sim POST apply '{session_tokens: false}' # it knows users alone
	token=$(in_aws curl -fsS --noproxy '*' -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $metadata/api/token)
	role=$(in_aws curl -fsS --noproxy '*' -H "X-aws-ec2-metadata-token: $token" $metadata/meta-data/iam/security-credentials/ecsInstanceRole)
	keys=(--access "$(field AccessKeyId <<<"$role")" --secret "$(field SecretAccessKey <<<"$role")" --region eu-west-1)
	mkdir -p "$dir"/{accounts,about,versions,buckets}
	s3_at=10.0.0.1:7070
	nsenter --net="/run/netns/testnode-$node-aws" "$program" --port $s3_at "${keys[@]}" --quiet --keep-alive --iam-dir "$dir/accounts" --iam-cache-disable \
		posix --sidecar "$dir/about" --versioning-dir "$dir/versions" "$dir/buckets" >>"$dir/log" 2>&1 &
	s3_pid=$!
	within 10 in_aws curl -sS --noproxy '*' -o /dev/null http://$s3_at/
	if [[ ! -d $dir/buckets/acme-config ]]; then
		within 10 in_aws "$program" admin "${keys[@]}" --endpoint-url http://$s3_at create-bucket --bucket acme-config --owner "${keys[1]}"
		for unit in ecsnode ecsnode-boot ecsnode-early ecsnode-shutdown; do
			put "/etc/systemd/system/$unit.service.d/s3.conf" <<<"[Service]"$'\n'"Environment=AWS_ENDPOINT_URL_S3=http://$s3_at"
		done
	fi
}
field() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'; }
s3_server_ends() {
	kill "$s3_pid"
	wait "$s3_pid" || true
}

# runs_bundle DIGEST WORDS...: it is in effect, and ecsnode bundle show says so.
runs_bundle() {
	local link text words
	link=$(on readlink /var/lib/ecsnode/bundles/active) || true
	[[ $link == "$1"* ]] || fail "in effect is ${link:-nothing}, not $1" || return
	text=$(on ecsnode bundle show)
	shift
	for words in "$@"; do
		[[ $text == *"$words"* ]] || fail "bundle show does not say \"$words\":"$'\n'"$text" || return
	done
}

# ---- the ECS agent ------------------------------------------------------

ecs_is_active() { on systemctl --quiet is-active ecs.service; }
ecs_starts() { on sh -c 'ls /var/lib/testnode/ecs 2>/dev/null | wc -l'; }

# ecs_has_started N times since the case began.
ecs_has_started() {
	local times=$(($(ecs_starts) - before))
	((times == $1)) || fail "ECS was started $times times, not $1"
}

# ecs_always_had KEY=VALUE... in its environment, and in node.config what is
# written as node.config:LINE, at every start since the case began.
ecs_always_had() {
	local start what file starts
	starts=$(ecs_starts)
	for ((start = before + 1; start <= starts; start++)); do
		for what in "$@"; do
			file=environment
			if [[ $what == node.config:* ]]; then
				file=container_config/node.config
			fi
			on grep -Fqx -- "${what#node.config:}" "/var/lib/testnode/ecs/$start/$file" ||
				fail "at start $start of ECS, $file did not have ${what#node.config:}"
		done
	done
}

is_registered_in() {
	local answer
	answer=$(on curl -sS --max-time 2 http://localhost:51678/v1/metadata)
	[[ $answer == *"\"Cluster\":\"$1\",\"ContainerInstanceArn\":\"arn:"* ]] || fail "the ECS agent says: $answer"
}

# joined CLUSTER: what must be true of a node in the end. ECS never ran without
# its cluster and node.config, is active and registered, and status says so.
joined() {
	ecs_is_active && is_registered_in "$1" &&
		ecs_always_had ECS_CLUSTER="$1" "node.config:NODE_CLUSTER='$1'" &&
		status_is 0 "i-" "cluster $1" "all well" "registered in $1" "docker active, ecs active" &&
		is_ready
}

# ---- the tasks that its ECS has on the node, and the drain ----------------

# ecs_says STATUS: that of the container instance, ACTIVE or DRAINING.
ecs_says() {
	local state
	state=$(sim GET state)
	[[ $state =~ \"container_instance\":\{[^}]*\"status\":\"([A-Z]*)\" && ${BASH_REMATCH[1]} == "$1" ]] ||
		fail "ECS says ${BASH_REMATCH[1]-nothing}, not $1"
}

# containers_of FAMILY [all] prints the ids of those that run.
containers_of() { on docker ps ${2:+--all} --quiet --filter "label=com.amazonaws.ecs.task-definition-family=$1"; }
run_all() { local family && for family in "$@"; do [[ -n $(containers_of "$family") ]] || fail "no $family runs"; done; }
has_ended() { [[ -n $(containers_of "$1" all) && -z $(containers_of "$1") ]] || fail "$1 has not ended"; }

task_log() { on docker logs "$(containers_of "$1" all)"; }

# spot_notice SECONDS: EC2 announces that it terminates the instance then.
# seconds_left is until then.
spot_notice() {
	gone_at=$((SECONDS + $1))
	sim POST apply "{spot_interruption: {action: terminate, in: ${1}s}}"
}
seconds_left() { echo "$((gone_at - SECONDS))"; }

# drain_says WORDS... as ecsnode drain show says them, in this order.
drain_says() {
	local text words rest
	rest=$(on ecsnode drain show 2>&1) || true
	text=$rest
	for words in "$@"; do
		if [[ $rest != *"$words"* ]]; then
			fail "the drain does not say, or not then, \"$words\":"$'\n'"$text" || return
		fi
		rest=${rest#*"$words"}
	done
}

# ---- ecsnode ------------------------------------------------------------

readonly identity_files=(etc/container_config/node.config etc/ecs/ecs.config)

# file_states shows which files these are and when they were written.
file_states() { on stat -c '%n %i %y %s' "${identity_files[@]/#//}"; }

# file_sums on|on_disk shows what is in them, on a node that runs or is off.
file_sums() { "$1" sha256sum "${identity_files[@]}"; }
unchanged_since() { diff <(echo "$1") <(file_states); }
node_config_has() { on grep -Fqx -- "$1" /etc/container_config/node.config; }
is_ready() { on ecsnode ready identity; }

# status_is EXITSTATUS WORDS... as ecsnode status ends and among what it says.
status_is() {
	local want=$1 got=0 text words
	shift
	text=$(on ecsnode status 2>&1) || got=$?
	for words in "$@"; do
		if [[ $text != *"$words"* ]]; then
			printf 'status does not say "%s":\n%s\n' "$words" "$text" >&2
			return 1
		fi
	done
	if ((got != want)); then
		printf 'status ended with %d, not %d:\n%s\n' "$got" "$want" "$text" >&2
		return 1
	fi
}

# is_settled: another apply changes nothing, and nothing is planned.
is_settled() {
	local said
	if ! said=$(on ecsnode apply) || grep -qw changed <<<"$said" || ! said+=$(on ecsnode plan); then
		fail "$said"
	fi
}

daemon() { on systemctl show ecsnode.service --property "$1" --value; }
daemon_is_another_than() { [[ $(daemon MainPID) != "$1" && $(daemon ActiveState) == active ]]; }
boot_has() { [[ $(on systemctl show ecsnode-boot.service --property ActiveState --value) == "$1" ]]; } # activating, active, failed
log_of() { on journalctl --no-pager --quiet -b -u "$1"; }
log_says() { log_of "$1" | grep -F -- "$2"; }

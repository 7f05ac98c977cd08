#!/usr/bin/env bash
# Runs a command beside a real S3 server, versitygw, which is installed into the
# user's cache if it is not there and serves on loopback as long as the command runs.
# Tests find it by the environment: ECSNODE_TEST_S3 is its URL; the keys _ACCESS
# and _SECRET may do all, and the key "stranger", with the same secret, nothing.
# The bucket acme-config is there and keeps versions.
#
#   scripts/s3server.sh COMMAND ARGUMENT...
#   scripts/s3server.sh --where               prints the path of the server and runs nothing
#   CI=true                                   fails where the server cannot run
set -euo pipefail
readonly version=v1.8.0
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ecsnode/versitygw-$version
readonly cache
server=$cache/versitygw

dir=$(mktemp -d)
pid=
# shellcheck disable=SC2317 # called by the trap
finish() {
	if [[ -n $pid ]]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf "$dir"
}
trap finish EXIT

# without says why the server does not run, and goes on where it may.
without() {
	echo "s3server: $1" >&2
	tail -n 5 "$dir/log" >&2
	if [[ ${CI:-} == true || ${command[*]} == --where ]]; then
		exit 1
	fi
	status=0
	"${command[@]}" || status=$?
	exit "$status"
}

administer() { "$server" admin --access root --secret "$secret" --region eu-west-1 --endpoint-url "$url" "$@" >>"$dir/log" 2>&1; }

# serve starts the server at a port, and tells whether it is the one that answers.
serve() {
	url=http://127.0.0.1:$1
	"$server" --port "127.0.0.1:$1" --access root --secret "$secret" --region eu-west-1 --quiet --keep-alive \
		--iam-dir "$dir/accounts" --iam-cache-disable posix --sidecar "$dir/about" --versioning-dir "$dir/versions" "$dir/buckets" >>"$dir/log" 2>&1 &
	pid=$!
	for _ in {1..100}; do
		if administer create-user --access stranger --secret "$secret" --role user; then
			return
		fi
		kill -0 "$pid" 2>/dev/null || return
		sleep 0.1
	done
	return 1
}

command=("$@")
: >"$dir/log"
if [[ ! -x $server ]]; then
	echo "s3server: installing versitygw $version" >&2
	CGO_ENABLED=0 GOBIN="$cache" go install -ldflags '-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >"$dir/log" 2>&1 || without "cannot install versitygw"
fi
if [[ ${command[*]} == --where ]]; then
	echo "$server"
	exit
fi
mkdir "$dir"/{accounts,about,versions,buckets}
secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
for _ in {1..10}; do
	serve $((RANDOM % 20000 + 10000)) && break
	pid=
done
if [[ -z $pid ]] || ! administer create-bucket --bucket acme-config --owner root; then
	without "versitygw does not run"
fi
export ECSNODE_TEST_S3=$url ECSNODE_TEST_S3_ACCESS=root ECSNODE_TEST_S3_SECRET=$secret
status=0
"${command[@]}" || status=$?
exit "$status"

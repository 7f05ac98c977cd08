# shellcheck shell=bash
# Name:     templates/examples: docker-log-rotation, app-files, datadog-host
# Node:     one that has the three examples before it boots, and a stand-in for the Datadog agent
# Happens:  it boots; a file changes under containers that have mounted it, and its directory
# Must be:  containers log within bounds and read their files; the agent reads its key; nobody else sees it

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
for name in docker-log-rotation app-files datadog-host; do
	example "$name"
done
put /usr/lib/systemd/system/datadog-agent.service <<'UNIT'
[Service]
User=dd-agent
ExecStart=/bin/sh -ec 'umask 077; cp /etc/datadog-agent/datadog.yaml /run/datadog/seen; id -Gn >/run/datadog/groups; exec sleep 100000'
RuntimeDirectory=datadog
[Install]
WantedBy=multi-user.target
UNIT
put /usr/lib/sysusers.d/datadog.conf <<<'u dd-agent - "Datadog"'
put /etc/datadog-agent/conf.d/README </dev/null # of the package
sim POST apply '{secrets: [{name: datadog, value: "{\"api_key\": \"hunter2\"}"}],
  parameters: [{name: /apps/billing/db-url, value: "https://db"}, {name: /apps/billing/token, type: SecureString, value: "hunter3 it'\''s"}]}'
boot
within 20 joined web

docker_run -d --name noisy busybox sleep 1000
[[ $(on docker inspect --format '{{json .HostConfig.LogConfig}}' noisy) == '{"Type":"json-file","Config":{"max-file":"3","max-size":"10m"}}' ]]
etc=/etc/container_config
# shellcheck disable=SC2016 # expanded in the container
says='. /env/env && echo "$DB_URL $TOKEN"'
[[ $(docker_run --rm --user 1000:10001 -v "$etc/billing:/env:ro" busybox sh -c "$says") == "https://db hunter3 it's" ]]
not docker_run --rm --user 1000:1000 -v "$etc:/etc/config:ro" busybox cat /etc/config/billing/env
docker_run --rm --user 0 -v "$etc:/etc/config:ro" busybox cat /etc/config/billing/env >/dev/null # as the README says

within 20 on grep -q 'api_key: "hunter2"' /run/datadog/seen
[[ $(on stat -c '%U %G %a' /etc/datadog-agent/datadog.yaml) == "dd-agent dd-agent 640" ]]
on grep -qw docker /run/datadog/groups
within 10 status_is 0 "all well"
is_settled
on sh -c 'ecsnode plan; ecsnode status --json; journalctl --no-pager; docker inspect noisy' >"$work/$node/shown"
grep -q datadog-agent "$work/$node/shown"
not grep -F hunter "$work/$node/shown"

docker_run -d --name by-directory -v "$etc/billing:/env:ro" busybox sleep 1000
docker_run -d --name by-file -v "$etc/billing/env:/env/env:ro" busybox sleep 1000
write /etc/ecsnode/conf.d/50-billing.yaml <<<"files: {items: {$etc/billing/env: {content: 'DB_URL=new'}}}"
within 20 on docker exec by-directory grep -qx DB_URL=new /env/env
not on docker exec by-file grep -qx DB_URL=new /env/env

# shellcheck shell=bash
# Name:     templates/examples: docker-log-rotation, app-files, datadog-host
# Node:     one that has the three examples before it boots, and a stand-in for the Datadog agent
# Happens:  it boots; a parameter changes
# Must be:  containers log within bounds and read their files; the agent reads its key; nobody else sees it

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
parameters: {refresh: 1m}
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
# shellcheck disable=SC2016 # expanded in the container
billing() { docker_run --rm --user 1000:10001 -v /etc/container_config/billing:/etc/billing:ro busybox sh -c '. /etc/billing/env && echo "$DB_URL $TOKEN"'; }
[[ $(billing) == "https://db hunter3 it's" ]]

within 20 on grep -q 'api_key: "hunter2"' /run/datadog/seen
[[ $(on stat -c '%U %G %a' /etc/datadog-agent/datadog.yaml) == "dd-agent dd-agent 640" ]]
on grep -qw docker /run/datadog/groups
within 10 status_is 0 "all well"
is_settled
shown() { on ecsnode plan && on ecsnode status --json && on journalctl --no-pager && on docker inspect noisy && cat "$work/$node/sim.calls"; }
not grep -F hunter < <(shown)

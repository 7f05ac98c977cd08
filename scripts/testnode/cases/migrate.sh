# shellcheck shell=bash
# Name:     a node that Ansible keeps is taken over, and given back
# Node:     one with ansible in tables of cron, rc.local and a timer, its node.config, and containers of logspout and datadog
# Happens:  migrate; the cut-over; ecsnode starts; a reboot; the undo
# Must be:  nothing runs ansible, containers notice nothing and none is started twice; every byte is back

new_node </dev/null
user_data <<'SH'
mkdir -p /etc/ecs && echo ECS_CLUSTER=web >/etc/ecs/ecs.config
SH
sim POST apply '{task_definitions: [{family: logspout, revision: 12}, {family: datadog, revision: 3}]}'
boot
within 20 joined web

# As if ecsnode had never been here.
on systemctl stop ecsnode.service
on rm -r /etc/ecsnode/ecsnode.yaml /etc/container_config
on sh -c 'echo ECS_CLUSTER=web >/etc/ecs/ecs.config; echo ECS_LOGLEVEL=warn >>/etc/ecs/ecs.config'
sim POST apply '{add_tasks: [{family: logspout, revision: 12}, {family: datadog, revision: 3}]}'
within 10 run_all logspout datadog
write /etc/cron.d/ansible <<'CRON'
#Ansible: run the playbook
*/15 * * * * root ansible-playbook -c local /opt/ansible/ecs.yml
CRON
write /etc/cron.d/backup <<'CRON'
0 1 * * * root tar cf /backup/ansible.tar /opt/ansible
CRON
write /var/spool/cron/root <<'CRON'
#Ansible: prune
0 3 * * * docker system prune -f
*/30 * * * * /opt/ansible/run.sh
CRON
write /opt/ansible/run.sh <<'SH'
#!/bin/sh
touch /run/ansible-ran
exec ansible-playbook -c local /opt/ansible/ecs.yml
SH
write /etc/rc.local <<'SH'
#!/bin/sh
touch /run/rc-local-ran
/opt/ansible/run.sh &
SH
on chmod 755 /opt/ansible/run.sh /etc/rc.local
on chmod 600 /var/spool/cron/root
write /etc/systemd/system/node-setup.service <<'UNIT'
[Service]
ExecStart=/opt/ansible/run.sh
UNIT
write /etc/systemd/system/node-setup.timer <<'UNIT'
[Timer]
OnActiveSec=1h
[Install]
WantedBy=timers.target
UNIT
on systemctl daemon-reload
on systemctl enable --now node-setup.timer
write /etc/container_config/node.config <<'CONFIG'
# Ansible managed
MY_ENVIRONMENT="prod"
CONFIG
on find /etc/cron.d /etc/rc.local /var/spool/cron /etc/container_config /etc/ecs /etc/systemd/system/timers.target.wants -exec touch -h -d '2018-07-01 12:00:00.123456789' '{}' +

# all is what must be given back: what is there, in all that a tar file holds.
all() {
	on sh -c 'find /etc/cron* /etc/rc.local /var/spool/cron /opt/ansible /etc/container_config /etc/ecs /etc/ecsnode /etc/systemd/system/timers.target.wants \
		! -type d ! -name "*.migrated" | sort |
		tar --create --file - --absolute-names --no-recursion --files-from - --numeric-owner --format posix --pax-option delete=atime,delete=ctime |
		sha256sum'
}
was=$(all)
report=$(on ecsnode migrate)
[[ $report == *"no difference to whoever sources it"* && $report == *"/etc/cron.d/ansible:2"* && $report == *"/etc/rc.local:3"* ]]
[[ $report == *"node-setup.timer"* && $report == *"logspout:12"* && $report == *"datadog:3"* && $report != *"and refuses"* ]]
[[ $(all) == "$was" ]]
on ecsnode config check --config /etc/ecsnode/ecsnode.yaml.migrated

tasks() { on docker ps --quiet --no-trunc | sort; }
had=$(tasks)
on ecsnode migrate --cut-over
not on systemctl --quiet is-active node-setup.timer
on ecsnode migrate | grep 'Nothing on this node runs ansible'
on systemctl start ecsnode.service
within 20 joined web
node_config_has "MY_ENVIRONMENT='prod'"
within 20 status_is 0 "logspout  running logspout:12" "datadog   running datadog:3"
[[ $(tasks) == "$had" ]]
on ecsnode migrate | grep 'no difference to whoever sources it'

reboot
within 30 joined web
within 10 on test -e /run/rc-local-ran
not on test -e /run/ansible-ran

not on ecsnode migrate --undo # ecsnode runs
on systemctl stop ecsnode.service
on ecsnode migrate --undo
[[ $(all) == "$was" ]]
on systemctl --quiet is-active node-setup.timer

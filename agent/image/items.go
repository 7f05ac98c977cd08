// Package image decides what an image of this machine must not have and must
// have: what is sealed, before an image is made of it, and what is checked. It
// reads through fsx and changes nothing itself but by [Do].
package image

// How says what is done about a path of an [Item].
type How int

// What may be done.
const (
	Remove   How = iota // what the path matches: a file, a link, a directory with all in it
	Contents            // all that is in the directory; the directory stays
	Files               // the files in the directory and below; directories stay
	Empty               // the file is left without content
)

// Item is one line of the list of what an image must not have.
type Item struct {
	Path string // a name of a path may be a pattern, as of path.Match
	How  How
	Keep []string // patterns of names in the directory that stay
	Why  string
	// Live: what runs on the machine writes there again and again, so that it
	// tells nothing if there is something after the seal.
	Live bool
}

// Items is the list. What is not in it is never touched: among it
// /var/lib/ecs/deps and /var/cache/ecs, with which the ECS agent starts without
// a download.
func Items() []Item {
	return []Item{
		{Path: "/var/lib/ecs/data", How: Contents, Why: "state of the ECS agent, which another instance would take for its own"},
		{Path: "/var/lib/ecsnode", How: Contents, Why: "state of ecsnode"},
		{Path: "/run/ecsnode", How: Contents, Keep: []string{"*.lock"}, Why: "state of ecsnode"},
		{Path: "/etc/container_config", How: Contents, Why: "what this node was told it is"},
		{Path: "/etc/ecsnode/conf.d/[0-9]*-user-data.yaml", Why: "settings from the user data of this instance"},

		{Path: "/var/lib/cloud/data", Why: "cloud-init's state: user data would not run again"},
		{Path: "/var/lib/cloud/handlers", How: Contents, Why: "cloud-init's state"},
		{Path: "/var/lib/cloud/instance", Why: "cloud-init's state"},
		{Path: "/var/lib/cloud/instances", How: Contents, Why: "cloud-init's state"},
		{Path: "/var/lib/cloud/sem", How: Contents, Why: "cloud-init's state"},
		{Path: "/run/cloud-init", Live: true, How: Contents, Why: "cloud-init's state"},

		{Path: "/var/lib/amazon/ssm", Live: true, How: Contents, Why: "registration with Systems Manager"},
		{Path: "/etc/docker/key.json", Why: "identity of Docker"},
		{Path: "/var/lib/docker/engine-id", Why: "identity of Docker"},
		{Path: "/etc/machine-id", How: Empty, Why: "identity of the machine; systemd makes another at the next boot"},
		{Path: "/var/lib/dbus/machine-id", Why: "identity of the machine"},
		{Path: "/var/lib/systemd/random-seed", Live: true, Why: "every instance would begin with the same randomness"},
		{Path: "/boot/efi/loader/random-seed", Why: "every instance would begin with the same randomness"},
		{Path: "/var/lib/systemd/credential.secret", Why: "key of this host"},
		{Path: "/etc/ssh/ssh_host_*", Why: "keys of this host"},
		{Path: "/root/.ssh/authorized_keys*", Why: "who may log in here"},
		{Path: "/home/*/.ssh/authorized_keys*", Why: "who may log in here"},

		{Path: "/root/.*_history", Why: "what was typed here"},
		{Path: "/home/*/.*_history", Why: "what was typed here"},
		{Path: "/root/.lesshst", Why: "what was read here"},
		{Path: "/home/*/.lesshst", Why: "what was read here"},
		{Path: "/root/.viminfo", Why: "what was edited here"},
		{Path: "/home/*/.viminfo", Why: "what was edited here"},

		{Path: "/var/lib/dhclient", How: Files, Why: "leases of this instance"},
		{Path: "/var/lib/dhcp", How: Files, Why: "leases of this instance"},
		{Path: "/var/lib/systemd/coredump", How: Files, Why: "memory of processes"},
		{Path: "/var/crash", How: Files, Why: "memory of processes"},
		{Path: "/var/lib/rsyslog/imjournal.state", Why: "place in a journal that is gone"},
		{Path: "/var/cache/dnf", How: Contents, Why: "lists of packages, of today"},
		{Path: "/var/tmp", Live: true, How: Contents, Keep: []string{"systemd-private-*"}, Why: "temporary files"},
		{Path: "/tmp", Live: true, How: Contents, Keep: []string{"systemd-private-*", "?*-unix"}, Why: "temporary files"},
		{Path: "/var/log/journal", Live: true, How: Contents, Why: "journals of this machine"},
		{Path: "/var/log", Live: true, How: Files, Why: "logs of this machine"},
	}
}

// Units that an image must have, with their drop-ins.
var (
	ownUnits = [...]string{"ecsnode-early.service", "ecsnode-boot.service", "ecsnode.service", "ecsnode-shutdown.service"}
	dropIns  = [...]string{"system/docker.service.d/50-ecsnode.conf", "system/ecs.service.d/50-ecsnode.conf", "logind.conf.d/50-ecsnode.conf"}
	others   = [...]string{"ecs.service", "docker.service"}
)

// Units returns the units that ecsnode brings.
func Units() []string { return ownUnits[:] }

const (
	agentUnit = "ecs.service"
	unitDir   = "/usr/lib/systemd/system"
	adminDir  = "/etc/systemd/system"
	runDir    = "/run/systemd/system"
	wantedBy  = adminDir + "/multi-user.target.wants"
	devNull   = "/dev/null"
)

/*
Package agent is the plan of the house. It holds no code; arch_test.go in this
directory enforces what is said here about layers.

# Words

  - Facts are what is observed: the instance, its tags, what the ECS agent is
    registered as. Package facts has their types.
  - Config is what the operator wants: ecsnode.yaml and conf.d.
  - A duty is one thing the node must keep true. Reconcile is one bounded pass:
    it looks, compares, closes the gap, and is safe to repeat.
  - A host package talks to exactly one outside thing.
  - The engine (package duty) runs duties. It alone owns goroutines, schedules,
    time-outs, backoff and streams of events.
  - A cell is a value with one writer that wakes its readers when it really
    changed. The configuration is a cell too: a new one restarts nothing.
  - The node (package node) is the wiring, the only package that knows all.
  - An image is what new nodes start from. Package image decides what it must
    not have (a list, which is data) and what it must have.
  - A bundle is a packed directory of settings, named by its digest. A channel is
    a signed document that says which bundle its nodes run.
  - The sim is a simulated node's outside, with state, on real protocols. The
    agent cannot tell it from AWS. In tests it is reached over in-memory
    connections, so that the SDK clients run in virtual time.

# Layers

Nothing imports upwards, and nothing of its own layer unless it says so here:

	0  facts cell when fsx templates config/strict   pattern (which all may import)
	1  duty (cell, when)   render (cell, facts)   bundle (facts)
	   publish (bundle, facts)
	2  duties/* (duty, cell, when, facts, fsx, render)
	   host/* (facts, fsx; clients of AWS also host/httpx and host/awsapi)
	   host/s3/s3test (host/awsapi), by which tests reach a real S3 server
	   status (duty, cell, facts, fsx)   sim (facts)   image (facts, fsx)
	   duties/bundle also bundle
	3  config (config/strict, the duties' Config types, when, render, facts, fsx, bundle)
	   migrate (what nodeconfig and ecsconfig read; facts, fsx, render, when)
	   iam (config, the duties' Config types, bundle, facts, render)
	4  node (all of the above)
	5  cmd/* (node, status, config, config/strict, bundle, publish, duty, facts, fsx, image, iam, templates, sim)

A duty never imports a host package, another duty, an SDK, os, net or net/http:
it declares the one to three methods it needs, in nouns from facts, and host
clients satisfy them without either knowing the other. A duty has no goroutine,
ticker, sleep or retry loop.

No SDK client is ever stored in an interface of its own shape, and no SDK
paginator is used: text/template makes the linker keep every exported method of
every type that reaches an interface, which costs tens of megabytes.

# Data flow

	S3, the image, cell[Instance] ─> bundle ─> /var/lib/ecsnode/bundles/active ─> config;  how it does ─> ECS PutAttributes
	ecsnode.yaml, conf.d ─> config ────> cell[effective] ───┬──────────────┐
	command line ────────> requests ──> cell[holds]         │              │
	IMDS, ec2:DescribeTags > instance ─> cell[Instance] ────┼─> ecsconfig ─┼─> /etc/ecs/ecs.config
	agent introspection ─> registration > cell[ContainerInstance] ┘   │    │
	                                         cell[cluster] <──────────┘    │
	                                               └────────> nodeconfig ──┴─> /etc/container_config
	templates ─> cell[References] × 5 ─> parameters ─> SSM, Secrets Manager; cell[Parameters] ─> the same templates
	config, cell[Instance], cell[cluster] ─> daemonjson ─> cell[Inputs] ─┬─> units ─> restarts of docker, ecs
	rpm, dnf (a job) ─> packages ───────────────────────> cell[Inputs] ─┘     │
	                       └> cell[Packages] ─> files, services
	blkid, mountinfo ─> volumes ─> cell[Volumes] ─> dockerhold ─> /run/ecsnode/docker-held.json ─> ecsnode ready docker
	IMDS, logind, operator ─> notice × 6 ─> cell × 6 ─> interruption ─> cell[Interruption] ─> drain ─> ECS, Docker, Auto Scaling
	drain ─> cell[Plan], /var/lib/ecsnode/drains ─> status, ecsnode drain show
	cell[Plan] ─> webhook ─> a URL;  cell[Plan] ─> upload ─> S3
	cell[Config], cell[Instance], cell[string] ─> files ─> any file; restarts of its units, or cell[Inputs] ─> units
	Docker, ECS agent ─> nodetasks ─> ECS StartTask, cell[[]NodeTask] ─> readiness ─> ECS PutAttributes
	cron, the clock, requests, S3 leases ─> schedules ─> jobs, ECS StartTask, cell[[]Schedule] ─> status;  its file ─> drain
	cron, rc.local, node.config ─> ecsnode migrate ─> ecsnode.yaml, /var/lib/ecsnode/migrate
	every pass ─> Record ─> board ─> /run/ecsnode/status.json ─> ecsnode status, sd_notify
	what has Identity, once ok ─> identity ─> /run/ecsnode/identity.json ─> ecsnode ready identity

Rules: a published value never contains what changes every pass. What should be
is compared with what is; nothing is done because something "changed". A dry
run is a property of the hosts: fsx.Overlay stages writes so that later reads
see them, the ECS API records calls.

# Two classes of duty

Duties with Identity set establish what the node is: its cluster, the values of
node.config that must be there, that user data has run, that the agent's saved
state is this instance's. A node without identity must not join a cluster, so
the unit of the ECS agent waits for `ecsnode ready identity`. All others are
optional at boot: they get the budget and no more, and the daemon goes on.
Once all have succeeded in a boot the identity stays established, whatever
fails later: the last good files are those of this node.

A hold stops every duty with Changes set. It stops an identity duty only once
the identity of this boot is established, so that neither a tag nor an operator
can keep a node out of its cluster by holding it. Sources are never held.

The duty config is of identity too: a file that is left out may be the one that
names the cluster, and a container instance cannot change its cluster. A node
that is in a cluster already can do without it.

# Three tables at boot

The same duties stand in three tables (node/table.go). early, before Docker:
volumes and daemonjson, with what was last known and no network. boot, before
the ECS agent: all. The daemon: all; it looks from the start and changes things
once boot has ended, after it has looked anew. A failure marked duty.Lasting
is not mended by trying again, and boot does not spend its budget on it.

A duty in boot never waits for a unit that is ordered after boot: it enqueues.

# The end of a node

Each source of notices is an entry and a cell of its own; interruption merges
them into one fact, which says by when and how hard. Drain works off a plan on
disk: each pass does what is due and writes down what happened. These entries
are the daemon's alone, run from its start on, and are never held: a node that
goes takes its tasks along, whoever looks into it.

Who tells others of a drain (webhook, upload) is an entry of its own and reads the
plan: a URL that hangs takes no time from tasks. A rehearsal (ecsnode simulate)
plays the decisions of the drain in time, over what it finds on the node.

A pass of drain talks to several things of which each may hang while the clock
runs. It makes those calls together (duty.Together), each with its own time; that
is the only concurrency outside of the engine, and it lives in package duty.

# Jobs

What takes more than the sandbox of the units allows, or must outlive a pass
and a restart of the daemon, is a job: a transient unit of its own, run over
D-Bus by host/systemd with a limit of time and memory. A pass starts it, a later
one reads what came of it. What a scheduled command writes goes through a program
in that unit, "ecsnode job", which keeps the end of it: a file that systemd writes
has no bound. The same program speaks to Docker where the command is one in a
container, since an exec of Docker's has no unit and no time-out, and cannot be
ended. Only duty units restarts docker, containerd or ecs: others publish, in a
cell of Inputs, what a unit should run with, and units compares that with when its
process was started.

# Ticks

The time that a schedule names is the identity of a run. It is written down as
settled before its run is begun, and never goes back, so that no tick runs twice;
one whose run cannot be told from one that was never begun counts as run, unless
its job is one that systemd does not know. A tick is the daemon's: neither boot, nor
apply, nor a plan runs one.

Packages are removed by a replay of just these removals, never by "dnf remove",
and never in one transaction with an installation: in dnf 4.14 both would take
along whatever stands in the way (measured; see duties/packages).

# What fails again and again

A pass that fails is made again at the pace of its entry, at its schedule at the
latest. What disturbs others each time it is tried, as a unit that does not stay
up, is paced by name with duty.Attempts beside that, and tried at once when
somebody asks for a pass.

# Absent, unavailable, refused

The three are different everywhere (facts.ErrAbsent and its siblings). A tag is
present, absent or unavailable; a default or an empty value stands in for an
absent one only. Unavailable means waiting with the last good file in place.

# Secrets

A template that reads a secret renders nothing unless its place was said to hold
one (render.Inputs.Secrets): a file that not everybody reads, and one variable of
ecs.config. facts.Parameter does not show its value; errors of a rendering that
read a secret say where they are and not what; plan shows no file that is not for
everybody.

# Who may set what

Settings come from files that root writes and from the bundle in effect: defaults
< ecsnode.yaml < the bundle's < conf.d. A file with any problem is left out whole, named, and shown failing; a problem
that shows only in combination is placed in, and costs, the file that made it.
A process that has read good content of the file before keeps that in effect, so
that a slip of the pen takes nothing from a running node.
Instance tags may set ecsnode:channel and ecsnode:hold and nothing else, because
whoever may tag an instance must not own it. Template functions see tags as
data; what is rendered into a shell file is parsed again before it is written.

# Bundles

A bundle is signed, and a signature makes it as good as root: its hooks run. So
what a bundle must not say (config.BundleProblems) guards against mistakes and
not against the signer: where bundles come from and whose are trusted, the
channel, a hold, and every path that is ecsnode's. Those come from the image and
from user data alone, so that the next bundle always finds its way.

	DIR ─> bundle.Build ─> archive, digest ─> publish ─> S3: bundles/DIGEST.tar.zst
	                                            └─ Seal ──> S3: channels/NAME, if it is still what was read
	channels/NAME ─> bundle.Open ─> Channel.Choose ─> bundles/DIGEST.tar.zst ─> Store.Add ─> a directory, whole or not there

A channel is one object with its signature in front, so that nobody reads one
beside another. It is replaced under the condition that it has not changed, after
what it was has been kept in history/NAME. What is verified comes first: nothing
of a document is read before its signature is right, and nothing of an archive
before its length and digest are. An old agent takes no document with a field it
does not know, for it may be a condition; what is no condition goes into info.

A node tells what it runs in the attribute ecsnode.bundle of its container
instance (bundle.Report); promoting reads it.

On a node the bundle in effect is where the link bundles/active leads; without
one it is the baked configuration. Whether the node likes it is in bundle.json,
which is written before the link is switched: whatever ends the process, what is
in effect is whole, and the next pass finds what was begun. Config reads the
bundle's ecsnode.yaml through the link, under a name that says which bundle it
is, and everything else of the bundle is read by the digest of the layer that is
in effect, so that settings and templates are always of the same one.

	channels/NAME ─> choose ─> bundles/DIGEST ─> check (a dry pass of what renders, by
	another Node) ─> bundle.json ─> link ─> cell[effective]; watch ─> good, or back

The check compares with what the same pass makes without the bundle, and the
watch with how duties stood before it: only what was well can condemn it. The
engine notes on a Record whether all of an error was want of an answer
(Record.Outside); for duties that ask nothing beyond the node, that is no excuse
(node.blamed). Time in which that is so, or something waits, is not counted. An
agent of ECS that does not answer is blamed on a bundle only while ECS itself does.

How duties stood is kept between boots, for a bundle may come with one. The first
bundle of a node comes before anything was well: it is left only for what any image
must do without it (node.vital), since the image alone may do no better in all else
and may not know its cluster. But while anything fails it is not told to be well,
and nobody promotes it.

A bundle under which ecsnode does not run is left after three starts, counted by
command; one that was watched to its end is not judged any more.

# Who makes passes

The daemon holds /run/ecsnode/daemon.lock for its life. Whoever makes passes that
change the node (the daemon, boot, apply) holds pass.lock while it does; the
daemon looks but does not touch until it has it, and says who has. Boot beside a
daemon that is at work waits for it; apply asks it, by a file in
/var/lib/ecsnode/requests, and reads the answer from its status.

# The way over from Ansible

Package migrate looks for what runs ansible, writes the draft of a configuration
and makes the cut-over, which is no duty: it happens once, by hand, and is
written down with its way back before anything is changed. Package node renders
for it, on an overlay, what the draft would make. Duties know nothing of it.

# How to add a duty

 1. Write agent/duties/NAME: a struct with its inputs (cell readers), outputs
    (cells) and hosts (interfaces declared there), Name and Reconcile; its
    Config with Default and Validate if it has settings.
 2. Add one line to the table in agent/node/table.go, where its order, its
    schedule and its inputs stand. Settings join config.Config.

The engine, status, plan, hold and apply then know it.

# Images

An image is made on an instance that never becomes a node: its user data keeps
the ECS agent and the units of ecsnode from starting, by files in /run, so that
no image has them. ecsnode image check looks whether a first boot finds all it
needs and no secret; ecsnode image seal removes what is this machine's alone,
after image.Items and nothing else, and refuses on a node. A seal that was cut
short is done again: the plan is what is there and should not be.

A first bundle may come with it, in /usr/share/ecsnode/first, laid out as in S3. A
node without any bundle takes the stable one while S3 does not answer, by the same
signature, serials, check and watch.

# What AWS must allow

One table in package iam has every action that ecsnode calls, when, and on what;
the policy, the README and the role in templates/fleet follow from it. Tests of whole
nodes fail on a call that the policy for their settings lacks, and on a line of the
table that nothing calls. Who adds a call adds the line.

# Decisions that differ from what one may expect

  - fsx writes its own temporary files through os.Root instead of using a
    library: their names must be recognisable as ours, so that the next write
    can remove what a killed process left, and a root other than "/" must hold
    against symbolic links.
  - The JSON Schema comes from the same walk over the Go types that decodes, so
    that the two cannot differ.
  - Credentials are the instance role's, read through the agent's own IMDS
    client. The SDK's config package is not linked: it brings SSO and STS. Where
    bundles are published, keys in the environment come before the role.
  - Archives have no links at all, and only names in printable ASCII: nothing in a
    bundle needs either, and what is not there need not be made safe.
  - A key's password is tried by scrypt with 1 GiB of memory, as minisign has it.
    Only who publishes pays that; nodes verify in a fraction of a millisecond.
  - The board that writes the status is a duty like others: woken at edges, with
    a heartbeat, and it feeds the watchdog.
*/
package agent

package sim

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options says how a World starts. The zero value is a sensible node: see
// Instance for its defaults; its tags are env=prod and cluster=web, readable
// through IMDS; it is not registered with ECS yet.
type Options struct {
	Instance Instance
	// Tags are the instance's tags, under SetTag's rules; nil means env=prod,
	// cluster=web.
	Tags map[string]string
	// MetadataTagsDisabled leaves the tags out of IMDS, as AWS does by default.
	MetadataTagsDisabled bool
	// Unthrottled turns off the request rates of the AWS APIs.
	Unthrottled bool
	// Seed feeds the random choices (credentials, tokens, fault probability,
	// garbage); the same seed and the same calls give the same answers.
	Seed uint64
	// ListLag is by how much ECS's ListTasks is behind; see SetListLag.
	ListLag time.Duration
	// CallLimit is how many calls the log keeps; 0 means 100,000.
	CallLimit int
	// OnCall, when set, is called with each call once it has ended, from the
	// goroutine that served it.
	OnCall func(Call)
}

// World is the state of everything outside the agent, in one account and
// Region. The embedded Node is the one it was made with. All methods may be
// called from any goroutine; a world for a synctest bubble is made in it.
type World struct {
	*Node

	apis     []*api
	calls    *callLog
	faults   *faultTable
	throttle *throttle
	ca       func() (*Authority, error)

	mu          sync.Mutex // guards everything below and every Node's state
	random      *rand.Rand
	nodes       []*Node
	credentials map[string]*credentials // by access key id
	denied      map[string]bool         // IAM actions, see Deny
	ahead       time.Duration           // of the nodes' clocks, see SetClock
	clusters    map[string]*cluster     // by name
	buckets     map[string]*bucket      // of S3, by name
	parameters  map[string]*parameter   // of Parameter Store, by name
	secrets     map[string]*secret      // by name
	ecs         ecsState
}

// SetClock sets by how much the clock by which AWS's APIs judge signatures is ahead
// of the nodes'.
func (w *World) SetClock(ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead = ahead
}

// New makes a world with one node. It panics on tags that SetTags refuses.
func New(o Options) *World {
	if o.CallLimit == 0 {
		o.CallLimit = 100_000
	}
	w := &World{
		calls:       newCallLog(o.CallLimit, o.OnCall),
		faults:      newFaultTable(o.Seed),
		throttle:    newThrottle(!o.Unthrottled),
		ca:          sync.OnceValues(NewAuthority),
		random:      rand.New(rand.NewPCG(o.Seed, 0x5eed)),
		credentials: map[string]*credentials{},
		denied:      map[string]bool{},
		clusters:    map[string]*cluster{},
		buckets:     map[string]*bucket{},
		parameters:  map[string]*parameter{},
		secrets:     map[string]*secret{},
		ecs:         ecsState{settled: time.Now(), listLag: o.ListLag},
	}
	w.apis = newAPIs()
	tags := o.Tags
	if tags == nil {
		tags = map[string]string{"env": "prod", "cluster": "web"}
	}
	n, err := w.addNode(o.Instance.withDefaults(), tags, !o.MetadataTagsDisabled)
	if err != nil {
		panic(err)
	}
	w.Node = n
	return w
}

// AddNode adds a node that shares the world's clusters and request rates, with
// tags, under SetTags's rules, that are readable through IMDS. Without an id,
// address or MAC it gets its own; Region and account are the world's.
func (w *World) AddNode(i Instance, tags map[string]string) (*Node, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := len(w.nodes)
	i.ID = cmp.Or(i.ID, "i-0"+w.randomHex(16))
	i.PrivateIP = cmp.Or(i.PrivateIP, fmt.Sprintf("10.0.%d.%d", 2+number/250, 1+number%250))
	i.MAC = cmp.Or(i.MAC, fmt.Sprintf("0a:1b:2c:3d:%02x:%02x", number/256, number%256))
	i.Region, i.Account = w.instance.Region, w.instance.Account
	return w.addNode(i.withDefaults(), tags, true)
}

// addNode adds a node; the caller holds the lock.
func (w *World) addNode(i Instance, tags map[string]string, metadataTags bool) (*Node, error) {
	if slices.ContainsFunc(w.nodes, func(n *Node) bool { return n.instance.ID == i.ID }) {
		return nil, fmt.Errorf("cannot add node: there already is a %s", i.ID)
	}
	n := &Node{world: w, instance: i, tokens: map[string]time.Time{}}
	if err := n.replaceTags(maps.Clone(tags), metadataTags); err != nil {
		return nil, err
	}
	w.nodes = append(w.nodes, n)
	return n, nil
}

// Authority is the certificate authority of the world's TLS listeners, made
// when first asked for.
func (w *World) Authority() (*Authority, error) { return w.ca() }

// Connect serves the world on n where an agent looks for it: IMDS of the
// world's own node at 169.254.169.254:80 and [fd00:ec2::254]:80, its ECS agent
// at 127.0.0.1:51678 and localhost:51678, its Docker Engine at the socket
// /run/docker.sock, and the AWS APIs at every other host, with TLS on port 443
// (see Authority) and without on port 80.
func (w *World) Connect(n *Network) error {
	authority, err := w.Authority()
	if err != nil {
		return err
	}
	imds, introspection, docker, aws := w.IMDS(), w.Introspection(), w.Docker(), w.AWS()
	for _, at := range []struct {
		addr    string
		handler http.Handler
	}{
		{"169.254.169.254:80", imds},
		{"[fd00:ec2::254]:80", imds},
		{"127.0.0.1:51678", introspection},
		{"localhost:51678", introspection},
		{"/run/docker.sock", docker},
		{":80", aws},
	} {
		if err := n.Serve(at.addr, at.handler); err != nil {
			return err
		}
	}
	return n.ServeTLS(":443", aws, authority.TLSConfig())
}

// randomHex is n random hexadecimal digits; the caller holds the lock.
func (w *World) randomHex(n int) string { return w.randomText(n, "0123456789abcdef") }

func (w *World) randomText(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[w.random.IntN(len(alphabet))]
	}
	return string(b)
}

package agent_test

import (
	"path"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// TestBreaches gives the rules small trees that break one of them each: a rule
// that cannot fail holds nothing.
func TestBreaches(t *testing.T) {
	t.Parallel()
	const (
		duty = "agent/duties/greet/greet.go"
		host = "agent/host/imds/imds.go"
		cell = "agent/cell/cell.go"
		node = "agent/node/node.go"
	)
	in := func(name, text string) map[string]string { return map[string]string{name: text} }
	ours := func(pkg string) string { return `import _ "` + module + "/" + pkg + `"` }
	tests := []struct {
		name  string
		files map[string]string // less the package clauses and a doc.go
		want  string            // in the only breach; empty: there is none
	}{
		{name: "a duty with what a duty may have", files: in(duty, `
			import (
	"path"
	"strconv"
				"context"
				"time"

				"`+module+`/agent/cell"
				"`+module+`/agent/duty"
			)
			var names = map[string]int{"a": 1}
			func pass(ctx context.Context) { x := names["a"]; x++; _ = time.Now(); _ = time.Second }
		`)},

		{name: "a package without a layer", files: in("agent/helper/helper.go", ``), want: "not listed in layers"},
		{name: "a package below a listed one", files: in("agent/duties/greet/deep/deep.go", ``), want: "not listed in layers"},

		{name: "a leaf imports of ours", files: in(cell, ours("agent/facts")), want: "agent/cell may not import agent/facts"},
		{name: "under another name", files: in(cell, `import f "`+module+`/agent/facts"`), want: "may not import agent/facts"},
		{name: "a duty imports another", files: in(duty, ours("agent/duties/wave")), want: "may not import agent/duties/wave"},
		{name: "a duty imports a host package", files: in(duty, ours("agent/host/imds")), want: "may not import agent/host/imds"},
		{name: "a duty imports the config", files: in(duty, ours("agent/config")), want: "may not import agent/config"},
		{name: "a host package imports a duty", files: in(host, ours("agent/duties/greet")), want: "may not import agent/duties/greet"},
		{name: "a host package imports duty", files: in(host, ours("agent/duty")), want: "may not import agent/duty"},
		{name: "a host package imports another", files: in(host, ours("agent/host/ecs")), want: "may not import agent/host/ecs"},
		{name: "a host package imports what they share", files: in(host, ours("agent/host/httpx"))},
		{name: "what they share imports a host package", files: in("agent/host/httpx/httpx.go", ours("agent/host/imds")), want: "may not import agent/host/imds"},
		{name: "render imports fsx", files: in("agent/render/render.go", ours("agent/fsx")), want: "agent/render may not import agent/fsx"},
		{name: "status imports the node", files: in("agent/status/status.go", ours("agent/node")), want: "may not import agent/node"},
		{name: "strict imports the config", files: in("agent/config/strict/strict.go", ours("agent/config")), want: "may not import agent/config"},
		{name: "the config imports a duty's package", files: in("agent/config/config.go", ours("agent/duties/greet"))},
		{name: "the config imports a host package", files: in("agent/config/config.go", ours("agent/host/imds")), want: "may not import agent/host/imds"},
		{name: "the simulator imports the node", files: in("agent/sim/sim.go", ours("agent/node")), want: "agent/sim may not import agent/node"},
		{name: "the node imports a command", files: in(node, ours("agent/cmd/ecsnode")), want: "may not import agent/cmd/ecsnode"},
		{name: "the node imports the simulator", files: in(node, ours("agent/sim")), want: "agent/node may not import agent/sim"},
		{name: "the node wires", files: in(node, ours("agent/duties/greet")+"\n"+ours("agent/host/imds")+"\n"+ours("templates"))},
		{name: "the command imports the simulator", files: in("agent/cmd/ecsnode/main.go", ours("agent/sim")), want: "may not import agent/sim"},
		{name: "the simulator's command imports it", files: in("agent/cmd/ecsnode-sim/main.go", ours("agent/sim"))},
		{name: "the command imports a duty", files: in("agent/cmd/ecsnode/main.go", ours("agent/duties/greet")), want: "may not import agent/duties/greet"},

		{name: "a duty imports os", files: in(duty, `import "os"`), want: "may not import os: a duty reaches the node through fsx"},
		{name: "a duty compiles expressions on import", files: in(duty, `import "regexp"`), want: "use agent/pattern"},
		{name: "a duty has patterns", files: in(duty, ours("agent/pattern"))},
		{name: "a duty imports an SDK", files: in(duty, `import "github.com/aws/aws-sdk-go-v2/service/ecs"`), want: "only host packages"},
		{name: "a duty imports sync", files: in(duty, `import "sync"`), want: "from one goroutine"},
		{name: "the config imports net/http", files: in("agent/config/config.go", `import "net/http"`), want: "only host packages"},
		{name: "status imports os/exec", files: in("agent/status/status.go", `import "os/exec"`), want: "only host packages"},
		{name: "the command imports an SDK", files: in("agent/cmd/ecsnode/main.go", `import "github.com/aws/aws-sdk-go-v2/config"`), want: "only host packages"},
		{name: "facts imports fsnotify", files: in("agent/facts/facts.go", `import "github.com/fsnotify/fsnotify"`), want: "only host packages"},
		{name: "a host package imports an SDK", files: in(host, `import "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"`)},
		{name: "the simulator imports net/http", files: in("agent/sim/sim.go", `import "net/http"`)},
		{name: "the simulator's command imports net/http", files: in("agent/cmd/ecsnode-sim/main.go", `import "net/http"`)},

		{name: "a duty starts a goroutine", files: in(duty, `func pass() { go pass() }`), want: "go statement"},
		{name: "another package starts a goroutine", files: in(cell, `func pass() { go pass() }`)},
		{name: "a duty sleeps", files: in(duty, `import "time"; func pass() { time.Sleep(1) }`), want: "time.Sleep"},
		{name: "a duty sleeps by another name", files: in(duty, `import clock "time"; func pass() { clock.Sleep(1) }`), want: "clock.Sleep"},
		{name: "a duty sleeps by a value", files: in(duty, `import "time"; func pass() { wait := time.Sleep; wait(1) }`), want: "time.Sleep"},
		{name: "a duty sleeps without a name", files: in(duty, `import . "time"; func pass() { Sleep(1) }`), want: "dot import"},
		{name: "a duty waits", files: in(duty, `import "time"; func pass() { <-time.After(1) }`), want: "time.After"},
		{name: "a duty ticks", files: in(duty, `import "time"; func pass() { for range time.Tick(1) {} }`), want: "time.Tick"},
		{name: "a duty has a ticker", files: in(duty, `import "time"; func pass() { time.NewTicker(1) }`), want: "time.NewTicker"},
		{name: "a duty has a timer", files: in(duty, `import "time"; func pass() { time.NewTimer(1) }`), want: "time.NewTimer"},
		{name: "a duty is called later", files: in(duty, `import "time"; func pass() { time.AfterFunc(1, pass) }`), want: "time.AfterFunc"},
		{name: "a duty is called at the end", files: in(duty, `import "context"; func pass() { context.AfterFunc(nil, pass) }`), want: "context.AfterFunc"},
		{name: "a method that is called Sleep", files: in(duty, `type bed struct{}; func (bed) Sleep() {}; func pass(b bed) { b.Sleep() }`)},

		{name: "a paginator", files: in(host, `import "github.com/aws/aws-sdk-go-v2/service/ec2"; func list() { ec2.NewDescribeTagsPaginator(nil, nil) }`), want: "NewDescribeTagsPaginator"},
		{name: "a paginator as a value", files: in(host, `import "github.com/aws/aws-sdk-go-v2/service/ec2"; func list() { f := ec2.NewDescribeTagsPaginator; _ = f }`), want: "NewDescribeTagsPaginator"},

		{name: "func init", files: in(cell, `func init() {}`), want: "func init"},
		{name: "a method init", files: in(cell, `type c int; func (c) init() {}`)},

		{name: "a variable that is set", files: in(cell, `var n int; func add() { n = 1 }`), want: "package-level variable n"},
		{name: "in another file", files: map[string]string{cell: `var n int`, "agent/cell/add.go": `func add() { n = 1 }`}, want: "add.go:2:"},
		{name: "a variable that is counted up", files: in(cell, `var n int; func add() { n++ }`), want: "package-level variable n"},
		{name: "a map that is filled", files: in(cell, `var m = map[string]int{}; func add() { m["a"] = 1 }`), want: "package-level variable m"},
		{name: "a map that is emptied", files: in(cell, `var m = map[string]int{}; func drop() { delete(m, "a") }`), want: "package-level variable m"},
		{name: "a field that is set", files: in(cell, `var s struct{ n []int }; func add() { s.n[0] = 1 }`), want: "package-level variable s"},
		{name: "what a pointer points to", files: in(cell, `var p *int; func add() { *p = 1 }`), want: "package-level variable p"},
		{name: "a variable of unknown type", files: in(cell, `import "x.org/y"; var v = y.New(); func add() { v.N = 1 }`), want: "package-level variable v"},
		{name: "a variable set by a loop", files: in(cell, `var n int; func add() { for n = range 3 {} }`), want: "package-level variable n"},
		{name: "a variable that is lent", files: in(cell, `var n int; func add(f func(*int)) { f(&n) }`), want: "package-level variable n"},
		{name: "a channel that is sent to", files: in(cell, `var c = make(chan int); func send() { c <- 1 }`), want: "package-level variable c"},
		{name: "an element that is looked at", files: in(cell, `var t = [...]int{1}; func get(i int) *int { return &t[i] }`)},
		{name: "a variable of another package", files: in(cell, `import "log/slog"; func set() { slog.Default = nil }`), want: "a variable of package slog"},
		{name: "a local variable of the same name", files: in(cell, `var n int; func get() int { n := n; n++; return n }`)},
		{name: "a parameter of the same name", files: in(cell, `var n int; func get(n int) int { n++; return n }`)},
		{name: "a lock", files: in(cell, `import "sync"; var mu sync.Mutex`), want: "package-level sync.Mutex is state"},
		{name: "a counter", files: in(cell, `import "sync/atomic"; var p *atomic.Pointer[int]`), want: "is state"},
		{name: "a channel", files: in(cell, `var done chan int`), want: "is state"},
		{name: "several locks", files: in(cell, `import "sync"; var mu [2]sync.Mutex`), want: "is state"},
		{name: "a lock in a struct", files: in(cell, `import "sync"; type c struct { mu sync.Mutex }`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tree := make(map[string]string)
			for name, text := range tt.files {
				pkg := packageOf(name)
				tree[name] = "package " + pkg + "\n" + text
				tree[path.Dir(name)+"/doc.go"] = "// Package " + pkg + " is a sample.\npackage " + pkg
			}
			wantBreach(t, tree, tt.want)
		})
	}
}

// TestBannedImports gives each import to a package that may not have it.
func TestBannedImports(t *testing.T) {
	t.Parallel()
	const (
		duty   = "agent/duties/greet"
		status = "agent/status"
	)
	tests := []struct{ pkg, imports, want string }{
		{duty, "os os/exec os/signal os/user io/ioutil path/filepath log/syslog plugin", "may not import"},
		{duty, "net net/http net/http/httptest net/rpc crypto/tls golang.org/x/net/http2", "may not import"},
		{duty, "syscall golang.org/x/sys/unix", "may not import"},
		{duty, "sync sync/atomic golang.org/x/sync/errgroup", "may not import"},
		{duty, "net/netip net/url path io strings time context golang.org/x/text/cases", ""},
		{status, "os/exec net net/http net/http/httputil", "only host packages"},
		{status, "github.com/aws/smithy-go github.com/aws/aws-sdk-go-v2/service/ecs", "only host packages"},
		{status, "github.com/docker/docker/client github.com/coreos/go-systemd/v22/dbus github.com/fsnotify/fsnotify", "only host packages"},
		{status, "os sync net/url net/netip", ""},
	}
	for _, tt := range tests {
		for imported := range strings.FieldsSeq(tt.imports) {
			name := path.Base(tt.pkg)
			text := "// Package " + name + " is a sample.\npackage " + name + "\nimport _ " + strconv.Quote(imported)
			wantBreach(t, map[string]string{tt.pkg + "/sample.go": text}, tt.want)
		}
	}
}

// TestBreachesOfDocumentation gives whole files, as the comment is the point.
func TestBreachesOfDocumentation(t *testing.T) {
	t.Parallel()
	const a, b = "agent/cell/a.go", "agent/cell/b.go"
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"documented", map[string]string{a: "// Package cell wakes readers.\npackage cell", b: "package cell"}, ""},
		{"not documented", map[string]string{a: "package cell", b: "package cell"}, "no package comment"},
		{"a comment apart", map[string]string{a: "// Package cell wakes readers.\n\npackage cell"}, "no package comment"},
		{"an empty comment", map[string]string{a: "//\npackage cell"}, "no package comment"},
		{"a directive only", map[string]string{a: "//go:debug x=1\npackage cell"}, "no package comment"},
		{"documented twice", map[string]string{a: "// Package cell wakes.\npackage cell", b: "// Package cell waits.\npackage cell"}, "more than one"},
		{"about something else", map[string]string{a: "// Package shell wakes readers.\npackage cell"}, `must begin with "Package cell "`},
		{"a command", map[string]string{"agent/cmd/ecsnode/main.go": "// Ecsnode keeps a node.\npackage main"}, ""},
		{"a test does not count", map[string]string{a: "package cell", "agent/cell/a_test.go": "// Package cell wakes readers.\npackage cell"}, "no package comment"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantBreach(t, tt.files, tt.want)
		})
	}
}

// TestOutOfReach: tests, test data and hidden directories may hold anything.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent/cell/cell_test.go", "agent/cell/testdata/bad.go", ".cache/bad.go", "agent/_old/bad.go"} {
		wantBreach(t, map[string]string{name: `package bad; import "os/exec"; func init() {}`}, "")
	}
}

func wantBreach(t *testing.T, files map[string]string, want string) {
	t.Helper()
	tree := make(fstest.MapFS)
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	packages, err := parse(tree)
	if err != nil {
		t.Fatal(err)
	}
	got := check(packages)
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("%v breaks no rule, got %q", files, got)
	case want != "" && (len(got) != 1 || !strings.Contains(got[0], want)):
		t.Errorf("%v: got %q, want one breach with %q", files, got, want)
	}
}

// packageOf returns the name of the package that a file of a tree belongs to.
func packageOf(name string) string {
	if strings.HasPrefix(name, "agent/cmd/") {
		return "main"
	}
	return path.Base(path.Dir(name))
}

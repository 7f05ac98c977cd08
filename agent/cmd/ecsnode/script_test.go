package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ecsnode/ecsnode/agent/fsx"
	"github.com/ecsnode/ecsnode/agent/sim"
	"github.com/ecsnode/ecsnode/agent/status"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ecsnode": main})
}

// TestScripts types commands at a node in $root whose AWS is simulated. Beside
// testscript's own commands the scripts know
//
//	exits CODE ecsnode ARG...     run, and expect this exit status
//	sim tag KEY=VALUE | untag KEY | fault PATTERN STATUS | well | metadata-tags on|off | deny ACTION
//	sim bucket NAME | objects BUCKET (into the file objects) | user NAME (whose keys are used) | nodes COUNT CLUSTER
//	await DUTY STATE              until the daemon's status says so
//	await-grep REGEXP FILE        until a line of the file matches
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			return setUp(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "sim": simulate, "await": await, "await-grep": awaitGrep,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

type worldKey struct{}

func setUp(env *testscript.Env) error {
	world := sim.New(sim.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	env.Defer(cancel)
	env.Values[worldKey{}] = world
	imds, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	aws, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = sim.Serve(ctx, imds, world.IMDS()) }()
	go func() { _ = sim.Serve(ctx, aws, world.AWS()) }()
	root := filepath.Join(env.WorkDir, "root")
	env.Vars = append(env.Vars,
		"root="+root,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://"+imds.Addr().String(),
		"AWS_ENDPOINT_URL=http://"+aws.Addr().String(),
	)
	asset := filepath.Join(root, "sys/class/dmi/id/board_asset_tag")
	if err := os.MkdirAll(filepath.Dir(asset), 0o755); err != nil {
		return err
	}
	return os.WriteFile(asset, []byte(world.Instance().ID+"\n"), 0o444)
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}

func simulate(ts *testscript.TestScript, _ bool, args []string) {
	world, ok := ts.Value(worldKey{}).(*sim.World)
	if !ok || len(args) == 0 {
		ts.Fatalf("usage: sim WHAT ...")
	}
	arg := func(i int) string {
		if i >= len(args) {
			ts.Fatalf("sim %s takes more", args[0])
		}
		return args[i]
	}
	switch args[0] {
	case "tag":
		key, value, _ := strings.Cut(arg(1), "=")
		ts.Check(world.SetTag(key, value))
	case "untag":
		world.DeleteTag(arg(1))
	case "fault":
		code, err := strconv.Atoi(arg(2))
		ts.Check(err)
		ts.Check(world.SetFault(arg(1), sim.Fault{Kind: sim.FaultStatus, Status: code}))
	case "well":
		world.ClearFaults()
	case "metadata-tags":
		ts.Check(world.EnableMetadataTags(arg(1) == "on"))
	case "deny":
		world.Deny(arg(1))
	case "bucket":
		world.CreateBucket(arg(1), "")
	case "user":
		id, secret := world.AddUser(arg(1))
		ts.Setenv("AWS_ACCESS_KEY_ID", id)
		ts.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	case "nodes":
		count, err := strconv.Atoi(arg(1))
		ts.Check(err)
		for range count {
			n, err := world.AddNode(sim.Instance{}, nil)
			ts.Check(err)
			n.SetRegistered(arg(2))
		}
	case "objects":
		ts.Check(os.WriteFile(ts.MkAbs("objects"), []byte(strings.Join(world.Objects(arg(1)), "\n")+"\n"), 0o644))
	default:
		ts.Fatalf("sim knows no %s", args[0])
	}
}

// patience is how long a script waits for what must happen.
const patience = 20 * time.Second

func until(ts *testscript.TestScript, what string, done func() (bool, string)) {
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var ok bool
		if ok, last = done(); ok {
			return
		}
	}
	ts.Fatalf("%s did not happen within %v; last:\n%s", what, patience, last)
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await DUTY STATE")
	}
	files, err := fsx.Open(ts.Getenv("root"))
	ts.Check(err)
	until(ts, strings.Join(args, " "), func() (bool, string) {
		data, _ := files.ReadFile(status.Path)
		d, err := status.Load(files, status.Path)
		if err != nil {
			return false, err.Error()
		}
		for _, r := range d.Duties {
			if r.Name == args[0] && string(r.State) == args[1] {
				return true, ""
			}
		}
		return false, string(data)
	})
}

func awaitGrep(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await-grep REGEXP FILE")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	until(ts, strings.Join(args, " "), func() (bool, string) {
		data, err := os.ReadFile(ts.MkAbs(args[1]))
		if err != nil {
			return false, err.Error()
		}
		return slices.ContainsFunc(strings.Split(string(data), "\n"), re.MatchString), string(data)
	})
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
)

func TestMain(m *testing.M) {
	// Before testscript makes anything of its own: a child process never comes back from here.
	embedded.RunChild()
	debug.SetGCPercent(400)
	for name, value := range briefly {
		os.Setenv(name, value)
	}
	testscript.Main(suite{m}, map[string]func(){"apportion": main, "victim": victim, "broker": broker})
}

// briefly is in the environment of the programs that tests start. Most of them end before they have any memory to
// collect, and would look for it in a third of their time.
var briefly = map[string]string{"GOGC": "off", "GOMEMLIMIT": "512MiB"}

type suite struct{ m *testing.M }

func (s suite) Run() int {
	defer func() {
		for _, dir := range apiDirs {
			os.RemoveAll(dir)
		}
	}()
	return servicetest.Run(s.m)
}

// commands are what the scripts know beyond testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// exits CODE PROGRAM ARGS... runs a program, which must end with the exit code.
	"exits": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
		}
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		got := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				ts.Fatalf("%v", err)
			}
			got = exit.ExitCode()
		}
		if got != want {
			ts.Fatalf("exit code %d, want %d", got, want)
		}
	},
	// appears FILE [TEXT] waits until there is such a file, and the text in it.
	"appears": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 || len(args) > 2 {
			ts.Fatalf("usage: appears FILE [TEXT]")
		}
		for deadline := time.Now().Add(servicetest.Patience); ; time.Sleep(20 * time.Millisecond) {
			if content, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && (len(args) == 1 || bytes.Contains(content, []byte(args[1]))) {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%s did not appear", strings.Join(args, ": "))
			}
		}
	},
	"produce": produceRecord,
	"topic":   changeTopic,
	"sql":     executeSQL,
	"comes":   comes,
	"serves":  serves,
	"zones":   writeZones,
}

// TestScripts runs the program without servers.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		Cmds:                commands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for name, value := range briefly {
				env.Setenv(name, value)
			}
			return nil
		},
	})
}

// TestServiceScripts runs the program against servers that the scripts share, each with topics, a database and a
// consumer group of its own.
func TestServiceScripts(t *testing.T) {
	servicetest.Heavy(t, "it runs the program some hundred times")
	brokers, clickHouse := servicetest.Kafka(t), servicetest.ClickHouse(t)
	cache, err := os.UserCacheDir() // scripts have no home, where the embedded ClickHouse is kept
	if err != nil {
		t.Fatal(err)
	}
	var scripts atomic.Int64
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "services"),
		Cmds:                commands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for name, value := range briefly {
				env.Setenv(name, value)
			}
			name := fmt.Sprintf("script%d", scripts.Add(1))
			env.Setenv("APPORTION_CACHE", filepath.Join(cache, "apportion"))
			env.Setenv("LISTEN", freeAddress(t))
			month, err := filepath.Abs("month") // the one that is shipped
			if err != nil {
				return err
			}
			env.Setenv("MONTH", month)
			env.Setenv("DATABASE", name)
			return os.WriteFile(filepath.Join(env.WorkDir, "apportion.yaml"), []byte(strings.Join([]string{
				"kafka: {brokers: ['" + brokers + "'], topicPrefix: " + name + "., group: " + name + ", partitions: 2}",
				"clickhouse: {addr: ['" + clickHouse + "'], database: " + name + "}",
			}, "\n")), 0o600)
		},
	})
}

// The sample configuration of the deployment is one that the program takes.
func TestSampleConfig(t *testing.T) {
	cfg, sources, err := config.Load(filepath.Join("..", "..", "deploy", "apportion.yaml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Kafka.Brokers) == 0 || len(cfg.ClickHouse.Addr) == 0 {
		t.Errorf("it names no servers: %+v", cfg)
	}
	if got := sources["kafka.brokers"]; !strings.Contains(got, "apportion.yaml:") {
		t.Errorf("kafka.brokers is from %q, not from a line of the file", got)
	}
}

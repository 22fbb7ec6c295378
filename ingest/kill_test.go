package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/twmb/franz-go/pkg/kfake"

	"apportion/deploy/embedded"
	"apportion/schemas"
)

// victim is the environment variable that makes this program an Ingester to be
// killed, and says how.
const victim = "APPORTION_TEST_VICTIM"

type victimConfig struct {
	Config         Config
	Addr, Database string
}

// beVictim ingests until it is killed or has caught up.
func beVictim(config string) {
	var v victimConfig
	err := json.Unmarshal([]byte(config), &v)
	if err == nil {
		var deps Deps
		deps.ClickHouse, err = clickhouse.Open(&clickhouse.Options{Addr: []string{v.Addr}, Auth: clickhouse.Auth{Database: v.Database}})
		if err == nil {
			err = New(v.Config, deps).Run(context.Background())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestKilled has one process after the other killed at some point, and the last
// one left alive.
func TestKilled(t *testing.T) {
	e := newEnv(t, 2)
	k, err := embedded.StartKafka(embedded.Options{}, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	e.broker = k.Addr
	if err := CreateTopics(t.Context(), at(e.broker), e.prefix, 2); err != nil {
		t.Fatal(err)
	}
	cfg := e.config()
	cfg.SessionTimeout = 300 * time.Millisecond
	cfg.UntilCaughtUp = false
	cfg.BatchRows, cfg.FetchBytes, cfg.BatchAge = 5, 2000, time.Millisecond
	config, err := json.Marshal(victimConfig{cfg, relay(t, e.addr), e.db})
	if err != nil {
		t.Fatal(err)
	}
	const n = 4000
	for i := range n {
		line := "{"
		if i%10 > 0 {
			line = session("t", fmt.Sprint(i), 0)
		}
		e.produce(schemas.TopicAgent, i%2, messagesOf(line)...)
		if i%(n/5) > 0 {
			continue
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), victim+"="+string(config))
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		before := e.taken()
		until(t, "it gets on", func() bool { now := e.taken(); return now > before || now == uint64(i)*9/10 })
		time.Sleep(rand.N(100 * time.Millisecond))
		child.Process.Kill()
		child.Wait()
	}
	cfg = e.config()
	cfg.SessionTimeout = 300 * time.Millisecond
	e.ingest(cfg, e.deps())
	if accepted, rejected := e.balanced(); accepted != n*9/10 || rejected != n/10 {
		t.Errorf("accepted %d, rejected %d", accepted, rejected)
	}
	if got := len(e.stored()); got != n {
		t.Errorf("%d of %d are stored", got, n)
	}
}

// relay passes connections on to an address, and ends them in order whatever
// became of the client: libchdb, unlike a ClickHouse server proper, aborts when
// a connection is reset under a query.
func relay(t *testing.T, addr string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer server.Close()
				go func() {
					io.Copy(server, client)
					server.(*net.TCPConn).CloseWrite()
				}()
				io.Copy(client, server)
				io.Copy(io.Discard, server)
			}()
		}
	}()
	return listener.Addr().String()
}

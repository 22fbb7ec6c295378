package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"apportion/deploy/embedded/servicetest"
)

// ending says when a command is ended: when it sends ClickHouse its nth message, or is answered to it. Where it is
// killed, the one or the other is lost.
type ending struct {
	nth      int64
	answered bool
	signal   syscall.Signal
}

func (e ending) String() string {
	return fmt.Sprintf("%v at message %d, answered: %v", e.signal, e.nth, e.answered)
}

// endings calls do with ending after ending, each later than the one before, until a command gets by. In the long form
// more of them are tried, and commands that were answered are also ended by SIGTERM, which differs least from the rest.
func endings(t *testing.T, do func(t *testing.T, e ending) (ended bool)) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, answered := range []bool{false, true} {
			if answered && signal == syscall.SIGTERM && servicetest.Draws(0, 1) == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%v, answered %v", signal, answered), func(t *testing.T) {
				n := 0
				for nth := int64(1); do(t, ending{nth, answered, signal}); nth += 1 + nth/int64(servicetest.Draws(2, 6)) {
					n++
				}
				if n < 5 && !answered {
					t.Errorf("only %d commands were ended", n)
				}
			})
		}
	}
}

// runsUntil runs a command that is ended, and reports whether it was.
func (s *scenario) runsUntil(t *testing.T, e ending, args ...string) (ended bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var messages atomic.Int64
	reached := make(chan struct{})
	reach := sync.OnceFunc(func() { close(reached) })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", s.clickHouse)
			if err != nil {
				client.Close()
				continue
			}
			var last atomic.Bool
			go func() {
				defer server.Close()
				pass(client, server, func() (goOn bool) {
					here := messages.Add(1) == e.nth
					if last.Store(here); here && !e.answered {
						reach()
						return e.signal != syscall.SIGKILL
					}
					return true
				})
			}()
			go func() {
				defer client.Close()
				pass(server, client, func() (goOn bool) {
					if last.Load() && e.answered {
						reach()
						return e.signal != syscall.SIGKILL
					}
					return true
				})
			}()
		}
	}()
	p := servicetest.Start(t, "victim", append([]string{"{}"}, append(args, "--config", s.config, "--set", "clickhouse.addr="+listener.Addr().String())...)...)
	select {
	case <-p.Exited():
	case <-reached:
		ended = p.Try(e.signal)
		s.count(args[0])
	case <-time.After(servicetest.Patience):
		t.Fatalf("%v after %v: %v is at work", e, servicetest.Patience, args)
	}
	if code := p.Ends(); !ended && code != exitDone || strings.Contains(p.Output.String(), "panic") {
		t.Fatalf("%v: %v left with %d:\n%s", e, args, code, &p.Output)
	}
	return ended
}

// pass passes on what one connection sends to another, as long as before lets it.
func pass(from, to net.Conn, before func() bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !before() {
				// The connection stays open: it is for the signal to end the command.
				for err == nil {
					_, err = from.Read(buffer)
				}
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestCommandsKilled ends commands by SIGKILL and by SIGTERM wherever they write to ClickHouse: the same command again
// ends as it would have.
func TestCommandsKilled(t *testing.T) {
	servicetest.Heavy(t, "it kills programs for a while")
	t.Parallel()
	servers := sharedServers(t)
	t.Run("aggregate", func(t *testing.T) {
		t.Parallel()
		endings(t, func() func(t *testing.T, e ending) bool {
			s := servers.scenario(t)
			return func(t *testing.T, e ending) bool {
				if e.nth == 1 {
					s.take(200)
				}
				if s.runsUntil(t, e, "aggregate", "--until-caught-up") {
					return true
				}
				s.apportion("reconcile", "--period", "2026-10")
				after := s.figures()
				s.apportion("aggregate", "--rebuild")
				if undisturbed := s.figures(); after != undisturbed {
					t.Errorf("%v: the figures are\n%s\nand undisturbed\n%s", e, after, undisturbed)
				}
				return false
			}
		}())
	})
	t.Run("aggregate --rebuild", func(t *testing.T) {
		t.Parallel()
		s := servers.scenario(t)
		s.take(200)
		s.apportion("aggregate", "--until-caught-up")
		before := s.figures()
		endings(t, func(t *testing.T, e ending) bool {
			if s.runsUntil(t, e, "aggregate", "--rebuild") {
				return true
			}
			if after := s.figures(); after != before {
				t.Errorf("%v: the figures are\n%s\nand undisturbed\n%s", e, after, before)
			}
			s.apportion("reconcile", "--period", "2026-10")
			return false
		})
	})
	t.Run("registry apply", func(t *testing.T) {
		t.Parallel()
		s := servers.scenario(t)
		document, price := filepath.Join(t.TempDir(), "registry.yaml"), 1
		endings(t, func(t *testing.T, e ending) bool {
			price++
			if err := os.WriteFile(document, []byte(priced(price)), 0o600); err != nil {
				t.Fatal(err)
			}
			ended := s.runsUntil(t, e, "registry", "apply", "-f", document)
			s.apportion("registry", "apply", "-f", document)
			if again := s.apportion("registry", "apply", "-f", document); !strings.Contains(again, "nothing to do") {
				t.Errorf("%v: applied once more, the document changes what stands:\n%s", e, again)
			}
			if shown := s.apportion("registry", "show", "issued", "--json"); !strings.Contains(shown, fmt.Sprintf(`"sms": "%d"`, price)) {
				t.Errorf("%v: the price of %d does not stand:\n%s", e, price, shown)
			}
			var rows, last uint64
			if err := s.db.QueryRow(t.Context(), "SELECT uniqExact(offset), toUInt64(max(offset) + 1) FROM registry_log").Scan(&rows, &last); err != nil || rows != last {
				t.Errorf("%v: registry_log has %d of %d commands (%v)", e, rows, last, err)
			}
			var version int64
			err := s.db.QueryRow(t.Context(), "SELECT version FROM v_tenants WHERE tenant = 'issued'").Scan(&version)
			if last := s.registry().Base("issued"); err != nil || version != last {
				t.Errorf("%v: analysts see the tenant after command %d, and not %d (%v)", e, version, last, err)
			}
			return ended
		})
	})
	t.Run("migrate", func(t *testing.T) {
		t.Parallel()
		whole := servers.scenario(t)
		var s *scenario
		endings(t, func(t *testing.T, e ending) bool {
			if e.nth == 1 {
				s = servers.unmigrated(t)
			}
			if s.runsUntil(t, e, "migrate") {
				return true
			}
			s.apportion("migrate")
			if after, undisturbed := s.tables(whole), whole.tables(whole); after != undisturbed {
				t.Errorf("%v: the tables are\n%s\nand undisturbed\n%s", e, after, undisturbed)
			}
			return false
		})
	})
}

// take publishes deliveries and takes them in.
func (s *scenario) take(n int) {
	s.t.Helper()
	if err := s.client.ProduceSync(s.t.Context(), s.deliveries(n)...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	s.apportion("ingest", "--until-caught-up")
}

// text returns the rows of a query of one string each.
func (s *scenario) text(query string, args ...any) string {
	s.t.Helper()
	var all []string
	rows, err := s.db.Query(s.t.Context(), query, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, line)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// figures returns the current figures as text.
func (s *scenario) figures() string {
	s.t.Helper()
	return s.text(`SELECT toString((* EXCEPT agents, finalizeAggregation(agents))) FROM usage_current ORDER BY tenant, date, meter, subscription`)
}

// tables returns the definitions of a database's tables as text, as if the database had the name of another.
func (s *scenario) tables(other *scenario) string {
	s.t.Helper()
	return s.text(`SELECT replaceAll(create_table_query, currentDatabase() || '.', ?) FROM system.tables WHERE database = currentDatabase() ORDER BY name
		UNION ALL SELECT toString(groupUniqArray(version_id)) FROM goose_db_version WHERE is_applied`, other.text("SELECT currentDatabase() || '.'"))
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/segmentio/kafka-go"

	"apportion/deploy/embedded/servicetest"
)

// comes is the script command `comes RESULT QUERY`, which waits until the query of one value has that result.
func comes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: comes RESULT QUERY")
	}
	cfg := scriptConfig(ts)
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: cfg.ClickHouse.Addr, Auth: clickhouse.Auth{Database: cfg.ClickHouse.Database}})
	ts.Check(err)
	defer conn.Close()
	began := time.Now()
	var got string
	for ; time.Since(began) < servicetest.Patience; time.Sleep(20 * time.Millisecond) {
		ts.Check(conn.QueryRow(context.Background(), "SELECT toString(("+args[1]+"))").Scan(&got))
		if got == args[0] {
			ts.Logf("after %s", time.Since(began).Round(time.Millisecond))
			return
		}
	}
	ts.Fatalf("it is %s, not %s", got, args[0])
}

// serves is the script command `[!] serves URL PATTERN`, which waits until what is served there matches, or does not.
func serves(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] serves URL PATTERN")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	var last string
	for deadline := time.Now().Add(servicetest.Patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		response, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		ts.Check(err)
		if last = string(body); pattern.MatchString(last) != neg {
			return
		}
	}
	ts.Fatalf("%s, match for %s wanted %t:\n%s", args[0], args[1], !neg, last)
}

// freeAddress returns an address on this machine that nobody listens on.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Running a part again cannot fix what the configuration says.
func TestUsageErrorIsPermanent(t *testing.T) {
	if !isPermanent(fmt.Errorf("issue: %w", usagef("schedule.from is not set"))) || isPermanent(errors.New("away")) {
		t.Error("want wrong usage to end a part, and an error of the network not to")
	}
}

// BenchmarkLateDelivery measures how long it takes until a late delivery, of a day that has long been computed, is
// in the daily usage: from when it is on Kafka, one at a time.
func BenchmarkLateDelivery(b *testing.B) {
	brokers, clickHouse := servicetest.Kafka(b), servicetest.ClickHouse(b)
	name := fmt.Sprintf("late%d", time.Now().UnixNano())
	environ := append(os.Environ(), "APPORTION_KAFKA_BROKERS="+brokers, "APPORTION_KAFKA_TOPIC_PREFIX="+name+".", "APPORTION_KAFKA_GROUP="+name,
		"APPORTION_CLICKHOUSE_ADDR="+clickHouse, "APPORTION_CLICKHOUSE_DATABASE="+name)
	var log servicetest.Log
	apportion := func(stdin string, args ...string) {
		b.Helper()
		if code := run(b.Context(), args, environ, strings.NewReader(stdin), io.Discard, &log); code != exitDone {
			b.Fatalf("%s: exit code %d\n%s", args, code, log.String())
		}
	}
	apportion("", "migrate")
	apportion(`{"tenants":[{"id":"acme","name":"Acme","timeZone":"Europe/Stockholm","telephony":"vpop","subscriptions":[{"id":"Sub1","name":"X",
		"licenceModel":"concurrent","plan":"flex","deployment":"cloud","currency":"EUR","billing":"monthly",
		"terms":[{"from":"2025-11-01","to":"2026-01-01"}],"versions":[{"from":"2025-11-01"}]}]}]}`, "registry", "apply", "-f", "-")
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"run", "--part", "ingest", "--part", "aggregate"}, environ, strings.NewReader(""), io.Discard, &log)
	}()
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{clickHouse}, Auth: clickhouse.Auth{Database: name}})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	// A transport of its own: the default one remembers, for whoever comes next, which topics there are.
	writer := &kafka.Writer{Addr: kafka.TCP(brokers), Topic: name + ".usage.connect.v1", BatchTimeout: time.Millisecond, Transport: &kafka.Transport{}}
	defer writer.Close()
	var sent uint64
	deliver := func() time.Duration {
		sent++
		value := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/t","type":"connect.usage","time":"2025-11-20T16:02:11Z","tenantid":"acme","data":{"channel":"sms","quantity":1}}`, sent)
		if err := writer.WriteMessages(b.Context(), kafka.Message{Key: []byte("acme"), Value: []byte(value)}); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for counted := uint64(0); counted < sent; time.Sleep(5 * time.Millisecond) {
			if err := conn.QueryRow(b.Context(), `SELECT toUInt64(sum(units)) FROM v_usage_daily WHERE tenant = 'acme' AND subscription = 'Sub1'`).Scan(&counted); err != nil {
				b.Fatal(err)
			}
			if time.Since(began) > time.Minute {
				b.Fatalf("delivery %d is not counted\n%s", sent, log.String())
			}
		}
		return time.Since(began)
	}
	deliver() // this one waits for the consumer group
	var longest time.Duration
	for b.Loop() {
		longest = max(longest, deliver())
	}
	b.ReportMetric(longest.Seconds()*1000, "ms-longest")
	stop()
	if code := <-ended; code != exitDone || strings.Contains(log.String(), "level=ERROR") {
		b.Errorf("exit code %d\n%s", code, log.String())
	}
}

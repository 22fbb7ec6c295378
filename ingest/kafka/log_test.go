package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
)

func TestLog(t *testing.T) { kafkatest.Each(t, testLog) }

func testLog(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 4)
	log := e.Client.NewLog(e.Prefix + schemas.TopicRegistry)
	var got []string
	collect := func(offset, arrivedMS int64, value []byte) error {
		if age := time.Since(time.UnixMilli(arrivedMS)); age < -time.Second || age > time.Hour {
			t.Errorf("offset %d arrived %v ago", offset, age)
		}
		got = append(got, fmt.Sprintf("%d=%s", offset, value))
		return nil
	}

	next, err := log.Read(t.Context(), 0, collect)
	if err != nil || next != 0 || got != nil {
		t.Fatalf("an empty log gives %d, %q, %v", next, got, err)
	}
	last, err := log.Append(t.Context(), kafka.LogRecord{Key: "acme", Value: []byte("a")}, kafka.LogRecord{Key: "beta", Value: []byte("b")}, kafka.LogRecord{Key: "acme", Value: []byte("c")})
	if err != nil || last != 2 {
		t.Fatalf("appended up to %d, %v", last, err)
	}
	big := strings.Repeat("x", 12<<20)
	if last, err = log.Append(t.Context(), kafka.LogRecord{Key: "bolt", Value: []byte(big)}); err != nil || last != 3 {
		t.Fatalf("appended up to %d, %v", last, err)
	}
	next, err = log.Read(t.Context(), 1, collect)
	if err != nil || next != 4 || !slices.Equal(got, []string{"1=b", "2=c", "3=" + big}) {
		t.Fatalf("read up to %d, %d records, %v", next, len(got), err)
	}

	if _, err = log.Read(t.Context(), 9, collect); err == nil || !errors.As(err, new(kafka.OtherLogError)) {
		t.Errorf("read from after the end: %v", err)
	}
	noise := make([]byte, kafka.MaxMessageBytes)
	rand.NewChaCha8([32]byte{}).Read(noise)
	if _, err = log.Append(t.Context(), kafka.LogRecord{Key: "k", Value: append(noise, noise...)}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("appended too much: %v", err)
	}
	for _, err := range []error{
		second(e.Client.NewLog(e.Prefix+schemas.TopicAgent).Read(t.Context(), 0, collect)),
		second(e.Client.NewLog(e.Prefix+schemas.TopicAgent).Tail(t.Context(), 0, collect)),
		second(e.Client.NewLog(e.Prefix+schemas.TopicAgent).Append(t.Context(), kafka.LogRecord{Key: "k", Value: []byte("v")})),
	} {
		if err == nil || !strings.Contains(err.Error(), "has 4 partitions, and must have 1") {
			t.Errorf("a log of several partitions: %v", err)
		}
	}
	if _, err = e.Client.NewLog("absent").Read(t.Context(), 0, collect); err == nil || !strings.Contains(err.Error(), "has no topic absent") {
		t.Errorf("read what is not there: %v", err)
	}
	broken := errors.New("broken")
	next, err = log.Read(t.Context(), 0, func(offset, _ int64, _ []byte) error {
		if offset == 2 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || next != 2 {
		t.Errorf("a broken callback gives %d, %v", next, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestTailLog(t *testing.T) { kafkatest.Each(t, testTailLog) }

func testTailLog(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 1)
	log := e.Client.NewLog(e.Prefix + schemas.TopicRegistry)
	seen := make(chan string)
	type end struct {
		next int64
		err  error
	}
	ended := make(chan end)
	tail := func(ctx context.Context, from int64) {
		next, err := log.Tail(ctx, from, func(_, _ int64, value []byte) error {
			if string(value) == "stop" {
				return kafka.ErrStop
			}
			seen <- string(value)
			return nil
		})
		ended <- end{next, err}
	}
	add := func(value string) {
		if _, err := log.Append(t.Context(), kafka.LogRecord{Key: "k", Value: []byte(value)}); err != nil {
			t.Error(err)
		}
	}
	go tail(t.Context(), 0)
	for i := range 3 {
		add(fmt.Sprint(i))
		if got := <-seen; got != fmt.Sprint(i) {
			t.Errorf("%d came as %s", i, got)
		}
	}
	add("stop")
	if got := <-ended; got != (end{3, nil}) {
		t.Errorf("stopped by the callback: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go tail(ctx, 4)
	add("more")
	<-seen
	cancel()
	if got := <-ended; got != (end{5, nil}) {
		t.Errorf("stopped by the context: %+v", got)
	}

	// A log that gains partitions is a log no more.
	go tail(t.Context(), 5)
	add("more")
	<-seen
	e.AddPartition(schemas.TopicRegistry)
	for {
		e.Produce(schemas.TopicRegistry, 0, kafka.Message{Value: []byte("more")})
		select {
		case <-seen:
			continue // the client looks at the partitions now and then
		case got := <-ended:
			if got.err == nil || !strings.Contains(got.err.Error(), "has 2 partitions") {
				t.Errorf("with two partitions: %+v", got)
			}
		}
		break
	}
}

// A log that was recreated is not the one that was read, however long it is.
func TestSameLog(t *testing.T) { kafkatest.Each(t, testSameLog) }

func testSameLog(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 1)
	log := e.Client.NewLog(e.Prefix + schemas.TopicRegistry)
	add := func(values ...string) {
		for _, value := range values {
			if _, err := log.Append(t.Context(), kafka.LogRecord{Key: "k", Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	same := func(want string) {
		t.Helper()
		err := log.Same(t.Context(), 1, []byte("b"))
		if want == "" && err != nil || want != "" && (!errors.As(err, new(kafka.OtherLogError)) || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q, and got %v", want, err)
		}
	}
	add("a", "b", "c")
	same("")
	e.DeleteTopic(schemas.TopicRegistry)
	e.CreateTopics(1)
	same("it was read up to offset 1, and has 0 records now")
	add("x", "y", "z")
	same("at offset 1 it has another record now")
	e.DeleteRecords(schemas.TopicRegistry, 2)
	same("its records before offset 2 are gone")
}

// Who follows a log finds out, too, when the broker has refused something in between.
func TestTailLogRecreated(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	log := kafkatest.Connect(t, kafka.Brokers{Addrs: cluster.ListenAddrs()}).NewLog("log")
	add := func(values ...string) {
		for _, value := range values {
			if _, err := log.Append(t.Context(), kafka.LogRecord{Key: "k", Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("a", "b")
	seen, ended := make(chan string, 10), make(chan error)
	go func() {
		_, err := log.Tail(t.Context(), 0, func(_, _ int64, value []byte) error {
			seen <- string(value)
			return nil
		})
		ended <- err
	}()
	<-seen
	<-seen
	var away atomic.Bool
	refused := make(chan bool, 1)
	away.Store(true)
	cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !away.Load() {
			return nil, nil, false
		}
		select {
		case refused <- true:
		default:
		}
		return nil, errors.New("away"), true // which closes the connection
	})
	<-refused
	if err := cluster.DeleteTopic("log"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic("log", 1, nil); err != nil {
		t.Fatal(err)
	}
	add("x", "y", "z")
	away.Store(false)
	if err := <-ended; !errors.As(err, new(kafka.OtherLogError)) {
		t.Errorf("it ended with %v", err)
	}
	if len(seen) > 0 {
		t.Errorf("and read %s", <-seen)
	}
}

func TestCreateTopicsAgain(t *testing.T) { kafkatest.Each(t, testCreateTopicsAgain) }

func testCreateTopicsAgain(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 3)
	if err := e.Client.CreateTopics(t.Context(), kafkatest.Topics(e.Prefix, 5)); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int{
		schemas.TopicAgent: 3, schemas.TopicIVR: 3, schemas.TopicConnect: 3, schemas.TopicRejected: 3, schemas.TopicRegistry: 1,
	} {
		partitions, err := e.Client.Partitions(t.Context(), e.Prefix+topic)
		if err != nil || len(partitions) != want {
			t.Errorf("%s has %d partitions, %v", topic, len(partitions), err)
		}
	}
}

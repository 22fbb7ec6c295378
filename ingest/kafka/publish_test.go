package kafka_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
)

func TestPublish(t *testing.T) { kafkatest.Each(t, testPublish) }

func testPublish(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 3)
	var in bytes.Buffer
	big := `{"type":"ivr.session","tenantid":"acme","pad":"` + strings.Repeat("x", 3<<20) + `"}`
	for i := range 1000 {
		fmt.Fprintf(&in, `{"type":"ivr.session","tenantid":"t%d","n":%d}`+"\r\n", i%7, i)
	}
	in.WriteString("\n" + big + "\n{\n" + strings.Repeat("y", kafka.MaxMessageBytes) + "\n" + kafkatest.Session("acme", "a", 0))

	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(in.Bytes())
	z.Close()

	var last kafka.Published
	p := e.Client.NewPublisher(e.Prefix, func(p kafka.Published) { last = p })
	for range 2 {
		in := bytes.NewReader(in.Bytes())
		if last.Lines > 0 {
			in = bytes.NewReader(zipped.Bytes())
		}
		done, err := p.Publish(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if done.Lines != 1003 || done.Topics[e.Prefix+schemas.TopicIVR] != 1001 || done.Topics[e.Prefix+schemas.TopicAgent] != 2 ||
			!slices.Equal(done.LeftOut, []int64{1004}) {
			t.Errorf("published %d lines, %v, left out %v", done.Lines, done.Topics, done.LeftOut)
		}
		if last.Lines != done.Lines {
			t.Errorf("the last progress was %d lines", last.Lines)
		}
	}

	at := map[string]int{}   // by tenant, its partition
	seen := map[string]int{} // by tenant, its last number
	count := 0
	for _, m := range e.Read(schemas.TopicIVR) {
		key := string(m.Key)
		if partition, known := at[key]; known && partition != m.Partition {
			t.Errorf("%s is on partitions %d and %d", key, partition, m.Partition)
		}
		at[key] = m.Partition
		if string(m.Value) == big {
			count++
			continue
		}
		var tenant, n int
		if k, err := fmt.Sscanf(string(m.Value), `{"type":"ivr.session","tenantid":"t%d","n":%d}`+"\r", &tenant, &n); k != 2 || fmt.Sprintf("t%d", tenant) != key {
			t.Fatalf("%q has the value %q (%v)", key, m.Value, err)
		}
		if before, known := seen[key]; known && n != before+7 && n >= 7 {
			t.Errorf("%s: %d comes after %d", key, n, before)
		}
		seen[key] = n
	}
	if count != 2 || len(seen) != 7 {
		t.Errorf("%d large lines and %d tenants", count, len(seen))
	}
	for _, m := range e.Read(schemas.TopicAgent) {
		if v := string(m.Value); v == "{" && m.Key != nil || v != "{" && v != kafkatest.Session("acme", "a", 0) {
			t.Errorf("the topic of agent sessions has %q: %q", m.Key, m.Value)
		}
	}
}

func TestPublishInterrupted(t *testing.T) {
	e := kafkatest.New(t, servicetest.Kafka(t), 1)
	ctx, stop := context.WithCancel(t.Context())
	p := e.Client.NewPublisher(e.Prefix, func(kafka.Published) { stop() })
	endless, w := io.Pipe()
	go func() {
		line := []byte(kafkatest.Session("t", "a", 0) + "\n")
		for {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}()
	defer endless.Close()
	ended := make(chan error)
	var done kafka.Published
	go func() {
		var err error
		done, err = p.Publish(ctx, endless)
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) || done.Lines == 0 {
			t.Errorf("ended with %v after %d lines", err, done.Lines)
		}
	case <-time.After(servicetest.Patience):
		t.Fatal("did not end")
	}
}

func TestPublishWithoutTopics(t *testing.T) { kafkatest.Each(t, testPublishWithoutTopics) }

func testPublishWithoutTopics(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 1)
	p := e.Client.NewPublisher("absent.", nil)
	_, err := p.Publish(t.Context(), strings.NewReader("{}"))
	if err == nil || !strings.Contains(err.Error(), "create the topics by a migration") {
		t.Errorf("the error is %v", err)
	}
}

// A limit makes a steady load: 30 deliveries at 100 a second, in steps of 10, take two waits of a tenth of a second.
func TestPublishLimit(t *testing.T) {
	e := kafkatest.New(t, servicetest.Kafka(t), 1)
	p := e.Client.NewPublisher(e.Prefix, nil)
	p.Limit(100)
	var lines []string
	for i := range 30 {
		lines = append(lines, kafkatest.Session("acme", fmt.Sprint(i), 0))
	}
	began := time.Now()
	done, err := p.Publish(t.Context(), strings.NewReader(strings.Join(lines, "\n")))
	if err != nil || done.Lines != 30 {
		t.Fatalf("%d published, %v; want 30", done.Lines, err)
	}
	if took := time.Since(began); took < 190*time.Millisecond {
		t.Errorf("it took %s, as if there were no limit", took)
	}
}

package ingest

import (
	"slices"
	"strings"
	"testing"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

// A topic that was deleted and recreated is not read on from where the ledger ended, however many records it has;
// the other topics go on, and once the topic is the known one again it does, too.
func TestAnotherTopicIsExcluded(t *testing.T) { eachKafka(t, testAnotherTopicIsExcluded) }

func testAnotherTopicIsExcluded(t *testing.T, broker string) {
	for _, after := range []int{5, 30} {
		e := newEnvOn(t, broker, 1)
		agent := e.Prefix + schemas.TopicAgent
		e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
		e.ingest(e.config(), e.deps())

		e.DeleteTopic(schemas.TopicAgent)
		e.CreateTopics(1)
		e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(after)...)...)
		e.Produce(schemas.TopicIVR, 0, kafka.Message{Value: []byte("not an event")})

		err := New(e.config(), e.deps()).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), agent+"/0 is not the topic that was taken in") {
			t.Errorf("with %d records the error is %v", after, err)
		}
		if got := e.rows("SELECT topic, last_offset FROM v_ingest_partitions ORDER BY topic"); !slices.Equal(got,
			[]string{"('" + agent + "',9)", "('" + e.Prefix + schemas.TopicIVR + "',0)"}) {
			t.Errorf("with %d records the ledger is at %v", after, got)
		}
		differences, err := e.ledger().OtherTopics(t.Context())
		if err != nil || len(differences) != 1 {
			t.Errorf("with %d records the differences are %q, %v", after, differences, err)
		}
	}
}

// A record that Kafka has deleted cannot be compared, and ingest goes on after it.
func TestADeletedRecordIsNotAnotherTopic(t *testing.T) {
	e := newEnv(t, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.ingest(e.config(), e.deps())
	e.DeleteRecords(schemas.TopicAgent, 10)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(3)...)...)
	e.ingest(e.config(), e.deps())
	if accepted, _ := e.balanced(); accepted != 13 {
		t.Errorf("%d are accepted, want 13", accepted)
	}
}

package ingest

import (
	"context"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
)

// TestSASL says who it is to Apache Kafka in every way, rightly and wrongly.
func TestSASL(t *testing.T) {
	addr, user, password := servicetest.ApacheKafkaSASL(t)
	for _, mechanism := range kafka.SASLMechanisms {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			e := newEnvOn(t, servicetest.ApacheKafka(t), 1)
			e.Publish(sessions(10)...)
			brokers := kafka.Brokers{Addrs: []string{addr}}
			var err error
			if brokers.SASL, err = kafka.SASL(mechanism, user, password); err != nil {
				t.Fatal(err)
			}
			deps := e.deps()
			deps.Kafka = kafkatest.Connect(t, brokers)
			e.ingest(e.config(), deps)
			if accepted, _ := e.balanced(); accepted != 10 {
				t.Errorf("accepted %d", accepted)
			}

			if brokers.SASL, err = kafka.SASL(mechanism, user, "guess"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), servicetest.Patience)
			defer cancel()
			deps.Kafka = kafkatest.Connect(t, brokers)
			err = New(e.config(), deps).Run(ctx)
			if err == nil || !strings.Contains(err.Error(), "check the credentials") || !strings.Contains(err.Error(), addr) {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
	if _, err := kafka.SASL("GSSAPI", user, password); err == nil || !strings.Contains(err.Error(), "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512") {
		t.Errorf("a mechanism that is not known: %v", err)
	}
}

package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Brokers are a Kafka cluster and how to be let in.
type Brokers struct {
	Addrs []string       // host:port; one is enough
	TLS   *tls.Config    `json:"-"` // nil for connections in the clear
	SASL  sasl.Mechanism `json:"-"` // nil for none; it holds a secret
	// Dial, nil but in tests, opens the connections of all but consumer groups.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `json:"-"`
}

// String says what is awaited when the cluster is away.
func (b Brokers) String() string { return "Kafka at " + strings.Join(b.Addrs, ", ") }

// SASLMechanisms are those that SASL knows.
var SASLMechanisms = []string{"PLAIN", scram.SHA256.Name(), scram.SHA512.Name()}

// SASL returns one of SASLMechanisms with the credentials. PLAIN hands the password to the broker, as it is:
// use it over TLS.
func SASL(mechanism, user, password string) (sasl.Mechanism, error) {
	switch mechanism {
	case "PLAIN":
		return plain.Mechanism{Username: user, Password: password}, nil
	case scram.SHA256.Name():
		return scram.Mechanism(scram.SHA256, user, password)
	case scram.SHA512.Name():
		return scram.Mechanism(scram.SHA512, user, password)
	}
	return nil, fmt.Errorf("SASL mechanism %q: it must be one of %s", mechanism, strings.Join(SASLMechanisms, ", "))
}

// Both of the ways in which kafka-go connects are made here, and nowhere else.

const (
	clientID    = "apportion"
	dialTimeout = 3 * time.Second
)

// transport is for requests, which are most of what is done.
func (b Brokers) transport() *kafkago.Transport {
	return &kafkago.Transport{
		ClientID:    clientID,
		DialTimeout: dialTimeout,
		Dial:        b.Dial,
		TLS:         b.TLS,
		SASL:        b.SASL,
		// Requests go to the leader by this cache; stale, they fail and are repeated.
		MetadataTTL: 2 * time.Second,
	}
}

// dialer is for the consumer group.
func (b Brokers) dialer() *kafkago.Dialer {
	return &kafkago.Dialer{ClientID: clientID, Timeout: dialTimeout, DualStack: true, TLS: b.TLS, SASLMechanism: b.SASL}
}

// refused reports whether an error says that the cluster will never accept these credentials.
func refused(err error) bool {
	var code kafkago.Error
	return errors.As(err, &code) && slices.Contains([]kafkago.Error{
		kafkago.SASLAuthenticationFailed, kafkago.UnsupportedSASLMechanism, kafkago.IllegalSASLState}, code)
}

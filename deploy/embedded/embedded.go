// Package embedded runs the two services that Apportion needs, Kafka and ClickHouse, on loopback and
// without root, containers or an installation.
//
// Both are real servers behind their own wire protocols, so that the same drivers, SQL and code paths
// run as in production and only addresses differ. Kafka's protocol is served inside this process;
// ClickHouse runs in a child process, from a `clickhouse` on PATH when there is one that is recent
// enough, else from a library that npm fetches once into the user's cache.
//
// Data comes in over the two protocols and rests under Options.Data: `kafka/` holds topics and
// committed offsets, `clickhouse/` databases. Both survive SIGKILL of the whole lot.
//
// A program that starts ClickHouse must call RunChild first thing in main: the child process is the
// program itself, started again.
package embedded

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
)

// Options say where servers keep their data and which loopback ports they take.
type Options struct {
	// Data is the directory that everything is kept in. It is made when missing, and serves one
	// process at a time.
	Data string
	// KafkaPort, ClickHousePort (native protocol) and HTTPPort (ClickHouse's HTTP) are the ports to
	// listen on; 0 takes any free one.
	KafkaPort, ClickHousePort, HTTPPort int
	// ClickHouseConfig is XML that goes into ClickHouse's configuration as it is, such as <remote_servers>.
	ClickHouseConfig string
	// ClickHouseProfiles and ClickHouseUsers are XML that goes into its <profiles> and <users> beside the default ones.
	ClickHouseProfiles, ClickHouseUsers string
	// Log receives what the servers report about themselves; nil discards it.
	Log *slog.Logger
	// Progress receives a progress bar while the ClickHouse library is fetched; nil discards it.
	Progress io.Writer
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// Servers are a running Kafka and a running ClickHouse.
type Servers struct {
	Kafka          string // the broker, host:port
	ClickHouse     string // the native protocol, host:port; user "default", no password
	ClickHouseHTTP string // ClickHouse's HTTP interface, host:port

	done <-chan error
	stop func() error
}

// Start starts both servers and returns once both answer. It fetches the ClickHouse library first if
// that is needed, which takes as long as the network does. The context bounds the start alone: the
// servers then run until Stop, or until this process ends in whatever way.
func Start(ctx context.Context, o Options) (*Servers, error) {
	clickHouse, err := StartClickHouse(ctx, o)
	if err != nil {
		return nil, err
	}
	kafka, err := StartKafka(o)
	if err != nil {
		return nil, errors.Join(err, clickHouse.Stop())
	}
	return &Servers{
		Kafka:          kafka.Addr,
		ClickHouse:     clickHouse.Addr,
		ClickHouseHTTP: clickHouse.HTTPAddr,
		done:           clickHouse.Done(),
		stop: sync.OnceValue(func() error {
			return errors.Join(kafka.Stop(), clickHouse.Stop())
		}),
	}, nil
}

// Stop ends both servers in order and returns once nothing of them runs any more. Further calls
// return what the first one did.
func (s *Servers) Stop() error { return s.stop() }

// Done delivers an error when a server ends that nobody stopped, and is closed when the servers are
// down.
func (s *Servers) Done() <-chan error { return s.done }

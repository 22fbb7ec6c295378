package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka is a running broker of Kafka's protocol, served by this process.
type Kafka struct {
	Addr string // host:port

	stop func() error
}

// StartKafka starts one broker that keeps its topics and committed offsets under Options.Data, or in
// memory when that is empty. Topics exist only once they are created, as in a production cluster. A
// record that was acknowledged is on disk. Further options of the broker, such as kfake.TLS or
// kfake.EnableSASL, come last.
func StartKafka(o Options, more ...kfake.Opt) (*Kafka, error) {
	o = o.withDefaults()
	options := []kfake.Opt{
		kfake.Ports(o.KafkaPort),
		kfake.ClusterID("apportion-embedded"),
		kfake.WithLogger(kafkaLog{o.Log.With("server", "kafka")}),
	}
	unlock := func() error { return nil }
	if o.Data != "" {
		dir := filepath.Join(o.Data, "kafka")
		lock, err := lockDir(dir)
		if err != nil {
			return nil, fmt.Errorf("start Kafka: %w", err)
		}
		unlock = lock.Close
		options = append(options, kfake.DataDir(dir), kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(append(options, more...)...)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("port %d is taken by another process: choose another or 0 for any", o.KafkaPort)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Kafka: %w", err), unlock())
	}
	return &Kafka{
		Addr: cluster.ListenAddrs()[0],
		stop: sync.OnceValue(func() error {
			cluster.Close()
			return unlock()
		}),
	}, nil
}

// Stop closes every connection, writes what is still to be written and frees the port.
func (k *Kafka) Stop() error { return k.stop() }

// lockDir makes dir and holds it for this process: two brokers appending to the same segments would
// destroy them. The lock goes with the process, however that ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is in use by another process: stop that one or choose another data directory", dir)
	}
	return f, nil
}

// kafkaLog passes the broker's own messages on.
type kafkaLog struct{ log *slog.Logger }

func (l kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	}
	// Info is one message a request: formatting those nobody reads would cost more than serving them.
	if ctx := context.Background(); l.log.Enabled(ctx, to) {
		l.log.Log(ctx, to, fmt.Sprintf(format, args...))
	}
}

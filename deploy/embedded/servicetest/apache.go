package servicetest

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var apacheKafka shared[*Apache]

// ApacheKafka returns the address of the binary's broker of Apache Kafka, a single node in KRaft mode.
// Tests share it as they do Kafka. It needs Java 17 or later and, to be fetched once into the user's cache,
// Maven.
func ApacheKafka(t testing.TB) (addr string) {
	t.Helper()
	return sharedApache(t).Addr
}

// ApacheKafkaSASL returns another address of the same broker, at which it wants to know by SASL who is there, and
// whom it lets in: by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
func ApacheKafkaSASL(t testing.TB) (addr, user, password string) {
	t.Helper()
	return sharedApache(t).sasl, apacheUser, apachePassword
}

const apacheUser, apachePassword = "ingest", "s3cret"

func sharedApache(t testing.TB) *Apache {
	t.Helper()
	Heavy(t, "it starts Apache Kafka")
	return apacheKafka.get(t, func() (*Apache, error) {
		dir, err := dataDir()
		if err != nil {
			return nil, err
		}
		return newApache(filepath.Join(dir, "kafka"))
	})
}

// StartApacheKafka returns a broker of the test's own, for a test that stops it.
func StartApacheKafka(t testing.TB) *Apache {
	t.Helper()
	ApacheKafka(t) // skips where there is none
	a, err := newApache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Kill)
	return a
}

// Apache is a broker of Apache Kafka in a process that ends with this one.
type Apache struct {
	Addr string // host:port, the same over every start

	sasl     string
	dir      string
	jars     string // the class path
	cmd      *exec.Cmd
	lifeline io.Closer
	exited   chan struct{}
}

// apacheStartTimeout is generous: a start takes two to four seconds.
const apacheStartTimeout = 5 * time.Minute

// newApache formats a directory, which must be empty or not there, and starts a broker on it.
func newApache(dir string) (*Apache, error) {
	jars, err := apacheJars()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	a := &Apache{Addr: ports[0], sasl: ports[1], dir: dir, jars: filepath.Join(jars, "*")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(apacheProperties, ports[0], ports[1], ports[2],
		apacheUser, apachePassword, filepath.Join(dir, "data"))
	if err := os.WriteFile(a.config(), []byte(config), 0o600); err != nil {
		return nil, err
	}
	scram := "=[name=" + apacheUser + ",password=" + apachePassword + "]"
	format := exec.Command("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", a.jars, "kafka.tools.StorageTool",
		"format", "--cluster-id", "apportionTestsKafka00w", "--config", a.config(),
		"--add-scram", "SCRAM-SHA-256"+scram, "--add-scram", "SCRAM-SHA-512"+scram)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format the storage of Kafka: %w\n%s", err, out)
	}
	if err := a.Start(); err != nil {
		a.Kill()
		return nil, err
	}
	return a, nil
}

//go:embed apache.properties
var apacheProperties string

func (a *Apache) config() string { return filepath.Join(a.dir, "server.properties") }

// apacheCommand becomes java. What it leaves behind kills java once standard input ends, which the kernel sees
// to when this process dies in whatever way.
const apacheCommand = `exec 3<&0; (cat <&3; kill -9 $$) >/dev/null 2>&1 & exec java "$@" 3<&- </dev/null`

// Start starts a broker that was stopped or killed, on the same ports and data, and returns once it takes
// requests.
func (a *Apache) Start() error {
	log, err := os.Create(filepath.Join(a.dir, "server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd = exec.Command("sh", "-c", apacheCommand, "sh",
		"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", a.jars, "kafka.Kafka", a.config())
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.lifeline, err = a.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	cmd, exited := a.cmd, make(chan struct{})
	a.exited = exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	// The port opens before the broker is ready, but then it answers only when it is.
	timeout := time.After(apacheStartTimeout)
	for {
		if conn, err := net.DialTimeout("tcp", a.Addr, time.Second); err == nil {
			return errors.Join(conn.Close())
		}
		select {
		case <-exited:
			return fmt.Errorf("start Kafka: it ended (%v):\n%s", cmd.ProcessState, a.log())
		case <-timeout:
			return fmt.Errorf("start Kafka: it does not listen at %s after %v:\n%s", a.Addr, apacheStartTimeout, a.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *Apache) log() []byte {
	log, _ := os.ReadFile(filepath.Join(a.dir, "server.log"))
	return bytes.TrimSpace(log[max(0, len(log)-4096):])
}

// Stop has the broker end in order, and returns once it has.
func (a *Apache) Stop() { a.end(syscall.SIGTERM) }

// Kill ends the broker by SIGKILL.
func (a *Apache) Kill() { a.end(syscall.SIGKILL) }

func (a *Apache) end(by syscall.Signal) {
	if a.exited == nil {
		return
	}
	a.cmd.Process.Signal(by)
	<-a.exited
	a.lifeline.Close()
}

func freePorts(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// apacheVersion is pinned here and in the project that Maven reads.
const apacheVersion = "4.3.1"

//go:embed apache.xml
var apacheProject []byte

// apacheJars returns the directory of the broker's jars.
func apacheJars() (string, error) { return jars("kafka", apacheVersion, apacheProject) }

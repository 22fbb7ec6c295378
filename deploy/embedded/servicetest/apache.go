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
	"slices"
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
	needsApache(t)
	return apacheKafka.get(t, func() (*Apache, error) {
		dir, err := dataDir()
		if err != nil {
			return nil, err
		}
		return newApache(filepath.Join(dir, "kafka"))
	})
}

var apacheFetched shared[string]

// needsApache skips the test where there is no Apache Kafka.
func needsApache(t testing.TB) {
	t.Helper()
	Heavy(t, "it starts Apache Kafka")
	apacheFetched.get(t, apacheReady)
}

// StartApacheKafka returns a broker of the test's own, for a test that stops it.
func StartApacheKafka(t testing.TB) *Apache {
	t.Helper()
	needsApache(t)
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
	java     []string // arguments of the broker's
	cmd      *exec.Cmd
	lifeline io.Closer
	exited   chan struct{}
}

// apacheStartTimeout is generous: a start takes two to four seconds.
const apacheStartTimeout = 5 * time.Minute

// newApache starts a broker on a directory, which must be empty or not there.
func newApache(dir string) (*Apache, error) {
	ready, err := apacheReady()
	if err != nil {
		return nil, err
	}
	a, err := configureApache(dir, "-XX:SharedArchiveFile="+filepath.Join(ready, apacheClasses))
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(a.data(), os.DirFS(filepath.Join(ready, apacheData))); err != nil {
		return nil, err
	}
	if err := a.Start(); err != nil {
		a.Kill()
		return nil, err
	}
	return a, nil
}

const apacheClasses, apacheData = "classes.jsa", "data"

// apacheReady returns a directory in the user's cache with what would be the same at each start and takes half its
// time: the formatted storage of a broker, and an archive of the classes that it loads.
func apacheReady() (string, error) {
	java, err := exec.Command("java", "-version").CombinedOutput() // an archive is for one
	if err != nil {
		return "", checkJava()
	}
	return cached("kafka-ready", digest([]byte(apacheVersion), []byte(apacheProperties), java), func(dir string) error {
		a, err := configureApache(dir, "-XX:ArchiveClassesAtExit="+filepath.Join(dir, apacheClasses))
		if err != nil {
			return err
		}
		if err := a.format(); err != nil {
			return err
		}
		formatted := filepath.Join(dir, "formatted")
		if err := os.CopyFS(formatted, os.DirFS(a.data())); err != nil {
			return err
		}
		err = a.Start()
		a.Stop()
		return errors.Join(err, os.RemoveAll(a.data()), os.Rename(formatted, a.data()))
	})
}

// configureApache returns a broker that is not started, and has Java do one thing more with its classes.
func configureApache(dir, classes string) (*Apache, error) {
	jars, err := apacheJars()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	a := &Apache{Addr: ports[0], sasl: ports[1], dir: dir}
	a.java = []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", classes,
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(jars, "*")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(apacheProperties, ports[0], ports[1], ports[2], apacheUser, apachePassword, a.data())
	return a, os.WriteFile(a.config(), []byte(config), 0o600)
}

// format formats the storage.
func (a *Apache) format() error {
	scram := "=[name=" + apacheUser + ",password=" + apachePassword + "]"
	format := exec.Command("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", a.java[len(a.java)-1],
		"kafka.tools.StorageTool", "format", "--cluster-id", "apportionTestsKafka00w", "--config", a.config(),
		"--add-scram", "SCRAM-SHA-256"+scram, "--add-scram", "SCRAM-SHA-512"+scram)
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format the storage of Kafka: %w\n%s", err, out)
	}
	return nil
}

//go:embed apache.properties
var apacheProperties string

func (a *Apache) config() string { return filepath.Join(a.dir, "server.properties") }

func (a *Apache) data() string { return filepath.Join(a.dir, apacheData) }

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
	a.cmd = exec.Command("sh", slices.Concat([]string{"-c", apacheCommand, "sh"}, a.java,
		[]string{"kafka.Kafka", a.config()})...)
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

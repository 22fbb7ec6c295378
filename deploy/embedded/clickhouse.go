package embedded

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/template"
	"time"

	"github.com/google/uuid"
)

const (
	// startTimeout is generous: a start takes 0.2 s, and longer only where many tables are loaded.
	startTimeout = time.Minute
	// stopTimeout is after how long a server that does not stop is killed.
	stopTimeout = 10 * time.Second
)

// serveQuery opens both listeners and then reads standard input, on which nothing ever comes, to its
// end. That end is how ClickHouse learns that it is to stop: it comes with Stop, and by the kernel's
// hand when this process dies in whatever way, on every platform.
const serveQuery = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; " +
	"SELECT count() FROM file('-', 'LineAsString', 'line String')"

// ClickHouse is a running ClickHouse server in a child process.
//
// Unlike a server proper, the library aborts at some things that its clients do: a connection that is reset,
// which a relay in between keeps from it, and a login or a database that it refuses or bytes that are not its
// protocol. The server is then started again at once, on the same data, which loses nothing that was
// acknowledged, and the same ports; clients that repeat what failed see no more than a short outage.
type ClickHouse struct {
	Addr     string // the native protocol, host:port; user "default", no password
	HTTPAddr string // the HTTP interface, host:port

	server atomic.Pointer[server]
	stop   func() error
	done   chan error
}

// StartClickHouse starts a server that keeps its databases under Options.Data, and returns once it
// answers queries. The context bounds the start alone. An error of the server's own carries the last
// lines it wrote.
func StartClickHouse(ctx context.Context, o Options) (*ClickHouse, error) {
	o = o.withDefaults()
	program, err := findProgram(ctx, o)
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(filepath.Join(o.Data, "clickhouse"))
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(data)
	if err != nil {
		return nil, fmt.Errorf("start ClickHouse: %w", err)
	}
	relay, err := listen(o.ClickHousePort, o.Log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start ClickHouse: %w", err), lock.Close())
	}
	o.ClickHousePort = 0 // the server's own is behind the relay
	first, err := startServer(ctx, o, program, data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start ClickHouse: %w", err), relay.listener.Close(), lock.Close())
	}
	c := &ClickHouse{Addr: relay.listener.Addr().String(), HTTPAddr: loopback(first.httpPort), done: make(chan error, 1)}
	c.server.Store(first)
	o.HTTPPort = first.httpPort
	go relay.serve(c.DirectAddr)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	c.stop = sync.OnceValue(func() error {
		stop()
		return <-stopped
	})
	go func() {
		err := errors.Join(c.supervise(ctx, o, program, data), relay.listener.Close(), lock.Close())
		if ctx.Err() == nil {
			c.done <- err
			err = nil
		}
		close(c.done)
		stopped <- err
	}()
	return c, nil
}

const (
	// A server that ends maxDeaths times within deathWindow would not stay up the next time either.
	maxDeaths   = 20
	deathWindow = time.Minute
)

// supervise starts the server again whenever it ends by itself, until ctx is done, whereupon it stops it, or
// until there is no point in going on. It returns once no process is left.
func (c *ClickHouse) supervise(ctx context.Context, o Options, p program, data string) error {
	var deaths []time.Time
	for {
		running := c.server.Load()
		select {
		case <-ctx.Done():
			return running.shutDown()
		case <-running.exited:
		}
		why := fmt.Errorf("%v%s", running.cmd.ProcessState, running.lastWords())
		for why != nil {
			now := time.Now()
			deaths = slices.DeleteFunc(deaths, func(at time.Time) bool { return now.Sub(at) > deathWindow })
			if deaths = append(deaths, now); len(deaths) == maxDeaths {
				return fmt.Errorf("ClickHouse ended by itself %d times within %v, at last: %w", maxDeaths, deathWindow, why)
			}
			o.Log.Warn("ClickHouse ended by itself and is started again", "server", "clickhouse", "error", why)
			next, err := startServer(ctx, o, p, data)
			if ctx.Err() != nil && err != nil {
				return nil
			}
			if why = err; err == nil {
				c.server.Store(next)
			}
		}
	}
}

// DirectAddr is the native address of the server itself, for measurements: nothing comes between, but a client
// that is killed takes the server with it, which comes back at another address.
func (c *ClickHouse) DirectAddr() string { return loopback(c.server.Load().port) }

// PID is the child's process id. It changes when the server is started again.
func (c *ClickHouse) PID() int { return c.server.Load().cmd.Process.Pid }

// Stop lets the server finish and write what it holds, and returns once its process is gone. It is an
// error if the process had to be killed; its data is complete even then.
func (c *ClickHouse) Stop() error { return c.stop() }

// Done delivers an error if the server ends without Stop and cannot be kept running, and is closed when it
// is down.
func (c *ClickHouse) Done() <-chan error { return c.done }

// program is how to run ClickHouse: a command, and what its environment needs.
type program struct {
	path string
	args []string
	env  []string
}

// minVersion is the first ClickHouse whose `local` can listen, and which the SQL is written for.
var minVersion = [2]int{26, 7}

var neededClickHouse = fmt.Sprintf("ClickHouse %d.%d or later", minVersion[0], minVersion[1])

var versionPattern = regexp.MustCompile(`version (\d+)\.(\d+)`)

// findProgram prefers a `clickhouse` on PATH, then the library.
func findProgram(ctx context.Context, o Options) (program, error) {
	tooOld := ""
	if path, err := exec.LookPath("clickhouse"); err == nil {
		out, err := exec.CommandContext(ctx, path, "local", "--version").Output()
		version := strings.TrimSpace(string(out))
		if err == nil && recentEnough(version) {
			return program{path: path, args: []string{"local"}}, nil
		}
		tooOld = fmt.Sprintf("%s is not used: %s is needed, it says %q", path, neededClickHouse, version)
		o.Log.Warn(tooOld)
	}
	library, err := Library(ctx, o.Progress)
	if err != nil {
		if tooOld != "" {
			err = fmt.Errorf("%w (%s)", err, tooOld)
		}
		return program{}, err
	}
	if !childReady.Load() {
		return program{}, errors.New("embedded.RunChild is not called first thing in main " +
			"(in a test binary: servicetest.Main in TestMain)")
	}
	self, err := os.Executable()
	if err != nil {
		return program{}, err
	}
	return program{path: self, env: []string{childEnv + "=" + library}}, nil
}

func recentEnough(version string) bool {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > minVersion[0] || major == minVersion[0] && minor >= minVersion[1]
}

var (
	errPortTaken = errors.New("port taken")
	errDataTaken = errors.New("data directory taken")
)

// server is one child process.
type server struct {
	port, httpPort int
	cmd            *exec.Cmd
	lifeline       io.Closer
	output         tail
	log            string        // its log file
	logBegin       int64         // where in it this process's own lines begin
	exited         chan struct{} // closed once the process is gone
}

// startServer starts a process, as often as that needs, and returns once it answers queries.
func startServer(ctx context.Context, o Options, p program, data string) (*server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		s, err := tryServer(ctx, o, p, data)
		switch {
		case err == nil:
			o.Log.Debug("ClickHouse started", "server", "clickhouse",
				"pid", s.cmd.Process.Pid, "addr", loopback(s.port), "program", p.path)
			return s, nil
		case errors.Is(err, errPortTaken) && (o.ClickHousePort == 0 || o.HTTPPort == 0) && attempt < 5:
			// Somebody else was faster at a port that was free: take another.
		case errors.Is(err, errDataTaken) && ctx.Err() == nil:
			// No other process holds the lock, so this is the server of one that was killed. It is
			// about to end.
			time.Sleep(50 * time.Millisecond)
		default:
			return nil, err
		}
	}
}

func tryServer(ctx context.Context, o Options, p program, data string) (*server, error) {
	instance := uuid.NewString()
	s, err := launch(o, p, data, instance)
	if err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait() // what it returns is in ProcessState too
		close(s.exited)
	}()
	if err := s.ready(ctx, instance); err != nil {
		s.cmd.Process.Kill()
		<-s.exited
		return nil, err
	}
	return s, nil
}

// launch starts the process and waits for nothing.
func launch(o Options, p program, data, instance string) (*server, error) {
	port, httpPort, err := choosePorts(o.ClickHousePort, o.HTTPPort)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(data, "config.xml")
	s := &server{
		port:     port,
		httpPort: httpPort,
		cmd:      exec.Command(p.path, append(p.args, "--config-file="+config, "--query="+serveQuery)...),
		log:      filepath.Join(data, "server.log"),
		exited:   make(chan struct{}),
	}
	if err := s.writeConfig(config, data, instance, o); err != nil {
		return nil, err
	}
	if info, err := os.Stat(s.log); err == nil {
		s.logBegin = info.Size()
	}
	s.cmd.Dir = data
	s.cmd.Env = append(append(os.Environ(), "TZ=UTC"), p.env...)
	s.cmd.Stderr = &s.output
	// An interrupt typed at the terminal is for this process, which then stops the server in order.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.lifeline, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return s, s.cmd.Start()
}

func (s *server) shutDown() error {
	s.lifeline.Close()
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	s.cmd.Process.Kill()
	<-s.exited
	return fmt.Errorf("ClickHouse did not stop within %v and was killed%s", stopTimeout, &s.output)
}

var errorLine = regexp.MustCompile(`(?m)^.*<(?:Error|Fatal)> .*?(Code: .*?)(?:, Stack trace.*)?$`)

// lastWords is the last exception that the server logged, or else what it wrote; empty, or begins with a colon.
func (s *server) lastWords() string {
	const enough = 64 << 10 // lines are followed by stack traces
	f, err := os.Open(s.log)
	if err != nil {
		return s.output.String()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s.output.String()
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, max(s.logBegin, info.Size()-enough), enough))
	if all := errorLine.FindAllSubmatch(text, -1); all != nil {
		return ": " + string(all[len(all)-1][1])
	}
	return s.output.String()
}

// ready waits until this very server answers: listening over HTTP comes last, after the native
// protocol, and another server may sit on a port that was meant for this one.
func (s *server) ready(ctx context.Context, instance string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		answer, err := query(ctx, client, loopback(s.httpPort), "SELECT getMacro('instance')")
		if err == nil && answer == instance {
			return nil
		}
		select {
		case <-s.exited:
			if text := s.output.String(); strings.Contains(text, "Address already in use") {
				return fmt.Errorf("%w: %s or %s is in use by another process: choose another or 0 for any",
					errPortTaken, loopback(s.port), loopback(s.httpPort))
			} else if strings.Contains(text, "Cannot lock file") {
				return fmt.Errorf("%w: %s", errDataTaken, text)
			}
			return fmt.Errorf("it ended (%v)%s", s.cmd.ProcessState, &s.output)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer at %s: %w%s", loopback(s.httpPort), ctx.Err(), &s.output)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func query(ctx context.Context, client *http.Client, addr, sql string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/", strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return strings.TrimSpace(string(body)), err
}

// choosePorts fills in free ports for those that are 0. Both are held open until both are known, so
// that they differ.
func choosePorts(port, httpPort int) (int, int, error) {
	for _, p := range []*int{&port, &httpPort} {
		if *p != 0 {
			continue
		}
		l, err := net.Listen("tcp", loopback(0))
		if err != nil {
			return 0, 0, err
		}
		defer l.Close()
		*p = l.Addr().(*net.TCPAddr).Port
	}
	return port, httpPort, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

//go:embed clickhouse.xml
var configText string

var configTemplate = template.Must(template.New("clickhouse.xml").Funcs(template.FuncMap{
	"xml": func(s string) (string, error) {
		var b strings.Builder
		err := xml.EscapeText(&b, []byte(s))
		return b.String(), err
	},
}).Parse(configText))

func (s *server) writeConfig(path, data, instance string, o Options) error {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, map[string]any{
		"Path":     data + string(filepath.Separator),
		"Log":      s.log,
		"Config":   path,
		"Instance": instance,
		"Port":     s.port,
		"HTTPPort": s.httpPort,
		"More":     o.ClickHouseConfig,
		"Profiles": o.ClickHouseProfiles,
		"Users":    o.ClickHouseUsers,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// tail keeps the end of what a process writes, for the error that says why it ended.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is empty, or begins with a colon, to stand at the end of an error.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return ""
	}
	return ":\n" + strings.TrimSpace(string(t.text))
}

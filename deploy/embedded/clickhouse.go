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
const serveQuery = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; SELECT count() FROM file('-', 'LineAsString', 'line String')"

// ClickHouse is a running ClickHouse server in a child process.
type ClickHouse struct {
	Addr     string // the native protocol, host:port; user "default", no password
	HTTPAddr string // the HTTP interface, host:port

	cmd      *exec.Cmd
	lifeline io.Closer
	output   *tail
	stopping atomic.Bool
	exited   chan struct{} // closed once the process is gone
	done     chan error
	stop     func() error
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
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		c, err := startClickHouse(ctx, o, program, data)
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, errPortTaken) && (o.ClickHousePort == 0 || o.HTTPPort == 0) && attempt < 5:
			// Somebody else was faster at a port that was free: take another.
		case errors.Is(err, errDataTaken) && ctx.Err() == nil:
			// No other process holds the lock, so this is the server of one that was killed. It is
			// about to end.
			time.Sleep(50 * time.Millisecond)
		default:
			return nil, fmt.Errorf("start ClickHouse: %w", err)
		}
	}
}

// PID is the child's process id.
func (c *ClickHouse) PID() int { return c.cmd.Process.Pid }

// Stop lets the server finish and write what it holds, and returns once its process is gone. It is an
// error if the process had to be killed; its data is complete even then.
func (c *ClickHouse) Stop() error { return c.stop() }

// Done delivers an error if the server ends without Stop, and is closed when it is down.
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
		return program{}, errors.New("embedded.RunChild is not called first thing in main (in a test binary: servicetest.Main in TestMain)")
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

func startClickHouse(ctx context.Context, o Options, p program, data string) (*ClickHouse, error) {
	lock, err := lockDir(data)
	if err != nil {
		return nil, err
	}
	instance := uuid.NewString()
	c, err := launch(o, p, data, instance)
	if err != nil {
		lock.Close()
		return nil, err
	}
	go c.wait(lock)
	if err := c.ready(ctx, instance); err != nil {
		c.stopping.Store(true)
		c.cmd.Process.Kill()
		<-c.exited
		return nil, err
	}
	o.Log.Debug("ClickHouse started", "server", "clickhouse", "pid", c.PID(), "addr", c.Addr, "program", p.path)
	return c, nil
}

// launch starts the process and waits for nothing.
func launch(o Options, p program, data, instance string) (*ClickHouse, error) {
	port, httpPort, err := choosePorts(o.ClickHousePort, o.HTTPPort)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(data, "config.xml")
	if err := writeConfig(config, data, instance, port, httpPort); err != nil {
		return nil, err
	}
	c := &ClickHouse{
		Addr:     loopback(port),
		HTTPAddr: loopback(httpPort),
		cmd:      exec.Command(p.path, append(p.args, "--config-file="+config, "--query="+serveQuery)...),
		output:   &tail{},
		exited:   make(chan struct{}),
		done:     make(chan error, 1),
	}
	c.stop = sync.OnceValue(c.shutDown)
	c.cmd.Dir = data
	c.cmd.Env = append(append(os.Environ(), "TZ=UTC"), p.env...)
	c.cmd.Stderr = c.output
	// An interrupt typed at the terminal is for this process, which then stops the server in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.lifeline, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return c, c.cmd.Start()
}

// wait reports the end of the process, once its data is free for another.
func (c *ClickHouse) wait(lock io.Closer) {
	c.cmd.Wait() // what it returns is in ProcessState too
	lock.Close()
	close(c.exited)
	if !c.stopping.Load() {
		c.done <- fmt.Errorf("ClickHouse ended by itself (%v)%s", c.cmd.ProcessState, c.output)
	}
	close(c.done)
}

func (c *ClickHouse) shutDown() error {
	c.stopping.Store(true)
	c.lifeline.Close()
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	c.cmd.Process.Kill()
	<-c.exited
	return fmt.Errorf("ClickHouse did not stop within %v and was killed%s", stopTimeout, c.output)
}

// ready waits until this very server answers: listening over HTTP comes last, after the native
// protocol, and another server may sit on a port that was meant for this one.
func (c *ClickHouse) ready(ctx context.Context, instance string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		answer, err := query(ctx, client, c.HTTPAddr, "SELECT getMacro('instance')")
		if err == nil && answer == instance {
			return nil
		}
		select {
		case <-c.exited:
			if text := c.output.String(); strings.Contains(text, "Address already in use") {
				return fmt.Errorf("%w: %s or %s is in use by another process: choose another or 0 for any", errPortTaken, c.Addr, c.HTTPAddr)
			} else if strings.Contains(text, "Cannot lock file") {
				return fmt.Errorf("%w: %s", errDataTaken, text)
			}
			return fmt.Errorf("it ended (%v)%s", c.cmd.ProcessState, c.output)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer at %s: %w%s", c.HTTPAddr, ctx.Err(), c.output)
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

func writeConfig(path, data, instance string, port, httpPort int) error {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, map[string]any{
		"Path":     data + string(filepath.Separator),
		"Log":      filepath.Join(data, "server.log"),
		"Config":   path,
		"Instance": instance,
		"Port":     port,
		"HTTPPort": httpPort,
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

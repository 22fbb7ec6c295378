package servicetest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a program that a test has started. It is killed when the test ends.
type Process struct {
	Output Log

	t      testing.TB
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a program.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.Output, &p.Output
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		select {
		case <-p.exited:
			return
		default:
		}
		p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("the last output of %v:\n%s", p.cmd.Args, &p.Output)
		}
	})
	return p
}

// EndWithTest ends the program that calls it, which Start has started, when the test that did so is gone.
func EndWithTest() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// Runs fails the test if the process has ended.
func (p *Process) Runs() {
	p.t.Helper()
	select {
	case <-p.exited:
		p.t.Fatalf("it ended by itself (%v):\n%s", p.cmd.ProcessState, &p.Output)
	default:
	}
}

// Says waits until the process has written something.
func (p *Process) Says(text string) {
	p.t.Helper()
	Until(p.t, fmt.Sprintf("it says %q", text), func() bool {
		if strings.Contains(p.Output.String(), text) {
			return true
		}
		p.Runs()
		return false
	})
}

// Signal sends a signal to the process, which must still run.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	p.Runs()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Try sends a signal to the process and reports whether it still ran.
func (p *Process) Try(s syscall.Signal) bool { return p.cmd.Process.Signal(s) == nil }

// Exited is closed once the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Ends waits until the process has ended, and returns its exit code, which is -1 if a signal ended it.
func (p *Process) Ends() (code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(Patience):
		p.t.Fatalf("%v runs after %v:\n%s", p.cmd.Args, Patience, &p.Output)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Dies waits until the process has ended, which must be by SIGKILL.
func (p *Process) Dies() {
	p.t.Helper()
	p.Ends()
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("it was not killed (%v):\n%s", p.cmd.ProcessState, &p.Output)
	}
}

// Kill kills the process.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Dies()
}

// Leaves has the process end in order.
func (p *Process) Leaves() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Ends(); code != 0 {
		p.t.Fatalf("it left with %d:\n%s", code, &p.Output)
	}
}

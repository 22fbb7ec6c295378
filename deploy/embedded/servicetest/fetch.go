package servicetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"apportion/deploy/embedded"
)

// cached returns a directory in the user's cache, under the name and version. What is not there yet is fetched into it;
// processes that need it at the same time fetch it once.
func cached(name, version string, fetch func(dir string) error) (string, error) {
	cache, err := embedded.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name, version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(dir + ".lock").Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil { // another process fetched it in the meantime
		return dir, nil
	}
	if err := fetchAtOnce(dir, fetch); err != nil {
		return "", fmt.Errorf("fetch %s %s: %w", name, version, err)
	}
	return dir, nil
}

// fetchAtOnce puts all of the directory where it belongs at once.
func fetchAtOnce(dir string, fetch func(dir string) error) error {
	work := dir + ".fetch"
	if err := os.RemoveAll(work); err != nil { // what a process left that was killed
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := fetch(work); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// run runs a program that fetches something, in a directory.
func run(dir, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, bytes.TrimSpace(out))
	}
	return nil
}

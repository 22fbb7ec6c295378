package servicetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"apportion/deploy/embedded"
)

// jars returns the directory of the jars that a Maven project depends on, in the user's cache under the name and
// version. Maven fetches what is not there yet; processes that need it at the same time fetch it once.
func jars(name, version string, project []byte) (string, error) {
	if err := checkJava(); err != nil {
		return "", err
	}
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
	if err := fetchJars(dir, project); err != nil {
		return "", fmt.Errorf("fetch %s %s: %w", name, version, err)
	}
	return dir, nil
}

// fetchJars puts the jars where they belong all at once.
func fetchJars(dir string, project []byte) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("mvn is not installed: install Maven, which fetches Java programs for the tests")
	}
	work := dir + ".fetch"
	if err := os.RemoveAll(work); err != nil { // what a process left that was killed
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	pom := filepath.Join(work, "pom.xml")
	if err := os.WriteFile(pom, project, 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", "--strict-checksums", "--file="+pom,
		"dependency:copy-dependencies", "-DoutputDirectory="+filepath.Join(work, "jars")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mvn: %w\n%s", err, bytes.TrimSpace(out))
	}
	return os.Rename(filepath.Join(work, "jars"), dir)
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

func checkJava() error {
	const remedy = "install Java 17 or later, which runs Apache Kafka and the validators of invoices for the tests"
	out, err := exec.Command("java", "-version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("java cannot be run (%w): %s", err, remedy)
	}
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("java does not tell its version but %q: %s", strings.TrimSpace(string(out)), remedy)
	}
	if major, _ := strconv.Atoi(string(m[1])); major < 17 {
		return fmt.Errorf("java is of version %d: %s", major, remedy)
	}
	return nil
}

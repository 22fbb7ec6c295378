package servicetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// jars returns the directory of the jars that a Maven project depends on, in the user's cache under the name and
// version.
func jars(name, version string, project []byte) (string, error) {
	if err := checkJava(); err != nil {
		return "", err
	}
	return cached(name, version, func(work string) error { return fetchJars(work, project) })
}

// fetchJars puts the jars into a directory.
func fetchJars(dir string, project []byte) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("mvn is not installed: install Maven, which fetches Java programs for the tests")
	}
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, project, 0o644); err != nil {
		return err
	}
	return run(dir, mvn, "--batch-mode", "--quiet", "--strict-checksums", "--file="+pom,
		"dependency:copy-dependencies", "-DoutputDirectory="+dir)
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

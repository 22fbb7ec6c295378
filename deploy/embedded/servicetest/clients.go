package servicetest

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Node returns a directory of the test's own, whose programs can import the packages that clients/package.json pins:
// Kafka's client for Node.js, and what reads the contracts of events. It needs Node.js with npm, which fetches them
// once into the user's cache.
func Node(t testing.TB) (dir string) {
	t.Helper()
	Heavy(t, "it runs programs of Node.js")
	packages := nodePackages.get(t, func() (string, error) {
		npm, err := exec.LookPath("npm")
		if err != nil {
			return "", errors.New("npm is not installed: install Node.js with npm, which fetches clients for the tests")
		}
		return cached("node", digest(nodeProject, nodeLock), func(dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "package.json"), nodeProject, 0o644); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "package-lock.json"), nodeLock, 0o644); err != nil {
				return err
			}
			return run(dir, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		})
	})
	dir = t.TempDir()
	if err := os.Symlink(filepath.Join(packages, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Python returns the PYTHONPATH of the packages that clients/requirements.txt pins: Kafka's client for Python, what
// reads the schemas of events, and what makes requests from an OpenAPI document. It needs Python 3 with pip, which
// fetches them once into the user's cache.
func Python(t testing.TB) (path string) {
	t.Helper()
	Heavy(t, "it runs programs of Python")
	return pythonPackages.get(t, func() (string, error) {
		python, err := exec.LookPath("python3")
		if err != nil {
			return "", errors.New("python3 is not installed: install Python 3 with pip, which fetches clients for the tests")
		}
		version, err := exec.Command(python, "--version").Output() // compiled packages are for one
		if err != nil {
			return "", err
		}
		return cached("python", digest(pythonRequirements, version), func(dir string) error {
			requirements := filepath.Join(dir, "requirements.txt")
			if err := os.WriteFile(requirements, pythonRequirements, 0o644); err != nil {
				return err
			}
			return run(dir, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
				"--only-binary=:all:", "--no-deps", "--require-hashes", "--target="+dir, "--requirement="+requirements)
		})
	})
}

var (
	//go:embed clients/package.json
	nodeProject []byte
	//go:embed clients/package-lock.json
	nodeLock []byte
	//go:embed clients/requirements.txt
	pythonRequirements []byte

	nodePackages, pythonPackages shared[string]
)

// digest names what texts ask for: other texts, another directory.
func digest(texts ...[]byte) string {
	hash := sha256.New()
	for _, text := range texts {
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

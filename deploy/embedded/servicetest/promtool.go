package servicetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Promtool returns the program of Prometheus that tests rules, in the version that Debian's apt has, which fetches it
// once into the user's cache. Where there is no apt the test is skipped, in CI too: no other machine can have it.
func Promtool(t testing.TB) (file string) {
	t.Helper()
	if file, err := exec.LookPath("promtool"); err == nil {
		return file
	}
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("promtool is not installed, and there is no apt to fetch it with")
		}
	}
	return filepath.Join(promtool.get(t, fetchPromtool), "usr", "bin", "promtool")
}

var promtool shared[string]

func fetchPromtool() (dir string, err error) {
	version := promtoolVersion()
	if version == "" && os.Geteuid() == 0 { // a new machine has no lists
		if err := run("", "apt-get", "update", "-qq"); err != nil {
			return "", err
		}
		version = promtoolVersion()
	}
	if version == "" {
		return "", errors.New("apt knows no package prometheus: run `apt-get update`")
	}
	return cached("promtool", strings.ReplaceAll(version, ":", "-"), func(dir string) error {
		if err := run(dir, "apt-get", "download", "-qq", "prometheus="+version); err != nil {
			return err
		}
		packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(packages) != 1 {
			return errors.Join(err, errors.New("apt has downloaded no package"))
		}
		if err := run(dir, "dpkg-deb", "-x", packages[0], "."); err != nil {
			return err
		}
		return os.Remove(packages[0])
	})
}

// promtoolVersion returns which version of Prometheus apt would fetch, "" for none.
func promtoolVersion() string {
	out, err := exec.Command("apt-cache", "show", "--no-all-versions", "prometheus").Output()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if version, ok := strings.CutPrefix(line, "Version: "); ok {
			return strings.TrimSpace(version)
		}
	}
	return ""
}

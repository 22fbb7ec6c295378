package embedded

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// content stands for the library: big enough that a truncated tarball ends inside it.
var content = bytes.Repeat([]byte("libchdb"), 10_000)

func tarball(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	files := tar.NewWriter(gz)
	for _, name := range names {
		if err := files.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// onRegistry puts an npm first on PATH that hands out the tarball and notes each run, and returns the
// artifact that pins it, the cache directory and the file with one line a run.
func onRegistry(t *testing.T, tgz []byte) (a artifact, dir, runs string) {
	t.Helper()
	bin := t.TempDir()
	runs = filepath.Join(bin, "runs")
	if err := os.WriteFile(filepath.Join(bin, "package.tgz"), tgz, 0o644); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
echo "$1 $2" >> '%[1]s/runs'
for arg; do
	case "$arg" in
	--pack-destination=*) cp '%[1]s/package.tgz' "${arg#*=}/lib.tgz" ;;
	esac
done
`, bin)
	installNPM(t, bin, script)
	sum := sha512.Sum512(tgz)
	a = artifact{name: "@chdb/lib-test", version: "1.2.3", size: int64(len(tgz)),
		integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}
	return a, filepath.Join(t.TempDir(), "cache"), runs
}

func installNPM(t *testing.T, bin, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// holds fails unless the cache has exactly these files.
func holds(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the cache holds %v, want %v", got, want)
	}
}

func TestLibraryIsFetchedOnce(t *testing.T) {
	a, dir, runs := onRegistry(t, tarball(t, "package/index.js", "package/libchdb.so"))
	// What a process left that was killed while it unpacked is not taken for a library.
	if err := os.MkdirAll(filepath.Join(dir, "fetch-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fetch-1", libraryFile), content[:100], 0o755); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			path, err := a.library(t.Context(), dir, io.Discard)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s has %d bytes of %d, %v", path, len(got), len(content), err)
			}
		})
	}
	all.Wait()
	holds(t, dir, libraryFile, "lock")
	if got, err := os.ReadFile(runs); err != nil || string(got) != "pack @chdb/lib-test@1.2.3\n" {
		t.Errorf("npm was run as %q, %v", got, err)
	}
}

func TestFetchShowsProgress(t *testing.T) {
	a, dir, _ := onRegistry(t, tarball(t, "package/libchdb.so"))
	var progress strings.Builder
	if _, err := a.library(t.Context(), dir, &progress); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(progress.String(), "100%") {
		t.Errorf("progress is %q", progress.String())
	}
}

func TestWrongTarballIsRefused(t *testing.T) {
	whole := tarball(t, "package/libchdb.so")
	for _, test := range []struct {
		name   string
		served []byte
		pinned []byte
		want   string
	}{
		{"another tarball", tarball(t, "package/libchdb.so", "package/more"), whole, "not the one that is pinned"},
		{"half a tarball", whole[:len(whole)/2], whole, "not the one that is pinned"},
		{"a pinned tarball cut short", whole[:len(whole)/2], whole[:len(whole)/2], "unexpected EOF"},
		{"a tarball without the library", tarball(t, "package/index.js"), tarball(t, "package/index.js"), "libchdb.so is not in the tarball"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pin, _, _ := onRegistry(t, test.pinned)
			a, dir, _ := onRegistry(t, test.served)
			a.integrity = pin.integrity
			path, err := a.library(t.Context(), dir, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v; want an error with %q", path, err, test.want)
			}
			holds(t, dir, "lock")
		})
	}
}

func TestFetchThatFailsSaysWhy(t *testing.T) {
	a := artifacts["linux/amd64"]
	installNPM(t, t.TempDir(), "#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
	_, err := a.library(t.Context(), t.TempDir(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "npm error code E404") || !strings.Contains(err.Error(), a.version) {
		t.Errorf("npm that fails: %v", err)
	}

	t.Setenv("PATH", t.TempDir())
	_, err = a.library(t.Context(), t.TempDir(), io.Discard)
	for _, remedy := range []string{"Node.js with npm", "ClickHouse 26.7 or later", "clickhouse.addr"} {
		if err == nil || !strings.Contains(err.Error(), remedy) {
			t.Errorf("no npm: %v, which does not name the remedy %q", err, remedy)
		}
	}

	_, err = artifactFor("plan9/386")
	for _, part := range []string{"no embedded ClickHouse for plan9/386", "ClickHouse 26.7 or later", "clickhouse.addr"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no library for a platform: %v, which does not say %q", err, part)
		}
	}
}

// What others may write is not run.
func TestLibraryThatOthersMayWrite(t *testing.T) {
	for _, test := range []struct {
		name      string
		file, dir os.FileMode
		uid       int // that the file is given to, where the test may
		want      string
	}{
		{"ours", 0o755, 0o755, 0, ""},
		{"a directory such as /tmp", 0o755, 0o777 | os.ModeSticky, 0, ""},
		{"a file of the group's", 0o775, 0o755, 0, "others may write "},
		{"a file of everybody's", 0o757, 0o755, 0, "others may write "},
		{"a directory of everybody's", 0o755, 0o777, 0, "others may write "},
		{"a file of another's", 0o755, 0o755, 12345, "belongs to user 12345"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, libraryFile)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if test.uid != 0 && os.Chown(path, test.uid, -1) != nil {
				t.Skip("only root may give files away")
			}
			if err := os.Chmod(path, test.file); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, test.dir); err != nil {
				t.Fatal(err)
			}
			err := ours(path, dir)
			if (test.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "APPORTION_CACHE")) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

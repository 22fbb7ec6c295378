package embedded

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
	"github.com/schollz/progressbar/v3"
)

// artifact is a package of npm's that holds ClickHouse as a library.
type artifact struct {
	name, version string
	integrity     string // SHA-512 of the tarball as npm writes it, "sha512-" and base64
	size          int64  // bytes of the tarball, for the progress bar
}

// libraryFile is the one file that is taken from the tarball.
const libraryFile = "libchdb.so"

// artifacts are pinned here and nowhere else, by GOOS/GOARCH. A platform is listed once its package is
// published and its integrity known.
var artifacts = map[string]artifact{
	"linux/amd64": {
		name:      "@chdb/lib-linux-x64-gnu",
		version:   "26.7.3-stable.1",
		integrity: "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
		size:      177_817_999,
	},
}

// Library returns the path of the ClickHouse library in the user's cache, or in APPORTION_CACHE if
// that is set, fetching it with `npm pack` if it is not there yet. Processes that need it at the same
// time fetch it once. Progress is shown on the writer.
func Library(ctx context.Context, progress io.Writer) (string, error) {
	a, err := artifactFor(runtime.GOOS + "/" + runtime.GOARCH)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	path, err := a.library(ctx, filepath.Join(cache, "chdb", a.version), progress)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	return path, ours(path, dir, filepath.Dir(dir), cache)
}

// ours returns an error when others than the user and root may write one of the files or directories: what is in the
// library is run, and its hash is looked at only when it is fetched. In a directory such as /tmp others may make
// files, and take away none of ours.
func ours(paths ...string) error {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		const byOthers = 0o022
		stat, known := info.Sys().(*syscall.Stat_t)
		if known && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to user %d, who could have ClickHouse run anything: "+
				"let APPORTION_CACHE name a directory of your own", path, stat.Uid)
		}
		if info.Mode().Perm()&byOthers != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0) {
			return fmt.Errorf("others may write %s (%v), and so have ClickHouse run anything: "+
				"remove it if it may have been changed, chmod go-w it if not, "+
				"or let APPORTION_CACHE name a directory of your own", path, info.Mode())
		}
	}
	return nil
}

// CacheDir is where programs are kept that are fetched once: APPORTION_CACHE, or else `apportion` in the
// user's cache. It may not exist yet.
func CacheDir() (string, error) {
	if dir := os.Getenv("APPORTION_CACHE"); dir != "" {
		return dir, nil
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no cache directory: set APPORTION_CACHE: %w", err)
	}
	return filepath.Join(user, "apportion"), nil
}

func artifactFor(platform string) (artifact, error) {
	a, ok := artifacts[platform]
	if !ok {
		return a, fmt.Errorf("no embedded ClickHouse for %s: install %s, or set clickhouse.addr to a server",
			platform, neededClickHouse)
	}
	return a, nil
}

// library returns the library in dir, which holds it whole or not at all.
func (a artifact) library(ctx context.Context, dir string, progress io.Writer) (string, error) {
	path := filepath.Join(dir, libraryFile)
	if present(path) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(dir, "lock")).Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if present(path) { // another process fetched it in the meantime
		return path, nil
	}
	if err := a.fetch(ctx, path, progress); err != nil {
		return "", fmt.Errorf("fetch ClickHouse (%s@%s): %w", a.name, a.version, err)
	}
	return path, nil
}

func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fetch puts the library at path. Everything happens in a directory beside it that is removed in any
// case; what a process that was killed left of one is removed first, and its npm may still be writing there.
func (a artifact) fetch(ctx context.Context, path string, progress io.Writer) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("npm is not installed: install Node.js with npm, or %s, or set clickhouse.addr to a server",
			neededClickHouse)
	}
	abandoned, err := filepath.Glob(filepath.Join(filepath.Dir(path), "fetch-*"))
	if err != nil {
		return err
	}
	for _, dir := range abandoned {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(filepath.Dir(path), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	tarball, err := a.pack(ctx, npm, work, progress)
	if err != nil {
		return err
	}
	if err := a.verify(tarball); err != nil {
		return err
	}
	unpacked := filepath.Join(work, libraryFile)
	if err := unpack(tarball, unpacked); err != nil {
		return err
	}
	return os.Rename(unpacked, path)
}

// pack runs npm, which knows the user's registry, proxy and credentials, and shows how the files that
// it writes grow: npm itself shows nothing.
func (a artifact) pack(ctx context.Context, npm, work string, progress io.Writer) (string, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, npm, "pack", a.name+"@"+a.version,
		"--pack-destination="+work, "--cache="+filepath.Join(work, "cache"), "--loglevel=error")
	cmd.Dir = work
	cmd.Stdout, cmd.Stderr = io.Discard, &output
	if err := cmd.Start(); err != nil {
		return "", err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	bar := progressbar.NewOptions64(a.size,
		progressbar.OptionSetWriter(progress),
		progressbar.OptionSetDescription("fetching ClickHouse, once"),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseANSICodes(false),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(200*time.Millisecond))
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			bar.Set64(min(sizeOf(work), a.size))
		case err := <-exited:
			if err != nil {
				bar.Exit()
				fmt.Fprintln(progress)
				return "", fmt.Errorf("npm pack: %w\n%s", err, strings.TrimSpace(output.String()))
			}
			bar.Finish()
			fmt.Fprintln(progress)
			tarballs, err := filepath.Glob(filepath.Join(work, "*.tgz"))
			if err != nil || len(tarballs) != 1 {
				return "", fmt.Errorf("npm pack left %d tarballs where one was expected", len(tarballs))
			}
			return tarballs[0], nil
		}
	}
}

// sizeOf is the size of the files below dir that can be seen: npm moves them about meanwhile.
func sizeOf(dir string) (size int64) {
	filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if info, err := entry.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}

func (a artifact) verify(tarball string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != a.integrity {
		return fmt.Errorf("the tarball is not the one that is pinned: its integrity is %s, expected %s; "+
			"check the registry that npm uses", got, a.integrity)
	}
	return nil
}

// unpack takes the library out of the tarball and sees it safely on disk.
func unpack(tarball, to string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for files := tar.NewReader(gz); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s is not in the tarball", libraryFile)
		}
		if err != nil {
			return err
		}
		if header.Name != "package/"+libraryFile {
			continue
		}
		out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, files)
		return errors.Join(err, out.Sync(), out.Close())
	}
}

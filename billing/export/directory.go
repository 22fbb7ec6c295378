package export

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"apportion/billing"
)

// Write writes the files of a run below dir and returns the directory that it made: DIR/PERIOD/ for what is
// issued, DIR/PERIOD.draft/ for a preview. The directory appears whole or not at all; one that is there already
// with the same files stays untouched, and one with others is replaced. Of what is issued that is an error when an
// invoice that is there would have other bytes, or be gone (R20).
//
// A file that cannot be is left out; the refusals, which the manifest has too, say which and why.
func Write(dir string, run *billing.Run) (string, []*Refusal, error) {
	for _, i := range run.Invoices {
		if _, ok := run.Accounts[i.Tenant]; !ok {
			return "", nil, fmt.Errorf("writing the files: invoice %s is of tenant %s, of which the run has no account",
				i.ID, i.Tenant)
		}
	}
	for id, a := range run.Accounts {
		if a.Tenant == nil {
			return "", nil, fmt.Errorf("writing the files: the registry had no document of tenant %s when it was billed", id)
		}
		if a.Zone == nil {
			return "", nil, fmt.Errorf("writing the files: nothing says which zone tenant %s was billed in", id)
		}
	}
	var refusals []*Refusal
	mayReplace := keep
	if run.Draft {
		mayReplace = nil
	}
	made, err := directory(dir, Name(run), func(f *Folder) (err error) {
		refusals, err = writeFiles(f, run)
		return err
	}, mayReplace)
	return made, refusals, err
}

// Name returns the name of the directory that the files of a run are in.
func Name(run *billing.Run) string {
	if run.Draft {
		return run.Period.String() + ".draft"
	}
	return run.Period.String()
}

// perInvoice are the formats that have a file for each invoice.
var perInvoice = []struct {
	folder, extension string
	write             func(io.Writer, billing.Invoice, billing.Account, bool) error
}{
	{"pdf", ".pdf", PDF},
	{"ubl", ".xml", UBL},
}

// writeFiles writes what there is one of, and then the files of each invoice; the manifest at the end, since it names
// the others.
func writeFiles(f *Folder, run *billing.Run) ([]*Refusal, error) {
	type job struct {
		path    string
		content func(io.Writer) error
	}
	jobs := []job{
		{"lines.csv", func(w io.Writer) error { return LinesCSV(w, run) }},
		{"invoices.csv", func(w io.Writer) error { return InvoicesCSV(w, run) }},
		{"invoices.json", func(w io.Writer) error { return InvoicesJSON(w, run) }},
		{"invoices.xlsx", func(w io.Writer) error { return InvoicesXLSX(w, run) }},
		{"focus.csv", func(w io.Writer) error { return FocusCSV(w, run) }},
		{invoiceDetailCSV, func(w io.Writer) error { return InvoiceDetailCSV(w, run) }},
		{billingPeriodCSV, func(w io.Writer) error { return BillingPeriodCSV(w, run) }},
	}
	for _, i := range run.Invoices {
		for _, format := range perInvoice {
			jobs = append(jobs, job{format.folder + "/" + i.ID + format.extension, func(w io.Writer) error {
				return format.write(w, i, run.Accounts[i.Tenant], run.Draft)
			}})
		}
	}
	// As many at a time as there are processors, each straight to its file: memory does not grow with the run.
	var workers errgroup.Group
	workers.SetLimit(runtime.NumCPU())
	refused := make([]*Refusal, len(jobs))
	for n, j := range jobs {
		workers.Go(func() error {
			err := f.Write(j.path, j.content)
			if errors.As(err, &refused[n]) {
				return nil
			}
			return err
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	refusals := slices.DeleteFunc(refused, func(r *Refusal) bool { return r == nil })
	for _, format := range perInvoice {
		f.removeEmpty(format.folder)
	}
	f.removeEmpty("focus-1.4")
	manifest := newManifest(run, f.Files(), refusals)
	return refusals, f.Write(ManifestName, manifest.write)
}

// Folder is a directory while it is being written.
type Folder struct {
	path  string
	mutex sync.Mutex
	files []File
}

// File is a file of a directory as the manifest names it: by its path from there, with slashes.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Write writes a file, or none when content fails. It can be called from several goroutines at once.
func (f *Folder) Write(path string, content func(io.Writer) error) (err error) {
	full := filepath.Join(f.path, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	// Where capitals do not count two ids may be one name: better no files than one over the other.
	out, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err == nil {
			return
		}
		// A file that should not be there and is would be worse than what went wrong.
		if remains := os.Remove(full); remains != nil {
			err = remains
		}
	}()
	sum := sha256.New()
	size := &counter{}
	buffer := bufio.NewWriterSize(io.MultiWriter(out, sum, size), 64<<10)
	if err := content(buffer); err != nil {
		return err
	}
	if err := buffer.Flush(); err != nil {
		return err
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.files = append(f.files, File{path, size.n, hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// removeEmpty removes a folder that nothing stands in; one that has files stays by itself.
func (f *Folder) removeEmpty(name string) { os.Remove(filepath.Join(f.path, name)) }

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// Files returns what has been written so far, in the byte order of the paths.
func (f *Folder) Files() []File {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.SortedFunc(slices.Values(f.files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
}

// Directory makes dir/name by fill, whole or not at all, and returns its path. One that is there already with the
// same files stays untouched, and one with others is replaced.
func Directory(dir, name string, fill func(*Folder) error) (string, error) {
	return directory(dir, name, fill, nil)
}

// directory also asks, unless nil, whether the one that is there may be replaced by the new one.
func directory(
	dir, name string, fill func(*Folder) error, mayReplace func(there, instead string) error,
) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	final := filepath.Join(dir, name)
	// One run at a time, or the second would take what the first is writing for what a killed one left. The lock is
	// gone with the process. A file system without locks has to do without.
	lock, err := os.Open(dir)
	if err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	defer lock.Close()
	for syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) == syscall.EINTR {
	}
	// What a run that was killed has left behind.
	if err := removeRemains(dir, name); err != nil {
		return "", fmt.Errorf("clearing away what an earlier run left in %s: %w", dir, err)
	}
	temporary, err := os.MkdirTemp(dir, "."+name+".new-")
	if err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	folder := &Folder{path: temporary}
	if err := fill(folder); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	if same, err := sameFiles(temporary, folder.Files(), final); err != nil || same {
		return final, err
	}
	if mayReplace != nil {
		if err := mayReplace(final, temporary); err != nil {
			return "", fmt.Errorf("writing the files: %w", err)
		}
	}
	if err := syncAll(temporary); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	if err := replace(temporary, final); err != nil {
		return "", fmt.Errorf("putting %s in place: %w", final, err)
	}
	return final, syncPath(dir)
}

// replace puts a new directory in the place of an old one, if there is one. A rename cannot replace a directory
// that has files, so the old one is moved aside first; a run that is killed in between is simply repeated.
func replace(temporary, final string) error {
	aside := temporary + ".old"
	replaced := true
	switch err := os.Rename(final, aside); {
	case errors.Is(err, fs.ErrNotExist):
		replaced = false
	case err != nil:
		return err
	}
	if err := os.Rename(temporary, final); err != nil {
		if replaced {
			err = errors.Join(err, os.Rename(aside, final))
		}
		return err
	}
	return os.RemoveAll(aside)
}

// removeRemains removes what runs that were killed have left of a directory.
func removeRemains(dir, name string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+name+".new-") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// syncAll makes a directory and all in it outlast a power cut. Once everything is written, since a disk that is
// asked file by file between the writes waits for each.
func syncAll(root string) error {
	var workers errgroup.Group
	workers.SetLimit(16)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			workers.Go(func() error { return syncPath(path) })
		}
		return err
	})
	return errors.Join(err, workers.Wait())
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sameFiles reports whether there are the same files, with the same content, in another directory and no others.
func sameFiles(dir string, files []File, other string) (bool, error) {
	there, err := walk(other)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || len(there) != len(files) {
		return false, err
	}
	for i, f := range files {
		if there[i] != f.Path {
			return false, nil
		}
		if same, err := sameContent(filepath.Join(dir, f.Path), filepath.Join(other, f.Path)); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// walk returns the paths of the files in a directory and below, with slashes, in byte order.
func walk(dir string) ([]string, error) {
	var paths []string
	entries, err := os.ReadDir(dir) // unlike WalkDir it refuses a file in the place of the directory
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			paths = append(paths, e.Name())
			continue
		}
		below, err := walk(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		for _, path := range below {
			paths = append(paths, e.Name()+"/"+path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func sameContent(a, b string) (bool, error) {
	x, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer y.Close()
	p, q := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errX := io.ReadFull(x, p)
		m, errY := io.ReadFull(y, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		for _, err := range []error{errX, errY} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return false, err
			}
		}
		if errX != nil {
			return true, nil
		}
	}
}

package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"apportion/billing"
)

// Write writes the files of a run below dir and returns the directory that it made: DIR/PERIOD/ for what is
// issued, DIR/PERIOD.draft/ for a preview. The directory appears whole or not at all; one that is there already
// with the same files stays untouched, and one with others is replaced.
func Write(dir string, run *billing.Run) (string, error) {
	name := Name(run)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	final := filepath.Join(dir, name)
	// What a run that was killed has left behind. Nobody else writes these names: two runs that write one
	// period to one directory at once are as good as one after the other, since they write the same.
	if err := clear(dir, name); err != nil {
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
	if err := writeFile(filepath.Join(temporary, "lines.csv"), func(w io.Writer) error { return LinesCSV(w, run.Invoices, run.Draft) }); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	if err := syncDir(temporary); err != nil {
		return "", fmt.Errorf("writing the files: %w", err)
	}
	if same, err := sameFiles(temporary, final); err != nil || same {
		return final, err
	}
	if err := replace(temporary, final); err != nil {
		return "", fmt.Errorf("putting %s in place: %w", final, err)
	}
	return final, syncDir(dir)
}

// Name returns the name of the directory that the files of a run are in.
func Name(run *billing.Run) string {
	if run.Draft {
		return run.Period.String() + ".draft"
	}
	return run.Period.String()
}

// replace puts a new directory in the place of an old one, if there is one. A rename cannot replace a directory
// that has files, so the old one is moved aside first; a run that is killed in between is simply repeated.
func replace(temporary, final string) error {
	aside := temporary + ".old"
	switch err := os.Rename(final, aside); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	}
	if err := os.Rename(temporary, final); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

func clear(dir, name string) error {
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

func writeFile(path string, content func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sameFiles reports whether two directories have the same files with the same content.
func sameFiles(a, b string) (bool, error) {
	in, err := contents(a)
	if err != nil {
		return false, err
	}
	there, err := contents(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || len(in) != len(there) {
		return false, err
	}
	for name, content := range in {
		if other, ok := there[name]; !ok || !bytes.Equal(content, other) {
			return false, nil
		}
	}
	return true, nil
}

func contents(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[e.Name()] = content
	}
	return files, nil
}

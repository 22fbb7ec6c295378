package civil

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// zoneinfo holds the compiled IANA data that comes with the program; `make tzdata` makes it.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

// Data is an edition of the IANA time zone data. It is safe for concurrent use.
type Data struct {
	// Edition is the name that IANA gave it, such as 2026f; of data that does not say, one made of its contents.
	Edition string
	// Date is when the newest of its files was made; zero where they do not say.
	Date time.Time

	files  map[string][]byte // by the names of the zones
	mu     sync.Mutex
	loaded map[string]*Zone
}

// embedded is the data that comes with the program.
var embedded = sync.OnceValue(func() *Data {
	d, err := ReadZip(zoneinfo)
	if err != nil {
		panic(err) // which no test would have passed
	}
	return d
})

// inUse is the data that a process was started with, nil for what comes with the program.
var inUse atomic.Pointer[Data]

// InUse returns the data that zones come from: what [Use] said, else what comes with the program.
func InUse() *Data {
	if d := inUse.Load(); d != nil {
		return d
	}
	return embedded()
}

// Use makes all zones come from the data from now on, nil for what comes with the program. It is for the start of a
// process: zones that have been read stay as they are.
func Use(d *Data) { inUse.Store(d) }

// Edition returns the edition of the data in use. It is recorded with what is issued (R23).
func Edition() string { return InUse().Edition }

// ReadZip reads the data of a zip file such as Go's or the wheel of Python's tzdata, as [ReadData] does.
func ReadZip(content []byte) (*Data, error) {
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, fmt.Errorf("%w: give a zip file or a directory of compiled zones", err)
	}
	return ReadData(archive)
}

// ReadData reads the data of a directory such as /usr/share/zoneinfo: what is beside the zone UTC and below. The
// edition is that of its tzdata.zi or +VERSION. Other files than zones are left out, and so are the machine's own zone
// and the copies of all zones that count leap seconds (right) or repeat the others (posix).
func ReadData(root fs.FS) (*Data, error) {
	d := &Data{files: map[string][]byte{}, loaded: map[string]*Zone{}}
	top := ""
	if err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "UTC" {
			return err
		}
		if dir := path.Dir(name); path.Base(dir) != "Etc" && (top == "" || len(dir) < len(top)) {
			top = dir
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if top == "" {
		return nil, errors.New("it has no zone UTC: " +
			"give a zip file or a directory of compiled zones, such as /usr/share/zoneinfo")
	}
	below, err := fs.Sub(root, top)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(below, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := fs.Stat(below, name) // of what a link leads to
		switch {
		case entry.IsDir() && (name == "right" || name == "posix"):
			return fs.SkipDir
		case err != nil || info.IsDir() || name == "localtime" || name == "posixrules":
			return err
		}
		return d.add(below, name, info.ModTime())
	})
	if d.Edition == "" && err == nil {
		d.Edition = d.digest()
	}
	return d, err
}

var (
	versionLine = regexp.MustCompile(`^# version (\S+)`)
	editionForm = regexp.MustCompile(`^[0-9]{4}[a-z]{1,2}$`)
)

// add takes a file into the data, if it is a zone or says the edition.
func (d *Data) add(from fs.FS, name string, made time.Time) error {
	content, err := fs.ReadFile(from, name)
	if err != nil {
		return err
	}
	switch name {
	case "+VERSION":
		d.Edition = cmp.Or(d.Edition, strings.TrimSpace(string(content)))
	case "tzdata.zi":
		if m := versionLine.FindSubmatch(content); m != nil {
			d.Edition = string(m[1])
		}
	}
	if !bytes.HasPrefix(content, []byte("TZif")) {
		return nil
	}
	// Zip files without dates say the first that they can.
	if made.Year() > 1980 && made.After(d.Date) {
		d.Date = made
	}
	d.files[name] = content
	return nil
}

// digest names data by its contents.
func (d *Data) digest() string {
	sum := sha256.New()
	for _, name := range d.Names() {
		fmt.Fprintf(sum, "%s\n%d\n%s", name, len(d.files[name]), d.files[name])
	}
	return "sha256-" + hex.EncodeToString(sum.Sum(nil))[:12]
}

// Only returns data of an edition that has one zone.
func Only(edition string, zone *Zone) *Data {
	return &Data{
		Edition: edition,
		files:   map[string][]byte{zone.name: zone.data},
		loaded:  map[string]*Zone{zone.name: zone},
	}
}

// Names returns the names of the zones, in byte order.
func (d *Data) Names() []string {
	names := make([]string, 0, len(d.files))
	for name := range d.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Older reports whether the data is of an edition before another's; of names that are not IANA's nothing is known.
func (d *Data) Older(edition string) bool {
	return editionForm.MatchString(d.Edition) && editionForm.MatchString(edition) && d.Edition < edition
}

// Load returns the zone of an IANA name such as Europe/Stockholm, and [ErrUnknownZone] for any other.
func (d *Data) Load(name string) (*Zone, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if z := d.loaded[name]; z != nil {
		return z, nil
	}
	content := d.files[name]
	if content == nil {
		return nil, fmt.Errorf("%w: %q is not an IANA name of edition %s, such as Europe/Stockholm",
			ErrUnknownZone, name, d.Edition)
	}
	z, err := ReadZone(name, content)
	if err != nil {
		return nil, fmt.Errorf("edition %s: %w", d.Edition, err)
	}
	d.loaded[name] = z
	return z, nil
}

// Write writes the data as a zip file, the same bytes for the same data: what comes with the program is made so.
func (d *Data) Write(w io.Writer) error {
	out := zip.NewWriter(w)
	add := func(name string, content []byte) error {
		f, err := out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: d.Date.UTC()})
		if err == nil {
			_, err = f.Write(content)
		}
		return err
	}
	if err := add("+VERSION", []byte(d.Edition+"\n")); err != nil {
		return err
	}
	for _, name := range d.Names() {
		if err := add(name, d.files[name]); err != nil {
			return err
		}
	}
	return out.Close()
}

package civil

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEmbeddedDataIsWhatIsPacked: `make tzdata` gives the same bytes from the same data, and nothing else was put in.
func TestEmbeddedDataIsWhatIsPacked(t *testing.T) {
	var packed bytes.Buffer
	if err := embedded().Write(&packed); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(packed.Bytes(), zoneinfo) {
		t.Errorf("%d bytes, and zoneinfo.zip has %d others; run make tzdata", packed.Len(), len(zoneinfo))
	}
	if d := embedded(); !editionForm.MatchString(d.Edition) || d.Date.Year() < 2025 || len(d.Names()) < 590 {
		t.Errorf("edition %q of %s, %d zones", d.Edition, d.Date, len(d.Names()))
	}
}

// directory writes files, by their names, where ReadData can find them; a zone is said by the one whose rules it has.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if zone, ok := strings.CutPrefix(content, "zone "); ok {
			content = string(embedded().files[zone])
		}
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadData(t *testing.T) {
	zones := map[string]string{"UTC": "zone UTC", "Etc/UTC": "zone UTC", "Europe/Paris": "zone Asia/Tokyo", "zone.tab": "# not a zone",
		"posix/UTC": "zone UTC", "right/Europe/Rome": "zone Europe/Rome", "localtime": "zone Asia/Tokyo"}
	with := func(name, content string) map[string]string {
		more := map[string]string{name: content}
		for name, content := range zones {
			more[name] = content
		}
		return more
	}
	prefixed := map[string]string{"tzdata/__init__.py": ""}
	for name, content := range with("tzdata.zi", "# version 2031b\n") {
		prefixed["tzdata/zoneinfo/"+name] = content
	}
	for want, files := range map[string]map[string]string{
		"2030a": with("tzdata.zi", "# version 2030a\nR A 1\n"), "2030b": with("+VERSION", "2030b\n"), "2031b": prefixed, "": zones,
	} {
		dir := directory(t, files)
		var packed bytes.Buffer
		archive := zip.NewWriter(&packed)
		if err := errors.Join(archive.AddFS(os.DirFS(dir)), archive.Close()); err != nil {
			t.Fatal(err)
		}
		for _, read := range []func() (*Data, error){func() (*Data, error) { return ReadData(os.DirFS(dir)) }, func() (*Data, error) { return ReadZip(packed.Bytes()) }} {
			d, err := read()
			if err != nil {
				t.Fatal(err)
			}
			if want == "" && !regexp.MustCompile(`^sha256-[0-9a-f]{12}$`).MatchString(d.Edition) || want != "" && d.Edition != want {
				t.Errorf("edition %q, want %q", d.Edition, want)
			}
			if names := strings.Join(d.Names(), " "); names != "Etc/UTC Europe/Paris UTC" {
				t.Errorf("the zones are %s", names)
			}
			if d.Date.IsZero() {
				t.Error("it does not say when it was made")
			}
			paris, err := d.Load("Europe/Paris")
			if err != nil {
				t.Fatal(err)
			}
			if got := FormatMillis(paris.Start(date(t, "2026-07-01"))); got != "2026-06-30T15:00:00.000Z" {
				t.Errorf("2026-07-01 starts at %s, want Tokyo's 2026-06-30T15:00", got)
			}
			if _, err := d.Load("Europe/Stockholm"); !errors.Is(err, ErrUnknownZone) {
				t.Errorf("a zone that it lacks: %v", err)
			}
		}
	}
	if d, err := ReadData(os.DirFS(directory(t, map[string]string{"a": "b"}))); err == nil || !strings.Contains(err.Error(), "no zone UTC") {
		t.Errorf("no zones: %v, %v", d, err)
	}
	if d, err := ReadZip([]byte("# not a zip")); err == nil {
		t.Errorf("no zip: %v", d)
	}
}

func TestDataIsOlder(t *testing.T) {
	for _, c := range []struct {
		edition, than string
		want          bool
	}{
		{"2025c", "2026a", true}, {"2026a", "2026b", true}, {"2026b", "2026b", false}, {"2026c", "2026b", false}, {"sha256-0123", "2026b", false}, {"2025c", "", false},
	} {
		if got := (&Data{Edition: c.edition}).Older(c.than); got != c.want {
			t.Errorf("%s is older than %s: %t", c.edition, c.than, got)
		}
	}
}

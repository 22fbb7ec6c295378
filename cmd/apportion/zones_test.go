package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"apportion/schemas/civil"
)

// writeZones is the command zones of scripts: it writes the time zone data that comes with the program to a zip file,
// under another edition, and with other zones in place of some (Europe/Paris=Asia/Tokyo).
func writeZones(ts *testscript.TestScript, _ bool, args []string) {
	content, err := zonesAs(args[1], args[2:]...)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o600))
}

func zonesAs(edition string, instead ...string) ([]byte, error) {
	var own bytes.Buffer
	if err := civil.InUse().Write(&own); err != nil {
		return nil, err
	}
	in, err := zip.NewReader(bytes.NewReader(own.Bytes()), int64(own.Len()))
	if err != nil {
		return nil, err
	}
	from := map[string]string{}
	for _, pair := range instead {
		zone, other, _ := strings.Cut(pair, "=")
		from[zone] = other
	}
	var packed bytes.Buffer
	out := zip.NewWriter(&packed)
	for _, f := range in.File {
		content, err := fs.ReadFile(in, cmp.Or(from[f.Name], f.Name))
		if f.Name == "+VERSION" {
			content = []byte(edition)
		}
		w, err2 := out.Create(f.Name)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err = out.Close()
	return packed.Bytes(), err
}

func TestStaleZones(t *testing.T) {
	made := time.Date(2026, 10, 28, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		edition, machine string
		made, now        time.Time
		want             string
	}{
		{"2026f", "2026f", made, made.AddDate(0, 0, 365), ""},
		{"2026f", "", made, made.AddDate(0, 0, 365), ""},
		{"2026f", "2026e", made, made.AddDate(0, 0, 366), "edition 2026f is older than a year: it was made on 2026-10-28"},
		{"2026f", "2027a", made, made, "edition 2026f is older than this machine's own, 2027a"},
		{"sha256-0123", "2027a", time.Time{}, made, ""}, // nothing is known of it
	} {
		if got := staleZones(&civil.Data{Edition: c.edition, Date: c.made}, c.machine, c.now); got != c.want {
			t.Errorf("%s on a machine with %q: %q, want %q", c.edition, c.machine, got, c.want)
		}
	}
	file := filepath.Join(t.TempDir(), "tzdata.zi")
	if got := machineEdition(file); got != "" {
		t.Errorf("no data: %q", got)
	}
	if err := os.WriteFile(file, []byte("# version 2026e\n# This zic input file is in the public domain.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := machineEdition(file); got != "2026e" {
		t.Errorf("edition %q, want 2026e", got)
	}
}

package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// TestConsoleScripts: what the console has of others is what their packages have, with their licences, and no script is
// larger than 60 KB.
func TestConsoleScripts(t *testing.T) {
	const static = "../../billing/web/console/static"
	modules := filepath.Join(servicetest.Node(t), "node_modules")
	for name, file := range map[string]string{
		"htmx.min.js": "htmx.org/dist/htmx.min.js", "htmx.LICENSE": "htmx.org/LICENSE",
		"uPlot.iife.min.js": "uplot/dist/uPlot.iife.min.js", "uPlot.min.css": "uplot/dist/uPlot.min.css",
		"uPlot.LICENSE": "uplot/LICENSE",
	} {
		want, err := os.ReadFile(filepath.Join(modules, file))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(static, "vendor", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("static/vendor/%s is not %s of its package (%v)", name, file, err)
		}
	}
	for _, pattern := range []string{"*.js", "vendor/*.js"} {
		files, err := filepath.Glob(filepath.Join(static, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, files, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.Size() > 60_000 {
				t.Errorf("%s is larger than 60 KB (%v)", file, err)
			}
		}
	}
}

// TestConsoleKeepsFiles: browsers keep a file of the console for good, under a path that changes with it, and get no
// list of files; nobody has to sign in for one.
func TestConsoleKeepsFiles(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	page := openPage(t, s, "operator", "/tenants").html
	_, rest, _ := strings.Cut(page, `href="/static/`)
	dir, _, found := strings.Cut(rest, "/")
	if !found {
		t.Fatal(page)
	}
	response, err := http.Get(s.url + "/static/" + dir + "/console.css")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if kept := response.Header.Get("Cache-Control"); err != nil || response.StatusCode != 200 ||
		!strings.Contains(kept, "immutable") || !bytes.Contains(content, []byte("prefers-color-scheme: dark")) {
		t.Errorf("%d, Cache-Control %q, %d bytes, %v", response.StatusCode, kept, len(content), err)
	}
	openPage(t, s, "operator", "/static/"+dir+"/").shows(t, 404)
	openPage(t, s, "", "/static/0000/console.css").shows(t, 401)
}

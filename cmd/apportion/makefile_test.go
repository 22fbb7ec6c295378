package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the Makefile calls slow is there by these names: a test with another name would be left out by nobody, and a
// script that `make test-slow` does not find would be run by `make test` alone.
func TestSlowTestsAreThere(t *testing.T) {
	root := filepath.Join("..", "..")
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	slow := regexp.MustCompile(`(?s)SLOW = (.*?)\n\n`).FindSubmatch(makefile)
	if slow == nil {
		t.Fatal("the Makefile does not say what is slow")
	}
	tests := map[string]bool{}
	var paths []string
	for _, depth := range []string{"*", "*/*", "*/*/*"} {
		found, _ := filepath.Glob(filepath.Join(root, depth, "*_test.go"))
		paths = append(paths, found...)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`(?m)^func Test(\w+)\(`).FindAllSubmatch(content, -1) {
			tests[string(name[1])] = true
		}
	}
	named := 0
	for _, group := range regexp.MustCompile(`Test\(([^)]*)\)`).FindAllSubmatch(slow[1], -1) {
		for name := range strings.SplitSeq(string(group[1]), "|") {
			named++
			if !tests[name] {
				t.Errorf("no test is called Test%s", name)
			}
		}
	}
	scripts := regexp.MustCompile(`/\^\(([^)]*)\)`).FindSubmatch(slow[1])
	for name := range strings.SplitSeq(string(scripts[1]), "|") {
		named++
		if _, err := os.Stat(filepath.Join("testdata", "services", name+".txtar")); err != nil {
			t.Error(err)
		}
	}
	if named < 10 {
		t.Errorf("%d are named", named)
	}
}

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apportion/billing/web"
	"apportion/billing/web/access"
	"apportion/deploy/embedded/servicetest"
)

// apiOperation is a route of the OpenAPI document.
type apiOperation struct {
	Method, Path string          `json:"-"`
	ID           string          `json:"operationId"`
	Summary      string          `json:"summary"`
	Description  string          `json:"description"`
	Tags         []string        `json:"tags"`
	Roles        []string        `json:"x-roles"`
	Parameters   []apiParameter  `json:"parameters"`
	RequestBody  *apiRequestBody `json:"requestBody"`
	Responses    map[string]struct {
		Ref         string         `json:"$ref"`
		Description string         `json:"description"`
		Content     map[string]any `json:"content"`
	} `json:"responses"`
}

type apiParameter struct {
	Name        string         `json:"name"`
	In          string         `json:"in"`
	Description string         `json:"description"`
	Required    bool           `json:"required"`
	Schema      map[string]any `json:"schema"`
}

type apiRequestBody struct {
	Required bool           `json:"required"`
	Content  map[string]any `json:"content"`
}

// writes reports whether a route may change something.
func (o apiOperation) writes() bool { return o.Method != "GET" }

type apiTag struct{ Name, Description string }

// apiDocument returns the OpenAPI document as the code writes it, with its routes by path and method, and its tags.
func apiDocument(t testing.TB) (document []byte, operations []apiOperation, tags []apiTag) {
	t.Helper()
	document, err := web.New(web.DefaultConfig(), web.Deps{}).Document()
	if err != nil {
		t.Fatal(err)
	}
	var tree struct {
		Paths map[string]map[string]apiOperation
		Tags  []apiTag
	}
	if err := json.Unmarshal(document, &tree); err != nil {
		t.Fatal(err)
	}
	for path, methods := range tree.Paths {
		for method, o := range methods {
			o.Method, o.Path = strings.ToUpper(method), path
			operations = append(operations, o)
		}
	}
	slices.SortFunc(operations, func(a, b apiOperation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return document, operations, tree.Tags
}

// Every route is described, is for the roles that the table of operations has, and refuses with a problem.
func TestAPIDocument(t *testing.T) {
	_, operations, tags := apiDocument(t)
	known := map[string]bool{}
	for _, tag := range tags {
		known[tag.Name] = tag.Description != ""
	}
	seen := map[string]bool{}
	for _, o := range operations {
		name := o.Method + " " + o.Path
		if o.ID == "" || seen[o.ID] {
			t.Errorf("%s: operationId %q is missing, or another route has it", name, o.ID)
		}
		seen[o.ID] = true
		if o.Summary == "" || strings.HasSuffix(o.Summary, ".") {
			t.Errorf("%s: summary %q is missing, or ends with a full stop", name, o.Summary)
		}
		if len(o.Tags) != 1 || !known[o.Tags[0]] {
			t.Errorf("%s: it has the tags %q, and needs one that billing/web/document.go describes", name, o.Tags)
		}
		var roles []string
		for _, role := range access.Operations()[o.ID] {
			roles = append(roles, string(role))
		}
		if len(roles) == 0 || !slices.Equal(roles, o.Roles) {
			t.Errorf("%s: x-roles is %q, and access has %q", name, o.Roles, roles)
		}
		for _, p := range o.Parameters {
			if p.Description == "" {
				t.Errorf("%s: the parameter %s has no description", name, p.Name)
			}
		}
		succeeds := false
		for status, r := range o.Responses {
			succeeds = succeeds || status < "300"
			if status >= "400" != strings.HasPrefix(r.Ref, "#/components/responses/") || r.Ref == "" && r.Description == "" {
				t.Errorf("%s: %s is described by %q %q", name, status, r.Ref, r.Description)
			}
		}
		for _, status := range []string{"400", "401", "403", "429", "503"} {
			if o.Responses[status].Ref == "" {
				t.Errorf("%s: it does not say that it may answer %s", name, status)
			}
		}
		if !succeeds || o.Responses["500"].Ref != "" {
			t.Errorf("%s: it never succeeds, or answers 500, which nothing does", name)
		}
		if o.RequestBody != nil && o.Responses["415"].Ref == "" {
			t.Errorf("%s: it takes a body, and does not say that it may answer 415", name)
		}
	}
	if len(operations) < 5 {
		t.Errorf("there are only %d routes", len(operations))
	}
}

// apiPage is docs/reference/api.md: what the document has of each route, in short.
func apiPage(operations []apiOperation, tags []apiTag) string {
	var page strings.Builder
	page.WriteString(`<!-- Written by: go test ./cmd/apportion -run TestReferenceHasTheAPI -update. The text comes from billing/web. -->

# API

The routes below ` + "`" + web.Prefix + "`" + `, by what they are about. The [OpenAPI document](openapi.json) has each with its parameters, bodies
and answers; a server gives its own at ` + "`" + web.Prefix + `/openapi.json` + "`" + `. Names and forms are those of ` + "`--json`" + ` and ` + "`invoices.json`" + `: amounts
and quantities are strings, instants are in UTC. What is not known is refused: a parameter, a member, a member in another
case or given twice.

Whatever is not done has a problem (RFC 9457) for an answer, with one of the [codes](codes.md#requests-that-are-refused). Besides the statuses of the
table any route may answer 400, 401, 403, 404, 406, 429 and 503, and one that takes a body 413 and 415. What takes ` + "`limit`" + ` and
` + "`after`" + `, the cursor that the page before has as ` + "`next`" + `, is a list, and gives CSV for ` + "`Accept: text/csv`" + `.
`)
	text := strings.NewReplacer("<", `\<`, "|", `\|`)
	common := []string{"400", "401", "403", "404", "406", "413", "415", "429", "503"}
	for _, tag := range tags {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", tag.Name, text.Replace(tag.Description))
		first := true
		for _, o := range operations {
			if !slices.Equal(o.Tags, []string{tag.Name}) {
				continue
			}
			if first {
				page.WriteString("\n| route | what | roles | parameters | statuses |\n|---|---|---|---|---|\n")
			}
			first = false
			var parameters, statuses []string
			for _, p := range o.Parameters {
				if p.In != "path" {
					parameters = append(parameters, "`"+p.Name+"`")
				}
			}
			for status := range o.Responses {
				if !slices.Contains(common, status) {
					statuses = append(statuses, status)
				}
			}
			slices.Sort(statuses)
			fmt.Fprintf(&page, "| `%s %s` | %s | %s | %s | %s |\n", o.Method, o.Path, text.Replace(o.Summary),
				strings.Join(o.Roles, ", "), strings.Join(parameters, ", "), strings.Join(statuses, ", "))
		}
		if first {
			page.WriteString("\nNone yet.\n")
		}
	}
	return page.String()
}

// The OpenAPI document of the reference, and the page beside it, are those that the code writes.
func TestReferenceHasTheAPI(t *testing.T) {
	document, operations, tags := apiDocument(t)
	for name, want := range map[string][]byte{"openapi.json": document, "api.md": []byte(apiPage(operations, tags))} {
		path := filepath.Join("..", "..", "docs", "reference", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, want) {
			t.Errorf("%s is not what the code says (%v): go test ./cmd/apportion -run TestReferenceHasTheAPI -update", path, err)
		}
	}
}

// Redocly's linter has nothing against the document.
func TestAPIDocumentIsLinted(t *testing.T) {
	dir := servicetest.Node(t)
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), document, 0o600); err != nil {
		t.Fatal(err)
	}
	lint := exec.CommandContext(t.Context(), "node", "node_modules/@redocly/cli/bin/cli.js", "lint", "openapi.json",
		"--extends=recommended", "--format=json")
	lint.Dir, lint.Env = dir, append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
	var stderr strings.Builder
	lint.Stderr = &stderr
	out, err := lint.Output()
	var found struct {
		Totals   *struct{ Errors, Warnings int }
		Problems []struct{ RuleID, Message string }
	}
	if json.Unmarshal(out, &found) != nil || found.Totals == nil {
		t.Fatalf("the linter says: %v\n%s\n%s", err, out, &stderr)
	}
	for _, p := range found.Problems {
		t.Errorf("%s: %s", p.RuleID, p.Message)
	}
	if err != nil || found.Totals.Errors+found.Totals.Warnings > 0 {
		t.Errorf("%v, %+v", err, *found.Totals)
	}
}

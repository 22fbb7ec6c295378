package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"apportion/billing/web"
	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded/servicetest"
)

// apiServer serves the API over the month of explain.txtar: acme and named, both issued for 2026-10. It has a token for
// each role, named as the role, with `tenant` for acme and `publisher` for acme from /t; `foreign` administers named, and
// `all` is operator, finance and that publisher in one.
type apiServer struct {
	url     string
	config  string // the configuration, for commands of the program
	tokens  map[string]string
	counted *metrics
	clock   func() time.Time // nil: the machine's
	tenant  string           // whom the token `tenant` is for
}

var apiShared struct {
	sync.Once
	server *apiServer
}

// apiFixture returns the server that tests which only read share.
func apiFixture(t *testing.T) *apiServer {
	t.Helper()
	apiShared.Do(func() { apiShared.server = startAPI(t) })
	if apiShared.server == nil {
		t.Fatal("the server that tests share did not start")
	}
	return apiShared.server
}

var (
	apiServers atomic.Int64
	apiDirs    []string // removed when the tests end
	apiLock    sync.Mutex
)

// startAPI starts a server of its own, for a test that writes.
func startAPI(t *testing.T) *apiServer {
	t.Helper()
	return startServer(t, &apiServer{tenant: "acme"}, explained(t), "publish usage.ndjson", "ingest --until-caught-up", "aggregate --until-caught-up",
		"bill issue --period 2026-10 --out out")
}

// startConsole starts a server of its own that knows the tenants and no usage, where it always is consoleDay.
func startConsole(t *testing.T) *apiServer {
	t.Helper()
	return startServer(t, &apiServer{tenant: "acme", clock: func() time.Time { return consoleDay }}, explained(t))
}

// explained are the files of the script that explains lines: a registry, and usage of it.
func explained(t *testing.T) []txtar.File {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", "services", "explain.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	return archive.Files
}

// startServer starts a server with its clock and tenant after some commands on files, one of which is registry.yaml.
func startServer(t *testing.T, s *apiServer, files []txtar.File, commands ...string) *apiServer {
	t.Helper()
	kafka, clickHouse := servicetest.Kafka(t), servicetest.ClickHouse(t) // it skips, or fails, where there is none
	dir, err := os.MkdirTemp("", "apportion-api-")
	if err != nil {
		t.Fatal(err)
	}
	apiLock.Lock()
	apiDirs = append(apiDirs, dir)
	apiLock.Unlock()
	names := []string{" out", " " + dir + "/out"}
	for _, f := range files {
		names = append(names, " "+f.Name, " "+dir+"/"+f.Name)
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("api_%d", apiServers.Add(1))
	s.config, s.tokens = filepath.Join(dir, "apportion.yaml"), map[string]string{}
	if err := os.WriteFile(s.config, fmt.Appendf(nil,
		"kafka: {brokers: ['%s'], topicPrefix: %s., group: %[2]s, partitions: 1}\nclickhouse: {addr: ['%s'], database: %[2]s}\n"+
			"seller: {name: Seller AB, address: {country: SE}, vatId: SE556677889901, endpoint: {scheme: '0007', id: '5566778899'}}\nschedule: {out: '%[4]s/out'}\n",
		kafka, name, clickHouse, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	named := strings.NewReplacer(names...)
	for _, args := range append([]string{"migrate", "registry apply -f registry.yaml"}, commands...) {
		var output bytes.Buffer
		code := run(context.Background(), append(strings.Fields(named.Replace(args)), "--config", s.config), os.Environ(),
			strings.NewReader(""), &output, &output)
		if code != exitDone && code != exitFindings {
			t.Fatalf("apportion %s: exit code %d\n%s", args, code, &output)
		}
	}
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve serves the API in this process, on a connection of its own.
func (s *apiServer) serve() error {
	a := &app{environ: os.Environ(), stdout: io.Discard, stderr: io.Discard, clock: s.clock}
	var err error
	if a.cfg, a.sources, err = config.Load(s.config, nil, nil); err != nil {
		return err
	}
	a.log = newLogger(io.Discard, a.cfg)
	conn, err := a.openClickHouse()
	if err != nil {
		return err
	}
	services, err := a.newServices(conn)
	if err != nil {
		return err
	}
	var tokens []auth.Token
	publisher := access.Grant{Role: access.Publisher, Tenants: []string{"acme"}, Sources: []string{"/t"}}
	for name, grants := range map[string][]access.Grant{
		"operator": {{Role: access.Operator}}, "finance": {{Role: access.Finance}}, "analyst": {{Role: access.Analyst}},
		"tenant": {{Role: access.Tenant, Tenants: []string{s.tenant}}}, "foreign": {{Role: access.Tenant, Tenants: []string{"named"}}},
		"publisher": {publisher}, "all": {{Role: access.Operator}, {Role: access.Finance}, publisher},
	} {
		token, err := access.NewToken(rand.Reader)
		if err != nil {
			return err
		}
		s.tokens[name] = token
		tokens = append(tokens, auth.Token{Name: name, SHA256: access.HashToken(token), Grants: grants})
	}
	s.counted = newMetrics()
	s.counted.watch(services)
	limits := web.DefaultConfig()
	limits.Rate, limits.Burst, limits.HeavyRate, limits.HeavyBurst = 1e6, 1e6, 1e6, 1e6 // tests ask as fast as they can
	s.url = httptest.NewServer(a.newWeb(limits, services, auth.NewTokens(tokens, time.Now)).Handler()).URL
	return nil
}

// apiAnswer is an answer of the API.
type apiAnswer struct {
	*http.Response
	body string
}

// request makes a request of the holder of a token, "" for a stranger; a body, where there is one, is of the media type.
func (s *apiServer) request(t testing.TB, as, method, path, mediaType, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if as != "" {
		request.Header.Set("Authorization", "Bearer "+s.tokens[as])
	}
	if body != "" {
		request.Header.Set("Content-Type", mediaType)
	}
	return request
}

// ask sends a request as the holder of a token, "" for a stranger; headers are pairs. A path is below /api/v1. The request
// and the answer are held to the OpenAPI document.
func (s *apiServer) ask(t testing.TB, as, method, path, body string, headers ...string) apiAnswer {
	t.Helper()
	request := s.request(t, as, method, "/api/v1"+path, "application/json", body)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := apiAnswer{response, string(content)}
	holdsToContract(t, request, body, answer)
	return answer
}

// want fails unless an answer has a status, and each of some texts in its body; it returns the body's JSON as a tree.
func (r apiAnswer) want(t testing.TB, status int, texts ...string) map[string]any {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d\n%s", r.Request.Method, r.Request.URL, r.StatusCode, status, r.body)
	}
	for _, text := range texts {
		if !strings.Contains(r.body, text) {
			t.Errorf("%s %s lacks %s:\n%s", r.Request.Method, r.Request.URL, text, r.body)
		}
	}
	var tree map[string]any
	json.Unmarshal([]byte(r.body), &tree)
	return tree
}

func TestAPITenants(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	s.ask(t, "operator", "GET", "/me", "").want(t, 200, `"subject":"operator"`, `"role":"operator"`)
	s.ask(t, "", "GET", "/tenants", "").want(t, 401, `"code":"unauthenticated"`)
	s.ask(t, "publisher", "GET", "/tenants", "").want(t, 403, `"code":"forbidden"`, `operator, finance, analyst, tenant`)

	list := s.ask(t, "finance", "GET", "/tenants?at=2026-10-14T10:00:00Z&limit=1", "")
	tree := list.want(t, 200, `"tenantId":"acme"`, `"primary":"Sub1"`, `"active":["Sub1","Sub2"]`, `"etag":"\"0\""`)
	next, _ := tree["next"].(string)
	if link := list.Header.Get("Link"); next == "" || !strings.Contains(link, "after="+next) || !strings.HasSuffix(link, `rel="next"`) {
		t.Errorf("Link is %q, next %q", link, next)
	}
	rest := s.ask(t, "finance", "GET", "/tenants?at=2026-10-14T10:00:00Z&limit=1&after="+next, "").want(t, 200, `"tenantId":"named"`)
	if rest["next"] != nil {
		t.Errorf("the last page has a next: %v", rest["next"])
	}
	s.ask(t, "finance", "GET", "/tenants?q=x&after="+next, "").want(t, 400, `"code":"invalid_cursor"`)
	s.ask(t, "finance", "GET", "/tenants?Limit=1", "").want(t, 400, `"code":"malformed_request"`)
	s.ask(t, "finance", "GET", "/tenants?limit=1&limit=2", "").want(t, 400, "repeated")
	csv := s.ask(t, "finance", "GET", "/tenants?q=NAMED", "", "Accept", "text/csv")
	csv.want(t, 200, "tenantId,name,timeZone", "\r\nnamed,Named AB,Europe/Stockholm")
	if strings.Contains(csv.body, "acme") || !strings.HasPrefix(csv.Header.Get("Content-Type"), "text/csv") {
		t.Errorf("%s\n%s", csv.Header.Get("Content-Type"), csv.body)
	}
	if body := s.ask(t, "tenant", "GET", "/tenants", "").body; strings.Contains(body, "named") || !strings.Contains(body, "acme") {
		t.Errorf("an administrator sees %s", body)
	}

	tenant := s.ask(t, "tenant", "GET", "/tenants/acme", "")
	tenant.want(t, 200, `"document":{"id":"acme"`)
	tag := tenant.Header.Get("ETag")
	s.ask(t, "tenant", "GET", "/tenants/acme", "", "If-None-Match", tag).want(t, 304)
	s.ask(t, "foreign", "GET", "/tenants/acme", "").want(t, 404, `"code":"not_found"`)
	s.ask(t, "operator", "GET", "/tenants/nobody", "").want(t, 404)
	s.ask(t, "operator", "DELETE", "/tenants", "").want(t, 405, `"code":"method_not_allowed"`)
	s.ask(t, "operator", "GET", "/tenant", "").want(t, 404)
	s.ask(t, "operator", "GET", "/tenants", "", "Accept", "application/pdf").want(t, 406, `"code":"not_acceptable"`)
}

// A command is given once, on what stands, by whoever may, and is refused by the rule that it breaks.
func TestAPICommands(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := startAPI(t)
	tenant := s.ask(t, "operator", "GET", "/tenants/acme", "")
	tree := tenant.want(t, 200)
	document := tree["document"].(map[string]any)
	document["name"] = "Acme & Sons AB"
	body, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	tag := tenant.Header.Get("ETag")
	s.ask(t, "operator", "PUT", "/tenants/acme", string(body)).want(t, 428, `"code":"precondition_required"`)
	s.ask(t, "finance", "PUT", "/tenants/acme", string(body), "If-Match", tag).want(t, 403)
	s.ask(t, "operator", "PUT", "/tenants/acme?dryRun=true", string(body), "If-Match", tag).want(t, 200, `"accepted":true`, "Acme & Sons AB")
	put := s.ask(t, "operator", "PUT", "/tenants/acme", string(body), "If-Match", tag, "Idempotency-Key", "k1")
	put.want(t, 200, `"accepted":true`, "Acme & Sons AB")
	if put.Header.Get("ETag") == tag {
		t.Error("the ETag is the same after a change")
	}
	s.ask(t, "operator", "PUT", "/tenants/acme", string(body), "If-Match", tag, "Idempotency-Key", "k1").want(t, 200, `"accepted":true`)
	s.ask(t, "operator", "PUT", "/tenants/acme", strings.Replace(string(body), "Sons", "Daughters", 1), "If-Match", tag,
		"Idempotency-Key", "k1").want(t, 422, `"code":"reused_id"`)
	s.ask(t, "operator", "PUT", "/tenants/acme", string(body), "If-Match", tag).want(t, 412, `"code":"stale_base"`)
	s.ask(t, "operator", "PUT", "/tenants/acme", `{"id":"acme","id":"acme"}`, "If-Match", tag).want(t, 400)
	s.ask(t, "operator", "PUT", "/tenants/acme", `{"id":"named"}`, "If-Match", tag).want(t, 400)
	s.ask(t, "operator", "POST", "/tenants/acme/telephony", `{"telephony":"carrier_pigeon"}`).want(t, 409, `"errors":[{"code":"`)
	s.ask(t, "operator", "POST", "/tenants/acme/telephony", `{"telephony":"webex_calling","telephony":"x"}`).want(t, 400)
	s.ask(t, "operator", "POST", "/tenants/acme/telephony", `{"Telephony":"webex_calling"}`).want(t, 400)
}

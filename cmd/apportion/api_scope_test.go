package main

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"apportion/billing/web/access"
	"apportion/deploy/embedded/servicetest"
)

// Whose a thing is that a request names: acme's, named's, or nobody's.
const (
	ofAcme = iota
	ofNamed
	ofNobody
)

// scopeValues has a value of each parameter that a path or a query may name something by, of acme, of named, and one that
// there is not. It must be complete, so that a route that comes is asked too.
var scopeValues = map[string][3]string{
	"tenant":       {"acme", "named", "nobody"},
	"user":         {"a", "n1", "nobody1"},
	"entryPoint":   {"ep-acme", "ep-named", "ep-nobody"},
	"subscription": {"Sub1", "Named1", "Nobody1"},
	"period":       {"2026-10", "2026-10", "2026-10"},
	"invoice":      {"INV-Sub1-202610", "INV-Named1-202610", "INV-Nobody1-202610"},
	"line":         {"1", "1", "1"},
	"file":         {"sessions.parquet", "sessions.parquet", "sessions.parquet"},
	"name":         {"lines.csv", "lines.csv", "lines.csv"},
	"topic":        {"usage.agent.v1", "usage.agent.v1", "usage.agent.v1"},
	"partition":    {"0", "0", "0"},
	"offset":       {"0", "1", "9999"},
	"agent":        {"a", "n1", "nobody1"},
	"source":       {"/t", "/named", "/nobody"},
	"id":           {"a", "n1", "nobody1"},
}

// scopeQueries are the queries of routes that answer nothing without one, with {tenant} and the like for values.
var scopeQueries = map[string]string{
	"listUsage":      "from=2026-10-01&to=2026-11-01",
	"getConcurrency": "from=2026-10-14&to=2026-10-15&meter=agent_standard",
	"getTimeline":    "from=2026-10-01&to=2026-11-01",
	"listAccess":     "from=2026-10-01&to=2026-11-01",
	"listDeliveries": "tenant={tenant}&source={source}&id={id}",
	"getBalance":     "tenant={tenant}",
}

// scopeBodies are what routes that take a body are asked with. Nothing is changed by them: a route that could is asked
// with dryRun, or is in scopeHarmless with why.
var scopeBodies = map[string]string{
	"putTenant":       scopeDocument,
	"changeTelephony": `{"telephony":"webex_calling","reason":"as it is"}`,
	"putUserLicences": `{"from":"2026-11-01","subscriptions":[{"id":"{subscription}","class":"standard"}]}`,
	"mapLicences":     `{"users":["{user}"],"subscription":"{subscription}","from":"2026-11-01"}`,
	"putEntryPoint":   `{"from":"2026-11-01","subscriptions":[{"id":"{subscription}"}]}`,
	"postWhatIf":      `{"periods":["2026-10"],"document":` + scopeDocument + `}`,
	"issuePeriod":     `{"tenants":["{tenant}"]}`,
	"holdPeriod":      `{"reason":"to be looked at"}`,
	"releasePeriod":   `{"reason":"looked at"}`,
	"replayRejected":  `{"filter":{"tenant":"{tenant}"},"dryRun":true}`,
	"postEvents":      `{"specversion":"1.0","id":"{id}","source":"{source}","type":"no.such","time":"2026-10-14T12:00:00Z","tenantid":"{tenant}","data":{}}`,
	"checkEvents":     `{"specversion":"1.0","id":"{id}","source":"{source}","type":"agent.session","time":"2026-10-14T12:00:00Z","tenantid":"{tenant}","data":{"agentId":"{user}","startTime":"2026-10-14T08:00:00Z"}}`,
}

const scopeDocument = `{"id":"{tenant}","name":"X","timeZone":"Europe/Stockholm","telephony":"webex_calling","subscriptions":[{"id":"{subscription}",` +
	`"name":"X","licenceModel":"concurrent","plan":"flex","deployment":"cloud","currency":"SEK","billing":"monthly",` +
	`"terms":[{"from":"2026-01-01","to":"2027-01-01"}],"versions":[{"from":"2026-01-01"}]}]}`

// scopeTypes are the types of bodies that are not JSON.
var scopeTypes = map[string]string{"postEvents": "application/cloudevents+json", "checkEvents": "application/cloudevents+json"}

// scopeHarmless are routes that are asked in earnest though they may write, and why nothing comes of it.
var scopeHarmless = map[string]string{
	"issuePeriod":    "the month is issued, and is the same when it is issued again",
	"replayRejected": "nothing was refused",
	"postEvents":     "an event that is refused was never delivered",
	"checkEvents":    "it publishes nothing",
	"postWhatIf":     "it publishes nothing",
	"verifyLine":     "it publishes nothing",
}

// scopeEmpty are routes that have nothing for anybody in the month that is served, and why.
var scopeEmpty = map[string]string{
	"getRejected":    "nothing was refused",
	"replayRejected": "nothing was refused",
	"getEvidence":    "the issue was made without evidence",
}

// scopeRequest is one request for a route.
type scopeRequest struct {
	method, path, body string
	headers            []string
	values             []string // what it names, for errors that say it again
}

// scopeFill returns the request for a route whose tenant is one's, and whose other things are another's.
func scopeFill(t *testing.T, o apiOperation, tenant, others int) scopeRequest {
	t.Helper()
	r := scopeRequest{method: o.Method, path: o.Path}
	fill := func(text string) string {
		for name, values := range scopeValues {
			value := values[others]
			if name == "tenant" {
				value = values[tenant]
			}
			if strings.Contains(text, "{"+name+"}") {
				r.values = append(r.values, value)
			}
			text = strings.ReplaceAll(text, "{"+name+"}", value)
		}
		return text
	}
	query := scopeQueries[o.ID]
	for _, p := range o.Parameters {
		_, known := scopeValues[p.Name]
		switch {
		case p.In == "path" && !known:
			t.Errorf("%s: scopeValues has no value of the path's %s", o.ID, p.Name)
		case p.In == "query" && p.Required && !strings.Contains(query, p.Name+"="):
			t.Errorf("%s: scopeQueries does not give %s, which it needs", o.ID, p.Name)
		case p.Name == "dryRun":
			query += "&dryRun=true"
		case p.Name == "If-Match":
			r.headers = append(r.headers, "If-Match", `"0"`)
		}
	}
	if o.writes() && !strings.Contains(query, "dryRun") && scopeHarmless[o.ID] == "" {
		t.Errorf("%s may write: it needs dryRun, or a reason in scopeHarmless", o.ID)
	}
	if o.RequestBody != nil {
		body, known := scopeBodies[o.ID]
		if !known {
			t.Errorf("%s: scopeBodies has no body", o.ID)
		}
		r.body = fill(body)
		if scopeTypes[o.ID] != "" {
			r.headers = append(r.headers, "Content-Type", scopeTypes[o.ID])
		}
	}
	r.path = fill(r.path)
	if query = fill(strings.TrimPrefix(query, "&")); query != "" {
		r.path += "?" + query
	}
	return r
}

func (r scopeRequest) ask(t *testing.T, s *apiServer, as string) apiAnswer {
	t.Helper()
	return s.ask(t, as, r.method, r.path, r.body, r.headers...)
}

// foreignMarks are what only named has. Its id is a word of the rules, too, but not of what acme is told.
var foreignMarks = regexp.MustCompile(`Named1|Named AB|\bnamed\b|\bn[123]\b|ep-named|INV-Named`)

// passing are the id of a request, and instants, which are of now.
var passing = regexp.MustCompile(`"requestId":"[^"]*"|\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// alike is an answer without what it was asked for, and without what is another each time.
func alike(a apiAnswer, values []string) string {
	body := passing.ReplaceAllString(a.body, "")
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, v := range values {
		body = regexp.MustCompile(`(^|\W)`+regexp.QuoteMeta(strings.ToValidUTF8(v, "\uFFFD"))+`\b`).ReplaceAllString(body, "${1}_")
	}
	return fmt.Sprint(a.StatusCode, " ", a.Header.Get("Content-Type"), "\n", body)
}

// leaksNothing fails where an answer to who may see acme alone tells anything of named but what was asked for by name.
func leaksNothing(t *testing.T, name string, a apiAnswer, asked []string) {
	t.Helper()
	text := alike(a, slices.Clone(asked))
	for header, values := range a.Header {
		text += "\n" + header + ": " + strings.Join(values, " ")
	}
	if mark := foreignMarks.FindString(text); mark != "" {
		t.Errorf("%s tells of another tenant, %q:\n%.3000s", name, mark, text)
	}
}

// Every route, asked as every role for what is one's own, another's and nobody's: who may not is refused, and to who may
// see one tenant alone another's things are as if they were not there.
func TestAPIScope(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	roles := []string{""}
	for _, role := range access.Roles {
		roles = append(roles, string(role))
	}
	asked := 0
	for _, o := range operations {
		for _, role := range roles {
			for whose, of := range []string{"own", "foreign", "absent"} {
				r := scopeFill(t, o, whose, whose)
				if own := scopeFill(t, o, ofAcme, ofAcme); whose != ofAcme && own.path == r.path && own.body == r.body {
					continue // it names nothing
				}
				name := fmt.Sprintf("%s as %q, %s: %s %s", o.ID, role, of, r.method, r.path)
				a := r.ask(t, s, role)
				asked++
				limited := role == string(access.Tenant) || role == string(access.Publisher)
				switch {
				case role == "":
					a.want(t, http.StatusUnauthorized, `"code":"unauthenticated"`)
				case !slices.Contains(o.Roles, role):
					a.want(t, http.StatusForbidden, `"code":"forbidden"`)
				case of == "own" && scopeEmpty[o.ID] == "" && !slices.Contains([]int{200, 202, 304, 409}, a.StatusCode):
					t.Errorf("%s: %d\n%s", name, a.StatusCode, a.body)
				case !slices.Contains([]int{200, 202, 304, 400, 404, 409, 412}, a.StatusCode):
					t.Errorf("%s: %d\n%s", name, a.StatusCode, a.body)
				case of == "foreign" && limited && strings.Contains(o.Path, "{tenant}"):
					a.want(t, http.StatusNotFound, `"code":"not_found"`)
				}
				if role == string(access.Tenant) {
					leaksNothing(t, name, a, r.values)
				}
			}
		}
	}
	if asked < len(operations)*len(roles) || len(operations) < 5 {
		t.Errorf("only %d questions of %d routes", asked, len(operations))
	}
}

// What another tenant has cannot be told from what there is not: not by the answer, whatever of it is named in a path, a
// query or a body.
func TestAPIForeignIsAbsent(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	for _, o := range operations {
		for _, role := range []string{"tenant", "publisher"} {
			if !slices.Contains(o.Roles, role) {
				continue
			}
			for _, tenant := range [][2]int{{ofNamed, ofNobody}, {ofAcme, ofAcme}} {
				foreign, absent := scopeFill(t, o, tenant[0], ofNamed), scopeFill(t, o, tenant[1], ofNobody)
				if foreign.path == absent.path && foreign.body == absent.body {
					continue // it names nothing
				}
				if o.ID == "postWhatIf" && tenant[0] == ofAcme {
					continue // a document may not have the id of any subscription that there is (R1), and is refused for it
				}
				a, b := foreign.ask(t, s, role), absent.ask(t, s, role)
				if is, want := alike(a, foreign.values), alike(b, absent.values); is != want {
					t.Errorf("%s as %s can tell %s %s from %s:\n%s\nand\n%s", o.ID, role, foreign.path, foreign.body, absent.path, is, want)
				}
			}
			own := scopeFill(t, o, ofAcme, ofAcme)
			for _, p := range o.Parameters {
				values, known := scopeValues[p.Name]
				if p.In != "query" || !known || values[ofNamed] == values[ofNobody] {
					continue
				}
				var texts []string
				for _, whose := range []int{ofNamed, ofNobody} {
					a := s.ask(t, role, own.method, withQuery(own.path, p.Name, values[whose]), own.body, own.headers...)
					leaksNothing(t, fmt.Sprintf("%s as %s with %s=%s", o.ID, role, p.Name, values[whose]), a, values[:])
					texts = append(texts, alike(a, slices.Concat(own.values, values[:])))
				}
				if texts[0] != texts[1] {
					t.Errorf("%s as %s can tell %s=%s from %s:\n%s\nand\n%s", o.ID, role, p.Name, values[ofNamed], values[ofNobody], texts[0], texts[1])
				}
			}
		}
	}
}

// withQuery sets a parameter of a path's query.
func withQuery(path, name, value string) string {
	path, text, _ := strings.Cut(path, "?")
	query, _ := url.ParseQuery(text)
	query.Set(name, value)
	return path + "?" + query.Encode()
}

// Cursors of another's list, other forms, and paths that try to lead out of one's own tell an administrator nothing.
func TestAPIScopeAttacked(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	_, operations, _ := apiDocument(t)
	cursors := 0
	for _, o := range operations {
		if !slices.Contains(o.Roles, "tenant") {
			continue
		}
		own := scopeFill(t, o, ofAcme, ofAcme)
		if slices.ContainsFunc(o.Parameters, func(p apiParameter) bool { return p.Name == "after" }) {
			staff := o.Roles[0]
			for _, of := range []int{ofAcme, ofNamed} {
				path := withQuery(scopeFill(t, o, of, of).path, "limit", "1")
				next, _ := s.ask(t, staff, own.method, path, "").want(t, http.StatusOK)["next"].(string)
				if next == "" {
					continue
				}
				cursors++
				leaksNothing(t, o.ID+" after the cursor of "+staff, s.ask(t, "tenant", own.method, withQuery(path, "after", next), ""),
					[]string{scopeValues["tenant"][ofNamed]})
				leaksNothing(t, o.ID+" after the cursor of "+staff+", of one's own", s.ask(t, "tenant", own.method,
					withQuery(withQuery(own.path, "limit", "1"), "after", next), ""), nil)
			}
		}
		for status, r := range o.Responses {
			for mediaType := range r.Content {
				if status == "200" && o.RequestBody == nil {
					for _, of := range []int{ofAcme, ofNamed} {
						r := scopeFill(t, o, of, of)
						r.headers = append(r.headers, "Accept", mediaType)
						leaksNothing(t, o.ID+" as "+mediaType, r.ask(t, s, "tenant"), r.values)
					}
				}
			}
		}
		for _, p := range o.Parameters {
			if p.In != "path" || o.writes() {
				continue
			}
			for _, attack := range []string{
				"%6eamed", "named%20", "%20named", "NAMED", "acme%2F..%2Fnamed", "..%2Fnamed", "acme%00named", "acme%2Cnamed", "*", "%25",
				"acme%27%20OR%20%271%27=%271", "..", "%2e%2e", "acme%0D%0ASet-Cookie:x", "%F0%9F%8F%A2", "%ff", strings.Repeat("a", 5000),
			} {
				path := strings.ReplaceAll(o.Path, "{"+p.Name+"}", attack)
				for name, values := range scopeValues {
					path = strings.ReplaceAll(path, "{"+name+"}", values[ofAcme])
				}
				if query := scopeQueries[o.ID]; query != "" {
					path += "?" + query
				}
				a := s.ask(t, "tenant", o.Method, path, "")
				if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusOK {
					t.Errorf("%s %.100s: %d\n%s", o.ID, path, a.StatusCode, a.body)
				}
				unescaped, _ := url.PathUnescape(attack)
				leaksNothing(t, o.ID+" of "+path[:min(100, len(path))], a, []string{unescaped, "acme/../named", "../named", "named", "acme,named"})
			}
		}
	}
	if cursors == 0 {
		t.Error("no list had a cursor")
	}
}

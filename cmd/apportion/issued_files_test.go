package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/civil"
)

// changedSettings has, for every key of the configuration, another value than the test begins with; those of another
// Kafka or ClickHouse are not to be changed here.
var changedSettings = map[string]string{
	"kafka.group": "other", "kafka.partitions": "7", "kafka.retentionDays": "10",
	"rules.ivrPortFactor": "3", "rules.openSessionHours": "5", "rules.graceDays": "9",
	"schedule.issue": "5 4 * * *", "schedule.from": "2030-01", "schedule.catchUp": "true", "schedule.out": "elsewhere",
	"seal.afterMonths": "5",
	"time.zoneData":    "other.zip",
	"seller.name":      "Other AB", "seller.address.street": "Nygatan 99", "seller.address.city": "Malmö", "seller.address.postcode": "211 11",
	"seller.address.country": "NO", "seller.vatId": "SE556677889902", "seller.registrationId": "5566778800",
	"seller.endpoint.scheme": "0192", "seller.endpoint.id": "974760673",
	"seller.contact.name": "Anna", "seller.contact.telephone": "+46 40 654321", "seller.contact.email": "anna@seller.example", "seller.payment.iban": "SE3550000000054910000003", "seller.payment.termsDays": "10",
	"files.itemCodes": "overage=4712,commitment=1",
	"http.listen":     "127.0.0.1:0", "http.ops": "127.0.0.1:0", "auth.twoPersons": "true", "log.level": "debug", "log.format": "json",
}

// connecting begins the keys that say where everything is, and who may ask for it.
var connecting = []string{"kafka.brokers", "kafka.topicPrefix", "kafka.tls.", "kafka.sasl.", "clickhouse.",
	"auth.oidc.", "auth.grants", "auth.tokens", "auth.sessionKeys"}

// wholeTenant has every field that a document can have.
const wholeTenant = `{"tenants":[{"id":"northwind","name":"Acme AB","timeZone":"Europe/Stockholm","telephony":"vpop",
"billTo":{"name":"Acme Inköp","address":{"street":"Gatan 2","city":"Lund","postcode":"222 22","country":"SE"},"vatId":"SE556036079301","registrationId":"5560360793",
 "reference":"case 9","leitwegId":"04011000-1234512345-06","termsDays":20,"endpoint":{"scheme":"0007","id":"5560360793"},"tax":[{"category":"S","rate":"25"},{"from":"2026-10-01","category":"S","rate":"12"}]},
"subscriptions":[{"id":"Northwind1","name":"Support","licenceModel":"concurrent","plan":"flex","deployment":"cloud","currency":"SEK","billing":"monthly",
 "terms":[{"from":"2026-01-01","to":"2029-01-01"}],
 "versions":[{"from":"2026-01-01","commitments":{"agent_standard":1},"prices":{"commitment":{"agent_standard":"100"},"overage":{"agent_standard":"150","ivr_port":"15"},"connect":{"sms":"0.1"}}}]}],
"licences":[{"user":"a1","role":"agent","class":"standard","subscription":"Northwind1","from":"2026-01-01"}],
"entryPoints":[{"entryPoint":"ep","subscription":"Northwind1","from":"2026-01-01"}]}]}`

// changedFields has what is changed in that document, one after the other, for every field that may change.
var changedFields = [][2]string{
	{`"name":"Acme AB"`, `"name":"Acme Nordic AB"`},
	{`"name":"Acme Inköp"`, `"name":"Acme Purchasing"`},
	{`"street":"Gatan 2"`, `"street":"Gatan 3"`},
	{`"city":"Lund"`, `"city":"Malmö"`},
	{`"postcode":"222 22"`, `"postcode":"211 20"`},
	{`"vatId":"SE556036079301"`, `"vatId":"SE556677889901"`},
	{`"registrationId":"5560360793"`, `"registrationId":"5566778899"`},
	{`"reference":"case 9"`, `"reference":"case 10"`},
	{`"leitwegId":"04011000-1234512345-06"`, `"leitwegId":"992-90009-96"`},
	{`"termsDays":20`, `"termsDays":25`},
	{`"id":"5560360793"}`, `"id":"5566778899"}`},
	{`"rate":"25"`, `"rate":"24"`},
	{`"rate":"12"`, `"rate":"6"`},
	{`,{"from":"2026-10-01","category":"S","rate":"6"}`, ``},
	{`"name":"Support"`, `"name":"Helpdesk"`},
	{`"plan":"flex"`, `"plan":"flex3"`},
	{`"deployment":"cloud"`, `"deployment":"hybrid"`},
	{`"to":"2029-01-01"`, `"to":"2030-01-01"`},
	{`"agent_standard":1}`, `"agent_standard":3}`},
	{`"agent_standard":"100"`, `"agent_standard":"110"`},
	{`"agent_standard":"150"`, `"agent_standard":"160"`},
	{`"sms":"0.1"`, `"sms":"0.2"`},
	{`"class":"standard"`, `"class":"premium"`},
	{`"role":"agent"`, `"role":"admin"`},
	{`{"entryPoint":"ep",`, `{"entryPoint":"ep2",`},
	{`"licences":[{"user":"a1","role":"admin","class":"premium","subscription":"Northwind1","from":"2026-01-01"}],`, ``},
	{`"country":"SE"},"vatId":"SE556677889901"`, `"country":"FI"},"vatId":"FI12345671"`},
}

// TestIssuedFilesStay: the files of what is issued, corrections included, are the same bytes whatever is configured or
// registered later (R20).
func TestIssuedFilesStay(t *testing.T) {
	servicetest.Heavy(t, "it writes files some hundred times")
	// Not beside other tests: one of the settings is the time zone data, which the whole process uses.
	s := sharedServers(t).scenario(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	session := func(id, agent, from, to string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/t","type":"agent.session","time":"%sZ","tenantid":"northwind","data":{"agentId":"%s","startTime":"%[4]sZ","endTime":"%[2]sZ"}}`+"\n", id, to, agent, from)
	}
	message := `{"specversion":"1.0","id":"m1","source":"/t","type":"connect.usage","time":"2026-09-14T08:00:00Z","tenantid":"northwind","data":{"channel":"sms","quantity":"1000"}}` + "\n"
	sender := map[string]string{"seller.name": "Seller AB", "seller.address.street": "Gatan 1", "seller.address.city": "Stockholm", "seller.address.postcode": "111 22",
		"seller.address.country": "SE", "seller.vatId": "SE556677889901", "seller.registrationId": "5566778899", "seller.payment.iban": "SE4550000000058398257466",
		"seller.endpoint.scheme": "0007", "seller.endpoint.id": "5566778899",
		"seller.contact.name": "Invoices", "seller.contact.telephone": "+46 8 123456", "seller.contact.email": "invoices@seller.example", "files.itemCodes": "overage=4711,connect.connect.sms=S 1"}
	settings := func(changed ...string) (flags []string) {
		for _, key := range slices.Sorted(maps.Keys(sender)) {
			if len(changed) == 0 || changed[0] != key {
				flags = append(flags, "--set", key+"="+sender[key])
			}
		}
		if len(changed) > 0 {
			flags = append(flags, "--set", changed[0]+"="+changed[1])
		}
		return flags
	}
	apply := func(document string) { s.apportion("registry", "apply", "-f", write("registry.json", document)) }
	take := func(deliveries string) {
		s.apportion("publish", write("events.ndjson", deliveries))
		s.apportion("ingest", "--until-caught-up")
	}
	periods := []string{"2026-09", "2026-10"}
	apply(wholeTenant)
	take(message + session("s1", "a1", "2026-09-10T08:00:00", "2026-09-10T12:00:00") + session("s2", "a2", "2026-09-10T09:00:00", "2026-09-10T10:00:00") +
		session("s3", "a1", "2026-10-10T08:00:00", "2026-10-10T12:00:00") + session("s4", "a2", "2026-10-10T09:00:00", "2026-10-10T10:00:00"))
	for n, period := range periods {
		s.apportion(append([]string{"bill", "issue", "--period", period, "--as-of", "2027-06-01T00:00:00Z", "--allow-future"}, settings()...)...)
		if n == 0 {
			take(strings.Replace(message, `"m1"`, `"m2"`, 1)) // October corrects September
		}
	}
	exported := 0
	export := func(flags ...string) map[string][]byte {
		t.Helper()
		exported++
		out := filepath.Join(dir, fmt.Sprint("out", exported))
		files := map[string][]byte{}
		for _, period := range periods {
			s.apportion(append([]string{"bill", "export", "--period", period, "--out", out}, flags...)...)
			civil.Use(nil)
			for _, name := range []string{"lines.csv", "invoices.csv", "invoices.json", "invoices.xlsx", "focus.csv", "focus-1.4/invoice_detail.csv", "focus-1.4/billing_period.csv", "manifest.json", "pdf/INV-Northwind1-" + strings.Replace(period, "-", "", 1) + ".pdf", "ubl/INV-Northwind1-" + strings.Replace(period, "-", "", 1) + ".xml"} {
				content, err := os.ReadFile(filepath.Join(out, period, filepath.FromSlash(name)))
				if err != nil {
					t.Fatal(err)
				}
				files[period+"/"+name] = content
			}
		}
		return files
	}
	want := export(settings()...)
	same := func(what string, got map[string][]byte) {
		t.Helper()
		for name := range want {
			if !bytes.Equal(got[name], want[name]) {
				t.Errorf("%s: %s has other bytes", what, name)
			}
		}
	}
	if !bytes.Contains(want["2026-10/lines.csv"], []byte(",adjustment,connect.sms,1000,")) || !bytes.Contains(want["2026-09/lines.csv"], []byte(",overage,agent_standard,1,")) {
		t.Fatalf("the invoices lack what they are to show:\n%s%s", want["2026-09/lines.csv"], want["2026-10/lines.csv"])
	}

	zones, err := zonesAs("2099a", "Europe/Stockholm=Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	other := write("other.zip", string(zones))
	var keys []struct{ Key, Value string }
	if err := json.Unmarshal([]byte(s.apportion(append([]string{"config", "--json"}, settings()...)...)), &keys); err != nil || len(keys) < 30 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	changed := 0
	for _, k := range keys {
		if slices.ContainsFunc(connecting, func(prefix string) bool { return strings.HasPrefix(k.Key, prefix) }) {
			continue
		}
		value, ok := changedSettings[k.Key]
		if !ok || value == k.Value {
			t.Errorf("nothing says what %s, %q, is to be changed to", k.Key, k.Value)
			continue
		}
		if k.Key == "time.zoneData" {
			value = other
		}
		same(k.Key+"="+value, export(settings(k.Key, value)...))
		changed++
	}
	document := wholeTenant
	for _, c := range changedFields {
		next := strings.Replace(document, c[0], c[1], 1)
		if next == document {
			t.Fatalf("the document has no %s", c[0])
		}
		document = next
		apply(document)
		same(c[0], export(settings()...))
	}
	t.Logf("%d keys and %d fields were changed, %d exports", changed, len(changedFields), exported)
}

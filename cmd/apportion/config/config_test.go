package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"apportion/billing"
	"apportion/billing/registry"
)

func TestSeller(t *testing.T) {
	file := filepath.Join(t.TempDir(), "apportion.yaml")
	if err := os.WriteFile(file, []byte(`
seller:
  name: Seller AB
  address: {street: Gatan 1, city: Stockholm, postcode: "111 22", country: SE}
  vatId: SE556677889901
  registrationId: "5566778899"
  endpoint: {scheme: "0007", id: "5566778899"}
  contact: {name: Invoices, telephone: +46 8 123 456, email: invoices@seller.example}
  payment: {iban: SE4550000000058398257466, termsDays: 14}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Load(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := billing.Seller{
		Name: "Seller AB", Address: registry.Address{Street: "Gatan 1", City: "Stockholm", Postcode: "111 22", Country: "SE"},
		VATID: "SE556677889901", RegistrationID: "5566778899", Endpoint: &registry.Endpoint{Scheme: "0007", ID: "5566778899"},
		Contact: &billing.Contact{Name: "Invoices", Telephone: "+46 8 123 456", Email: "invoices@seller.example"},
		IBAN:    "SE4550000000058398257466", TermsDays: 14,
	}
	if got := cfg.Seller.Sender(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Default().Seller.Sender(); !reflect.DeepEqual(got, billing.Seller{TermsDays: 30}) {
		t.Errorf("a seller that is not configured is %+v", got)
	}
}

// Every setting can be set from the environment, by a name of its own.
func TestEveryVariable(t *testing.T) {
	defaults := Default()
	if key, must := defaults.Check(); key != "" {
		t.Errorf("the default of %s must %s", key, must)
	}
	names := make(map[string]string)
	for _, s := range Settings(&defaults) {
		name := s.Variable()
		if s.IsList() {
			if _, _, err := Load("", nil, []string{s.Key + "=x"}); name != "" || err == nil || !strings.Contains(err.Error(), "only the configuration file") {
				t.Errorf("%s, a list of objects, can be set by %q, or: %v", s.Key, name, err)
			}
			continue
		}
		if other, taken := names[name]; taken {
			t.Errorf("%s and %s share %s", s.Key, other, name)
		}
		names[name] = s.Key

		value := "7"
		if s.Key == "log.level" {
			value = "warn"
		} else if s.Key == "log.format" {
			value = "json"
		} else if strings.HasSuffix(s.Key, ".country") {
			value = "NO"
		} else if s.Key == "seller.vatId" {
			value = "NO923609016MVA"
		} else if s.Key == "seller.payment.iban" {
			value = "NO93 8601 1117 947"
		} else if s.Key == "seller.endpoint.scheme" {
			value = "0192"
		} else if s.Key == "seller.contact.email" {
			value = "invoices@seller.example"
		} else if s.Key == "seller.contact.telephone" {
			value = "+46 8 123"
		} else if strings.HasSuffix(s.Key, ".brokers") || strings.HasSuffix(s.Key, ".addr") {
			value = "a:1,[::1]:2"
		} else if s.Key == "clickhouse.database" {
			value = "usage_2"
		} else if s.Key == "schedule.issue" {
			value = "0 4 * * *"
		} else if s.Key == "schedule.from" {
			value = "2026-10"
		} else if strings.HasPrefix(s.Key, "http.") {
			value = "localhost:8080"
		} else if s.Key == "auth.oidc.issuer" {
			value = "https://id.example"
		} else if s.Key == "auth.oidc.redirectUrl" {
			value = "https://apportion.example/oidc/callback"
		} else if s.Key == "auth.sessionKeys" {
			value = testKey
		} else if strings.HasSuffix(s.Key, ".tls.enabled") || s.Key == "schedule.catchUp" || s.Key == "auth.twoPersons" {
			value = "true"
		} else if s.Key == "kafka.sasl.mechanism" {
			value = "SCRAM-SHA-512"
		} else if s.Key == "files.itemCodes" {
			value = "overage=4000,overage.agent_standard=4711"
		}
		environ := []string{name + "=" + value}
		// Some mean nothing without others.
		switch section, key, _ := strings.Cut(name, "_TLS_"); {
		case key == "CERT_FILE":
			environ = append([]string{section + "_TLS_ENABLED=true", section + "_TLS_KEY_FILE=k"}, environ...)
		case key == "KEY_FILE":
			environ = append([]string{section + "_TLS_ENABLED=true", section + "_TLS_CERT_FILE=c"}, environ...)
		case key != "":
			environ = append([]string{section + "_TLS_ENABLED=true"}, environ...)
		case strings.HasPrefix(s.Key, "kafka.sasl."):
			environ = append([]string{"APPORTION_KAFKA_SASL_MECHANISM=PLAIN", "APPORTION_KAFKA_SASL_USER=u"}, environ...)
		case strings.HasPrefix(s.Key, "seller.contact."):
			environ = append([]string{"APPORTION_SELLER_CONTACT_NAME=n", "APPORTION_SELLER_CONTACT_TELEPHONE=+46 8 1",
				"APPORTION_SELLER_CONTACT_EMAIL=n@seller.example"}, environ...)
		case strings.HasPrefix(s.Key, "auth.oidc."):
			environ = append([]string{"APPORTION_AUTH_OIDC_ISSUER=https://id.example", "APPORTION_AUTH_OIDC_CLIENT_ID=c",
				"APPORTION_AUTH_SESSION_KEYS=" + testKey}, environ...)
		case strings.HasPrefix(s.Key, "seller.endpoint."):
			environ = append([]string{"APPORTION_SELLER_ENDPOINT_SCHEME=0007", "APPORTION_SELLER_ENDPOINT_ID=5560360793"}, environ...)
		}
		cfg, sources, err := Load("", environ, nil)
		if err != nil {
			t.Errorf("%s: %v", s.Key, err)
			continue
		}
		if sources[s.Key] != "environment "+name {
			t.Errorf("%s is from %q, want the environment", s.Key, sources[s.Key])
		}
		for _, got := range Settings(&cfg) {
			if want := value; got.Key == s.Key && !got.Secret && got.String() != want {
				t.Errorf("%s = %q, want %q", s.Key, got, want)
			}
		}
	}
	for name, key := range map[string]string{
		"APPORTION_KAFKA_TOPIC_PREFIX":        "kafka.topicPrefix",
		"APPORTION_RULES_IVR_PORT_FACTOR":     "rules.ivrPortFactor",
		"APPORTION_SELLER_VAT_ID":             "seller.vatId",
		"APPORTION_SELLER_ADDRESS_POSTCODE":   "seller.address.postcode",
		"APPORTION_CLICKHOUSE_PASSWORD":       "clickhouse.password",
		"APPORTION_SELLER_PAYMENT_TERMS_DAYS": "seller.payment.termsDays",
	} {
		if names[name] != key {
			t.Errorf("%s sets %q, want %s", name, names[name], key)
		}
	}
}

// The schedule is in UTC, whatever the machine's zone and the clock changes of others: one firing an hour.
func TestTimetable(t *testing.T) {
	for expression, want := range map[string]string{
		"7 * * * *": "", "@hourly": "", "@every 90m": "", "0 4 29 2 *": "",
		"":                      "empty",
		"7 * * *":               "expected exactly 5 fields",
		"61 * * * *":            "above maximum",
		"0 4 30 2 *":            "never comes",
		"CRON_TZ=UTC":           "names a time zone",
		"TZ=Europe/Oslo 0 4 *":  "names a time zone",
		"CRON_TZ=UTC 0 4 * * *": "names a time zone",
	} {
		_, err := ParseTimetable(expression)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", expression, err, want)
		}
	}
	timetable, err := ParseTimetable(Default().Schedule.Issue)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC)
	for range 100 {
		next := timetable.Next(at)
		if gap := next.Sub(at); at.Minute() == 7 && gap != time.Hour || next.Location() != time.UTC {
			t.Fatalf("after %s comes %s", at, next)
		}
		at = next
	}
}

// With both sections wrong, the one that is told is no chance.
func TestTLSOfKafkaIsToldFirst(t *testing.T) {
	for range 20 {
		cfg := Default()
		cfg.ClickHouse.TLS.CertFile, cfg.Kafka.TLS.CertFile = "own.pem", "own.pem"
		if key, _ := cfg.Check(); key != "kafka.tls.enabled" {
			t.Fatalf("%s is told first", key)
		}
	}
}

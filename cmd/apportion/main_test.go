package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command says what it does, in short and at length, and shows how it is used.
func TestCommandsHaveHelp(t *testing.T) {
	seen := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		seen++
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" {
			t.Errorf("%s does not say what it does", path)
		}
		if !strings.Contains(cmd.Example, "apportion") || strings.Contains(cmd.Example, "\t") {
			t.Errorf("%s has no example, or one that tabs misalign: %q", path, cmd.Example)
		}
		if !cmd.HasSubCommands() && !strings.Contains(cmd.Example, path) {
			t.Errorf("no example of %s shows that command: %q", path, cmd.Example)
		}
		if cmd.Args == nil {
			t.Errorf("%s does not say which arguments it takes, so it would take any", path)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{}))
	if seen < 10 {
		t.Errorf("only %d commands were looked at", seen)
	}
}

// Every setting can be set from the environment, by a name of its own.
func TestEveryVariable(t *testing.T) {
	defaults := DefaultConfig()
	if key, must := defaults.check(); key != "" {
		t.Errorf("the default of %s must %s", key, must)
	}
	names := make(map[string]string)
	for _, s := range settings(&defaults) {
		name := s.variable()
		if other, taken := names[name]; taken {
			t.Errorf("%s and %s share %s", s.key, other, name)
		}
		names[name] = s.key

		value := "7"
		if s.key == "log.level" {
			value = "warn"
		} else if s.key == "log.format" {
			value = "json"
		} else if strings.HasSuffix(s.key, ".country") {
			value = "NO"
		} else if s.key == "seller.vatId" {
			value = "NO923609016MVA"
		} else if s.key == "seller.payment.iban" {
			value = "NO93 8601 1117 947"
		} else if s.key == "seller.endpoint.scheme" {
			value = "0192"
		} else if strings.HasSuffix(s.key, ".brokers") || strings.HasSuffix(s.key, ".addr") {
			value = "a:1,[::1]:2"
		} else if s.key == "clickhouse.database" {
			value = "usage_2"
		} else if s.key == "schedule.issue" {
			value = "0 4 * * *"
		} else if s.key == "schedule.from" {
			value = "2026-10"
		} else if s.key == "http.listen" {
			value = "localhost:8080"
		} else if strings.HasSuffix(s.key, ".tls.enabled") || s.key == "schedule.catchUp" {
			value = "true"
		} else if s.key == "kafka.sasl.mechanism" {
			value = "SCRAM-SHA-512"
		} else if s.key == "files.itemCodes" {
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
		case strings.HasPrefix(s.key, "kafka.sasl."):
			environ = append([]string{"APPORTION_KAFKA_SASL_MECHANISM=PLAIN", "APPORTION_KAFKA_SASL_USER=u"}, environ...)
		case strings.HasPrefix(s.key, "seller.endpoint."):
			environ = append([]string{"APPORTION_SELLER_ENDPOINT_SCHEME=0007", "APPORTION_SELLER_ENDPOINT_ID=5560360793"}, environ...)
		}
		cfg, sources, err := loadConfig("", environ, nil)
		if err != nil {
			t.Errorf("%s: %v", s.key, err)
			continue
		}
		if sources[s.key] != "environment "+name {
			t.Errorf("%s is from %q, want the environment", s.key, sources[s.key])
		}
		for _, got := range settings(&cfg) {
			if want := value; got.key == s.key && !got.secret && got.String() != want {
				t.Errorf("%s = %q, want %q", s.key, got, want)
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

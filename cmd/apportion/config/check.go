package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

var (
	addressRE     = regexp.MustCompile(`^.+:[0-9]{1,5}$`)
	topicPrefixRE = regexp.MustCompile(`^[A-Za-z0-9._-]{0,100}$`)
	databaseRE    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	clusterRE     = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}$`)
)

// rule is what a value must be.
type rule struct {
	broken    bool
	key, must string
}

// Check returns the first key whose value cannot be, with what it must be; none when all is well.
func (c *Config) Check() (key, must string) {
	for _, rule := range slices.Concat(c.Kafka.rules(), c.ClickHouse.rules(), c.Rules.rules(), c.Schedule.rules(),
		c.Seal.rules(), c.Seller.rules(), c.otherRules(), c.Auth.rules(), c.Kafka.TLS.rules("kafka.tls"),
		c.ClickHouse.TLS.rules("clickhouse.tls")) {
		if rule.broken {
			return rule.key, rule.must
		}
	}
	return "", ""
}

func notAddress(s string) bool {
	_, _, err := net.SplitHostPort(s)
	return err != nil || !addressRE.MatchString(s)
}

func outside(n, least, most int) bool { return n < least || n > most }

func (k Kafka) rules() []rule {
	mechanisms := strings.Join(kafka.SASLMechanisms, ", ")
	known := k.SASL.Mechanism == "" || slices.Contains(kafka.SASLMechanisms, k.SASL.Mechanism)
	return []rule{
		{slices.ContainsFunc(k.Brokers, notAddress), "kafka.brokers", "be host:port, several separated by commas"},
		{!topicPrefixRE.MatchString(k.TopicPrefix), "kafka.topicPrefix",
			"consist of letters, digits, points, underscores and hyphens, at most 100"},
		{k.Group == "", "kafka.group", "not be empty"},
		{outside(k.Partitions, 1, 1000), "kafka.partitions", "be from 1 to 1000"},
		{outside(k.RetentionDays, 1, 36500), "kafka.retentionDays", "be from 1 to 36500"},
		{!known, "kafka.sasl.mechanism", "be one of " + mechanisms + ", or empty"},
		{k.SASL.Mechanism != "" && k.SASL.User == "", "kafka.sasl.user", "not be empty with a kafka.sasl.mechanism"},
		{k.SASL.Mechanism == "" && k.SASL != SASL{}, "kafka.sasl.mechanism",
			"be one of " + mechanisms + " for the rest of kafka.sasl to be used"},
	}
}

func (c ClickHouse) rules() []rule {
	return []rule{
		{slices.ContainsFunc(c.Addr, notAddress), "clickhouse.addr", "be host:port, several separated by commas"},
		{!databaseRE.MatchString(c.Database), "clickhouse.database", "be a name of letters, digits and underscores"},
		{!clusterRE.MatchString(c.Cluster), "clickhouse.cluster",
			"be a name of letters, digits, points, underscores and hyphens, or empty"},
		{c.User == "", "clickhouse.user", "not be empty"},
	}
}

func (r Rules) rules() []rule {
	return []rule{
		{outside(r.IVRPortFactor, 0, 1000), "rules.ivrPortFactor", "be from 0 to 1000 ports a seat (R14)"},
		{outside(r.OpenSessionHours, 1, longestSession), "rules.openSessionHours",
			fmt.Sprintf("be from 1 to %d, the longest session that is accepted (R12)", longestSession)},
		{outside(r.GraceDays, 0, 366), "rules.graceDays", "be from 0 to 366 days (R20)"},
	}
}

// longestSession is in hours.
const longestSession = int(schemas.MaxSessionMS / 3_600_000)

func (s Schedule) rules() []rule {
	_, notCron := ParseTimetable(s.Issue)
	_, notPeriod := civil.ParseMonth(s.From)
	return []rule{
		{notCron != nil, "schedule.issue",
			"be a cron expression of five fields in UTC, such as \"7 * * * *\" or @hourly"},
		{s.From != "" && notPeriod != nil, "schedule.from", "be a period, such as 2026-10, or empty"},
	}
}

func (s Seal) rules() []rule {
	return []rule{
		{outside(s.AfterMonths, 0, 1200), "seal.afterMonths", "be from 1 to 1200 months, or 0 for never (R25)"},
	}
}

func (s Seller) rules() []rule {
	return []rule{
		{s.Address.Country != "" && !export.IsCountry(s.Address.Country), "seller.address.country",
			"be a code of ISO 3166-1 in two capital letters, such as SE"},
		{s.VATID != "" && !export.IsVATID(s.VATID), "seller.vatId",
			"begin with the code of the country that gave it, such as SE"},
		{s.Endpoint.ID != "" && !registry.IsEndpointScheme(s.Endpoint.Scheme), "seller.endpoint.scheme",
			"be an identifier scheme of Peppol, such as 0007"},
		{s.Endpoint.ID == "" && s.Endpoint.Scheme != "", "seller.endpoint.id", "not be empty with a seller.endpoint.scheme"},
		{s.Contact.Name == "" && s.Contact.Telephone+s.Contact.Email != "", "seller.contact.name",
			"not be empty with the rest of seller.contact"},
		{s.Contact.Name != "" && !export.IsTelephone(s.Contact.Telephone), "seller.contact.telephone",
			"be a telephone number, of three digits at the least (BR-DE-27)"},
		{s.Contact.Name != "" && !export.IsEmail(s.Contact.Email), "seller.contact.email",
			"be an e-mail address, such as invoices@seller.example (BR-DE-28)"},
		{s.Payment.IBAN != "" && !export.IsIBAN(s.Payment.IBAN), "seller.payment.iban",
			"be an IBAN, whose check digits agree with the rest of it"},
		{outside(s.Payment.TermsDays, 0, 3660), "seller.payment.termsDays", "be from 0 to 3660 days"},
	}
}

func (c *Config) otherRules() []rule {
	return []rule{
		{notAddress(c.HTTP.Listen), "http.listen", "be host:port, such as 127.0.0.1:8080"},
		{c.HTTP.Ops != "" && notAddress(c.HTTP.Ops), "http.ops", "be host:port, such as 127.0.0.1:8081"},
		{c.HTTP.Ops == c.HTTP.Listen && !strings.HasSuffix(c.HTTP.Ops, ":0"), "http.ops",
			"be another address than http.listen"},
		{!slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level",
			"be debug, info, warn or error"},
		{!slices.Contains([]string{"text", "json"}, c.Log.Format), "log.format", "be text or json"},
	}
}

func (t TLS) rules(key string) []rule {
	return []rule{
		{!t.Enabled && t != TLS{}, key + ".enabled", "be true for the rest of " + key + " to be used"},
		{t.CertFile != "" && t.KeyFile == "", key + ".keyFile", "name the key of " + key + ".certFile"},
		{t.CertFile == "" && t.KeyFile != "", key + ".certFile", "name the certificate of " + key + ".keyFile"},
	}
}

// ParseTimetable reads when the schedule fires: a cron expression of five fields, or a descriptor such as @hourly,
// in UTC. In any other zone clock changes would skip or double a firing, so it may not name one.
func ParseTimetable(expression string) (cron.Schedule, error) {
	if strings.Contains(expression, "TZ=") {
		return nil, errors.New("names a time zone, and the schedule is in UTC")
	}
	timetable, err := cron.ParseStandard(expression)
	if err == nil && timetable.Next(time.Unix(0, 0).UTC()).IsZero() {
		err = errors.New("never comes")
	}
	return timetable, err
}

package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/schemas/civil"
	"apportion/schemas/typo"

	"go.yaml.in/yaml/v4"
)

// Config is everything that can be configured. The yaml tags name the keys, in a file as they nest, elsewhere
// joined by points.
type Config struct {
	Kafka      KafkaConfig      `yaml:"kafka"`
	ClickHouse ClickHouseConfig `yaml:"clickhouse"`
	Rules      RulesConfig      `yaml:"rules"`
	Schedule   ScheduleConfig   `yaml:"schedule"`
	Time       TimeConfig       `yaml:"time"`
	Seller     SellerConfig     `yaml:"seller"`
	Files      FilesConfig      `yaml:"files"`
	HTTP       HTTPConfig       `yaml:"http"`
	Log        LogConfig        `yaml:"log"`
}

// KafkaConfig says where the events come from. There is no default address: usage that goes to the wrong
// servers is not metered.
type KafkaConfig struct {
	Brokers     []string `yaml:"brokers"`     // host:port
	TopicPrefix string   `yaml:"topicPrefix"` // before the name of every topic
	Group       string   `yaml:"group"`       // the consumer group of ingest
	Partitions  int      `yaml:"partitions"`  // of each usage topic that migrate creates
	// RetentionDays is for how long usage topics must keep deliveries at least.
	RetentionDays int        `yaml:"retentionDays"`
	TLS           TLSConfig  `yaml:"tls"`
	SASL          SASLConfig `yaml:"sasl"`
}

// SASLConfig says who we are for Kafka.
type SASLConfig struct {
	Mechanism string `yaml:"mechanism"` // one of ingest.SASLMechanisms, or empty for none
	User      string `yaml:"user"`
	Password  string `yaml:"password" secret:"true"`
}

// TLSConfig says how connections are encrypted, and whose certificates are trusted.
type TLSConfig struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"caFile"`     // PEM, whom to trust; the system's authorities when empty
	CertFile   string `yaml:"certFile"`   // PEM, our own certificate, where servers want one
	KeyFile    string `yaml:"keyFile"`    // PEM, its key
	ServerName string `yaml:"serverName"` // the name in the server's certificate, when it is not that in the address
}

// ClickHouseConfig says where usage and what is derived from it is kept.
type ClickHouseConfig struct {
	Addr     []string  `yaml:"addr"` // host:port of the native protocol; several are replicas
	Database string    `yaml:"database"`
	Cluster  string    `yaml:"cluster"` // as remote_servers of ClickHouse names it; empty for one server
	User     string    `yaml:"user"`
	Password string    `yaml:"password" secret:"true"`
	TLS      TLSConfig `yaml:"tls"`
}

// RulesConfig has what the billing rules leave to configuration.
type RulesConfig struct {
	IVRPortFactor    int `yaml:"ivrPortFactor"`    // ports in the pool per committed seat (R14)
	OpenSessionHours int `yaml:"openSessionHours"` // an open session ends so long after its start (R12)
	GraceDays        int `yaml:"graceDays"`        // days from a period's end until it is issued (R20)
}

// ScheduleConfig says what the schedule of run issues, and when. There is no default for the first period: what was
// invoiced before by other means must not be invoiced again.
type ScheduleConfig struct {
	Issue string `yaml:"issue"` // when, a cron expression in UTC
	From  string `yaml:"from"`  // the first period, such as 2026-10
	// CatchUp says that it was a long absence if many periods are due at once, and not a clock that is ahead.
	CatchUp bool   `yaml:"catchUp"`
	Out     string `yaml:"out"` // the directory that the files go below; empty: none are written
}

// TimeConfig says by which data months and dates begin.
type TimeConfig struct {
	ZoneData string `yaml:"zoneData"` // a zip file or a directory of compiled zones; empty: what comes with the program
}

// SellerConfig is the seller on UBL and PDF invoices.
type SellerConfig struct {
	Name    string `yaml:"name"`
	Address struct {
		Street   string `yaml:"street"`
		City     string `yaml:"city"`
		Postcode string `yaml:"postcode"`
		Country  string `yaml:"country"` // ISO 3166-1 alpha-2
	} `yaml:"address"`
	VATID          string `yaml:"vatId"`
	RegistrationID string `yaml:"registrationId"`
	Endpoint       struct {
		Scheme string `yaml:"scheme"`
		ID     string `yaml:"id"`
	} `yaml:"endpoint"` // for Peppol
	Payment struct {
		IBAN      string `yaml:"iban"`
		TermsDays int    `yaml:"termsDays"`
	} `yaml:"payment"`
}

// FilesConfig has what finance's system wants in the files.
type FilesConfig struct {
	ItemCodes billing.ItemCodes `yaml:"itemCodes"` // of lines, by kind.meter or kind
}

// HTTPConfig says where health and metrics are served.
type HTTPConfig struct {
	Listen string `yaml:"listen"` // host:port; empty: ingest serves none, and serve and run take 127.0.0.1:8080
}

// LogConfig says what is logged, on stderr.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// DefaultConfig returns the configuration before anything was configured.
func DefaultConfig() Config {
	cfg := Config{
		Kafka:      KafkaConfig{Group: ingest.DefaultConfig().Group, Partitions: ingest.DefaultPartitions, RetentionDays: ingest.DefaultRetentionDays},
		ClickHouse: ClickHouseConfig{Database: "apportion", User: "default"},
		Rules:      RulesConfig{IVRPortFactor: 2, OpenSessionHours: 24, GraceDays: 3},
		Schedule:   ScheduleConfig{Issue: "7 * * * *"},
		Log:        LogConfig{Level: "info", Format: "text"},
	}
	cfg.Seller.Payment.TermsDays = 30
	return cfg
}

var (
	addressRE     = regexp.MustCompile(`^.+:[0-9]{1,5}$`)
	topicPrefixRE = regexp.MustCompile(`^[A-Za-z0-9._-]{0,100}$`)
	databaseRE    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	clusterRE     = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}$`)
)

// check returns the first key whose value cannot be, with what it must be; none when all is well.
func (c *Config) check() (key, must string) {
	notAddress := func(s string) bool {
		_, _, err := net.SplitHostPort(s)
		return err != nil || !addressRE.MatchString(s)
	}
	type rule struct {
		broken    bool
		key, must string
	}
	rules := []rule{
		{slices.ContainsFunc(c.Kafka.Brokers, notAddress), "kafka.brokers", "be host:port, several separated by commas"},
		{!topicPrefixRE.MatchString(c.Kafka.TopicPrefix), "kafka.topicPrefix", "consist of letters, digits, points, underscores and hyphens, at most 100"},
		{c.Kafka.Group == "", "kafka.group", "not be empty"},
		{c.Kafka.Partitions < 1 || c.Kafka.Partitions > 1000, "kafka.partitions", "be from 1 to 1000"},
		{c.Kafka.RetentionDays < 1 || c.Kafka.RetentionDays > 36500, "kafka.retentionDays", "be from 1 to 36500"},
		{slices.ContainsFunc(c.ClickHouse.Addr, notAddress), "clickhouse.addr", "be host:port, several separated by commas"},
		{!databaseRE.MatchString(c.ClickHouse.Database), "clickhouse.database", "be a name of letters, digits and underscores"},
		{!clusterRE.MatchString(c.ClickHouse.Cluster), "clickhouse.cluster", "be a name of letters, digits, points, underscores and hyphens, or empty"},
		{c.ClickHouse.User == "", "clickhouse.user", "not be empty"},
		{c.Kafka.SASL.Mechanism != "" && !slices.Contains(ingest.SASLMechanisms, c.Kafka.SASL.Mechanism), "kafka.sasl.mechanism",
			"be one of " + strings.Join(ingest.SASLMechanisms, ", ") + ", or empty"},
		{c.Kafka.SASL.Mechanism != "" && c.Kafka.SASL.User == "", "kafka.sasl.user", "not be empty with a kafka.sasl.mechanism"},
		{c.Kafka.SASL.Mechanism == "" && c.Kafka.SASL != SASLConfig{}, "kafka.sasl.mechanism",
			"be one of " + strings.Join(ingest.SASLMechanisms, ", ") + " for the rest of kafka.sasl to be used"},
		{c.Rules.IVRPortFactor < 0 || c.Rules.IVRPortFactor > 1000, "rules.ivrPortFactor", "be from 0 to 1000 ports a seat (R14)"},
		{c.Rules.OpenSessionHours < 1 || c.Rules.OpenSessionHours > 31*24, "rules.openSessionHours", "be from 1 to 744, the longest session that is accepted (R12)"},
		{c.Rules.GraceDays < 0 || c.Rules.GraceDays > 366, "rules.graceDays", "be from 0 to 366 days (R20)"},
		{badTimetable(c.Schedule.Issue), "schedule.issue", "be a cron expression of five fields in UTC, such as \"7 * * * *\" or @hourly"},
		{badPeriod(c.Schedule.From), "schedule.from", "be a period, such as 2026-10, or empty"},
		{c.Seller.Address.Country != "" && !export.IsCountry(c.Seller.Address.Country), "seller.address.country", "be a code of ISO 3166-1 in two capital letters, such as SE"},
		{c.Seller.VATID != "" && !export.IsVATID(c.Seller.VATID), "seller.vatId", "begin with the code of the country that gave it, such as SE"},
		{c.Seller.Endpoint.ID != "" && !registry.IsEndpointScheme(c.Seller.Endpoint.Scheme), "seller.endpoint.scheme", "be an identifier scheme of Peppol, such as 0007"},
		{c.Seller.Endpoint.ID == "" && c.Seller.Endpoint.Scheme != "", "seller.endpoint.id", "not be empty with a seller.endpoint.scheme"},
		{c.Seller.Payment.IBAN != "" && !export.IsIBAN(c.Seller.Payment.IBAN), "seller.payment.iban", "be an IBAN, whose check digits agree with the rest of it"},
		{c.Seller.Payment.TermsDays < 0 || c.Seller.Payment.TermsDays > 3660, "seller.payment.termsDays", "be from 0 to 3660 days"},
		{c.HTTP.Listen != "" && notAddress(c.HTTP.Listen), "http.listen", "be host:port, such as 127.0.0.1:8080"},
		{!slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", "be debug, info, warn or error"},
		{!slices.Contains([]string{"text", "json"}, c.Log.Format), "log.format", "be text or json"},
	}
	for key, t := range map[string]TLSConfig{"kafka.tls": c.Kafka.TLS, "clickhouse.tls": c.ClickHouse.TLS} {
		rules = append(rules,
			rule{!t.Enabled && t != TLSConfig{}, key + ".enabled", "be true for the rest of " + key + " to be used"},
			rule{t.CertFile != "" && t.KeyFile == "", key + ".keyFile", "name the key of " + key + ".certFile"},
			rule{t.CertFile == "" && t.KeyFile != "", key + ".certFile", "name the certificate of " + key + ".keyFile"})
	}
	for _, rule := range rules {
		if rule.broken {
			return rule.key, rule.must
		}
	}
	return "", ""
}

func badTimetable(expression string) bool {
	_, err := parseTimetable(expression)
	return err != nil
}

func badPeriod(period string) bool {
	_, err := civil.ParseMonth(period)
	return period != "" && err != nil
}

// load returns what to connect with, nil where TLS is not enabled. The key is that of the section.
func (t TLSConfig) load(key string) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, usagef("%s.caFile: %w", key, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("%s.caFile: %s has no certificate in PEM form", key, t.CAFile)
		}
	}
	if t.CertFile != "" {
		own, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, usagef("%s.certFile and keyFile: %w", key, err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// setting is one value of a Config.
type setting struct {
	key    string
	value  reflect.Value // a string, a bool, an int, a []string or item codes, which can be set
	secret bool
}

// settings lists the values of a configuration in the order of its fields.
func settings(cfg *Config) []setting {
	var all []setting
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for field, value := range v.Fields() {
			key := prefix + field.Tag.Get("yaml")
			if field.Type.Kind() == reflect.Struct {
				walk(key+".", value)
				continue
			}
			all = append(all, setting{key, value, field.Tag.Get("secret") != ""})
		}
	}
	walk("", reflect.ValueOf(cfg).Elem())
	return all
}

// String returns the value as it would be written in an environment variable, a secret not at all.
func (s setting) String() string {
	if s.secret && s.value.Len() > 0 {
		return "(hidden)"
	}
	switch value := s.value.Interface().(type) {
	case []string:
		return strings.Join(value, ",")
	case billing.ItemCodes:
		var list []string
		for _, of := range slices.Sorted(maps.Keys(value)) {
			list = append(list, of+"="+value[of])
		}
		return strings.Join(list, ",")
	}
	return fmt.Sprint(s.value.Interface())
}

// variable returns the name of the setting's environment variable: APPORTION_KAFKA_TOPIC_PREFIX.
func (s setting) variable() string {
	var b strings.Builder
	b.WriteString("APPORTION_")
	for _, r := range s.key {
		switch {
		case r == '.':
			b.WriteByte('_')
		case unicode.IsUpper(r):
			b.WriteByte('_')
			b.WriteRune(r)
		default:
			b.WriteRune(unicode.ToUpper(r))
		}
	}
	return b.String()
}

// assign sets the value from its text; values of a list are separated by commas.
func (s setting) assign(text string) error {
	switch s.value.Interface().(type) {
	case string:
		s.value.SetString(text)
	case bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s: %q is neither true nor false", s.key, text)
		}
		s.value.SetBool(text == "true")
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%s: %q is not a whole number", s.key, text)
		}
		s.value.SetInt(int64(n))
	case []string:
		s.value.Set(reflect.ValueOf(listed(text)))
	case billing.ItemCodes:
		codes := billing.ItemCodes{}
		for _, item := range listed(text) {
			of, code, ok := strings.Cut(item, "=")
			if !ok {
				return fmt.Errorf("%s: %q has no code; write it as overage=4711", s.key, item)
			}
			if _, twice := codes[of]; twice {
				return fmt.Errorf("%s: %s is given twice", s.key, of)
			}
			if err := billing.CheckItemCode(of, code); err != nil {
				return fmt.Errorf("%s: %w", s.key, err)
			}
			codes[of] = code
		}
		s.value.Set(reflect.ValueOf(codes))
	}
	return nil
}

// listed returns the values that commas separate.
func listed(text string) (list []string) {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// loader puts a configuration together and remembers where each value came from.
type loader struct {
	settings []setting
	sources  map[string]string // by key
}

// loadConfig returns the defaults, overridden by the file (named by the flag, else by APPORTION_CONFIG), then by
// APPORTION_… variables, then by key=value flags; and by key where each value came from. Names that it does not
// know are refused: a typo must not bill. All its errors are of usage.
func loadConfig(file string, environ, flags []string) (Config, map[string]string, error) {
	cfg := DefaultConfig()
	l := loader{settings: settings(&cfg), sources: make(map[string]string)}
	for _, s := range l.settings {
		l.sources[s.key] = "default"
	}
	if file == "" {
		for _, entry := range environ {
			if value, ok := strings.CutPrefix(entry, "APPORTION_CONFIG="); ok {
				file = value
			}
		}
	}
	if file != "" {
		if err := l.readFile(file); err != nil {
			return cfg, nil, usageError{err}
		}
	}
	if err := l.readEnviron(environ); err != nil {
		return cfg, nil, usageError{err}
	}
	for _, flag := range flags {
		key, value, ok := strings.Cut(flag, "=")
		if !ok {
			return cfg, nil, usagef("--set %s: write it as key=value, such as kafka.group=billing", flag)
		}
		if err := l.assign(key, value, "flag"); err != nil {
			return cfg, nil, usagef("--set: %w", err)
		}
	}
	if key, must := cfg.check(); key != "" {
		i := slices.IndexFunc(l.settings, func(s setting) bool { return s.key == key })
		return cfg, nil, usagef("%s (from %s) is %q; it must %s", key, l.sources[key], l.settings[i], must)
	}
	return cfg, l.sources, nil
}

// assign sets one value, or names the nearest key when there is no such one.
func (l *loader) assign(key, text, source string) error {
	var keys []string
	for _, s := range l.settings {
		if s.key == key {
			l.sources[key] = source
			return s.assign(text)
		}
		keys = append(keys, s.key)
	}
	return unknown("setting", key, keys)
}

// Variables that are not settings: the file itself, and where the embedded servers' programs are kept.
var otherVariables = []string{"APPORTION_CONFIG", "APPORTION_CACHE"}

func (l *loader) readEnviron(environ []string) error {
	known := slices.Clone(otherVariables)
	for _, s := range l.settings {
		known = append(known, s.variable())
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "APPORTION_") || slices.Contains(otherVariables, name) {
			continue
		}
		i := slices.Index(known, name)
		if i < 0 {
			return unknown("environment variable", name, known)
		}
		s := l.settings[i-len(otherVariables)]
		l.sources[s.key] = "environment " + name
		if err := s.assign(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (l *loader) readFile(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no configuration file %s; `apportion dev --data DIR` writes one to DIR/apportion.yaml", file)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(document.Content) == 0 {
		return nil // an empty file
	}
	return l.readNode(file, "", document.Content[0])
}

// readNode takes a node of the file at the given key over; its errors have the line.
func (l *loader) readNode(file, key string, node *yaml.Node) error {
	at := fmt.Sprintf("%s:%d", file, node.Line)
	section := key == "" || slices.ContainsFunc(l.settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil // an empty section or value leaves what was there
	case section && node.Kind != yaml.MappingNode:
		return fmt.Errorf("%s: %s must be a section, with keys of its own", at, cmp.Or(key, "the configuration"))
	case section:
		seen := make(map[string]bool)
		for i := 0; i < len(node.Content); i += 2 {
			name, value := node.Content[i], node.Content[i+1]
			if seen[name.Value] {
				return fmt.Errorf("%s:%d: %s is given twice", file, name.Line, name.Value)
			}
			seen[name.Value] = true
			child := name.Value
			if key != "" {
				child = key + "." + name.Value
			}
			if err := l.knows(child); err != nil {
				return fmt.Errorf("%s:%d: %w", file, name.Line, err)
			}
			if err := l.readNode(file, child, value); err != nil {
				return err
			}
		}
		return nil
	}
	var text string
	switch node.Kind {
	case yaml.ScalarNode:
		text = node.Value
	case yaml.SequenceNode:
		var items []string
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s: %s must be a list of plain values", at, key)
			}
			items = append(items, item.Value)
		}
		text = strings.Join(items, ",")
	case yaml.MappingNode:
		if !slices.ContainsFunc(l.settings, func(s setting) bool { return s.key == key && s.value.Kind() == reflect.Map }) {
			return fmt.Errorf("%s: %s must be a plain value", at, key)
		}
		var items []string
		for i := 0; i < len(node.Content); i += 2 {
			name, value := node.Content[i], node.Content[i+1]
			if value.Kind != yaml.ScalarNode || strings.Contains(value.Value, ",") {
				return fmt.Errorf("%s:%d: %s.%s must be a plain value without commas", file, name.Line, key, name.Value)
			}
			items = append(items, name.Value+"="+value.Value)
		}
		text = strings.Join(items, ",")
	default:
		return fmt.Errorf("%s: %s must be a plain value", at, key)
	}
	if err := l.assign(key, text, at); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// knows returns an error unless the key is a setting or a section of some.
func (l *loader) knows(key string) error {
	var names []string
	for _, s := range l.settings {
		if s.key == key || strings.HasPrefix(s.key, key+".") {
			return nil
		}
		names = append(names, s.key)
		for i, r := range s.key {
			if r == '.' {
				names = append(names, s.key[:i])
			}
		}
	}
	return unknown("setting", key, names)
}

// unknown says that a name is none of those known, and which of them it was probably meant to be.
func unknown(what, name string, known []string) error {
	return fmt.Errorf("unknown %s %s%s (`apportion config` lists them all)", what, name, typo.Hint(name, known))
}

// Package config is what can be configured: its types and defaults, what values may be, and loading it. It takes a
// file, environment variables and flags, each over those before, and gives the program a Config with the source of
// every value; a name or a value that it does not know ends the program, since a typo must not bill.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/ingest/kafka"
)

// Config is everything that can be configured. The yaml tags name the keys, in a file as they nest, elsewhere
// joined by points.
type Config struct {
	Kafka      Kafka      `yaml:"kafka"`
	ClickHouse ClickHouse `yaml:"clickhouse"`
	Rules      Rules      `yaml:"rules"`
	Schedule   Schedule   `yaml:"schedule"`
	Seal       Seal       `yaml:"seal"`
	Time       Time       `yaml:"time"`
	Seller     Seller     `yaml:"seller"`
	Files      Files      `yaml:"files"`
	HTTP       HTTP       `yaml:"http"`
	Auth       Auth       `yaml:"auth"`
	Log        Log        `yaml:"log"`
}

// Kafka says where the events come from. There is no default address: usage that goes to the wrong
// servers is not metered.
type Kafka struct {
	Brokers     []string `yaml:"brokers"`     // host:port
	TopicPrefix string   `yaml:"topicPrefix"` // before the name of every topic
	Group       string   `yaml:"group"`       // the consumer group of ingest
	Partitions  int      `yaml:"partitions"`  // of each usage topic that migrate creates
	// RetentionDays is for how long usage topics must keep deliveries at least.
	RetentionDays int  `yaml:"retentionDays"`
	TLS           TLS  `yaml:"tls"`
	SASL          SASL `yaml:"sasl"`
}

// SASL says who we are for Kafka.
type SASL struct {
	Mechanism string `yaml:"mechanism"` // one of kafka.SASLMechanisms, or empty for none
	User      string `yaml:"user"`
	Password  string `yaml:"password" secret:"true"`
}

// TLS says how connections are encrypted, and whose certificates are trusted.
type TLS struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"caFile"`     // PEM, whom to trust; the system's authorities when empty
	CertFile   string `yaml:"certFile"`   // PEM, our own certificate, where servers want one
	KeyFile    string `yaml:"keyFile"`    // PEM, its key
	ServerName string `yaml:"serverName"` // the name in the server's certificate, when it is not that in the address
}

// ClickHouse says where usage and what is derived from it is kept.
type ClickHouse struct {
	Addr     []string `yaml:"addr"` // host:port of the native protocol; several are replicas
	Database string   `yaml:"database"`
	Cluster  string   `yaml:"cluster"` // as remote_servers of ClickHouse names it; empty for one server
	User     string   `yaml:"user"`
	Password string   `yaml:"password" secret:"true"`
	TLS      TLS      `yaml:"tls"`
}

// Rules has what the billing rules leave to configuration.
type Rules struct {
	IVRPortFactor    int `yaml:"ivrPortFactor"`    // ports in the pool per committed seat (R14)
	OpenSessionHours int `yaml:"openSessionHours"` // an open session ends so long after its start (R12)
	GraceDays        int `yaml:"graceDays"`        // days from a period's end until it is issued (R20)
}

// Schedule says what the schedule of run issues, and when. There is no default for the first period: what was
// invoiced before by other means must not be invoiced again.
type Schedule struct {
	Issue string `yaml:"issue"` // when, a cron expression in UTC
	From  string `yaml:"from"`  // the first period, such as 2026-10
	// CatchUp says that it was a long absence if many periods are due at once, and not a clock that is ahead.
	CatchUp bool   `yaml:"catchUp"`
	Out     string `yaml:"out"` // the directory that the files go below; empty: none are written
}

// Seal says when periods may be sealed. Nothing seals them but the command.
type Seal struct {
	AfterMonths int `yaml:"afterMonths"` // months for which the grace must be over; 0: never (R25)
}

// Time says by which data months and dates begin.
type Time struct {
	ZoneData string `yaml:"zoneData"` // a zip file or a directory of compiled zones; empty: what comes with the program
}

// Seller is the seller on UBL and PDF invoices.
type Seller struct {
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
	Contact struct {
		Name      string `yaml:"name"`
		Telephone string `yaml:"telephone"`
		Email     string `yaml:"email"`
	} `yaml:"contact"` // for XRechnung
	Payment struct {
		IBAN      string `yaml:"iban"`
		TermsDays int    `yaml:"termsDays"`
	} `yaml:"payment"`
}

// Files has what finance's system wants in the files.
type Files struct {
	ItemCodes billing.ItemCodes `yaml:"itemCodes"` // of lines, by kind.meter or kind
}

// HTTP says where the API is served, and where health and metrics are: apart, so that the public never sees these.
type HTTP struct {
	Listen string `yaml:"listen"` // host:port of the API
	// Ops is host:port of health, readiness and metrics; empty: ingest serves none, and serve and run take 127.0.0.1:8081.
	Ops string `yaml:"ops"`
}

// Log says what is logged, on stderr.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// Default returns the configuration before anything was configured.
func Default() Config {
	cfg := Config{
		Kafka: Kafka{
			Group:         ingest.DefaultConfig().Group,
			Partitions:    kafka.DefaultPartitions,
			RetentionDays: kafka.DefaultRetentionDays,
		},
		ClickHouse: ClickHouse{Database: "apportion", User: "default"},
		Rules:      Rules{IVRPortFactor: 2, OpenSessionHours: 24, GraceDays: 3},
		Schedule:   Schedule{Issue: "7 * * * *"},
		HTTP:       HTTP{Listen: "127.0.0.1:8080"},
		Auth:       Auth{OIDC: OIDC{RolesClaim: "groups"}},
		Log:        Log{Level: "info", Format: "text"},
	}
	cfg.Seller.Payment.TermsDays = 30
	return cfg
}

// Sender returns who sends the invoices. What a format needs and the configuration lacks, the format refuses.
func (c Seller) Sender() billing.Seller {
	s := billing.Seller{
		Name: c.Name, Address: registry.Address(c.Address), VATID: c.VATID, RegistrationID: c.RegistrationID,
		IBAN: c.Payment.IBAN, TermsDays: c.Payment.TermsDays,
	}
	if c.Endpoint.ID != "" {
		s.Endpoint = &registry.Endpoint{Scheme: c.Endpoint.Scheme, ID: c.Endpoint.ID}
	}
	if c.Contact.Name != "" {
		s.Contact = (*billing.Contact)(&c.Contact)
	}
	return s
}

// Load returns what to connect with, nil where TLS is not enabled. The key is that of the section.
func (t TLS) Load(key string) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%s.caFile: %w", key, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.caFile: %s has no certificate in PEM form", key, t.CAFile)
		}
	}
	if t.CertFile != "" {
		own, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.certFile and keyFile: %w", key, err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

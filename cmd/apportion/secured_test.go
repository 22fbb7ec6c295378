package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
)

// authority signs the certificates of a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.key, a.cert = key, template
	a.cert = a.sign(t, "ca", template, &key.PublicKey)
	return a
}

// sign makes a certificate and writes it to NAME.pem.
func (a *authority) sign(t *testing.T, name string, template *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes NAME.pem and NAME.key, a certificate for what has that name, and returns both.
func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.sign(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &key.PublicKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".key", "PRIVATE KEY", der)
	both, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return both
}

// server is the configuration of one that wants a certificate of its clients, too.
func (a *authority) server(t *testing.T, name string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{a.issue(t, name)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}

// encrypt listens with TLS and passes connections on to an address.
func encrypt(t *testing.T, addr string, config *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				if client.(*tls.Conn).Handshake() != nil {
					return
				}
				server, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				go func() {
					io.Copy(server, client)
					server.(*net.TCPConn).CloseWrite()
				}()
				io.Copy(client, server)
				server.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// startClickHouseWithUser starts a server that has a user more, by a `clickhouse` on PATH that adds it to the
// configuration, and returns its address.
func startClickHouseWithUser(t *testing.T, user, password string) string {
	t.Helper()
	servicetest.ClickHouse(t) // skips where there is none
	library, err := embedded.Library(t.Context(), os.Stderr)
	if err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
shift
test "$1" = --version && { echo 'ClickHouse local version 26.7.'; exit; }
sed -i 's|<users>|<users><%[1]s><password>%[2]s</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></%[1]s>|' "${1#--config-file=}"
_APPORTION_RUN_CLICKHOUSE='%[3]s' exec '%[4]s' "$@"
`, user, password, library, self)
	if err := os.WriteFile(filepath.Join(bin, "clickhouse"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	c, err := embedded.StartClickHouse(t.Context(), embedded.Options{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	return c.Addr
}

// apportion runs the program with settings and returns its exit code, result and messages.
func apportion(t *testing.T, settings []string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Patience)
	defer cancel()
	var out, messages strings.Builder
	code = run(ctx, args, nil, strings.NewReader(stdin), &out, &messages)
	return code, out.String(), messages.String()
}

// TestSecuredServers takes deliveries in from a Kafka and into a ClickHouse that speak TLS alone, want a certificate
// of ours, and want to know who we are.
func TestSecuredServers(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "client")
	clickHouse := encrypt(t, startClickHouseWithUser(t, "metering", "gr4phite"), ca.server(t, "clickhouse.test"))

	for i, mechanism := range kafka.SASLMechanisms {
		t.Run(mechanism, func(t *testing.T) {
			kafka, err := embedded.StartKafka(embedded.Options{}, kfake.TLS(ca.server(t, "kafka.test")),
				kfake.EnableSASL(), kfake.Superuser(mechanism, "ingest", "s3cret"))
			if err != nil {
				t.Fatal(err)
			}
			defer kafka.Stop()
			good := []string{
				"kafka.brokers=" + kafka.Addr,
				"kafka.tls.enabled=true", "kafka.tls.caFile=" + ca.file("ca.pem"), "kafka.tls.serverName=kafka.test",
				"kafka.tls.certFile=" + ca.file("client.pem"), "kafka.tls.keyFile=" + ca.file("client.key"),
				"kafka.sasl.mechanism=" + mechanism, "kafka.sasl.user=ingest", "kafka.sasl.password=s3cret",
				"clickhouse.addr=" + clickHouse, "clickhouse.database=secured_" + string(rune('a'+i)),
				"clickhouse.user=metering", "clickhouse.password=gr4phite",
				"clickhouse.tls.enabled=true", "clickhouse.tls.caFile=" + ca.file("ca.pem"), "clickhouse.tls.serverName=clickhouse.test",
				"clickhouse.tls.certFile=" + ca.file("client.pem"), "clickhouse.tls.keyFile=" + ca.file("client.key"),
			}
			if code, _, messages := apportion(t, good, "", "migrate"); code != 0 {
				t.Fatalf("migrate: %s", messages)
			}
			event := `{"specversion":"1.0","id":"1","source":"/s","type":"connect.usage","time":"2026-10-14T08:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":1}}`
			if code, _, messages := apportion(t, good, event+"\n{", "publish", "-"); code != 0 {
				t.Fatalf("publish: %s", messages)
			}
			code, result, messages := apportion(t, good, "", "ingest", "--until-caught-up", "--json")
			var taken map[string]ingested
			if err := json.Unmarshal([]byte(result), &taken); code != 0 || err != nil {
				t.Fatalf("ingest: %d %q %v\n%s", code, result, err, messages)
			}
			if taken["usage.connect.v1"].Accepted != 1 || taken["usage.agent.v1"].Rejected != 1 {
				t.Errorf("taken in: %s", result)
			}

			for _, test := range []struct {
				name    string
				setting []string
				want    string
			}{
				{"a broker of another name", []string{"kafka.tls.serverName=other.test"}, "not other.test"},
				{"a broker signed by nobody we know", []string{"kafka.tls.caFile="}, "check the credentials and certificates configured"},
				{"a ClickHouse of another name", []string{"clickhouse.tls.serverName=other.test"}, "not other.test"},
			} {
				code, _, messages := apportion(t, append(good, test.setting...), "", "ingest", "--until-caught-up")
				if code != exitFailed || !strings.Contains(messages, test.want) {
					t.Errorf("%s: exit code %d, want %d, with %q:\n%s", test.name, code, exitFailed, test.want, messages)
				}
			}
		})
	}
}

// A password that goes over the wire as it is, is warned of, once: by what connects, and by config.
func TestPasswordInTheClear(t *testing.T) {
	const warning = "PLAIN sends the password in the clear"
	kafka, err := embedded.StartKafka(embedded.Options{}, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ingest", "s3cret"),
		kfake.Superuser("SCRAM-SHA-256", "ingest", "s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Stop()
	settings := []string{"kafka.brokers=" + kafka.Addr, "kafka.sasl.user=ingest", "kafka.sasl.password=s3cret"}
	for _, test := range []struct {
		settings []string
		args     []string
		warnings int
	}{
		{[]string{"kafka.sasl.mechanism=PLAIN"}, []string{"config"}, 1},
		{[]string{"kafka.sasl.mechanism=PLAIN"}, []string{"publish", "-"}, 1},
		{[]string{"kafka.sasl.mechanism=PLAIN", "kafka.tls.enabled=true"}, []string{"config"}, 0},
		{[]string{"kafka.sasl.mechanism=SCRAM-SHA-256"}, []string{"publish", "-"}, 0},
	} {
		_, _, messages := apportion(t, append(slices.Clone(settings), test.settings...), "", test.args...)
		if n := strings.Count(messages, warning); n != test.warnings {
			t.Errorf("%v %v: %d warnings, want %d:\n%s", test.args, test.settings, n, test.warnings, messages)
		}
	}
}

// Settings of TLS and SASL that cannot be are refused before anything is connected to.
func TestSecuritySettings(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "client")
	for _, test := range []struct {
		settings []string
		want     string
	}{
		{[]string{"kafka.sasl.mechanism=GSSAPI"}, `kafka.sasl.mechanism (from flag) is "GSSAPI"; it must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or empty`},
		{[]string{"kafka.sasl.mechanism=PLAIN"}, "kafka.sasl.user (from default)"},
		{[]string{"kafka.sasl.user=ingest"}, "for the rest of kafka.sasl to be used"},
		{[]string{"kafka.tls.caFile=ca.pem"}, `kafka.tls.enabled (from default) is "false"; it must be true for the rest of kafka.tls to be used`},
		{[]string{"clickhouse.tls.enabled=yes"}, `"yes" is neither true nor false`},
		{[]string{"clickhouse.tls.enabled=true", "clickhouse.tls.certFile=a.pem"}, "it must name the key of clickhouse.tls.certFile"},
		{[]string{"kafka.tls.enabled=true", "kafka.tls.keyFile=a.key"}, "it must name the certificate of kafka.tls.keyFile"},
		{[]string{"kafka.tls.enabled=true", "kafka.tls.caFile=" + ca.file("absent.pem")}, "absent.pem: no such file"},
		{[]string{"kafka.tls.enabled=true", "kafka.tls.caFile=" + ca.file("client.key")}, "client.key has no certificate in PEM form"},
		{[]string{"kafka.tls.enabled=true", "kafka.tls.certFile=" + ca.file("ca.pem"), "kafka.tls.keyFile=" + ca.file("client.key")}, "kafka.tls.certFile and keyFile"},
	} {
		settings := append([]string{"kafka.brokers=127.0.0.1:1", "clickhouse.addr=127.0.0.1:1"}, test.settings...)
		code, _, messages := apportion(t, settings, "", "migrate")
		if code != exitUsage || !strings.Contains(messages, test.want) {
			t.Errorf("%v: exit code %d, want %d, with %q:\n%s", test.settings, code, exitUsage, test.want, messages)
		}
	}
}

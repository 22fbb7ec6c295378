package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/segmentio/kafka-go"

	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/ingest"
	"apportion/schemas"
)

// produceRecord is the script command `produce TOPIC KEY FILE [NAME=VALUE]...`: it writes a record whose value is
// the bytes of the file. The topic's prefix is given, the key and the headers may be anything.
func produceRecord(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: produce TOPIC KEY FILE [NAME=VALUE]...")
	}
	cfg := scriptConfig(ts)
	value, err := os.ReadFile(ts.MkAbs(args[2]))
	ts.Check(err)
	record := kafka.Message{Key: []byte(args[1]), Value: value}
	for _, header := range args[3:] {
		name, value, _ := strings.Cut(header, "=")
		record.Headers = append(record.Headers, kafka.Header{Key: name, Value: []byte(value)})
	}
	transport := &kafka.Transport{} // one that is shared may have seen the topics before this one was made
	defer transport.CloseIdleConnections()
	writer := &kafka.Writer{
		Addr: kafka.TCP(cfg.Kafka.Brokers...), Topic: args[0], Transport: transport,
		Balancer: kafka.Murmur2Balancer{}, BatchTimeout: time.Millisecond,
	}
	defer writer.Close()
	ts.Check(writer.WriteMessages(context.Background(), record))
}

// executeSQL is the script command `sql STATEMENT`.
func executeSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	cfg := scriptConfig(ts)
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: cfg.ClickHouse.Addr, Auth: clickhouse.Auth{Database: cfg.ClickHouse.Database}})
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.Exec(context.Background(), args[0]))
}

func scriptConfig(ts *testscript.TestScript) config.Config {
	cfg, _, err := config.Load(ts.MkAbs("apportion.yaml"), nil, nil)
	ts.Check(err)
	return cfg
}

// Whatever was sent, a terminal gets nothing from it but what can be seen, lines and tabs.
func TestEscape(t *testing.T) {
	for sent, want := range map[string]string{
		"":                        "",
		"{\n\t\"a\": \"å→𝄞\"\n}":  "{\n\t\"a\": \"å→𝄞\"\n}",
		"\x1b[2J\r\x00\u007f":     `\x1b[2J\r\x00\x7f`,
		"a\xffb\xc3":              `a\xffb\xc3`,
		"\u202eevil \u2028\ufffd": `\u202eevil \u2028` + "\ufffd",
	} {
		if got := escape(sent); got != want {
			t.Errorf("%q is shown as %s, want %s", sent, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, test := range []struct{ long, want string }{
		{"", ""}, {"abcd", "abcd"}, {"åäöü", "åäöü"}, {"åäöüé", "åäö…"},
	} {
		if got := shorten(test.long, 4); got != test.want {
			t.Errorf("%q is %q, want %q", test.long, got, test.want)
		}
	}
}

// TestRejectedRowIsNoFormula: a spreadsheet runs nothing that was sent. Names are guarded, what else was sent is in quotes
// where it is no number, and a message begins with words of the program.
func TestRejectedRowIsNoFormula(t *testing.T) {
	const event = `{"specversion":"1.0","type":"connect.usage","time":"2026-10-14T16:00:00Z","tenantid":"=acme",` +
		`"source":"+s","id":"@1","data":{"channel":"sms",%s}}`
	for data, want := range map[string][]string{
		`"quantity":1,"=voided":true`: {"misspelt_field", "voided", `"=voided"`},
		`"quantity":"=1+1"`:           {"invalid_field", "quantity", `"=1+1"`},
		`"quantity":-1`:               {"invalid_field", "quantity", "-1"},
		`"=HYPERLINK(1)":1`:           {"missing_field", "quantity", ""},
		`"quantity":-1+1`:             {"malformed_json", "", ""},
		`"quantity":+1`:               {"malformed_json", "", ""},
		`"=x":1,"=x":2`:               {"malformed_json", "", ""},
	} {
		var d schemas.Decoder
		l := ingest.DeadLetter{Why: *d.Decode(schemas.ConnectUsage, nil, fmt.Appendf(nil, event, data), new(schemas.Event))}
		e := service.NewRejectedEntry(&l)
		row := rejectedRow(&e)
		if names := row[4:7]; l.Why.Tenant != "" && !slices.Equal(names, []string{"'=acme", "'+s", "'@1"}) {
			t.Errorf("%s: the names are %q", data, names)
		}
		if !slices.Equal(row[7:10], want) {
			t.Errorf("%s: the code, field and value are %q, want %q", data, row[7:10], want)
		}
		if strings.ContainsAny(row[10][:1], "=+-@\t\r\n") {
			t.Errorf("%s: the message is %q", data, row[10])
		}
	}
}

func TestBlob(t *testing.T) {
	for _, test := range []struct{ bytes, want string }{
		{"", `""`}, {"a\n\"å", `"a\n\"å"`}, {"a\xff", `{"base64":"Yf8="}`},
	} {
		if got, err := json.Marshal(service.Blob(test.bytes)); err != nil || string(got) != test.want {
			t.Errorf("%q is %s in JSON, want %s: %v", test.bytes, got, test.want, err)
		}
	}
}

// The exit code says whether all that was chosen would be accepted.
func TestReplayFinding(t *testing.T) {
	r := &service.Replay{Replayed: 2, Accepted: 1}
	if err := refusedAgain(r); err != nil {
		t.Errorf("nothing was refused, and the finding is %v", err)
	}
	r.Refused = 1
	if code := (&app{begun: true}).exitCode(refusedAgain(r)); code != exitFindings {
		t.Errorf("with one refused the exit code is %d", code)
	}
}

// What the refusal of a correction means is another thing than that of an event that is not known.
func TestAcceptance(t *testing.T) {
	l := &ingest.DeadLetter{Why: schemas.Rejection{Tenant: "acme", Source: "/t", ID: "1"}}
	for _, test := range []struct {
		letter service.RejectedLetter
		of     *ingest.DeadLetter
		want   string
	}{
		{service.RejectedLetter{Open: true}, new(ingest.DeadLetter), "unknown"},
		{service.RejectedLetter{Open: true}, l, "no, nothing"},
		{service.RejectedLetter{Accepted: make([]service.AcceptedEntry, 1), Open: true}, l, "no; what"},
		{service.RejectedLetter{Accepted: make([]service.AcceptedEntry, 1)}, l, "yes"},
	} {
		if got := acceptance(&test.letter, test.of); !strings.HasPrefix(got, test.want) {
			t.Errorf("%q, want %s…", got, test.want)
		}
	}
}

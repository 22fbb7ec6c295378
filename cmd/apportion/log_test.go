package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/cmd/apportion/config"
	"apportion/schemas/retry"
)

// Durations are numbers of seconds, by which logs can be searched and summed.
func TestLogHasSeconds(t *testing.T) {
	for format, want := range map[string]string{
		"json": `"msg":"current","days":3,"tookSeconds":1.25}`,
		"text": `msg=current days=3 tookSeconds=1.25`,
	} {
		var out bytes.Buffer
		newLogger(&out, config.Config{Log: config.Log{Level: "info", Format: format}}).
			Info("current", "days", 3, "took", 1250*time.Millisecond)
		if got := strings.TrimSpace(out.String()); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s", format, got)
		}
	}
}

// A password that ClickHouse refuses is said with the settings to change, and without what ClickHouse says of other products.
func TestRefusedPasswordNamesItsSettings(t *testing.T) {
	c := &connections{cfg: config.Config{ClickHouse: config.ClickHouse{User: "meter", Password: "hush"}}}
	err := c.connectError(&clickhouse.Exception{Code: authenticationFailed, Message: "meter: Authentication failed\n\nIf you use another product"})
	const want = "ClickHouse does not let the user meter in: meter: Authentication failed; set clickhouse.user and clickhouse.password"
	if err.Error() != want || !retry.IsPermanent(err) {
		t.Errorf("%v, want %s, for good", err, want)
	}
}

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Who asks whether a process is ready learns why it is not.
func TestReady(t *testing.T) {
	var unready []string
	server := httptest.NewServer(healthHandler(func() []string { return unready }, http.NotFoundHandler()))
	address := strings.TrimPrefix(server.URL, "http://")
	if answer, err := askReady(t.Context(), address); answer != "ready" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	unready = []string{"ClickHouse does not answer"}
	if _, err := askReady(t.Context(), address); err == nil || err.Error() != address+": not ready: ClickHouse does not answer" {
		t.Errorf("not ready: %v", err)
	}
	server.Close()
	if _, err := askReady(t.Context(), address); err == nil || !strings.Contains(err.Error(), "no process answers on "+address) {
		t.Errorf("ended: %v", err)
	}
	for listen, want := range map[string]string{"0.0.0.0:8081": "localhost:8081", ":8081": "localhost:8081", "[::]:8081": "localhost:8081",
		"10.0.0.1:8081": "10.0.0.1:8081"} {
		if got := ownAddress(listen); got != want {
			t.Errorf("%s is reached at %s, want %s", listen, got, want)
		}
	}
}

package main

import (
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	apitrace "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"apportion/deploy/embedded/servicetest"
)

// A trace leads from a request to the command that it gives and the verdict, from a batch to its insert, and to passes and
// issues. It says how much was done, and of nobody who or what.
func TestTraces(t *testing.T) {
	servicetest.Heavy(t, "it takes a month from its publication to its issue")
	recorded := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(recorded))
	otel.SetTracerProvider(provider)
	defer otel.SetTracerProvider(noop.NewTracerProvider())
	s := startAPI(t)
	s.ask(t, "finance", "PUT", "/tenants/acme/periods/2026-11/hold", `{"reason":"disputed, case 4711"}`).want(t, 200)

	spans := recorded.GetSpans()
	byID := map[apitrace.SpanID]tracetest.SpanStub{}
	for _, span := range spans {
		byID[span.SpanContext.SpanID()] = span
	}
	var found []string
	for _, span := range spans {
		path := span.Name
		for parent, ok := byID[span.Parent.SpanID()]; ok; parent, ok = byID[parent.Parent.SpanID()] {
			path = parent.Name + " > " + path
		}
		found = append(found, path)
		for _, a := range span.Attributes {
			key, value := string(a.Key), a.Value.String()
			known := []string{"deliveries", "days", "period", "issued", "stopped", "command", "commands", "http.request.method",
				"http.route", "http.response.status_code"}
			if !slices.Contains(known, key) || strings.Contains(value, "acme") || strings.Contains(value, "4711") {
				t.Errorf("%s says %s: %s", path, key, value)
			}
		}
		if span.Status.Description != "" || len(span.Events) > 0 {
			t.Errorf("%s says %q, and has events", path, span.Status.Description)
		}
	}
	for _, want := range []string{
		"PUT /api/v1/tenants/{tenant}/periods/{period}/hold > command > verdict",
		"batch > insert", "pass", "issue > command > verdict",
	} {
		if !slices.Contains(found, want) {
			t.Errorf("there is no trace %s, of %q", want, found)
		}
	}
}

// Traces are off unless the environment says where they go.
func TestWantsTraces(t *testing.T) {
	for environ, want := range map[string]bool{
		"": false, "OTEL_SERVICE_NAME=a": false, "OTEL_EXPORTER_OTLP_ENDPOINT=": false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318":                            true,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318/v1/traces":           true,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 OTEL_SDK_DISABLED=true":     false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 OTEL_TRACES_EXPORTER=none":  false,
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318/": true,
	} {
		if got := wantsTraces(strings.Fields(environ)); got != want {
			t.Errorf("%q: %t", environ, got)
		}
	}
}

package main

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// startTracing has traces sent where OpenTelemetry's environment variables say, and nowhere without them. What cannot
// be sent is lost, and stops nothing.
func (a *app) startTracing(ctx context.Context) error {
	if !wantsTraces(a.environ) {
		return nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return usagef("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	// The environment may name the service otherwise.
	of, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "apportion"),
		attribute.String("service.version", thisBuild().Version)), resource.WithFromEnv())
	if err != nil {
		return usagef("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { a.log.Warn("traces are not sent", "error", err) }))
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(of))
	otel.SetTracerProvider(provider)
	a.closers = append(a.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			a.log.Warn("the last traces are not sent", "error", err)
		}
		return nil
	})
	return nil
}

// wantsTraces reports whether an environment says where traces go.
func wantsTraces(environ []string) (wants bool) {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":
			wants = wants || value != ""
		case "OTEL_SDK_DISABLED":
			if value == "true" {
				return false
			}
		case "OTEL_TRACES_EXPORTER":
			if value == "none" {
				return false
			}
		}
	}
	return wants
}

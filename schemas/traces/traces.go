// Package traces begins and ends the spans of what the program does, for OpenTelemetry: a request, the command that
// it gives and the wait for its verdict; a batch and its insert; a pass; an issue. Nothing of it is kept or sent unless
// the program sets up where to. A span says what kind of thing was done, how much of it and whether it failed, and
// never what was in it: no payload, name, token or id of anybody.
package traces

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Span is a part of a trace that has begun.
type Span struct{ span trace.Span }

// Begin begins a span within that of the context, if there is one.
func Begin(ctx context.Context, name string) (context.Context, Span) {
	ctx, span := otel.Tracer("apportion").Start(ctx, name)
	return ctx, Span{span}
}

// Name gives it the name that is known by now.
func (s Span) Name(name string) { s.span.SetName(name) }

// Count notes how much was done.
func (s Span) Count(name string, n int) { s.span.SetAttributes(attribute.Int(name, n)) }

// Say notes of which kind what was done is.
func (s Span) Say(name, value string) { s.span.SetAttributes(attribute.String(name, value)) }

// End ends it, as failed with an error, whose words are for the log alone: they may name what was in it.
func (s Span) End(err error) {
	if err != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

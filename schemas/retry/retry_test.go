package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Do goes on while a service is away, and not a moment longer than it helps.
func TestDo(t *testing.T) {
	away, missing, badPassword := errors.New("away"), errors.New("no such table"), errors.New("bad password")
	stopped, stop := context.WithCancelCause(t.Context())
	done := errors.New("done with it")
	stop(done)
	for _, test := range []struct {
		name     string
		ctx      context.Context
		answers  []error // of the attempts, one after the other
		want     error
		says     string
		attempts int
	}{
		{"it answers", t.Context(), []error{nil}, nil, "", 1},
		{"it is away for two attempts", t.Context(), []error{away, away, nil}, nil, "", 3},
		{"permanent", t.Context(), []error{away, Permanent(missing)}, missing, "no such table", 2},
		{"permanent, wrapped", t.Context(), []error{fmt.Errorf("reading: %w", Permanent(missing))}, missing,
			"reading: no such table", 1},
		{"refused", t.Context(), []error{badPassword}, badPassword,
			"Kafka and this program do not let each other in: bad password; check the credentials", 1},
		{"another's certificate", t.Context(), []error{&tls.CertificateVerificationError{Err: missing}}, missing,
			"do not let each other in", 1},
		{"the caller is done", stopped, []error{away}, done, "done with it", 1},
	} {
		s := Service{Name: "Kafka", Log: slog.New(slog.DiscardHandler),
			Refused: func(err error) bool { return errors.Is(err, badPassword) }}
		attempts := 0
		err := s.Do(test.ctx, func(context.Context) error {
			attempts++
			return test.answers[attempts-1]
		})
		said := err == nil || strings.Contains(err.Error(), test.says)
		if !errors.Is(err, test.want) || !said || attempts != test.attempts {
			t.Errorf("%s: %v after %d attempts, want %v after %d", test.name, err, attempts, test.want, test.attempts)
		}
	}
	err := (&Service{}).Do(t.Context(), func(context.Context) error { return Permanent(missing) })
	if IsPermanent(err) {
		t.Error("the error that Do returns is still marked: whoever calls it could not retry it")
	}
}

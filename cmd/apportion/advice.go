package main

import (
	"cmp"
	"errors"
	"strings"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
)

// commandOf has the commands that do what the advice of a code says. They are named here alone: the advice is read in
// files, in logs and over the API, too.
var commandOf = map[schemas.Code]string{
	schemas.UnknownTenant:     "`apportion registry show`",
	schemas.TelephonyMismatch: "`apportion registry change-telephony TENANT OPTION --reason …`",
	schemas.AlreadyHeld:       "`apportion bill holds`",
	schemas.NotHeld:           "`apportion bill holds`",
	schemas.NotDue:            "`apportion bill preview --period PERIOD`",
	schemas.Held:              "`apportion bill release --period PERIOD --tenant TENANT --reason …`",
	schemas.Behind:            "`apportion ingest --until-caught-up`",
	schemas.NoInvoice:         "`apportion bill preview --period PERIOD`",
	schemas.NotIssued:         "`apportion bill issue --period PERIOD`",
	schemas.NoHole:            "`apportion ledger holes`",
	schemas.NoRefusal:         "`apportion rejected list`",
	schemas.Unbalanced:        "`apportion reconcile --period PERIOD`, `apportion aggregate --rebuild --tenant TENANT`",
}

// withCommand adds the command of a code to a text, for a tenant and whatever else it needs.
func withCommand(text string, code schemas.Code, needs ...string) string {
	command := commandOf[code]
	if command == "" {
		return text
	}
	return text + " (" + strings.NewReplacer(needs...).Replace(command) + ")"
}

// stopText says in one line why a tenant is stopped, and what to run.
func stopText(s *billing.Stop) string {
	if s.Advice != s.Code.Advice() { // which the command is for
		return s.Error()
	}
	return withCommand(s.Error(), s.Code, "TENANT", s.Tenant, "PERIOD", cmp.Or(s.Rerated, s.Period).String())
}

// findingText says a finding in one line, and what to run.
func findingText(f billing.Finding) string {
	if f.Code == schemas.UnknownTenant {
		return f.String() + " (" + unknownTenantsCommand + ")"
	}
	return withCommand(f.String(), f.Code)
}

// refusalText says in one line why a command of a tenant is refused, and what to run.
func refusalText(r registry.Refusal, tenant string) string {
	if r.Code == schemas.TelephonyMismatch && r.Field != "tenants["+tenant+"].telephony" {
		return r.Error() // a subscription's own option, which is not to be another
	}
	return withCommand(r.Error(), r.Code, "TENANT", tenant, "OPTION", r.Value)
}

// sentence makes a sentence of an advice.
func sentence(advice string) string {
	if advice == "" {
		return ""
	}
	return strings.ToUpper(advice[:1]) + advice[1:] + "."
}

// advice says what to do about an error whose message does not say it, and names the commands that do it.
func advice(err error) string {
	const notEnoughSpace = 243 // ClickHouse's code
	var refused *clickhouse.Exception
	var cannot *service.Error
	switch {
	case errors.As(err, &refused) && (refused.Code == notEnoughSpace ||
		strings.Contains(refused.Message, "No space left on device")):
		return "; the disk of ClickHouse is full: make room there, and run the same command again; nothing is lost"
	case errors.Is(err, syscall.ENOSPC):
		return "; make room there, and run the same command again; nothing is lost"
	case errors.As(err, new(kafka.NoTopicError)), errors.As(err, new(ingest.SchemaError)):
		return "; run `apportion migrate`"
	case errors.As(err, &cannot) && cannot.Code == schemas.SchemaOlder:
		return ": `apportion migrate`"
	case errors.As(err, new(kafka.OtherLogError)):
		return ": `apportion registry restore`"
	case errors.As(err, new(kafka.BrokenLogError)), errors.As(err, new(ingest.OtherTopicError)):
		return refill
	}
	return ""
}

// refill names the commands that fill a topic of the registry again.
const refill = ": `apportion migrate`, then `apportion registry restore`"

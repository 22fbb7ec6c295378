package billing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Log is the registry's log, on which it is decided what is issued (R20).
type Log interface {
	// CatchUp returns the registry as it is by now.
	CatchUp(ctx context.Context) (registry.State, error)
	// At returns the registry as it stood when the next offset of the log was the given one, which is none later than
	// that of the last state returned.
	At(offset int64) (registry.State, error)
	// Claim submits the commands, and returns the registry after them.
	Claim(ctx context.Context, claims []registry.Command) (registry.State, error)
}

// Lines keeps the lines of what is issued (R20); billing/clickhouse has them. Lines of an issue that the log does
// not have count for nothing.
type Lines interface {
	// Write stores the lines of the issues so that they outlast whatever happens next.
	Write(ctx context.Context, issues []Issue) error
	// Delete removes the lines of issues that were not accepted.
	Delete(ctx context.Context, issues []Issue) error
	// Invoices returns the invoices of the issues, by their ID, in the byte order of subscriptions, as they are stored.
	Invoices(ctx context.Context, issues []Issue) (map[uuid.UUID][]Invoice, error)
}

// Issue is a tenant's period as issued: its invoices, what they are based on, and what its files say besides.
type Issue struct {
	ID     uuid.UUID
	Tenant string
	// Seq numbers the issues of a tenant from 1. Who claims a number has read all issues before it, so none of them is
	// made twice, nor anything adjusted twice.
	Seq      int
	Period   civil.Month
	Invoices []Invoice
	// Base is the tenant's version that it was billed by ([registry.State.Base]).
	Base int64
	// Lines counts the lines, and LinesHash is what [HashLines] makes of them.
	Lines     int
	LinesHash string
	// Previous is the Hash of the tenant's issue before, and Hash that of its own record on the log; together they make
	// a chain in which no issue can be changed without a trace.
	Previous, Hash string
	// By is who issued it, and AtMS when, in UTC epoch milliseconds.
	By   registry.Actor
	AtMS int64
	Basis
}

// Basis is what an issue is based on, and what its files say besides the lines, as the log keeps it.
type Basis struct {
	// Date is the date, in the tenant's zone, on which the grace was over (R20).
	Date civil.Date `json:"issueDate"`
	// Balance says what became of the period's deliveries (R22).
	Balance aggregate.Balance `json:"balance"`
	// Basis is what the usage and the rules were. What has changed since re-rates the tenant's periods (R21).
	aggregate.Basis
	// Zone is the tenant's zone in the time zone data of the basis, as compiled: files show its clock.
	Zone []byte `json:"zone,omitempty"`
	// Seller is who sent the invoices.
	Seller Seller `json:"seller"`
	// ItemCodes are those that finance's system had at the time.
	ItemCodes ItemCodes `json:"itemCodes,omitempty"`
	// Findings are what was found then (R24).
	Findings []Found `json:"findings,omitempty"`
	// Reasons are why there are adjustments (R21).
	Reasons []Reason `json:"reasons,omitempty"`
	// Files is the version of the files' form, see [FilesVersion].
	Files int `json:"files"`
}

// FilesVersion is the form in which files are written now. A change of what they show of an issue takes the next
// number, and the files of what was issued before stay in theirs (R20).
const FilesVersion = 1

// Issues returns the periods of a tenant that are issued by the registry's log, in the order in which they were,
// without their invoices.
func Issues(state registry.State, tenant string) ([]Issue, error) {
	var chain []Issue
	for _, issued := range state.Issues(tenant) {
		issue, err := IssueOf(issued)
		if err != nil {
			return nil, err
		}
		chain = append(chain, issue)
	}
	return chain, nil
}

// IssueOf reads an issue from its claim.
func IssueOf(c registry.Issued) (Issue, error) {
	i := Issue{Tenant: c.Tenant, Seq: c.Seq, Period: c.Period, Base: c.Base, Lines: c.Lines, LinesHash: c.LinesHash,
		Previous: c.Previous, Hash: c.Hash, By: c.By, AtMS: c.TimeMS}
	err := json.Unmarshal(c.Basis, &i.Basis)
	if err == nil {
		i.ID, err = uuid.Parse(c.ID)
	}
	if err != nil {
		return Issue{}, fmt.Errorf("the command at offset %d of the registry's log, which issues %s of %s, "+
			"is not one of ours: %w; find out what wrote it", c.Offset, c.Period, c.Tenant, err)
	}
	return i, nil
}

// AllIssues is [Issues] of the tenants or, with nil, of all, by tenant.
func AllIssues(state registry.State, tenants []string) (map[string][]Issue, error) {
	if tenants == nil {
		tenants = ids(state.Tenants())
	}
	chains := map[string][]Issue{}
	for _, tenant := range tenants {
		chain, err := Issues(state, tenant)
		if err != nil {
			return nil, err
		}
		if chain != nil {
			chains[tenant] = chain
		}
	}
	return chains, nil
}

// IssuedPeriods returns which periods of which tenants are issued.
func IssuedPeriods(state registry.State) map[TenantPeriod]bool {
	issued := map[TenantPeriod]bool{}
	for _, t := range state.Tenants() {
		for _, i := range state.Issues(t.ID) {
			issued[TenantPeriod{t.ID, i.Period}] = true
		}
	}
	return issued
}

// issueOf returns the issue of a period, or nil.
func issueOf(chain []Issue, period civil.Month) *Issue {
	for i := range chain {
		if chain[i].Period == period {
			return &chain[i]
		}
	}
	return nil
}

// claim is the command that issues it.
func (i Issue) claim() (registry.Command, error) {
	basis, err := json.Marshal(i.Basis)
	return registry.Command{
		ID: i.ID.String(), Source: "apportion/billing", TenantID: i.Tenant, Command: registry.ClaimIssue,
		Base: i.Base, Period: i.Period,
		Claim: registry.Claim{Seq: i.Seq, Lines: i.Lines, LinesHash: i.LinesHash, Previous: i.Previous, Basis: basis},
	}, err
}

// HashLines returns the SHA-256, in hex, of all that the invoices of one issue say, and how many lines they have. It
// must stay what it is: issued lines are compared with it for good.
func HashLines(invoices []Invoice) (hash string, lines int) {
	type point struct{ AtMS, Live, Entitled int64 }
	type line struct {
		Invoice, Subscription, Currency string
		No                              int
		Kind                            Kind
		Meter, Quantity, Unit, Price    string
		Amount                          string
		From, To                        civil.Date
		PeakMS                          int64
		Corrects                        string
		CorrectsKind                    Kind
		Days                            int
		Entitled                        int64
		Pool                            []point
		Note                            string
	}
	sum := sha256.New()
	each := json.NewEncoder(sum)
	for _, i := range invoices {
		for _, l := range i.Lines {
			lines++
			var pool []point
			for _, p := range l.Pool {
				pool = append(pool, point{int64(p.AtMS), p.Live, p.Entitled})
			}
			// Strings and whole numbers alone: it cannot fail.
			_ = each.Encode(line{i.ID, i.Subscription, i.Currency, l.No, l.Kind, l.Meter,
				l.Quantity.String(), l.Unit, l.Price(), l.Amount.String(),
				l.From, l.To, l.PeakMS, l.Corrects, l.CorrectsKind, l.Days, l.Entitled, pool, l.Note})
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), lines
}

// Changed returns why the invoices that are stored for an issue are not those that were issued; nil where they are.
func (i Issue) Changed(invoices []Invoice) *Stop {
	hash, lines := HashLines(invoices)
	if hash == i.LinesHash && lines == i.Lines {
		return nil
	}
	message := fmt.Sprintf("of issue %s, number %d of the tenant, invoice_lines has %d lines, and %d were issued",
		i.ID, i.Seq, lines, i.Lines)
	if lines == i.Lines {
		message = fmt.Sprintf("the %d lines that invoice_lines has of issue %s, number %d of the tenant, "+
			"are not those that were issued: their SHA-256 is %s, and the log has %s",
			lines, i.ID, i.Seq, hash, i.LinesHash)
	}
	return newStop(i.Tenant, i.Period, schemas.Unbalanced, message).
		advising("put the rows of invoice_lines with this issue back from a backup, exactly once; " +
			"until then nothing of this tenant is issued or written")
}

// invoicesOf returns the stored invoices of the issues, by their ID, and by tenant why they are not those that were
// issued.
func invoicesOf(ctx context.Context, lines Lines, issues []Issue) (map[uuid.UUID][]Invoice, map[string]*Stop, error) {
	if len(issues) == 0 {
		return nil, nil, nil
	}
	invoices, err := lines.Invoices(ctx, issues)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what has been issued: %w", err)
	}
	changed := map[string]*Stop{}
	for _, i := range issues {
		if stop := i.Changed(invoices[i.ID]); stop != nil && changed[i.Tenant] == nil {
			changed[i.Tenant] = stop
		}
	}
	return invoices, changed, nil
}

// IssuedInvoices returns the invoices of issues by their ID, as they were issued. The error is a *[Stop] where the
// lines that are stored are no longer those.
func IssuedInvoices(ctx context.Context, lines Lines, issues []Issue) (map[uuid.UUID][]Invoice, error) {
	invoices, changed, err := invoicesOf(ctx, lines, issues)
	if err != nil {
		return nil, err
	}
	for _, i := range issues {
		if stop := changed[i.Tenant]; stop != nil {
			return nil, stop
		}
	}
	return invoices, nil
}
